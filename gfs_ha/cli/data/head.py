"""`gfsctl head`."""

from __future__ import annotations

import re

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.amounts import Amount, Signed
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.data.tail import LINES_DEFAULT, start_of_lines
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.files import RemoteReader
from gfs_ha.errors import UsageError
from gfs_ha.limits import KIB

_BLOCK_BYTES = 64 * KIB
_DEFAULT = Signed("", LINES_DEFAULT)


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


@click.command(
    cls=LinesVerb,
    examples="""
    gfsctl head /log             # the first 10 lines
    gfsctl head -n 3 /log /log2  # the first 3 of each, under its name
    gfsctl head -n -3 /log       # all but the last 3
    gfsctl head -c 1K /data.bin  # the first 1024 bytes
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    *("-n", "--lines"),
    type=Amount(),
    metavar="[-]N",
    help=f"How many lines ({LINES_DEFAULT}); -N: all but the last N.",
)
@click.option(
    *("-c", "--bytes", "size"),
    type=Amount(),
    metavar="[-]N",
    help="How many bytes instead, like 512, 1K or 2MiB; -N: all but the last N.",
)
@consistency_option
@pass_session
def head(
    session: Session, paths: tuple[str, ...], lines: Signed | None, size: Signed | None
) -> None:
    """Show the beginning of files; no more of them is read than that takes.

    Of several files each begins with its name; -q leaves the names out, -v shows them always.
    """
    if lines is not None and size is not None:
        raise UsageError("-n counts lines and -c bytes: give one of them")
    wanted = [session.file_path(text) for text in paths]
    titled = session.options.verbose or (len(wanted) > 1 and not session.options.quiet)
    several = Several(session)

    def show(path: str) -> None:
        with session.cluster.open(path, "rb") as file:
            if titled:
                between = "\n" if several.done_count else ""
                output.write_lines([f"{between}==> {printable(path)} <=="])
            if size is not None:
                _write_bytes(file, max(0, file.size - size.number) if size.sign == "-" else size[1])
            else:
                _write_first(file, _DEFAULT if lines is None else lines)
        output.flush()

    several.attempt_each(wanted, show)
    several.conclude("shown")


def _write_first(file: RemoteReader, lines: Signed) -> None:
    if lines.sign == "-":
        end = start_of_lines(file, lines.number)
        file.seek(0)
        _write_bytes(file, end)
    else:
        _write_lines(file, lines.number)


def _write_bytes(file: RemoteReader, size: int) -> None:
    while size and (block := file.read(min(size, _BLOCK_BYTES))):
        output.write(block)
        size -= len(block)


def _write_lines(file: RemoteReader, count: int) -> None:
    while count and (block := file.read(_BLOCK_BYTES)):
        end = 0
        while count and (at := block.find(b"\n", end)) >= 0:
            end = at + 1
            count -= 1
        output.write(block if count else block[:end])
