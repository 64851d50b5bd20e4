"""Carries on what is ordered: copies to their confirmation or their end, deletions (G3, G4).

All of it follows from the marks in the tables, so a new leader goes on with the same orders.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.commands import ConfirmCopy, EndCopy, ReplicasDeleted
from gfs_ha.master.state.records import Chunk, PlaceOrder
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import DeleteReplica, KeepReplica, StopCopy

NOT_NEEDED = "other copies came back"
TARGET_DEAD = "the server that was to get it is dead"
TARGET_DISK = "the disk that was to get it is lost"
KEPT = "the others are not sure any more"
SURPLUS = "there are enough copies elsewhere"
JOB_OVER = "its job has ended"
ONLY_ONE = "no other server has a copy"


def plan_copies(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the orders of copies and deletions under way, and what their answers come to."""
    made = Plan()
    scene = Scene.of(view, seen, cursors)
    page = view.busy_chunks(cursors.busy, limits.rows)
    cursors.busy = page[-1][0] if len(page) == limits.rows else NO_CHUNK
    deleted = []
    for chunk_id, chunk in page:
        for order in chunk.copying:
            _follow_copy(made, scene, (chunk_id, chunk), order)
        for order in chunk.deleting:
            if (chunk_id, order.server_id, order.order_index) in seen.repair.deleted:
                deleted.append((chunk_id, order.server_id, order.order_index))
            else:
                _follow_deletion(made, scene, (chunk_id, chunk), order)
    for start in range(0, len(deleted), limits.items):
        part = tuple(deleted[start : start + limits.items])
        told = tuple(seen.garbage.freed.get(answered, 0) for answered in part)
        freed = told if any(told) else ()
        made.proposals.append(ReplicasDeleted((), part, dropped_freed=freed))
    _stop_unwanted(made, view, seen)
    return made


def _follow_copy(made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], order: PlaceOrder) -> None:
    chunk_id, chunk = known
    answered = (chunk_id, order.server_id, order.order_index)
    if answered in scene.repair.copied and not (order.disk_id and _gone(scene, chunk, order)):
        made.proposals.append(confirmation(chunk_id, chunk, order))
        return
    reason = scene.repair.failed.get(answered) or _why_end(scene, chunk_id, chunk, order)
    if reason:
        made.proposals.append(EndCopy(chunk_id, order.server_id, order.order_index, reason))
        return
    asked = scene.copy_order(chunk_id, chunk, order)
    if asked is None and not order.fresh and not scene.good(chunk_id, chunk):
        # What lies there since before the order is the only hope: it compares itself then.
        ended = EndCopy(chunk_id, order.server_id, order.order_index, ONLY_ONE)
        made.proposals.append(ended)
    elif asked is not None:
        made.orders.append((order.server_id, asked))
    else:
        made.waits[chunk_id] = "no server with a good copy answers"


def confirmation(chunk_id: ChunkId, chunk: Chunk, order: PlaceOrder) -> ConfirmCopy:
    """Return the command that makes the place of an order count."""
    place = next(one.disk_id for one in chunk.replicas if one.server_id == order.server_id)
    disk_id = order.disk_id or place
    end = (chunk.length, chunk.digest, order.order_index)
    return ConfirmCopy(chunk_id, chunk.sealed_index, order.server_id, disk_id, *end)


def _why_end(scene: Scene, chunk_id: ChunkId, chunk: Chunk, order: PlaceOrder) -> str:
    """Return why a copy is not to go on; empty when it is."""
    server_id = order.server_id
    if not scene.there(server_id):
        return TARGET_DEAD
    if scene.lost(scene.target_of(chunk, order)) or (order.disk_id and _gone(scene, chunk, order)):
        return TARGET_DISK
    if order.disk_id and not order.job and server_id in chunk.holders:
        return ""  # It lies there already: the row is put right.
    begun = (chunk_id, server_id) in scene.repair.running
    if order.leaves in chunk.holders:
        job = scene.job(order.job)
        over = job is None or job.ended
        # A copy that is lacking by now is made all the same, for whatever it was begun.
        if not over or len(scene.good(chunk_id, chunk)) < chunk.goal:
            return ""
        return JOB_OVER
    # Heard by this very leader: a new one takes nobody's word that others came back.
    enough = len(evidence(scene, chunk_id, chunk, server_id)) >= chunk.goal
    if not begun and enough and not scene.betters(chunk_id, chunk, server_id):
        return NOT_NEEDED
    return ""


def _gone(scene: Scene, chunk: Chunk, order: PlaceOrder) -> bool:
    """Return whether a server has the disk no more to which a copy of its own was to go."""
    server, target = scene.server(order.server_id), scene.target_of(chunk, order)
    disks = server.disks if server is not None else ()
    return all(one.disk_id != target.disk_id or one.lost for one in disks)


def _follow_deletion(
    made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], order: PlaceOrder
) -> None:
    """Have a dropped copy deleted while as many others as the goal beat; else take it back (G3)."""
    chunk_id, chunk = known
    server_id, index = order.server_id, order.order_index
    if scene.repair.young:
        return  # Neither: the others have not been heard yet.
    if (chunk_id, server_id, index) in scene.repair.kept:
        if order.fresh:
            # Nobody proved that it has the bytes: its word that it is kept is no such proof.
            made.proposals.append(EndCopy(chunk_id, server_id, index, KEPT))
        else:
            made.proposals.append(confirmation(chunk_id, chunk, order))
    elif len(evidence(scene, chunk_id, chunk, server_id)) >= chunk.goal:
        made.orders.append((server_id, DeleteReplica(chunk_id, index, SURPLUS)))
    elif scene.there(server_id):
        made.orders.append((server_id, KeepReplica(chunk_id, index)))


def evidence(scene: Scene, chunk_id: ChunkId, chunk: Chunk, but: ServerId) -> tuple[ServerId, ...]:
    """Return the holders beside a server whose copies are good and that this leader hears."""
    settled = scene.repair.settled
    heard = [one for one in scene.good(chunk_id, chunk) if one in settled and one != but]
    return tuple(one for one in heard if scene.vouched(chunk_id, chunk, one))


def _stop_unwanted(made: Plan, view: View, seen: Seen) -> None:
    """End copies under way that the tables do not ask for (any more)."""
    for (chunk_id, server_id), progress in seen.repair.running.items():
        chunk = view.chunk(chunk_id)
        orders = chunk.copying if chunk is not None else ()
        if all(
            (one.server_id, one.order_index) != (server_id, progress.order_index) for one in orders
        ):
            made.orders.append((server_id, StopCopy(chunk_id, progress.order_index)))
