"""`gfsctl admin events`: what happened to the cluster, in words."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.interrupt import Interrupted
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.spans import read_moment_ns
from gfs_ha.cli.units import time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import GfsError, UsageError
from gfs_ha.limits import EVENTS_KEPT
from gfs_ha.protocol.events import (
    ERROR,
    INFO,
    KINDS,
    SEVERITIES,
    WARNING,
    EventItem,
    EventReport,
    GetEvents,
)

SHOWN = 50
_MARKS = {INFO: "", WARNING: "!", ERROR: "!!"}
_STYLES = {INFO: "", WARNING: "yellow", ERROR: "bold red"}
_SUBJECT_COLUMNS = (8, 20)  # At least, at most.
_YEAR_FROM_COLUMNS = 100


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin events                        # the newest 50, oldest first
    gfsctl admin events -f                     # and what happens from now on, until Ctrl-C
    gfsctl admin events --since 1h --severity warning
    gfsctl admin events --subject cs03 -n 200  # the story of one server (m2, r-19, a code…)
    gfsctl admin events --kind leader --kind masters
    gfsctl admin events -o jsonl --since 2026-11-25
    """,
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, as it happens.")
@click.option(
    "--since", metavar="SPAN|TIME", help="From then on: 90s, 1h, 14:00, 2026-11-25T14:00."
)
@click.option(
    "--severity", type=click.Choice(SEVERITIES), default=INFO, help="Such events, and worse ones."
)
@click.option("--subject", "subjects", metavar="NAME", multiple=True, help="About this one only.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Of this kind only.")
@click.option(
    *("-n", "--limit"),
    type=click.IntRange(0, EVENTS_KEPT),
    help=f"How many of the newest (default {SHOWN}; all with --since).",
)
@pass_session
def events(
    session: Session,
    follow: bool,
    since: str | None,
    severity: str,
    subjects: tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int | None,
) -> None:
    """Show what happened to the cluster, oldest first: `!` warns, `!!` is an error.

    Events are numbered and replicated: the history survives leaders, and following it goes on
    through their changes without a gap. The newest 10,000 are kept. What comes and goes often is
    told a few times a minute, and then how often it was.
    """
    since_ns = 0
    if since is not None:
        from gfs_ha.runtime import ThreadedRuntime

        found_ns = read_moment_ns(since, ThreadedRuntime().wall_ns())
        if found_ns is None:
            raise UsageError(f"{since!r} is no time; say 1h, 90s, 14:00 or 2026-11-25T14:00")
        since_ns = max(0, found_ns)
    wanted = GetEvents(kinds=kinds, subjects=subjects, severity=severity, since_ns=since_ns)
    count = limit if limit is not None else EVENTS_KEPT if since is not None else SHOWN
    # Without any wanted there is still the number to go on from.
    items, last = session.operations.events.newest(wanted, max(1, count))
    items = items if count else []
    if not follow:
        session.show(EventReport(tuple(items), last, False, 0, last))
        return
    try:
        _follow(session, wanted, items, last)
    except Interrupted as stopped:
        # Nothing was broken off: this is how following ends.
        raise click.exceptions.Exit(stopped.exit_status) from stopped


def _follow(session: Session, wanted: GetEvents, shown: list[EventItem], last: int) -> None:
    """Show events as they come until a signal or the end of the pipe; trouble is waited out."""
    from gfs_ha.runtime import ThreadedRuntime

    _show_more(session, shown)
    told = ""

    def trouble(error: GfsError) -> None:
        nonlocal told
        if error.message != told:
            session.warn(f"{error.message}; going on when a master answers")
        told = error.message

    for items in session.operations.events.follow(wanted, last, ThreadedRuntime(), trouble):
        _show_more(session, items)
        told = "" if items else told
        output.check_read()


def _show_more(session: Session, items: list[EventItem]) -> None:
    if not items:
        return
    if session.options.machine_readable:
        from gfs_ha.cli.document import json_bytes, plain
        from gfs_ha.cli.options import JSONL

        output.write(*(json_bytes(plain(item), JSONL) for item in items))
    else:
        session.show(EventReport(tuple(items), 0, False, 0, 0))
    output.flush()


@names.register
def _(report: EventReport) -> Iterator[str]:
    for item in report.items:
        yield str(item.number)


class EventLines:
    """Events, one a line; on a narrow terminal without the year. What is too long folds."""

    def __init__(self, items: tuple[EventItem, ...], wide: bool) -> None:
        self._items = items
        self._wide = wide

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        narrow = options.max_width < _YEAR_FROM_COLUMNS and not self._wide
        table = Table(
            box=None, show_header=self._wide, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0)
        )
        least, most = _SUBJECT_COLUMNS
        if self._wide:
            table.add_column("Number", justify="right", no_wrap=True)
        table.add_column("Time", no_wrap=True)
        table.add_column("", no_wrap=True, min_width=2)
        if self._wide:
            table.add_column("Kind", no_wrap=True, min_width=8)
        table.add_column(
            "Subject", overflow="fold", min_width=least, max_width=None if self._wide else most
        )
        table.add_column("What", overflow="fold")
        for item in self._items:
            style = _STYLES.get(item.severity, "")
            time = time_text(item.wall_ns)
            cells: list[str | Text] = [
                time.partition("-")[2] if narrow else time,
                Text(_MARKS.get(item.severity, "?"), style),
            ]
            cells += [printable(item.subject), Text(printable(item.text), style)]
            if self._wide:
                cells.insert(0, str(item.number))
                cells.insert(3, item.kind)
            table.add_row(*cells)
        yield table


@render.register
def _(report: EventReport, wide: bool) -> EventLines | Text:
    if not report.items:
        return Text("no such event is kept")
    return EventLines(report.items, wide)
