"""The pages of the tabs that show work (pure): jobs, leases, events."""

from __future__ import annotations

from gfs_ha.cli.live.columns import Column
from gfs_ha.cli.live.look import Look
from gfs_ha.cli.live.page import Page, Row, table_page
from gfs_ha.cli.live.sight import CHUNK, FILE, JOB, MASTER, SERVER, Sight, Target
from gfs_ha.cli.live.spans import BAD, FAINT, GOOD, PLAIN, STRONG, WARN, line
from gfs_ha.cli.live.words import NOTHING, age_words, bar_text, rate_span, span_text
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text, time_text
from gfs_ha.ids import format_id
from gfs_ha.protocol.events import ERROR, INFO, WARNING, EventItem
from gfs_ha.protocol.events import LEADER as LEADER_EVENT
from gfs_ha.protocol.events import SERVER as SERVER_EVENT
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DONE,
    FAILED,
    PAUSED,
    RUNNING,
    JobRow,
    job_number,
    standing_error,
)
from gfs_ha.protocol.live import LiveReport

_PHASES = {RUNNING: GOOD, PAUSED: WARN, DONE: FAINT, FAILED: BAD, CANCELLED: WARN}

# Jobs ---------------------------------------------------------------------------------------------

_JOBS = (
    Column("job"),
    Column("kind", least=9, most=14),
    Column("of", rank=1, least=10, most=40, name=True),
    Column("phase"),
    Column("done", right=True),
    Column("", rank=6),
    Column("left", right=True, rank=3, usual=9),
    Column("rate", right=True, rank=1, usual=11),
    Column("ETA", right=True, rank=1, usual=6),
    Column("asked by", rank=7, most=24),
    Column("says", least=14, most=120, rank=2),
)


def jobs_page(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    """Return the jobs that have not ended, and those that ended last."""
    rows = [((JOB, job.id), _job_row(job)) for job in live.jobs]
    return table_page(_JOBS, rows, width, look.wanted, "nobody has asked for any job")


def _job_row(job: JobRow) -> Row:
    over = job.phase not in (RUNNING, PAUSED)
    blocked = f"{count_text(job.blocked, 'chunk')} blocked" if job.blocked else ""
    says = ", ".join(filter(None, (blocked, "" if over else job.waits, standing_error(job))))
    return (
        (job.id, STRONG),
        job.kind,
        job.server,
        (job.phase, _PHASES.get(job.phase, PLAIN)),
        share_text(job.share),
        (bar_text(job.share), FAINT),
        size_text(job.left_bytes) if job.left_bytes > 0 else (NOTHING, FAINT),
        rate_span(job.bytes_per_s),
        span_text(job.eta_ms) if job.eta_ms >= 0 and not over else (NOTHING, FAINT),
        (job.asked_by, FAINT),
        (says, BAD if job.blocked else WARN),
    )


# Leases -------------------------------------------------------------------------------------------

_LEASES = (
    Column("ends in", right=True, usual=7),
    Column("holder", least=12, most=40, name=True),
    Column("file", least=30, most=120, path=True),
    Column("chunk", rank=2),
    Column("length", right=True, rank=1, usual=8),
    Column("idle", right=True, rank=3),
    Column("held", right=True, rank=4),
    Column("renewed", right=True, rank=5),
)


def leases_page(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    """Return who orders the appends to which file, those that end first before others."""
    rows: list[tuple[Target | None, Row]] = []
    for row in live.leases:
        soon = row.left_ms < 10_000
        ends = "over" if not row.left_ms else duration_text(row.left_ms)
        rows.append(
            (
                (FILE, row.path),
                (
                    (ends, WARN if soon else PLAIN),
                    (row.holder, STRONG),
                    row.path,
                    format_id(row.chunk_id),
                    size_text(row.length),
                    (age_words(row.idle_ms) if row.idle_ms >= 0 else NOTHING, FAINT),
                    (span_text(row.held_ms), FAINT),
                    (count_text(row.renewed), FAINT),
                ),
            )
        )
    page = table_page(_LEASES, rows, width, look.wanted, "nobody appends to any file")
    hidden = live.overview.leases.tails - len(live.leases)
    if hidden > 0:
        page.head.insert(0, line((f"{count_text(hidden)} more end later than these", FAINT)))
    return page


# Events -------------------------------------------------------------------------------------------

_EVENTS = (
    Column("when"),
    Column(""),
    Column("kind", rank=2),
    Column("subject", least=11, most=20, name=True),
    Column("what happened", least=46, most=400),
)
_YEAR_FROM_COLUMNS = 100
_SEVERITIES = {INFO: ("", PLAIN), WARNING: ("!", WARN), ERROR: ("!!", BAD)}


def events_page(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    """Return what happened, the newest first."""
    rows: list[tuple[Target | None, Row]] = []
    for event in sight.events or ():
        mark, style = _SEVERITIES.get(event.severity, ("", PLAIN))
        what = (event.text, style)
        time = time_text(event.wall_ns)
        when = (time if width >= _YEAR_FROM_COLUMNS else time.partition("-")[2], FAINT)
        row: Row = (when, (mark, style), (event.kind, FAINT), (event.subject, STRONG), what)
        rows.append((_subject(event), row))
    empty = "nothing has happened" if sight.events is not None else "waiting for the events"
    return table_page(_EVENTS, rows, width, look.wanted, empty)


def _subject(event: EventItem) -> Target | None:
    """Return what Enter opens of an event."""
    if event.kind == SERVER_EVENT:
        return SERVER, event.subject
    if job_number(event.subject) is not None:
        return JOB, event.subject
    if event.kind == LEADER_EVENT:
        return MASTER, event.subject
    if event.subject.startswith("/"):
        return FILE, event.subject
    if event.subject.startswith("0x"):
        return CHUNK, int(event.subject, 16)
    return None
