"""`gfsctl head`."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.amounts import Amount, Signed
from gfs_ha.cli.data.file_ends import (
    BLOCK_BYTES,
    LINES_DEFAULT,
    LinesVerb,
    show_each,
    start_of_lines,
)
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.client.files import RemoteReader
from gfs_ha.errors import UsageError

_DEFAULT = Signed("", LINES_DEFAULT)


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

    def show(file: RemoteReader) -> None:
        if size is not None:
            _write_bytes(file, max(0, file.size - size.number) if size.sign == "-" else size[1])
        else:
            _write_first(file, _DEFAULT if lines is None else lines)

    show_each(session, wanted, show)


def _write_first(file: RemoteReader, lines: Signed) -> None:
    if lines.sign == "-":
        end = start_of_lines(file, lines.number)
        file.seek(0)
        _write_bytes(file, end)
    else:
        _write_lines(file, lines.number)


def _write_bytes(file: RemoteReader, size: int) -> None:
    while size and (block := file.read(min(size, BLOCK_BYTES))):
        output.write(block)
        size -= len(block)


def _write_lines(file: RemoteReader, count: int) -> None:
    while count and (block := file.read(BLOCK_BYTES)):
        end = 0
        while count and (at := block.find(b"\n", end)) >= 0:
            end = at + 1
            count -= 1
        output.write(block if count else block[:end])
