"""The pages of the tabs (pure): servers, masters, chunks with trouble; see also work.py."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.cli.admin.masters import role_text
from gfs_ha.cli.live import look as looks
from gfs_ha.cli.live.columns import Column, lay_out
from gfs_ha.cli.live.history import sparkline
from gfs_ha.cli.live.look import Look
from gfs_ha.cli.live.page import Item, Page, Row, table_page
from gfs_ha.cli.live.sight import CHUNK, MASTER, SERVER, Sight
from gfs_ha.cli.live.spans import (
    ACCENT,
    BAD,
    FAINT,
    PLAIN,
    STRONG,
    WARN,
    Line,
    Span,
    line,
)
from gfs_ha.cli.live.summary import FAR_BEHIND, clock_span, matrix_lines
from gfs_ha.cli.live.words import (
    NOTHING,
    bar_text,
    brief_age,
    latency_text,
    often_text,
    rate_span,
    state_span,
)
from gfs_ha.cli.live.work import events_page, jobs_page, leases_page
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.ids import format_id
from gfs_ha.protocol import live as words
from gfs_ha.protocol.live import LiveReport, LiveServer
from gfs_ha.protocol.reports import ChunkRow, MasterRow

_FULL, _FILLED = 0.85, 0.75


def tab_page(look: Look, sight: Sight, width: int) -> Page:
    """Return the page of the tab that is seen."""
    if sight.live is None:
        return Page(empty="waiting for the first answer")
    return _PAGES[look.tab_name](look, sight, sight.live, width)


# Servers ------------------------------------------------------------------------------------------

_SERVERS = (
    Column("server", least=16, sort=words.NAME, name=True),
    Column("rack", rank=6, most=12, sort=words.RACK, name=True),
    Column("state", least=7, most=24, usual=7, sort=words.STATE),
    Column("heard", right=True, rank=5, usual=5, sort=words.HEARTBEAT),
    Column("used", right=True, rank=1, usual=5, sort=words.USED),
    Column("", rank=10),
    Column("free", right=True, rank=8, usual=9),
    Column("chunks", right=True, rank=9, usual=7, sort=words.CHUNKS),
    Column("read", right=True, rank=2, usual=11, sort=words.READ),
    Column("written", right=True, rank=2, usual=11, sort=words.WRITE),
    Column("appended", right=True, rank=7, usual=11, sort=words.APPEND),
    Column("queue", right=True, rank=4, usual=5, sort=words.QUEUE),
    Column("p50", right=True, rank=11, usual=7),
    Column("p99", right=True, rank=3, usual=7, sort=words.LATENCY),
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


def _server_row(server: LiveServer, sight: Sight, width: int) -> Row:
    rates = server.rates
    busy = [] if rates is None else [rates.read, rates.write, rates.append]
    p50 = max((one.p50_us for one in busy if one.p50_us is not None), default=None)
    p99 = max((one.p99_us for one in busy if one.p99_us is not None), default=None)
    points = 48 if width >= 190 else 24 if width >= 160 else 12
    return (
        (server.name, STRONG),
        server.rack,
        state_span(server.state, server.mode, server.maintenance),
        _heard(server),
        _used(server),
        _used_bar(server),
        size_text(server.free_bytes) if server.total_bytes else NOTHING,
        count_text(server.chunk_count),
        rate_span(busy[0].bytes_per_s if busy else 0),
        rate_span(busy[1].bytes_per_s if busy else 0),
        rate_span(busy[2].bytes_per_s if busy else 0),
        (NOTHING, FAINT) if rates is None or not rates.queue else count_text(rates.queue),
        _latency(p50),
        _latency(p99),
        (sparkline(sight.history.of_server(server.name), points), ACCENT),
    )


def _heard(server: LiveServer) -> Span:
    style = FAINT if server.heartbeat_age_ms < 3000 else WARN
    return brief_age(server.heartbeat_age_ms), style


def _used(server: LiveServer) -> Span:
    out = max(server.failed_disks, server.disk_counts.out)
    told = f" {out} disk{'s' * (out != 1)} out" if out else ""
    if not server.total_bytes:
        return f"{NOTHING}{told}", WARN if told else FAINT
    usage, failed = server.disk_usage, server.failed_disks or server.disk_counts.lost
    style = BAD if usage >= _FULL or failed else WARN if usage >= _FILLED or out else PLAIN
    return f"{share_text(usage)}{told}", style


def _used_bar(server: LiveServer) -> Span:
    if not server.total_bytes:
        return "", PLAIN
    style = BAD if server.disk_usage >= _FULL else FAINT
    return bar_text(server.disk_usage), style


def _latency(microseconds: int | None) -> Span:
    slow = microseconds is not None and microseconds >= 1_000_000
    return latency_text(microseconds), FAINT if microseconds is None else WARN if slow else PLAIN


# Masters ------------------------------------------------------------------------------------------

_MASTERS = (
    Column("master", least=16, name=True),
    Column("role", least=8, most=30, usual=8),
    Column("term", right=True, rank=4),
    Column("behind", right=True, rank=1),
    Column("clock", right=True, rank=3, usual=8),
    Column("applied", right=True, rank=6, usual=9),
    Column("commit p50", right=True, rank=5),
    Column("p99", right=True, rank=5, usual=7),
    Column("calls", right=True, rank=2, usual=8),
    Column("p99", right=True, rank=2, usual=7),  # Of the calls; so all fits beside a usual clock.
    Column("rss", right=True, rank=7, usual=9),
    Column("state", right=True, rank=8, usual=9),
    Column("log", right=True, rank=9, usual=9),
    Column("address", rank=10, least=12),
    Column("version", rank=11),
)


def _masters(look: Look, sight: Sight, live: LiveReport, width: int) -> Page:
    rows = [((MASTER, row.name), _master_row(row, sight)) for row in live.status.masters]
    return table_page(_MASTERS, rows, width, look.wanted, "no master is known")


def _master_row(row: MasterRow, sight: Sight) -> Row:
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
        (count_text(lag) if lag else "=", WARN if lag >= FAR_BEHIND else FAINT),
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
    page = table_page(_CHUNKS, rows, width, look.wanted, empty)
    more: list[Line] = [line(("there are more: gfsctl admin chunks ls", FAINT))]
    head = [*matrix_lines(live.overview.goals), (), *(more if found and found.more else [])]
    page.head = [*head, *(page.head if rows else [])]
    return page


def _chunk_row(row: ChunkRow) -> Row:
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


_PAGES: dict[str, Callable[[Look, Sight, LiveReport, int], Page]] = {
    looks.SERVERS: _servers,
    looks.MASTERS: _masters,
    looks.CHUNKS: _chunks,
    looks.JOBS: jobs_page,
    looks.LEASES: leases_page,
    looks.EVENTS: events_page,
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
        looks.EVENTS: "",
    }
