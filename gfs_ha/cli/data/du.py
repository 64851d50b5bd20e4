"""`gfsctl du`."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

import click

from gfs_ha.cli.data.totals import Total, totals
from gfs_ha.cli.data.walking import Walking, write_as_they_come
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE, consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import UsageError

SORTED_MAX = 100_000  # Rows that are held to be sorted; the smaller ones are left out.

_KEYS: dict[str, Callable[[Total], int]] = {
    "size": lambda total: total.bytes,
    "raw": lambda total: total.raw_bytes,
    "files": lambda total: total.files,
}


@click.command(
    cls=Verb,
    examples="""
    gfsctl du -d 1 /                # what each directory of / holds, and / itself
    gfsctl du -s /a /b              # one line for each
    gfsctl du --sort size / | head  # the largest first
    gfsctl du -s --raw --bytes /    # all copies of it, as a number
    """,
)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-s", "--summarize", is_flag=True, help="Only the names that are given.")
@click.option(
    *("-d", "--max-depth", "depth"),
    type=click.IntRange(min=0),
    metavar="DEPTH",
    help="Show no directories deeper than this.",
)
@click.option("-a", "--all", "files", is_flag=True, help="Files, too.")
@click.option("-c", "--total", "with_total", is_flag=True, help="A last line for all of it.")
@click.option("-h/-b", "--human/--bytes", default=True, help="Sizes like 1.2 GiB, or in bytes.")
@click.option("--apparent", is_flag=True, help="Only the bytes of the files.")
@click.option("--raw", is_flag=True, help="Only the bytes of all copies wanted.")
@click.option("--sort", type=click.Choice(sorted(_KEYS)), help="The largest first.")
@consistency_option
@pass_session
def du(session: Session, /, paths: tuple[str, ...], **asked: Any) -> None:
    """Show what directories hold: bytes of files, and bytes of all the copies that they want.

    Lines come while the tree is read, each directory after those below it. All copies means: size
    by copies wanted, also where some are missing (gfsctl find --under names those files); bytes
    that files share after `cp` count in each of them.
    """
    if asked["apparent"] and asked["raw"]:
        raise UsageError("--apparent and --raw each leave out the other: give one of them, or none")
    if asked["summarize"] and asked["depth"]:
        raise UsageError("-s shows no directories below the names, -d does: give one of them")
    depth = 0 if asked["summarize"] else asked["depth"]
    walking = Walking(session)
    whole = Total("total", "total")
    found = _found(session, walking, paths or ("/",), depth, asked["files"], whole)
    if asked["sort"]:
        found = _largest(session, found, _KEYS[asked["sort"]])
    mode = session.options.output
    if mode in (TABLE, WIDE):
        shown = _with_total(found, whole) if asked["with_total"] else found
        columns = Columns(asked["human"], not asked["raw"], not asked["apparent"], mode == WIDE)
        write_as_they_come(columns.lines(shown))
    else:

        def facts() -> dict[str, Any]:
            sums = {"bytes": whole.bytes, "raw_bytes": whole.raw_bytes}
            return {**sums, "files": whole.files, "lost": walking.lost()}

        session.show_items("UsageList", found, lambda page: [], lambda item: item.path, facts)
    walking.conclude()


def _found(
    session: Session,
    walking: Walking,
    paths: tuple[str, ...],
    depth: int | None,
    files: bool,
    whole: Total,
) -> Iterator[Total]:
    for top in walking.tops([session.path(text) for text in paths]):
        for total in totals(walking, top, depth, files):
            if total.path == top.path:
                whole.add(total)
            yield total


def _with_total(found: Iterator[Total], whole: Total) -> Iterator[Total]:
    yield from found
    yield whole


def _largest(
    session: Session, found: Iterator[Total], key: Callable[[Total], int]
) -> Iterator[Total]:
    """Yield the rows, the largest first; of more than can be held the largest."""
    kept: list[tuple[int, int, Total]] = []
    count = 0
    for count, total in enumerate(found, 1):
        row = (key(total), -count, total)  # Among equals the first one stays first.
        if len(kept) < SORTED_MAX:
            heapq.heappush(kept, row)
        else:
            heapq.heappushpop(kept, row)
    kept.sort(reverse=True)
    yield from (total for _, _, total in kept)
    if count > len(kept):
        left_out = count_text(count - len(kept), "smaller one is", "smaller ones are")
        session.warn(f"{left_out} not shown; -d shows fewer levels, without --sort all come")


class Columns:
    """The lines of the table: columns of one width, so that they can be shown as they come."""

    def __init__(self, human: bool, apparent: bool, raw: bool, wide: bool) -> None:
        self._human = human
        self._apparent = apparent
        self._raw = raw
        self._wide = wide
        self._width = 10 if human else 15

    def lines(self, found: Iterator[Total]) -> Iterator[str]:
        titles = [*(["Size"] if self._apparent else []), *(["All copies"] if self._raw else [])]
        head = "  ".join(f"{title:>{self._width}}" for title in titles)
        head += f"  {'Files':>11}  {'Directories':>11}" if self._wide else ""
        begun = False
        for total in found:
            if not begun:
                yield f"{head}  Path"
                begun = True
            sizes = [
                *([total.bytes] if self._apparent else []),
                *([total.raw_bytes] if self._raw else []),
            ]
            texts = [size_text(size) if self._human else str(size) for size in sizes]
            line = "  ".join(f"{text:>{self._width}}" for text in texts)
            if self._wide:
                line += f"  {count_text(total.files):>11}  {count_text(total.directories):>11}"
            yield f"{line}  {printable(total.path)}"
