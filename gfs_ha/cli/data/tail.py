"""`gfsctl tail`."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.interrupt import Interrupted
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.files import RemoteReader
from gfs_ha.client.follower import Follower, News
from gfs_ha.errors import GfsError, UsageError
from gfs_ha.limits import KIB

LINES_DEFAULT = 10
_BLOCK_BYTES = 64 * KIB

_TOLD = {
    News.REMOVED: "was removed; waiting for it to come back",
    News.REPLACED: "is another file now; following that one",
    News.CHANGED: "was changed by others; going on with what it holds now",
}


@click.command(
    cls=Verb,
    examples="""
    gfsctl tail /log               # the last 10 lines
    gfsctl tail -n 100 /log        # the last 100
    gfsctl tail -f /log            # and what is appended from now on, until Ctrl-C
    gfsctl tail -f -n 0 /log | grep error
    gfsctl tail -c 512 /data.bin   # the last 512 bytes
    """,
)
@click.argument("path", metavar="PATH")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is appended, as it comes.")
@click.option(
    *("-n", "--lines"), type=click.IntRange(min=0), help=f"How many lines ({LINES_DEFAULT})."
)
@click.option("-c", "--bytes", "size", type=click.IntRange(min=0), help="How many bytes instead.")
@consistency_option
@pass_session
def tail(session: Session, path: str, follow: bool, lines: int | None, size: int | None) -> None:
    """Show the end of a file; -f follows what is appended.

    What is shown is committed: on every replica, and there to stay. Following goes on through the
    loss of servers and leaders, and when another file takes the name.
    """
    if lines is not None and size is not None:
        raise UsageError("-n counts lines and -c bytes: give one of them")
    target = session.file_path(path)
    with session.cluster.open(target, "rb") as file:
        if size is not None:
            start = max(0, file.size - size)
        else:
            start = start_of_lines(file, LINES_DEFAULT if lines is None else lines)
        file.seek(start)
        file.copy_to(output.write)
        output.flush()
        end, status = file.size, file.status
    if follow:
        follower = session.cluster.follow(target)
        follower.begin(status, end)
        try:
            _follow(session, follower, target)
        except Interrupted as stopped:
            # Nothing was broken off: this is how following ends.
            raise click.exceptions.Exit(stopped.exit_status) from stopped


def _follow(session: Session, follower: Follower, path: str) -> None:
    """Show what comes until a signal or the end of the pipe; passing trouble is waited out."""
    trouble = ""
    while True:
        before = follower.position
        try:
            news = follower.step(output.write)
        except GfsError as error:
            if not error.retryable:
                raise
            if error.message != trouble:
                session.warn(error.message)
            trouble = error.message
            news = News.NOTHING
        else:
            trouble = ""
        if follower.position != before:
            output.flush()
        if news is not News.NOTHING:
            session.warn(f"{printable(path)} {_TOLD[news]}")
        output.check_read()
        follower.wait()


def start_of_lines(file: RemoteReader, count: int) -> int:
    """Return where the last so many lines begin; a last line without newline is one, too."""
    position = file.size
    if not count or not position:
        return position
    wanted = count + 1  # The newline before the first of them.
    last = True
    while position:
        start = max(0, position - _BLOCK_BYTES)
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
