"""`gfsctl admin logs`: the newest log lines of all processes, by time."""

from __future__ import annotations

import click
import msgspec

from gfs_ha.cli import output
from gfs_ha.cli.admin.log_lines import check_any, show_lines, warn_of_gaps
from gfs_ha.cli.interrupt import Interrupted
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.spans import read_moment_ns
from gfs_ha.cli.verb import Verb
from gfs_ha.client.logs import LogSource, NodeLines, merged
from gfs_ha.errors import GfsError, UsageError
from gfs_ha.protocol.logs import LEVELS, PATTERN_CHARACTERS_MAX, ReadLog

SHOWN = 100
SHOWN_MAX = 100_000
LOOK_S = 1.0  # How often it is looked for more.


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin logs                          # the newest 100 lines of all masters and servers
    gfsctl admin logs m2 cs07 -f               # of these two, and what they log from now on
    gfsctl admin logs --level warning --since 1h
    gfsctl admin logs --grep 0x1000000000007   # everything that names a chunk
    gfsctl admin logs -o jsonl -n 10000        # for programs
    """,
)
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged, until Ctrl-C.")
@click.option(
    "--since", metavar="SPAN|TIME", help="From then on: 90s, 1h, 14:00, 2026-11-25T14:00."
)
@click.option("--level", type=click.Choice(LEVELS), default="info", help="Such lines, and worse.")
@click.option("--grep", "pattern", metavar="TEXT", help="Lines in which this stands, in any case.")
@click.option(
    *("-n", "--limit"),
    type=click.IntRange(0, SHOWN_MAX),
    help=f"How many of the newest (default {SHOWN}; all that are kept with --since).",
)
@pass_session
def logs(
    session: Session,
    nodes: tuple[str, ...],
    follow: bool,
    since: str | None,
    level: str,
    pattern: str | None,
    limit: int | None,
) -> None:
    """Show what masters and chunkservers log, oldest first, without going to their machines.

    Each keeps its newest 16,000 lines, at most 4 MiB, in memory, and warnings longer; older ones
    are in the files on its machine. Masters answer also when none of them leads; which chunkservers
    there are only the leader knows. Times are those of the machines' own clocks, in UTC.
    """
    if pattern and len(pattern) > PATTERN_CHARACTERS_MAX:
        raise UsageError(f"--grep takes at most {PATTERN_CHARACTERS_MAX} characters")
    count = limit if limit is not None else SHOWN_MAX if since is not None else SHOWN
    # Without any wanted there is still the place to go on from.
    wanted = ReadLog(
        newest=max(1, count), level=level, pattern=pattern or "", since_ms=_since_ms(since)
    )
    sources, no_servers = session.cluster.logs.sources(nodes)
    found = session.cluster.logs.read(sources, wanted)
    check_any(found)
    warn_of_gaps(session, found, no_servers)
    lines = merged(found)
    show_lines(session, lines[-count:] if count else [], streamed=follow)
    if not follow:
        return
    try:
        _follow(session, found, wanted)
    except Interrupted as stopped:
        # Nothing was broken off: this is how following ends.
        raise click.exceptions.Exit(stopped.exit_status) from stopped


def _since_ms(text: str | None) -> int:
    if text is None:
        return 0
    from gfs_ha.runtime import ThreadedRuntime

    found_ns = read_moment_ns(text, ThreadedRuntime().wall_ns())
    if found_ns is None:
        raise UsageError(f"{text!r} is no time; say 1h, 90s, 14:00 or 2026-11-25T14:00")
    return max(0, found_ns) // 1_000_000


def _follow(session: Session, found: list[NodeLines], wanted: ReadLog) -> None:
    """Show lines as they come until a signal or the end of the pipe; trouble is waited out."""
    from gfs_ha.runtime import ThreadedRuntime

    runtime = ThreadedRuntime()
    sources: list[LogSource] = [one.source for one in found]
    silent: dict[str, GfsError] = {one.source.name: one.error for one in found if one.error}
    further = msgspec.structs.replace(wanted, newest=0)
    while True:
        output.flush()
        output.check_read()
        runtime.sleep(LOOK_S)
        # Who did not answer until now begins with its newest.
        found = session.cluster.logs.read([one for one in sources if one.run], further)
        found += session.cluster.logs.read([one for one in sources if not one.run], wanted)
        sources = [one.source for one in found]
        for one in found:
            name = one.source.name
            if one.error is None and silent.pop(name, None) is not None:
                session.warn(f"{name} answers again")
            elif one.error is not None and name not in silent:
                silent[name] = one.error
                session.warn(f"{name} does not answer: {one.error.message}")
            if one.lost:
                session.warn(f"{name}: {one.lost} lines came too fast and are gone")
        show_lines(session, merged(found), streamed=True)
