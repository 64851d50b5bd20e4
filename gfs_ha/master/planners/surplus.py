"""Drops copies beyond the goal, and places that do not count, once enough others are sure (G3).

Those that leave for a move have a walk of their own: a job waits for them, and where a server died
there may be many copies too many that stay until it comes back or is removed.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.planners.copies import evidence
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.commands import DropReplica
from gfs_ha.master.state.records import SEALED, Chunk, Replica
from gfs_ha.master.state.view import View

DELETIONS_MAX = 256  # Under way at once: each waits for the word of a server.


def plan_surplus(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the copies that are to be dropped, each with the holders that stay as evidence."""
    made = Plan()
    scene = Scene.of(view, seen, cursors)
    moved = view.leaving_chunks(cursors.leaving, limits.rows)
    cursors.leaving = moved[-1][0] if len(moved) == limits.rows else NO_CHUNK
    page = view.surplus_chunks(cursors.surplus, limits.rows)
    cursors.surplus = page[-1][0] if len(page) == limits.rows else NO_CHUNK
    busy = view.busy_chunks(NO_CHUNK, limits.busy_rows)
    room = min(DELETIONS_MAX - sum(len(chunk.deleting) for _, chunk in busy), limits.items)
    for chunk_id, chunk in (*moved, *(one for one in page if not one[1].leaving)):
        if len(made.proposals) >= room:
            break
        if chunk.state != SEALED or chunk.copying or chunk.deleting:
            continue
        command = drop(scene, chunk_id, chunk)
        if command is not None:
            made.proposals.append(command)
    return made


def drop(scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> DropReplica | None:
    """Return which place of a chunk can go now, one at a time; None when none can.

    Places that do not count go first. Of copies that do, one that is to leave for a copy that was
    made instead, or with its server; else the one without which the others are nearest to the rule,
    and of these the one on the fullest server.
    """
    sure = evidence(scene, chunk_id, chunk, ServerId(0))
    late = [one for one in chunk.late if scene.live(one.server_id)]
    if len(sure) >= chunk.goal and late:
        return _command(chunk_id, chunk, late[0], sure)
    if len(sure) <= chunk.goal:
        return None

    def rank(server_id: ServerId) -> tuple[bool, bool, int, float, int]:
        stays = server_id not in chunk.leaving
        serves = not scene.leaves(chunk, server_id)
        others = [one for one in sure if one != server_id]
        candidate = scene.candidates.get(server_id)
        load = candidate.load if candidate is not None else 0.0
        return stays, serves, scene.faults(chunk, others), -load, server_id

    worst = min(sure, key=rank)
    place = next(one for one in chunk.replicas if one.server_id == worst)
    return _command(chunk_id, chunk, place, tuple(one for one in sure if one != worst))


def _command(
    chunk_id: ChunkId, chunk: Chunk, place: Replica, sure: tuple[ServerId, ...]
) -> DropReplica:
    shown = sure[: chunk.goal]
    return DropReplica(chunk_id, chunk.sealed_index, place.server_id, place.disk_id, shown)
