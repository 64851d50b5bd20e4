"""`gfsctl admin scrub`: disks that are read for damage, how far they are, and how fast they go."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gfs_ha.cli import output
from gfs_ha.cli.admin.chunkservers import by_name, state_text
from gfs_ha.cli.admin.dry_run import changed, dry_run_option, show_then
from gfs_ha.cli.admin.scrub_wait import check_found, wait_for_rounds
from gfs_ha.cli.listing import listing
from gfs_ha.cli.options import NAME, TABLE, WIDE, NumberRange
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text, time_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import NotFound, UsageError
from gfs_ha.ids import format_id
from gfs_ha.limits import SCRUB_PERIOD_MAX_S, SCRUB_PERIOD_MIN_S
from gfs_ha.protocol.scrub import (
    ChangeScrub,
    ScrubBudgetReport,
    ScrubFacts,
    ScrubReport,
    ScrubRow,
)
from gfs_ha.strict_toml import parse_size

_HERE = "gfs_ha.cli.admin.scrub"
_DAY_S = 24 * 3600

scrub = Family(
    "scrub",
    help="Disks that are read for damage, round by round.",
    examples="""
    gfsctl admin scrub status -w       # which server is how far, kept up to date
    gfsctl admin scrub start cs3       # read all of cs3 now
    gfsctl admin scrub budget          # how fast and how often
    """,
    rows={
        "status": Row(_HERE, "show_status", "Which server is how far, and what it found"),
        "found": Row(
            "gfs_ha.cli.admin.scrub_found", "found", "Damage that was found lately, and when"
        ),
        "start": Row(_HERE, "start", "Begin a round now"),
        "budget": Row(_HERE, "budget", "How fast it may go, and in which time a round is done"),
        "pause": Row(_HERE, "pause", "Read nothing until it is resumed"),
        "resume": Row(_HERE, "resume", "Go on after a pause"),
    },
)


@click.command(
    "status",
    cls=Verb,
    examples="""
    gfsctl admin scrub status             # all servers
    gfsctl admin scrub status cs1 cs2     # some
    gfsctl admin scrub status -w          # kept up to date
    gfsctl admin scrub status -o json     # for a monitor
    """,
)
@click.argument("servers", metavar="[SERVER...]", nargs=-1)
@watched
@pass_session
def show_status(session: Session, servers: tuple[str, ...]) -> None:
    """Show how far the scrub of each server is, what it found, and when it was through last.

    Every sealed replica is read from the disk and compared with its checksums once in a round. What
    is damaged is taken out of service and made anew from another copy.
    """
    report = session.operations.scrub()
    rows = chosen_rows(report.items, servers)
    session.show(ScrubReport(tuple(sorted(rows, key=by_name)), report.budget))


@click.command(
    "start",
    cls=Verb,
    examples="""
    gfsctl admin scrub start                       # a round on every server
    gfsctl admin scrub start cs3 --rate 200MiB     # on one, faster than usual
    gfsctl admin scrub start cs3 --wait            # exit 9 if it finds damage
    gfsctl admin scrub start -n                    # only say where
    """,
)
@click.argument("servers", metavar="[SERVER...]", nargs=-1)
@click.option(
    "--rate", metavar="SIZE", help="Bytes per second of this round; usual: as the budget says."
)
@click.option("--wait", is_flag=True, help="Come back when the rounds are over (exit 9: damage).")
@click.option("-n", "--dry-run", is_flag=True, help="Only say where a round would begin.")
@pass_session
def start(
    session: Session, servers: tuple[str, ...], rate: str | None, wait: bool, dry_run: bool
) -> None:
    """Begin a round now, on some servers or on all; one that runs there is begun anew.

    It goes at its full rate, while the disk bears it, and takes the place of the scheduled one. A
    server that is away begins when it is back. `scrub status -w` shows how far it is; with --wait
    Ctrl-C ends only the waiting.
    """
    bytes_per_s = _bytes(rate) if rate is not None else 0
    if rate is not None and not bytes_per_s:
        raise UsageError("--rate 0: a round needs a rate; scrub pause holds all of them")
    report = session.operations.scrub()
    rows = chosen_rows(report.items, servers)
    chosen = sorted(rows, key=by_name)
    if not chosen:
        raise NotFound("there is no chunkserver yet")
    if dry_run:
        number = 0
    else:
        wanted = [row.server_id for row in chosen] if servers else []
        number = session.operations.start_scrub(wanted, bytes_per_s).number
    _show_started(session, chosen, number)
    for row in chosen:
        if row.state != "live":
            session.warn(f"{row.name} is {row.state}: it begins when it is back")
    if report.budget.paused and not wait:
        session.warn("the scrub is paused: nothing is read before `gfsctl admin scrub resume`")
    if wait and not dry_run:
        chosen_ids = frozenset(row.server_id for row in chosen)
        check_found(wait_for_rounds(session, chosen_ids, number))


def _show_started(session: Session, rows: list[ScrubRow], number: int) -> None:
    if session.options.machine_readable:
        items = [{"server_id": format_id(row.server_id), "name": row.name} for row in rows]
        round_number = format_id(number) if number else None
        session.show_plain("StartedScrubList", items, number=round_number, dry_run=not number)
    elif session.options.output == NAME:
        output.write_lines(row.name for row in rows)
    elif session.options.output in (TABLE, WIDE) and not session.options.quiet:
        said = ", ".join(row.name for row in rows)
        verb = "a round begins on" if number else "a round would begin on"
        output.write_lines([f"{verb} {said}"])


@click.command(
    "budget",
    cls=Verb,
    examples="""
    gfsctl admin scrub budget                    # show it
    gfsctl admin scrub budget --rate 100MiB      # bytes per second of each disk; 0: no limit
    gfsctl admin scrub budget --period 14        # days in which every replica is read once
    gfsctl admin scrub budget --period 0         # no rounds but those that are started by hand
    """,
)
@click.option("--rate", metavar="SIZE", help="Bytes per second of each disk; 0: no limit.")
@click.option("--period", metavar="DAYS", type=NumberRange(min=0), help="Days; 0: none.")
@dry_run_option
@pass_session
def budget(session: Session, rate: str | None, period: float | None, dry_run: bool) -> None:
    """Show how fast disks are scrubbed and how often, or change it; it holds at once.

    A scheduled round takes as long as its period lets it, and never more than the rate. Where the
    disk answers slowly it takes less.
    """
    if rate is None and period is None:
        session.show(session.operations.scrub().budget)
        return
    period_s = -1 if period is None else int(period * _DAY_S)
    if period_s > 0 and not SCRUB_PERIOD_MIN_S <= period_s <= SCRUB_PERIOD_MAX_S:
        raise UsageError("--period: from an hour (0.042) to 365 days, or 0")
    _change(session, ChangeScrub(-1 if rate is None else _bytes(rate), period_s), dry_run)


@click.command(
    "pause",
    cls=Verb,
    examples="""
    gfsctl admin scrub pause     # during planned work on the disks, for instance
    """,
)
@dry_run_option
@pass_session
def pause(session: Session, dry_run: bool) -> None:
    """Read nothing on any server until `scrub resume`; rounds stay where they are."""
    _change(session, ChangeScrub(paused=1), dry_run)


@click.command(
    "resume",
    cls=Verb,
    examples="""
    gfsctl admin scrub resume    # rounds go on where they stood
    """,
)
@dry_run_option
@pass_session
def resume(session: Session, dry_run: bool) -> None:
    """Go on after `scrub pause`."""
    _change(session, ChangeScrub(paused=0), dry_run)


def _change(session: Session, changes: ChangeScrub, dry_run: bool) -> None:
    if dry_run:
        show_then(session, changed(session.operations.scrub().budget, changes))
    else:
        session.show(session.operations.change_scrub(changes))


def _bytes(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"--rate: {error}") from error


def chosen_rows(rows: tuple[ScrubRow, ...], servers: tuple[str, ...]) -> list[ScrubRow]:
    """Return the rows of some servers, or all. Raises: NotFound."""
    known = {row.name: row for row in rows}
    for name in servers:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise NotFound(f"there is no chunkserver {name!r}; there are: {there}")
    return [row for row in rows if not servers or row.name in servers]


@names.register
def _(report: ScrubReport) -> Iterator[str]:
    for row in report.items:
        yield row.name


@names.register
def _(report: ScrubBudgetReport) -> Iterator[str]:
    yield str(report.bytes_per_s)


@render.register
def _(report: ScrubReport, wide: bool) -> Group:
    titles = ("Server", "Scrub", ">Done", ">Of", ">Rate", ">To go", ">Found", "Last whole round")
    table = listing(*titles)
    if wide:
        for title in ("Round", "Began", "Replicas", "Headers mended", "Next", "Disk"):
            table.add_column(title)
    for row in report.items:
        if not row.disks:
            table.add_row(row.name, Text(f"nothing heard, it is {row.state}", "yellow"))
        for disk in row.disks:
            table.add_row(*_cells(row, disk, wide))
    return Group(_budget_line(report.budget), table)


def _budget_line(budget: ScrubBudgetReport) -> Text:
    rate = f"at most {size_text(budget.bytes_per_s)}/s" if budget.bytes_per_s else "no limit"
    days = f"every {duration_text(budget.period_s * 1000)}" if budget.period_s else "by hand only"
    text = Text(f"each disk {days}, {rate}")
    if budget.paused:
        text.append("  PAUSED: gfsctl admin scrub resume", "bold yellow")
    return text


def _cells(row: ScrubRow, disk: ScrubFacts, wide: bool) -> list[str | Text]:
    whole = disk.state == "idle" or disk.ended_ms >= disk.began_ms > 0  # Between two rounds.
    share = disk.bytes_done / disk.bytes_total if disk.bytes_total else 1.0
    cells: list[str | Text] = [
        row.name,
        _state(row, disk),
        "-" if whole else share_text(share),
        size_text(disk.bytes_total),
        f"{size_text(disk.bytes_per_s)}/s" if not whole else "-",
        duration_text(disk.eta_ms) if disk.eta_ms >= 0 else "-",
        Text(str(disk.found), style="bold red" if disk.found else ""),
        _last(disk),
    ]
    if wide:
        cells += [
            str(disk.number),
            _moment(disk.began_ms),
            f"{count_text(disk.replicas_done)} of {count_text(disk.replicas_total)}",
            str(disk.mended),
            _moment(disk.next_ms),
            format_id(disk.disk_id),
        ]
    return cells


def _state(row: ScrubRow, disk: ScrubFacts) -> Text:
    if row.state != "live":
        return state_text(row.state)
    text = Text(disk.note or disk.state)
    if disk.asked and disk.state != "idle" and not disk.ended_ms >= disk.began_ms > 0:
        text.append(", asked for")
    if not row.told:
        text.append(", has not heard of the newest orders", "yellow")
    return text


def _last(disk: ScrubFacts) -> str:
    if not disk.ended_ms:
        return "never"
    found = f", {count_text(disk.last_found)} found" if disk.last_found else ""
    return f"{_moment(disk.ended_ms)}, took {duration_text(disk.took_ms)}{found}"


def _moment(wall_ms: int) -> str:
    return time_text(wall_ms * 1_000_000) if wall_ms else "-"


@render.register
def _(report: ScrubBudgetReport, wide: bool) -> Table:
    table = listing("Budget", "Value")
    rate = f"{size_text(report.bytes_per_s)}/s" if report.bytes_per_s else "no limit"
    table.add_row("of each disk", rate)
    period = duration_text(report.period_s * 1000) if report.period_s else "no rounds by schedule"
    table.add_row("a whole round in", period)
    table.add_row("paused", "yes" if report.paused else "no")
    return table
