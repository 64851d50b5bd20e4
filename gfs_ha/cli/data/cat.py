"""`gfsctl cat`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.limits import MIB


@click.command(
    cls=Verb,
    examples="""
    gfsctl cat /logs/today.log | grep error    # verified while it is read
    gfsctl cat /part1 /part2 > whole           # one after the other
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@consistency_option
@pass_session
def cat(session: Session, paths: tuple[str, ...]) -> None:
    """Write files to standard output, one after the other; every byte is verified."""
    copy_out(session, [session.file_path(text) for text in paths])


def copy_out(session: Session, paths: Sequence[str]) -> None:
    """Write remote files to standard output."""
    buffer = memoryview(bytearray(MIB))

    def copy(path: str) -> None:
        with session.cluster.open(path, "rb") as file:
            while size := file.readinto(buffer):
                output.write(buffer[:size])

    several = Several(session)
    several.attempt_each(paths, copy)
    output.flush()
    several.conclude("written")
