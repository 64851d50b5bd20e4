"""What operators ask of garbage: what waits and why, what was reclaimed, and to do it now."""

from __future__ import annotations

from gfs_ha.errors import InvalidArgument
from gfs_ha.limits import LIST_PAGE_MAX
from gfs_ha.master.garbage_count import WAITING_MAX, GarbageCount
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.planners.orphans import quarantine_ends_ms
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.state.view import View
from gfs_ha.protocol.garbage import (
    GarbageReport,
    GarbageRow,
    GetGarbage,
    OrphanRow,
    ReclaimedRow,
    RunGarbage,
    SparseRow,
)


def get_garbage(desk: Desk, view: View, request: GetGarbage, slot: Slot) -> GarbageReport:
    """Return what waits to be collected, why, and what was reclaimed."""
    return _report(desk, view, request.limit)


def run_garbage(desk: Desk, view: View, request: RunGarbage, slot: Slot) -> GarbageReport:
    """Let everything have its turn now that waits for nothing else, and return what waits."""
    report = _report(desk, view, request.limit)
    desk.leading().garbage.want()
    return report


def _report(desk: Desk, view: View, limit: int) -> GarbageReport:
    if not 1 <= limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a list has 1 to {LIST_PAGE_MAX} rows, not {limit}")
    reign = desk.leading()
    now_s = desk.now_s()
    count = GarbageCount(view, reign, now_s)
    waiting = count.rows()
    walk = reign.garbage.walk
    rate = reign.garbage.bytes_per_s(now_s)
    sparse = walk.found.sparse[:limit]
    reclaimed = tuple(
        ReclaimedRow(
            kind,
            row.bytes,
            row.count,
            row.since_wall_ns // 1_000_000,
            row.last_wall_ns // 1_000_000,
        )
        for kind, row in sorted(view.reclaimed().items())
    )
    return GarbageReport(
        waiting=tuple(waiting),
        # What is sparse is told among the dead blocks already.
        waiting_bytes=sum(max(0, row.bytes) for row in waiting if row.kind != "sparse"),
        orphans=tuple(_orphans(view, count, cluster_ms(view.counters(), now_s - reign.elected_s)))[
            :limit
        ],
        sparse=tuple(
            SparseRow(one.chunk_id, one.length, one.alive_bytes, one.copies) for one in sparse
        ),
        reclaimed=reclaimed,
        reclaimed_bytes=sum(row.bytes for row in reclaimed),
        bytes_per_s=rate,
        looked_ms=int((now_s - walk.ended_s) * 1000) if walk.rounds else -1,
        looking=walk.walking,
        more=count.more,
        servers=tuple(count.servers()[:limit]),
        eta_ms=_eta_ms(waiting, rate),
    )


def _eta_ms(waiting: list[GarbageRow], bytes_per_s: int) -> int:
    """Return when what waits for nothing but its turn is gone; -1: it cannot be told."""
    due = [row for row in waiting if row.now]
    left = sum(max(0, row.bytes) for row in due)
    if not left:
        return 0 if not due else -1
    return int(left / bytes_per_s * 1000) if bytes_per_s else -1


def _orphans(view: View, count: GarbageCount, now_ms: int) -> list[OrphanRow]:
    found = []
    for (server_id, _, chunk_id), row in view.orphans(None, WAITING_MAX):
        due_ms = 0 if row.delete_index else max(1, quarantine_ends_ms(row) - now_ms)
        found.append(OrphanRow(chunk_id, count.name(server_id), due_ms))
    return found
