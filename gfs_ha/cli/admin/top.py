"""`gfsctl admin top`: the cluster live at a terminal, or as one frame, or for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gfs_ha.cli import output
from gfs_ha.cli.options import NAME, NumberRange, Options
from gfs_ha.cli.render import names
from gfs_ha.cli.session import Session
from gfs_ha.cli.verb import WATCH_S, Verb
from gfs_ha.errors import UsageError
from gfs_ha.protocol.live import SERVERS_PAGE_MAX, SORTS, GetLive, LiveReport
from gfs_ha.protocol.usage import KINDS, ROWS_MAX
from gfs_ha.protocol.usage import SORTS as USAGE_SORTS
from gfs_ha.sketch_windows import WINDOWS

if TYPE_CHECKING:
    from gfs_ha.cli.live.look import Look
    from gfs_ha.cli.live.spans import Palette

_TABS = ("servers", "masters", "chunks", "jobs", "leases", "events")
_PIPE_COLUMNS = 200
_INSTEAD = "use gfsctl admin top --once, or -o json (with -w: again and again)"


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin top                        # live; ? shows the keys, q quits
    gfsctl admin top --sort write -w 2      # the busiest writers first, every two seconds
    gfsctl admin top --once                 # one frame as text, for a mail
    gfsctl admin top -o json --limit 10     # the same numbers for programs
    gfsctl admin top -o jsonl -w 5          # one document every five seconds
    gfsctl admin top --by client            # who moves most, in the last minute
    gfsctl admin top --by path --window 1h --sort ops -n 5 -w   # which directories are asked most
    """,
)
@click.option("--tab", type=click.Choice(_TABS), default=_TABS[0], help="What to begin with.")
@click.option(
    *("--sort", "sort"),
    type=click.Choice((*SORTS, *USAGE_SORTS)),
    help=f"Order of the servers; with --by: {', '.join(USAGE_SORTS)}.",
)
@click.option("--reverse", is_flag=True, help="Order them the other way round.")
@click.option("--filter", "wanted", metavar="WORDS", default="", help="Only what has all of these.")
@click.option(
    *("-n", "--limit", "limit"),
    type=click.IntRange(0, ROWS_MAX),
    help="So many servers at most, with -o json; so many rows, with --by.",
)
@click.option("--by", type=click.Choice(KINDS), help="Instead: a table of who does how much.")
@click.option("--window", type=click.Choice(WINDOWS), help="With --by: within the last… (1m).")
@click.option("--once", is_flag=True, help="One frame as text, also without a terminal.")
@click.option(
    *("-w", "--watch"),
    type=NumberRange(min=0.1, max=86_400),
    metavar="[SECONDS]",
    help="How often to look (1 s); with -o json, to look again and again.",
)
@click.pass_obj
def top(
    options: Options,
    tab: str,
    sort: str | None,
    reverse: bool,
    wanted: str,
    limit: int | None,
    by: str | None,
    window: str | None,
    once: bool,
    watch: float | None,
) -> None:
    """Show the cluster live: servers, masters, chunks with trouble, jobs, leases.

    Each look is one call, whatever the cluster's size. Without a leader the screen stays, says
    since when, and goes on by itself. The history is this program's own.

    With --by it is a table instead: bytes, operations and times by client, by operation, or by
    the first two directories of what is asked for; live at a terminal, once with --once or in a
    pipe.
    """
    with Session(options) as session:
        if by is not None:
            from gfs_ha.cli.admin.usage import Wanted, show_usage

            table = not options.machine_readable and options.output != NAME
            if watch is None and table and _can_be_live():
                watch = WATCH_S
            show_usage(session, Wanted(by, window, sort, limit), None if once else watch)
            return
        sort, limit = _checked(sort, window, limit)
        if options.machine_readable or options.output == NAME:
            asked = GetLive(sort, reverse, wanted, 0, limit)
            if watch is None:
                _show(session, asked)
            else:
                session.watch(watch, lambda: _show(session, asked))
            return
        from gfs_ha.cli.live.look import Look

        look = Look(tab=_TABS.index(tab), sort=sort, reverse=reverse, period_s=watch or 1.0)
        look.filters[look.tab_name] = wanted
        if once:
            _show_once(session, look)
        else:
            _show_live(session, look)


def _checked(sort: str | None, window: str | None, limit: int | None) -> tuple[str, int]:
    """Return how the servers are shown. Raises: UsageError for what belongs to --by."""
    sort = SORTS[0] if sort is None else sort
    limit = SERVERS_PAGE_MAX if limit is None else limit
    if window is not None or sort not in SORTS:
        told = "--window" if window is not None else f"--sort {sort}"
        raise UsageError(f"{told} goes with --by {', '.join(KINDS)}")
    if limit > SERVERS_PAGE_MAX:
        raise UsageError(f"--limit is {SERVERS_PAGE_MAX} at most without --by")
    return sort, limit


def _show(session: Session, asked: GetLive) -> None:
    from msgspec import structs

    from gfs_ha.cli.admin.masters import completed
    from gfs_ha.client.live import with_clocks

    view = session.operations.live
    report = view.look(asked, session.operations.timeout_s)
    said, clocks = view.masters()
    status = structs.replace(report.status, masters=completed(report.status.masters, said))
    session.show(with_clocks(structs.replace(report, status=status), clocks))


@names.register
def _(report: LiveReport) -> Iterator[str]:
    for server in report.servers:
        yield server.name


def _show_once(session: Session, look: Look) -> None:
    from gfs_ha.cli.live.app import one_frame
    from gfs_ha.runtime import ThreadedRuntime

    terminal = output.stdout_is_terminal()
    columns = shutil.get_terminal_size((_PIPE_COLUMNS, 0)).columns  # COLUMNS goes first.
    lines = one_frame(session.operations.live, look, columns, ThreadedRuntime())
    if terminal:
        palette = _palette(session.options)
        output.write_lines(palette.text(spans) for spans in lines)
        return
    from gfs_ha.cli.live.spans import plain

    output.write_lines(plain(spans).rstrip() for spans in lines)


def _show_live(session: Session, look: Look) -> None:
    from gfs_ha.cli.live.screen import Screen, check_terminal

    check_terminal(_INSTEAD)
    from gfs_ha.cli.live.app import LiveApp
    from gfs_ha.runtime import ThreadedRuntime

    view = session.operations.live
    with Screen(_palette(session.options)) as screen:
        LiveApp(view, screen, look, ThreadedRuntime()).run()


def _can_be_live() -> bool:
    if not output.stdout_is_terminal():
        return False
    from gfs_ha.cli.live.screen import can_draw

    return can_draw()


def _palette(options: Options) -> Palette:
    from gfs_ha.cli.live.spans import Palette

    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return Palette(options.color, unicode=encoding.startswith("utf"))
