"""`gfsctl count`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from gfs_ha.cli.data.totals import Total, totals
from gfs_ha.cli.data.walking import Walking, write_as_they_come
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE, consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb


@click.command(
    cls=Verb,
    examples="""
    gfsctl count /                  # directories, files and bytes of the whole cluster
    gfsctl count -h /home /backup   # of each, and of both together
    gfsctl count -o json /home      # for programs
    """,
)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-h", "--human", is_flag=True, help="Sizes like 1.2 GiB.")
@consistency_option
@pass_session
def count(session: Session, paths: tuple[str, ...], human: bool) -> None:
    """Count the directories, files and bytes at and below names (by default /).

    A directory counts itself as well. Of several names the last line is the sum.
    """
    walking = Walking(session)
    whole = Total("total", "total")
    found = _found(session, walking, paths or ("/",), whole)
    if session.options.output in (TABLE, WIDE):
        several = len(paths) > 1
        write_as_they_come(_lines(found, whole if several else None, human))
    else:

        def facts() -> dict[str, Any]:
            counts = {"directories": whole.directories, "files": whole.files}
            return {**counts, "bytes": whole.bytes, "lost": walking.lost()}

        session.show_items("UsageList", found, lambda page: [], lambda item: item.path, facts)
    walking.conclude("counted")


def _found(
    session: Session, walking: Walking, paths: tuple[str, ...], whole: Total
) -> Iterator[Total]:
    for top in walking.tops([session.path(text) for text in paths]):
        for total in totals(walking, top, depth_max=0):
            whole.add(total)
            yield total


def _lines(found: Iterator[Total], whole: Total | None, human: bool) -> Iterator[str]:
    shown = 0
    for total in found:
        if not shown:
            yield f"{'Directories':>12}  {'Files':>12}  {'Bytes':>18}  Path"
        shown += 1
        yield _line(total, human)
    if whole is not None and shown:
        yield _line(whole, human)


def _line(total: Total, human: bool) -> str:
    size = size_text(total.bytes) if human else count_text(total.bytes)
    counts = f"{count_text(total.directories):>12}  {count_text(total.files):>12}"
    return f"{counts}  {size:>18}  {printable(total.path)}"
