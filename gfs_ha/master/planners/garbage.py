"""Collects what is dead: replicas of dead chunks, and rows that nobody can reach (G2 a, F5)."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import GONE_RESULTS_MS
from gfs_ha.master.census import lost_disks
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.commands import ReapStep, ReplicasDeleted
from gfs_ha.master.state.tail_reads import gone_since_ms
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import DeleteReplica

REASON = "the chunk is dead"
HURRIED_STEPS = 4  # A sixth of the time of the masters' loop: about 10 ms each, in 250 ms.


def plan_deletes(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return delete orders for every replica of dead chunks, and the record of those done.

    A replica on a disk that its server came back without is gone already.
    """
    found = Plan()
    gone = {(chunk_id, server_id, DiskId(disk_id)) for chunk_id, server_id, disk_id in seen.deleted}
    page = view.dead_chunks(cursors.dead, limits.rows)
    cursors.dead = page[-1][0] if len(page) == limits.rows else NO_CHUNK
    lost = lost_disks(view)
    for chunk_id, chunk in page:
        for replica in chunk.replicas:
            key = (chunk_id, replica.server_id, replica.disk_id)
            if key in gone:
                continue
            if (replica.server_id, replica.disk_id) in lost:
                gone.add(key)
                continue
            order = DeleteReplica(chunk_id, chunk.dead_index, REASON)
            found.deletes.append((replica.server_id, order))
    listed = sorted(gone)
    for start in range(0, len(listed), limits.items):
        part = tuple(listed[start : start + limits.items])
        freed = tuple(_freed(view, seen, chunk_id, server_id) for chunk_id, server_id, _ in part)
        found.proposals.append(ReplicasDeleted(part, freed=freed if any(freed) else ()))
    return found


def _freed(view: View, seen: Seen, chunk_id: ChunkId, server_id: ServerId) -> int:
    """Return what the disk got back by the deletion of a replica; 0 when nobody said so.

    Also what it gave back of blocks just before, when the chunk died before that was recorded.
    """
    chunk = view.chunk(chunk_id)
    if chunk is None:
        return 0
    freed = seen.garbage.freed.get((chunk_id, server_id, chunk.dead_index), 0)
    if server_id in chunk.punching:
        freed += seen.garbage.punched.get((chunk_id, server_id, chunk.punch_index), 0)
    return freed


def plan_reaping(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return a bounded step while there is something to reap, or some when a person wants so."""
    counters = view.counters()
    since_ms = gone_since_ms(view) if counters.gone_files else None
    due = since_ms is not None and seen.cluster_ms(counters) >= since_ms + GONE_RESULTS_MS
    cursors.hurry = cursors.hurry and bool(counters.reapable)
    if counters.reapable or due:
        count = HURRIED_STEPS if cursors.hurry else 1
        return Plan(proposals=[ReapStep(limits.reap_rows) for _ in range(count)])
    return Plan()
