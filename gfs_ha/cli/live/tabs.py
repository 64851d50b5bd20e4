"""The pages of the tabs (pure): servers, masters, chunks with trouble, jobs, leases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gfs_ha.cli.admin.masters import role_text
from gfs_ha.cli.live import look as looks
from gfs_ha.cli.live.columns import Column, lay_out
from gfs_ha.cli.live.history import sparkline
from gfs_ha.cli.live.look import Look
from gfs_ha.cli.live.page import Item, Page
from gfs_ha.cli.live.sight import CHUNK, FILE, JOB, MASTER, SERVER, Sight, Target
from gfs_ha.cli.live.spans import (
    ACCENT,
    BAD,
    FAINT,
    GOOD,
    PLAIN,
    STRONG,
    WARN,
    Line,
    Span,
    line,
)
from gfs_ha.cli.live.summary import clock_span, matrix_lines
from gfs_ha.cli.live.words import (
    NOTHING,
    age_words,
    latency_text,
    often_text,
    rate_text,
    state_span,
)
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.ids import format_id
from gfs_ha.protocol import live as words
from gfs_ha.protocol.jobs import CANCELLED, DONE, FAILED, PAUSED, RUNNING, JobRow
from gfs_ha.protocol.live import LiveReport, LiveServer
from gfs_ha.protocol.reports import ChunkRow, MasterRow

_FULL, _FILLED = 0.85, 0.75
_BAR = 10
_PHASES = {RUNNING: GOOD, PAUSED: WARN, DONE: FAINT, FAILED: BAD, CANCELLED: WARN}

_Row = Sequence[str | Span]


def tab_page(look: Look, sight: Sight, width: int) -> Page:
    """Return the page of the tab that is seen."""
    if sight.live is None:
        return Page(empty="waiting for the first answer")
    return _PAGES[look.tab_name](look, sight, sight.live, width)


def _page(
    columns: Sequence[Column],
    rows: Sequence[tuple[Target | None, _Row]],
    width: int,
    wanted: str,
    empty: str,
) -> Page:
    """Return a page of all rows that fit a filter."""
    parts = wanted.lower().split()
    chosen = [(target, row) for target, row in rows if _fits(row, parts)]
    table = lay_out(columns, [row for _, row in chosen], width)
    items = [Item(text, target) for (target, _), text in zip(chosen, table.rows, strict=True)]
    if rows and not chosen:
        empty = f"none of {len(rows)} fits {wanted!r}"
    return Page([table.title], items, empty=empty)


def _fits(row: _Row, parts: Sequence[str]) -> bool:
    if not parts:
        return True
    told = " ".join(one if isinstance(one, str) else one[0] for one in row).lower()
    return all(part in told for part in parts)


# Servers ------------------------------------------------------------------------------------------

_SERVERS = (
    Column("server", least=8, sort=words.NAME),
    Column("rack", rank=6, most=12, sort=words.RACK),
    Column("state", least=7, most=24, sort=words.STATE),
    Column("heard", right=True, rank=5, sort=words.HEARTBEAT),
    Column("used", right=True, rank=1, sort=words.USED),
    Column("", rank=10),
    Column("free", right=True, rank=8),
    Column("chunks", right=True, rank=9, sort=words.CHUNKS),
    Column("read", right=True, rank=2, sort=words.READ),
    Column("written", right=True, rank=2, sort=words.WRITE),
    Column("appended", right=True, rank=7, sort=words.APPEND),
    Column("queue", right=True, rank=4, sort=words.QUEUE),
    Column("p50", right=True, rank=11),
    Column("p99", right=True, rank=3, sort=words.LATENCY),
    Column("", rank=6),
)


def _servers(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    rows = [_server_row(server, sight, width) for server in live.servers]
    mark = "▲" if look.reverse else "▼"
    if look.sort in (words.NAME, words.RACK, words.STATE):
        mark = "▼" if look.reverse else "▲"
    table = lay_out(_SERVERS, rows, width, (look.sort, mark))
    items = [
        Item(text, (SERVER, server.name))
        for server, text in zip(live.servers, table.rows, strict=True)
    ]
    empty = f"no server fits {look.wanted!r}" if look.wanted else "no server is known"
    first = sight.first
    return Page([table.title], items, first, max(live.matching, first + len(items)), empty)


def _server_row(server: LiveServer, sight: Sight, width: int) -> _Row:
    rates = server.rates
    busy = [] if rates is None else [rates.read, rates.write, rates.append]
    p50 = max((one.p50_us for one in busy if one.p50_us is not None), default=None)
    p99 = max((one.p99_us for one in busy if one.p99_us is not None), default=None)
    points = 24 if width >= 160 else 12
    return (
        (server.name, STRONG),
        server.rack,
        state_span(server.state, server.mode, server.maintenance),
        _heard(server),
        _used(server),
        _used_bar(server),
        size_text(server.free_bytes) if server.total_bytes else NOTHING,
        count_text(server.chunk_count),
        _rate(busy[0].bytes_per_s if busy else 0),
        _rate(busy[1].bytes_per_s if busy else 0),
        _rate(busy[2].bytes_per_s if busy else 0),
        (NOTHING, FAINT) if rates is None or not rates.queue else count_text(rates.queue),
        _latency(p50),
        _latency(p99),
        (sparkline(sight.history.of_server(server.name), points), ACCENT),
    )


def _heard(server: LiveServer) -> Span:
    style = FAINT if server.heartbeat_age_ms < 3000 else WARN
    return age_words(server.heartbeat_age_ms), style


def _used(server: LiveServer) -> Span:
    if not server.total_bytes:
        return NOTHING, FAINT
    usage = server.disk_usage
    failed = f" {server.failed_disks} disk out" if server.failed_disks else ""
    style = BAD if usage >= _FULL or failed else WARN if usage >= _FILLED else PLAIN
    return f"{share_text(usage)}{failed}", style


def _used_bar(server: LiveServer) -> Span:
    if not server.total_bytes:
        return "", PLAIN
    filled = round(server.disk_usage * _BAR)
    style = BAD if server.disk_usage >= _FULL else FAINT
    return "█" * filled + "▁" * (_BAR - filled), style


def _rate(bytes_per_s: int) -> Span:
    return rate_text(bytes_per_s), PLAIN if bytes_per_s else FAINT


def _latency(microseconds: int | None) -> Span:
    slow = microseconds is not None and microseconds >= 1_000_000
    return latency_text(microseconds), FAINT if microseconds is None else WARN if slow else PLAIN


# Masters ------------------------------------------------------------------------------------------

_MASTERS = (
    Column("master", least=6),
    Column("role", least=8, most=30),
    Column("term", right=True, rank=4),
    Column("behind", right=True, rank=1),
    Column("clock", right=True, rank=3),
    Column("applied", right=True, rank=6),
    Column("commit p50", right=True, rank=5),
    Column("p99", right=True, rank=5),
    Column("calls", right=True, rank=2),
    Column("call p99", right=True, rank=2),
    Column("rss", right=True, rank=7),
    Column("state", right=True, rank=8),
    Column("log", right=True, rank=9),
    Column("address", rank=10, least=12),
    Column("version", rank=11),
)


def _masters(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    rows = [((MASTER, row.name), _master_row(row, sight)) for row in live.status.masters]
    return _page(_MASTERS, rows, width, look.wanted, "no master is known")


def _master_row(row: MasterRow, sight: Sight) -> _Row:
    facts, calls = row.facts, sight.calls.get(row.name)
    role = role_text(row)
    clock = next((one for one in sight.clocks if one.name == row.name), None)
    if facts is None:
        silent: list[str | Span] = [(NOTHING, FAINT)] * 11
        return ((row.name, STRONG), (role, BAD), *silent, f"{row.host}:{row.port}", "")
    leads = facts.role == "leader"
    lag = 0 if leads else row.lag_entries
    return (
        (row.name, STRONG),
        (role.upper() if leads else role, STRONG if leads else PLAIN),
        str(facts.term),
        (count_text(lag) if lag else "=", WARN if lag else FAINT),
        (NOTHING, FAINT) if clock is None else clock_span(clock),
        count_text(facts.applied_index),
        latency_text(facts.commit_p50_us),
        latency_text(facts.commit_p99_us),
        (NOTHING, FAINT) if calls is None else often_text(calls.per_s),
        (NOTHING, FAINT) if calls is None else latency_text(calls.p99_us),
        size_text(facts.rss_bytes),
        size_text(facts.state_bytes),
        size_text(facts.log_bytes),
        f"{row.host}:{row.port}",
        (facts.version, FAINT),
    )


# Chunks -------------------------------------------------------------------------------------------

_CHUNKS = (
    Column("chunk"),
    Column("trouble", least=7, most=24),
    Column("copies", right=True),
    Column("state", rank=3),
    Column("length", right=True, rank=2),
    Column("servers", least=10, most=60, rank=1),
    Column("why", least=10, most=80, rank=4),
)


def _chunks(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    found = sight.troubled
    rows = [((CHUNK, row.chunk_id), _chunk_row(row)) for row in (found.items if found else ())]
    empty = "no chunk has any trouble" if found else "waiting for the chunks with trouble"
    page = _page(_CHUNKS, rows, width, look.wanted, empty)
    more: list[Line] = [line(("there are more: gfsctl admin chunks ls", FAINT))]
    head = [*matrix_lines(live.overview.goals), (), *(more if found and found.more else [])]
    page.head = [*head, *(page.head if rows else [])]
    return page


def _chunk_row(row: ChunkRow) -> _Row:
    style = BAD if not row.copies or "missing" in row.troubles else WARN
    why = row.blocked or ", ".join(f"{one.name}: {one.why}" for one in row.replicas if one.why)
    return (
        (format_id(row.chunk_id), STRONG),
        (", ".join(row.troubles), style),
        f"{row.copies} of {row.goal}",
        row.state,
        size_text(row.length),
        ", ".join(
            one.name if one.health == "live" else f"{one.name} {one.health}" for one in row.replicas
        ),
        why,
    )


# Jobs ---------------------------------------------------------------------------------------------

_JOBS = (
    Column("job"),
    Column("kind", least=7, most=14),
    Column("of", rank=4, least=4, most=20),
    Column("phase"),
    Column("done", right=True),
    Column("", rank=6),
    Column("left", right=True, rank=3),
    Column("rate", right=True, rank=1),
    Column("ETA", right=True, rank=1),
    Column("asked by", rank=7, most=24),
    Column("says", least=8, most=90, rank=2),
)


def _jobs(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    rows = [((JOB, job.id), _job_row(job)) for job in live.jobs]
    return _page(_JOBS, rows, width, look.wanted, "nobody has asked for any job")


def _job_row(job: JobRow) -> _Row:
    over = job.phase not in (RUNNING, PAUSED)
    blocked = f"{count_text(job.blocked, 'chunk')} blocked" if job.blocked else ""
    says = ", ".join(filter(None, (blocked, "" if over else job.waits, job.last_error)))
    filled = round(job.share * _BAR)
    return (
        (job.id, STRONG),
        job.kind,
        job.server,
        (job.phase, _PHASES.get(job.phase, PLAIN)),
        share_text(job.share),
        ("█" * filled + "▁" * (_BAR - filled), FAINT),
        size_text(job.left_bytes) if job.left_bytes > 0 else (NOTHING, FAINT),
        _rate(job.bytes_per_s),
        duration_text(job.eta_ms) if job.eta_ms >= 0 and not over else (NOTHING, FAINT),
        (job.asked_by, FAINT),
        (says, BAD if job.blocked else WARN),
    )


# Leases -------------------------------------------------------------------------------------------

_LEASES = (
    Column("ends in", right=True),
    Column("holder", least=6, most=24),
    Column("file", least=12, most=80, path=True),
    Column("chunk", rank=2),
    Column("length", right=True, rank=1),
    Column("idle", right=True, rank=3),
    Column("held", right=True, rank=4),
    Column("renewed", right=True, rank=5),
)


def _leases(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    rows: list[tuple[Target | None, _Row]] = []
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
                    (duration_text(row.held_ms), FAINT),
                    (count_text(row.renewed), FAINT),
                ),
            )
        )
    page = _page(_LEASES, rows, width, look.wanted, "nobody appends to any file")
    hidden = live.overview.leases.tails - len(live.leases)
    if hidden > 0:
        page.head.insert(0, line((f"{count_text(hidden)} more end later than these", FAINT)))
    return page


_PAGES: dict[str, Callable[[Look, Sight, LiveReport, int], Page]] = {
    looks.SERVERS: _servers,
    looks.MASTERS: _masters,
    looks.CHUNKS: _chunks,
    looks.JOBS: _jobs,
    looks.LEASES: _leases,
}


def tab_titles(live: LiveReport | None) -> dict[str, str]:
    """Return the titles of the tabs, with what they count."""
    if live is None:
        return dict.fromkeys(looks.TABS, "")
    troubled = live.overview.repair.chunks
    return {
        looks.SERVERS: count_text(live.overview.servers.count),
        looks.MASTERS: count_text(len(live.status.masters)),
        looks.CHUNKS: f"{count_text(troubled)} under" if troubled else "",
        looks.JOBS: count_text(live.overview.jobs) if live.overview.jobs else "",
        looks.LEASES: count_text(live.overview.leases.tails) if live.overview.leases.tails else "",
    }
