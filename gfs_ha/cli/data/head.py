"""`gfsctl head`."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.tail import LINES_DEFAULT
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.files import RemoteReader
from gfs_ha.errors import UsageError
from gfs_ha.limits import KIB

_BLOCK_BYTES = 64 * KIB


@click.command(
    cls=Verb,
    examples="""
    gfsctl head /log             # the first 10 lines
    gfsctl head -n 3 /log        # the first 3
    gfsctl head -c 512 /data.bin # the first 512 bytes
    """,
)
@click.argument("path", metavar="PATH")
@click.option(
    *("-n", "--lines"), type=click.IntRange(min=0), help=f"How many lines ({LINES_DEFAULT})."
)
@click.option("-c", "--bytes", "size", type=click.IntRange(min=0), help="How many bytes instead.")
@consistency_option
@pass_session
def head(session: Session, path: str, lines: int | None, size: int | None) -> None:
    """Show the beginning of a file; no more of it is read than that takes."""
    if lines is not None and size is not None:
        raise UsageError("-n counts lines and -c bytes: give one of them")
    with session.cluster.open(session.file_path(path), "rb") as file:
        if size is None:
            _write_lines(file, LINES_DEFAULT if lines is None else lines)
        else:
            while size and (block := file.read(min(size, _BLOCK_BYTES))):
                output.write(block)
                size -= len(block)
    output.flush()


def _write_lines(file: RemoteReader, count: int) -> None:
    while count and (block := file.read(_BLOCK_BYTES)):
        end = 0
        while count and (at := block.find(b"\n", end)) >= 0:
            end = at + 1
            count -= 1
        output.write(block if count else block[:end])
