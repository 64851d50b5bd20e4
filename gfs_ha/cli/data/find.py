"""`gfsctl find`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.amounts import Age, Amount, Compared
from gfs_ha.cli.data.criteria import Criteria
from gfs_ha.cli.data.listing import FileItem, long_lines
from gfs_ha.cli.data.walking import Walking, write_as_they_come
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE, consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.tree_walk import Name
from gfs_ha.errors import UsageError
from gfs_ha.protocol.metadata import DIRECTORY, FILE

_KINDS = {"f": FILE, "d": DIRECTORY}
_UNKNOWN = {
    "-exec": "pipe the names: gfsctl find … -print0 | xargs -0 …",
    "-execdir": "pipe the names: gfsctl find … -print0 | xargs -0 …",
    "-ok": "pipe the names: gfsctl find … -print0 | xargs -0 …",
    "-delete": "pipe the names: gfsctl find … -print0 | xargs -0 gfsctl rm --",
    "-ls": "say -o wide",
    "-prune": "say --max-depth, or start at other names",
    "-or": "all options have to hold; several --name: any of them",
    "-and": "leave it out: all options have to hold",
    "-a": "leave it out: all options have to hold",
    "-not": "filter the names: gfsctl find … | grep -v …",
    "!": "filter the names: gfsctl find … | grep -v …",
    "(": "all options have to hold; several --name: any of them",
    ")": "all options have to hold; several --name: any of them",
    "-perm": "filter: gfsctl find … -o jsonl has the mode of each",
    "-user": "filter: gfsctl find … -o jsonl has the owner of each",
    "-links": "there are no links here",
}


class FindVerb(Verb):
    """A verb that also takes `-name`, `-type`… as find has them, and says what it has not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for at, word in enumerate(args):
            if word == "--":
                break
            after = args[at + 1] if at + 1 < len(args) else ""
            if word == "-o" and after.startswith("-"):
                raise UsageError(f"-o is the output here; there is no or: {_UNKNOWN['-or']}")
            value = at and args[at - 1].startswith("-") and word not in ("-exec", "-delete")
            if word in _UNKNOWN and not value:
                raise UsageError(f"there is no {word} here; {_UNKNOWN[word]}")
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class _Depths:
    least: int
    most: int | None

    def hold(self, depth: int) -> bool:
        return depth >= self.least and (self.most is None or depth <= self.most)


@click.command(
    cls=FindVerb,
    examples="""
    gfsctl find /logs --name '*.log' --size +1M       # larger than 1 MiB
    gfsctl find /logs -type f -mtime +30              # not changed for 30 days, as find has it
    gfsctl find / --under                             # files with fewer copies than they want
    gfsctl find /a --empty -print0 | xargs -0 gfsctl rm --
    gfsctl find / --goal -3 -o jsonl                  # all facts of what wants fewer than 3 copies
    """,
)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--name", "-name", multiple=True, metavar="GLOB", help="Its name; any of several.")
@click.option("--iname", "-iname", multiple=True, metavar="GLOB", help="In small letters or big.")
@click.option("--path", "-path", multiple=True, metavar="GLOB", help="Its whole path.")
@click.option("--type", "-type", "kind", type=click.Choice(["f", "d"]), help="File, directory.")
@click.option(
    *("--size", "-size"),
    type=Compared(),
    metavar="[+-]N",
    help="Bytes, or like +1M: more, -1M: less, 0: just so.",
)
@click.option(
    *("--mtime", "-mtime"),
    multiple=True,
    type=Age(),
    metavar="[+-]N",
    help="Age: whole days as find has them, or like -30m, +12h.",
)
@click.option("--newer", "-newer", metavar="PATH", help="Changed after that name was.")
@click.option("--max-depth", "-maxdepth", "most", type=click.IntRange(min=0), help="0: PATH alone.")
@click.option("--min-depth", "-mindepth", "least", type=click.IntRange(min=0), help="1: all below.")
@click.option("--under", is_flag=True, help="With fewer copies of any byte than it wants.")
@click.option("--goal", type=Amount(), metavar="[+-]N", help="How many copies it wants.")
@click.option("--empty", "-empty", is_flag=True, help="Without bytes, or without names in it.")
@click.option("--print0", "-print0", is_flag=True, help="Names as they are, a NUL after each.")
@click.option("-print", "as_usual", is_flag=True, hidden=True)
@consistency_option
@pass_session
def find(session: Session, /, paths: tuple[str, ...], **asked: Any) -> None:
    """Find files and directories at and below names (by default /), as they come.

    All options have to hold; the forms of find, like -name and -type, are taken as well. No find is
    exit 0, too; exit 3 is for a PATH that is not there, 11 for a directory that vanished meanwhile.
    Sizes without a unit are bytes.
    """
    if asked["print0"] and session.options.output not in (TABLE, WIDE):
        raise UsageError("--print0 is an output of its own: leave out -o")
    wanted = [session.path(text) for text in paths or ("/",)]
    criteria = _criteria(session, asked)
    depths = _Depths(asked["least"] or 0, asked["most"])
    walking = Walking(session)
    tops = walking.tops(wanted)
    found = _under(session, tops, depths) if asked["under"] else _walked(walking, tops, depths)
    items = (item for item in found if criteria.hold(item))
    _show(session, items, walking, asked["print0"])
    walking.conclude("searched")


def _criteria(session: Session, asked: dict[str, Any]) -> Criteria:
    from gfs_ha.runtime import ThreadedRuntime

    newer = session.path(asked["newer"]) if asked["newer"] else ""
    return Criteria(
        names=asked["name"],
        names_folded=tuple(pattern.casefold() for pattern in asked["iname"]),
        paths=asked["path"],
        kind=_KINDS.get(asked["kind"] or ""),
        size=asked["size"],
        ages=asked["mtime"],
        newer_than_ns=session.cluster.stat(newer).mtime_ns if newer else None,
        goal=asked["goal"],
        empty=asked["empty"],
        now_ns=ThreadedRuntime().wall_ns(),
    )


def _walked(walking: Walking, tops: Iterator[FileItem], depths: _Depths) -> Iterator[FileItem]:
    for top in tops:
        if depths.hold(0):
            yield top
        for step in walking.steps(top, depths.most):
            if isinstance(step, Name) and depths.hold(step.depth):
                yield FileItem.of(step.path, step.entry.status)


def _under(session: Session, tops: Iterator[FileItem], depths: _Depths) -> Iterator[FileItem]:
    """Yield the files that lack copies, as the leader finds them; it looks at all their chunks."""
    for top in tops:
        base = 0 if top.path == "/" else top.path.count("/")
        for path, status in session.operations.files_below_goal(top.path):
            if depths.hold(path.count("/") - base):
                yield FileItem.of(path, status)


def _show(session: Session, items: Iterator[FileItem], walking: Walking, nul: bool) -> None:
    mode = session.options.output
    if nul:
        for item in items:
            output.write(item.path.encode(), b"\0")
    elif mode == TABLE:
        write_as_they_come(printable(item.path) for item in items)
    elif mode == WIDE:
        write_as_they_come(line for item in items for line in _long(item))
    else:
        session.show_items(
            "FileList",
            items,
            lambda page: [],
            lambda item: item.path,
            lambda: {"lost": walking.lost()},
        )


def _long(item: FileItem) -> Iterator[str]:
    from msgspec.structs import replace

    yield from long_lines([replace(item, name=item.path)], human=True)
