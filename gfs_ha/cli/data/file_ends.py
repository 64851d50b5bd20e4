"""Ends of files for `head` and `tail`: where lines begin, and several files one after another."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.files import RemoteReader
from gfs_ha.limits import KIB

LINES_DEFAULT = 10
BLOCK_BYTES = 64 * KIB


class LinesVerb(Verb):
    """A verb that takes its number of lines also as `-5`, as people type it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for at in range(end):
            taken = at and args[at - 1] in ("-n", "--lines", "-c", "--bytes")
            if not taken and re.fullmatch(r"-\d+", args[at], re.ASCII):
                args = [*args[:at], "-n", args[at][1:], *args[at + 1 :]]
                break
        return super().parse_args(ctx, args)


def show_each(session: Session, paths: Sequence[str], show: Callable[[RemoteReader], None]) -> None:
    """Show a part of each file, under its name if there are several or -v asks for it."""
    titled = session.options.verbose or (len(paths) > 1 and not session.options.quiet)
    several = Several(session)

    def one(path: str) -> None:
        with session.cluster.open(path, "rb") as file:
            if titled:
                between = "\n" if several.done_count else ""
                output.write_lines([f"{between}==> {printable(path)} <=="])
            show(file)
        output.flush()

    several.attempt_each(paths, one)
    several.conclude("shown")


def skip_lines(file: RemoteReader, count: int) -> None:
    """Move behind the first so many lines."""
    position = 0
    while count > 0 and (block := file.read(BLOCK_BYTES)):
        end = 0
        while count > 0 and (at := block.find(b"\n", end)) >= 0:
            end = at + 1
            count -= 1
        position += end if not count else len(block)
    file.seek(position)


def start_of_lines(file: RemoteReader, count: int) -> int:
    """Return where the last so many lines begin; a last line without newline is one, too."""
    position = file.size
    if not count or not position:
        return position
    wanted = count + 1  # The newline before the first of them.
    last = True
    while position:
        start = max(0, position - BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start)
        end = len(block)
        if last and not block.endswith(b"\n"):
            wanted -= 1
        last = False
        while (at := block.rfind(b"\n", 0, end)) >= 0:
            wanted -= 1
            if not wanted:
                return start + at + 1
            end = at
        position = start
    return 0
