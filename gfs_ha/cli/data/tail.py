"""`gfsctl tail`."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.amounts import Amount, Signed
from gfs_ha.cli.data.file_ends import (
    LINES_DEFAULT,
    LinesVerb,
    show_each,
    skip_lines,
    start_of_lines,
)
from gfs_ha.cli.interrupt import Interrupted
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.client.files import RemoteReader
from gfs_ha.client.follower import Follower, News
from gfs_ha.errors import GfsError, UsageError

_TOLD = {
    News.REMOVED: "was removed; waiting for it to come back",
    News.REPLACED: "is another file now; following that one",
    News.CHANGED: "was changed by others; going on with what it holds now",
}


@click.command(
    cls=LinesVerb,
    examples="""
    gfsctl tail /log               # the last 10 lines
    gfsctl tail -n 100 /log /log2  # the last 100 of each, under its name
    gfsctl tail -f /log            # and what is appended from now on, until Ctrl-C
    gfsctl tail -f -n 0 /log | grep error
    gfsctl tail -n +3 /table.csv   # from the third line on
    gfsctl tail -c 1K /data.bin    # the last 1024 bytes
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-f", "-F", "--follow", is_flag=True, help="Go on with what is appended, as it comes."
)
@click.option(
    *("-n", "--lines"),
    type=Amount(),
    metavar="[+]N",
    help=f"How many lines ({LINES_DEFAULT}); +N: from the Nth on.",
)
@click.option(
    *("-c", "--bytes", "size"),
    type=Amount(),
    metavar="[+]N",
    help="How many bytes instead, like 512, 1K or 2MiB; +N: from the Nth on.",
)
@consistency_option
@pass_session
def tail(
    session: Session,
    paths: tuple[str, ...],
    follow: bool,
    lines: Signed | None,
    size: Signed | None,
) -> None:
    """Show the end of files; -f follows what is appended to one.

    What is shown is committed: on every replica, and there to stay. Following goes on through the
    loss of servers and leaders, and when another file takes the name. Of several files each begins
    with its name; -q leaves the names out, -v shows them always.
    """
    if lines is not None and size is not None:
        raise UsageError("-n counts lines and -c bytes: give one of them")
    if follow and len(paths) > 1:
        raise UsageError("-f follows one file: give one, or run one tail for each")
    wanted = [session.file_path(text) for text in paths]
    followers: list[Follower] = []

    def show(file: RemoteReader) -> None:
        if size is not None:
            first = size.number - 1 if size.sign == "+" else file.size - size.number
            file.seek(min(file.size, max(0, first)))
        elif lines is not None and lines.sign == "+":
            skip_lines(file, lines.number - 1)
        else:
            file.seek(start_of_lines(file, LINES_DEFAULT if lines is None else lines.number))
        file.copy_to(output.write)
        if follow:
            follower = session.cluster.follow(wanted[0])
            follower.begin(file.status, file.size)
            followers.append(follower)

    show_each(session, wanted, show)
    for follower in followers:
        try:
            _follow(session, follower, wanted[0])
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
