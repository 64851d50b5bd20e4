"""The pages that Enter opens (pure): one server, master, chunk, file or job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gfs_ha.cli.admin.masters import role_text
from gfs_ha.cli.live.columns import Column, lay_out
from gfs_ha.cli.live.flow import wrap
from gfs_ha.cli.live.page import Item, Page, blank, fact, section
from gfs_ha.cli.live.sight import CHUNK, FILE, JOB, MASTER, SERVER, Sight, Target
from gfs_ha.cli.live.spans import BAD, FAINT, GOOD, PLAIN, STRONG, WARN, Span, cut_path
from gfs_ha.cli.live.words import (
    age_words,
    eta_text,
    latency_text,
    often_text,
    rate_text,
    state_span,
)
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text, time_text
from gfs_ha.ids import ChunkId, format_id
from gfs_ha.protocol.damage import ChunkDetail
from gfs_ha.protocol.disk_counts import disks_out_text
from gfs_ha.protocol.jobs import JobEvent, JobRow, standing_error
from gfs_ha.protocol.rates import LoadRates
from gfs_ha.protocol.reports import ChunkRow, PlacementReport
from gfs_ha.protocol.server_modes import IN_SERVICE
from gfs_ha.protocol.servers import ServerDetail

_LABEL = 12
_HEALTH = {"live": GOOD, "suspect": WARN, "dead": BAD, "damaged": BAD}


def detail_page(target: Target, sight: Sight, width: int) -> Page:
    """Return the page of one thing; without an answer yet it says so."""
    if target[0] == MASTER:
        return _master(str(target[1]), sight)
    found = sight.details.get(target)
    if found is None:
        return Page(empty=sight.detail_failure or "waiting for the answer")
    page = Page(items=_PAGES[target[0]](found, sight, width))
    if sight.detail_failure:
        page.head.append(((sight.detail_failure, WARN),))
    return page


def title_of(target: Target) -> str:
    """Return what a page is about."""
    kind, name = target
    return f"{kind} {format_id(ChunkId(int(name)))}" if kind == CHUNK else f"{kind} {name}"


def _rows(
    columns: Sequence[Column],
    rows: Sequence[tuple[Target | None, Sequence[str | Span]]],
    width: int,
) -> list[Item]:
    table = lay_out(columns, [row for _, row in rows], width)
    items = [Item(text, target) for (target, _), text in zip(rows, table.rows, strict=True)]
    return [Item(table.title), *items]


def _told(label: str, text: str, width: int, style: str = PLAIN) -> list[Item]:
    """Return a fact in as many rows as it needs."""
    rows = wrap(text, max(20, width - _LABEL))
    return [fact(label if not at else "", (row, style)) for at, row in enumerate(rows)]


# Servers and masters ------------------------------------------------------------------------------


def _server(detail: ServerDetail, sight: Sight, width: int) -> list[Item]:
    row = detail.row
    servers = sight.live.servers if sight.live is not None else ()
    now = next((one for one in servers if one.name == row.name), None)
    age_ms = row.heartbeat_age_ms
    heard = f", heard {age_words(age_ms)} ago" if age_ms >= 0 else ", not heard yet"
    items = [
        fact("state", state_span(row.state, row.mode), heard),
        fact("place", f"{row.host}:{row.port}   rack {row.rack}   machine {row.machine}"),
        fact(
            "room",
            (
                f"{share_text(row.disk_usage)} of {size_text(row.total_bytes)}, "
                f"{size_text(row.free_bytes)} free"
                if row.total_bytes
                else "none in service"
            )
            + (f"; {disks_out_text(row.disk_counts)}" if row.disk_counts.out else ""),
        ),
        fact(
            "chunks",
            f"{count_text(row.chunk_count)} by itself, {count_text(row.replica_count)} by the "
            "tables",
        ),
        fact("streams", f"{detail.streams}   clock {detail.clock_ahead_ms:+d} ms"),
    ]
    if row.reason:
        items += _told("why", row.reason, width, WARN)
    if now is not None and now.rates is not None:
        items += [blank(), *_rates(now.rates)]
    items += [blank(), section(f"disks ({len(row.disks)})"), *_disks(detail, width)]
    if detail.copies:
        items += [blank(), section(f"copies to it ({len(detail.copies)})")]
        items += [
            Item(
                (
                    (format_id(copy.chunk_id), STRONG),
                    (f"  {size_text(copy.bytes_done)} of {size_text(copy.bytes_total)}", PLAIN),
                ),
                (CHUNK, copy.chunk_id),
            )
            for copy in detail.copies
        ]
    if detail.damage_count:
        items += [blank(), section(f"damaged replicas ({count_text(detail.damage_count)})")]
        items += [
            Item(((format_id(one.chunk_id), STRONG), (f"  {one.why}", BAD)), (CHUNK, one.chunk_id))
            for one in detail.damage
        ]
    if detail.lease_count:
        items += [blank(), section(f"orders the appends to ({count_text(detail.lease_count)})")]
        items += [
            Item(
                (
                    (format_id(lease.chunk_id), STRONG),
                    (f"  {cut_path(lease.path, max(10, width - 40))}", PLAIN),
                    (f"  {duration_text(lease.left_ms)} left", FAINT),
                ),
                (FILE, lease.path),
            )
            for lease in detail.leases
        ]
    return items


def _rates(rates: LoadRates) -> list[Item]:
    return [
        fact(
            word,
            f"{rate_text(rate.bytes_per_s):>13}  {often_text(rate.per_s):>9}  "
            f"p50 {latency_text(rate.p50_us):>8}  p99 {latency_text(rate.p99_us):>8}",
        )
        for word, rate in (
            ("read", rates.read),
            ("written", rates.write),
            ("appended", rates.append),
        )
    ]


def _disks(detail: ServerDetail, width: int) -> list[Item]:
    columns = (
        Column("disk"),
        Column("used", right=True),
        Column("free", right=True),
        Column("chunks", right=True),
        Column("scrub", rank=2, least=8, most=40),
        Column("trouble", rank=1, least=8, most=80),
    )
    scrubs = {one.disk_id: one for one in detail.scrub}
    rows: list[tuple[Target | None, Sequence[str | Span]]] = []
    for disk in detail.row.disks:
        scrub = scrubs.get(disk.disk_id)
        used = 1 - disk.free_bytes / disk.total_bytes if disk.total_bytes else 0.0
        read = scrub.bytes_done / scrub.bytes_total if scrub and scrub.bytes_total else 1.0
        told = f"{scrub.state}, {share_text(read)}, {scrub.found_ever} bad ever" if scrub else ""
        standing = disk.mode if disk.mode != IN_SERVICE else ""
        trouble = disk.failed or standing or disk.journal_trouble
        rows.append(
            (
                None,
                (
                    format_id(disk.disk_id),
                    share_text(used),
                    size_text(disk.free_bytes),
                    count_text(disk.chunk_count),
                    told,
                    (trouble, WARN if trouble == standing else BAD),
                ),
            )
        )
    return _rows(columns, rows, width)


def _master(name: str, sight: Sight) -> Page:
    rows = sight.live.status.masters if sight.live is not None else ()
    row = next((one for one in rows if one.name == name), None)
    if row is None:
        return Page(empty=f"no master is called {name} (any more)")
    facts = row.facts
    items = [
        fact("role", (role_text(row), STRONG)),
        fact("address", f"{row.host}:{row.port}"),
    ]
    if facts is None:
        age = f"{age_words(row.answer_age_ms)} ago" if row.answer_age_ms >= 0 else "not yet"
        items.append(fact("heard", (age, WARN)))
        return Page(items=items)
    calls = sight.calls.get(name)
    items += [
        fact("term", f"{facts.term}, incarnation {facts.incarnation}"),
        fact("leader", f"{facts.leader or 'none'} for {duration_text(facts.leader_age_ms)}"),
        fact(
            "log",
            f"{count_text(facts.first_index)} … {count_text(facts.last_index)}, committed "
            f"{count_text(facts.commit_index)}, applied {count_text(facts.applied_index)}, "
            f"{size_text(facts.log_bytes)}",
        ),
        fact(
            "store",
            f"{size_text(facts.state_bytes)} of {size_text(facts.map_bytes)}, "
            f"{size_text(facts.disk_free_bytes)} free on the disk, {facts.readers} readers",
        ),
        fact(
            "commits",
            f"p50 {latency_text(facts.commit_p50_us)}  p99 {latency_text(facts.commit_p99_us)}",
        ),
        fact("memory", size_text(facts.rss_bytes)),
        fact("version", facts.version),
    ]
    if calls is not None:
        often, p99 = often_text(calls.per_s), latency_text(calls.p99_us)
        items.append(fact("calls", f"{often}  p50 {latency_text(calls.p50_us)}  p99 {p99}"))
    if facts.trouble:
        items.append(fact("trouble", (facts.trouble, BAD)))
    return Page(items=items)


# Chunks, files, jobs ------------------------------------------------------------------------------


def _chunk(detail: ChunkDetail, sight: Sight, width: int) -> list[Item]:
    row = detail.row
    style = PLAIN if row.copies >= row.goal else WARN if row.copies else BAD
    items = [
        fact("state", f"{row.state}, {size_text(row.length)}, {row.kind}, {row.durability}"),
        fact("copies", (f"{row.copies} of {row.goal}", style), f", at least {detail.min_copies}"),
        fact("rule", row.rule or "as the cluster's"),
        fact("birth", detail.birth),
    ]
    if row.troubles:
        items.append(fact("trouble", (", ".join(row.troubles), WARN)))
    if row.blocked:
        items += _told("blocked", row.blocked, width, BAD)
    if detail.reason:
        items += _told("sealed for", detail.reason, width)
    if row.state == "sealed":
        items.append(fact("digest", f"{detail.digest:#010x}, sealed at {detail.sealed_index:,}"))
    if detail.path:
        items.append(Item(fact("end of", (detail.path, STRONG)).line, (FILE, detail.path)))
    elif not detail.referenced:
        items.append(fact("files", ("none needs it", FAINT)))
    return [*items, blank(), section("replicas"), *_replicas(row, width)]


def _replicas(row: ChunkRow, width: int) -> list[Item]:
    columns = (
        Column("server", least=6),
        Column("rack", rank=2),
        Column("health"),
        Column("disk", rank=3),
        Column("why", least=10, most=120, rank=1),
    )
    rows = [
        (
            (SERVER, one.name),
            (
                (one.name, STRONG),
                one.rack,
                (one.health, _HEALTH.get(one.health, WARN)),
                (format_id(one.disk_id), FAINT),
                one.why,
            ),
        )
        for one in row.replicas
    ]
    return _rows(columns, rows, width)


def _file(report: PlacementReport, sight: Sight, width: int) -> list[Item]:
    items = [
        fact("size", size_text(report.size)),
        *_told("copies", f"{report.goal or '?'} wanted, rule {report.rule}", width),
    ]
    columns = (
        Column("offset", right=True),
        Column("length", right=True),
        Column("chunk"),
        Column("copies", right=True),
        Column("servers", least=10, most=120, rank=1),
    )
    rows = []
    for extent in report.items:
        chunk = extent.chunk
        servers = ", ".join(
            one.name if one.health == "live" else f"{one.name} {one.health}"
            for one in chunk.replicas
        )
        short = chunk.copies < chunk.goal
        rows.append(
            (
                (CHUNK, chunk.chunk_id),
                (
                    size_text(extent.file_offset),
                    size_text(extent.length),
                    (format_id(chunk.chunk_id), STRONG),
                    (f"{chunk.copies} of {chunk.goal}", WARN if short else PLAIN),
                    servers,
                ),
            )
        )
    more = ", and more" if report.more else ""
    title = section(f"extents ({len(report.items)}{more})")
    return [*items, blank(), title, *_rows(columns, rows, width)]


def _job(found: tuple[JobRow, tuple[JobEvent, ...]], sight: Sight, width: int) -> list[Item]:
    job, log = found
    eta = f", {eta_text(job.eta_ms)}" if job.eta_ms > 0 else ""
    rate = f" at {rate_text(job.bytes_per_s)}" if job.bytes_per_s else ""
    items = [
        fact("phase", (job.phase, STRONG), f"   {share_text(job.share)}{rate}{eta}"),
        fact(
            "moved",
            f"{size_text(job.moved_bytes)} in {count_text(job.moves, 'move')} of "
            f"{size_text(job.planned_bytes)} in {count_text(job.planned_moves)} as planned",
        ),
        fact("asked", f"{time_text(job.made_ns)} by {job.asked_by or 'nobody named'}"),
    ]
    if job.server:
        items.insert(0, Item(fact("server", (job.server, STRONG)).line, (SERVER, job.server)))
    if job.ended_ns:
        items.append(fact("ended", time_text(job.ended_ns)))
    if job.waits:
        items += _told("waits", job.waits, width, WARN)
    if standing_error(job):
        items += _told("last error", job.last_error, width, BAD)
    if job.blocked:
        items += [blank(), section(f"{count_text(job.blocked, 'chunk')} cannot be moved")]
        for at, one in enumerate(job.blockers, 1):
            text = f"  {one.path or 'no file known'}: {one.why}"
            chunk = (format_id(one.chunk_id), STRONG)
            items.append(Item((chunk, (text, PLAIN)), (CHUNK, one.chunk_id)))
            # Said once for all that the same is in the way of.
            if not any((one.why, one.ways) == (two.why, two.ways) for two in job.blockers[at:]):
                items += [Item(((f"    way out: {way}", FAINT),)) for way in one.ways]
    items += [blank(), section("what happened")]
    items += [
        Item(((f"{time_text(event.wall_ns)}  ", FAINT), (event.text, PLAIN)))
        for event in reversed(log)
    ]
    return items


_PAGES: dict[str, Callable[[Any, Sight, int], list[Item]]] = {
    SERVER: _server,
    CHUNK: _chunk,
    FILE: _file,
    JOB: _job,
}
