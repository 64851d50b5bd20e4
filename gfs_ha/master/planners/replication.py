"""Gives chunks below their goal new copies: what counts no more, what is adopted, where copies go.

The walk finds the chunks round by round; the queue hands out those with the fewest copies first.
What is taken from it and cannot be helped now is found again by the next round, and has its next
turn after all others with as many copies.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from itertools import islice

import msgspec

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.census import suspicious
from gfs_ha.master.placement import NO_TARGET, Candidate, place_copy
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.queue import Tally, Unplaced
from gfs_ha.master.planners.scene import Load, Scene
from gfs_ha.master.planners.unplaced import Takers
from gfs_ha.master.state.commands import ConfirmCopy, LeaderCommand, LoseHolder, PlaceCopy
from gfs_ha.master.state.records import SEALED, Chunk, Replica
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import CompareReplica

LOST = "no good copy is left"
SALVAGED = "no copy is whole: one is put together from the good blocks of damaged ones"
NO_SOURCE = "no server with a good copy answers"
TO_COMPARE = "a copy that came late compares itself"
BUSY = "the servers have as many copies under way as they may"
_LOOKED_AT_MAX = 200  # Queued chunks that one plan looks at on end without beginning a copy.
_ALIKE = ("open", "fenced")  # An open one has not compared itself yet.


def plan_replication(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return what brings chunks nearer to their goal, as far as the budget allows."""
    made = Plan()
    scene = Scene.of(view, seen, cursors)
    takers = Takers(scene)
    _walk(view, (scene, takers), limits, cursors)
    _compare_doubted(made, view, scene)
    load = Load.under_way(view, scene, limits.busy_rows)
    unplaced = cursors.queue.newest.unplaced
    cursors.queue.paths.look(view, [one.chunk_id for one in unplaced], seen.now_s)
    looks = _LOOKED_AT_MAX
    counts = cursors.queue.counts()
    for copies in counts:
        # Those that nobody can help now leave as much for the others, however many they are.
        most = looks if copies == counts[-1] else looks // 2
        vain = 0
        for chunk_id in cursors.queue.take(copies):
            chunk = view.chunk(chunk_id)
            if chunk is None or chunk.state != SEALED:
                continue  # That it needs nothing any more is no help to it.
            in_vain = _look_at(made, (chunk_id, chunk), (scene, takers), (load, cursors))
            vain = vain + 1 if in_vain else 0
            if load.full or len(made.proposals) >= limits.items:
                return made
            if vain >= most:
                break
        looks -= vain
    return made


def _look_at(
    made: Plan,
    about: tuple[ChunkId, Chunk],
    known: tuple[Scene, Takers],
    more: tuple[Load, Cursors],
) -> bool:
    """Propose what a queued chunk needs, or note why it waits; return whether it was in vain."""
    chunk_id, chunk = about
    scene, takers = known
    load, cursors = more
    before = len(made.proposals)
    why = _restore(made, scene, (chunk_id, chunk), load)
    if why:
        made.waits[chunk_id] = why
        kept = _kept(scene, (chunk_id, chunk))
        if why.startswith(NO_TARGET) and takers.lacking(chunk.goal, chunk.length, kept):
            made.stuck.add(chunk_id)
    if _lies_ill(made.proposals[before:], scene, chunk):
        cursors.placing.soon(scene.seen.now_s)
    return len(made.proposals) == before


def _lies_ill(proposed: Sequence[LeaderCommand], scene: Scene, chunk: Chunk) -> bool:
    """Return whether a chunk lies against its rule with the copies that it is to get.

    The servers that are better may be back, or may not have failed, a moment later.
    """
    kinds = (PlaceCopy, ConfirmCopy)
    anew = [one.server_id for one in proposed if isinstance(one, kinds)]
    return bool(anew) and scene.breaks(chunk, [*chunk.holders, *anew]) > 0


def _walk(view: View, known: tuple[Scene, Takers], limits: PlanLimits, cursors: Cursors) -> None:
    """Look at some of the chunks that may be below their goal, and queue those that are."""
    queue = cursors.queue
    scene, takers = known
    page = list(islice(suspicious(view, scene.presence, queue.after), limits.rows))
    for chunk_id in page:
        chunk = view.chunk(chunk_id)
        if chunk is not None and chunk.state == SEALED:
            _count(queue.running, scene, takers, (chunk_id, chunk))
            _queue(cursors, scene, chunk_id, chunk)
    if queue.running.unplaced_chunks:
        queue.running.way = takers.way(queue.running.helpers)
    if len(page) == limits.rows:
        queue.after = page[-1]
    else:
        queue.end_round()
    # News do not wait for the walk to come to them.
    for chunk_id in {one for one, _ in scene.presence.damaged}:
        chunk = view.chunk(chunk_id)
        if chunk is not None and chunk.state == SEALED:
            _queue(cursors, scene, chunk_id, chunk)


def _count(found: Tally, scene: Scene, takers: Takers, known: tuple[ChunkId, Chunk]) -> None:
    """Count what a chunk lacks, and what of that no server can take."""
    chunk_id, chunk = known
    copies = len(scene.good(chunk_id, chunk))
    if copies < chunk.goal:
        found.add(copies, chunk.goal, chunk.length)
        kept = _kept(scene, known)
        beyond = takers.lacking(chunk.goal, chunk.length, kept) if copies else 0
        if beyond:
            possible = takers.possible(chunk.goal, chunk.length, kept)
            one = Unplaced(chunk_id, chunk.goal, possible, chunk.length)
            found.add_unplaced(one, beyond, takers.helpers(kept))


def _kept(scene: Scene, known: tuple[ChunkId, Chunk]) -> Set[ServerId]:
    """Return the servers that have a copy of a chunk or are being given one."""
    chunk_id, chunk = known
    return {*scene.good(chunk_id, chunk), *scene.coming(chunk)}


def _queue(cursors: Cursors, scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> None:
    copies = len(scene.good(chunk_id, chunk))
    if copies + len(scene.coming(chunk)) < chunk.goal or _to_lose(scene, chunk_id, chunk):
        cursors.queue.add(chunk_id, copies)


def _restore(made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], load: Load) -> str:
    """Propose what one chunk needs. Returns why it has to wait, if it has."""
    chunk_id, chunk = known
    good = scene.good(chunk_id, chunk)
    for replica, reason in _to_lose(scene, chunk_id, chunk):
        command = LoseHolder(chunk_id, chunk.sealed_index, replica.server_id, reason)
        made.proposals.append(command)
    # Also when no other is left: then it is the only one that has the bytes.
    adopted, comparing = _late_ones(scene, chunk_id, chunk)
    coming = scene.coming(chunk)
    for replica in adopted:
        if len(good) + len(coming) < chunk.goal:
            end = (chunk.length, chunk.digest)
            place = (replica.server_id, replica.disk_id)
            made.proposals.append(ConfirmCopy(chunk_id, chunk.sealed_index, *place, *end))
            good.append(replica.server_id)
    if not good:
        return TO_COMPARE if comparing else _salvage(made, scene, known, load)
    missing = chunk.goal - len(good) - len(coming)
    if missing > 0 and scene.repair.hold:
        return scene.repair.hold
    if missing > 0 and comparing:
        return TO_COMPARE
    return _place_copies(made, scene, known, (good, coming, load)) if missing > 0 else ""


def _salvage(made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], load: Load) -> str:
    """Propose one copy of the good blocks of several damaged copies: all else is lost.

    It is not tried again while an attempt under way, or one that failed, has its time.
    """
    chunk_id, chunk = known
    if len(scene.damaged(chunk_id, chunk)) < 2:
        return LOST
    if any(one == chunk_id for one, _ in scene.repair.resting):
        return LOST
    if scene.repair.hold:
        return scene.repair.hold
    coming = scene.coming(chunk)
    one_copy = (chunk_id, msgspec.structs.replace(chunk, goal=1))
    return _place_copies(made, scene, one_copy, ([], coming, load)) or SALVAGED


def _place_copies(
    made: Plan,
    scene: Scene,
    known: tuple[ChunkId, Chunk],
    counted: tuple[list[ServerId], list[ServerId], Load],
) -> str:
    """Propose places for the copies that are missing, as far as servers and budget allow."""
    chunk_id, chunk = known
    good, coming, load = counted
    placed = list(coming)
    delta = sum(_changes(command) for command in made.proposals if _about(command, chunk_id))
    while len(good) + len(placed) < chunk.goal:
        if load.full:
            return BUSY
        target, why = _target(scene, known, [*good, *placed], load)
        if target is None:
            return why
        sources = scene.sources(chunk_id, chunk, target)
        if not sources:
            return NO_SOURCE
        if not load.free(target, chunk.length) or not load.free(sources[0], chunk.length):
            return BUSY
        disk_id = scene.candidates[target].disk_id
        # What this plan does to the chunk before: it may lose holders, and gain some.
        seen = len(chunk.holders) + len(chunk.copying) + delta + len(placed) - len(coming)
        command = PlaceCopy(chunk_id, chunk.sealed_index, target, disk_id, seen)
        made.proposals.append(command)
        load.add(target, sources[0], chunk.length)
        placed.append(target)
    return ""


def _about(command: LeaderCommand, chunk_id: ChunkId) -> bool:
    kinds = (LoseHolder, ConfirmCopy)
    return isinstance(command, kinds) and command.chunk_id == chunk_id


def _changes(command: LeaderCommand) -> int:
    """Return by how many holders a command changes its chunk."""
    return -1 if isinstance(command, LoseHolder) else 1


def _target(
    scene: Scene, known: tuple[ChunkId, Chunk], kept: list[ServerId], load: Load
) -> tuple[ServerId | None, str]:
    """Return who is to get one more copy: a server without a place, else one with a bad copy.

    Where others wait already it goes only if nobody else is as good by the rule: many servers copy
    faster than one.
    """
    chunk_id, chunk = known
    wanted = scene.copy_wanted(chunk_id, chunk, kept)
    # A server that came back without the disk of its place is as good as one without a place: the
    # rule often wants the copy just there. Where an order is under way it is no target (G3).
    ordered = {one.server_id for one in chunk.copying + chunk.deleting}
    left = {one.server_id for one in chunk.replicas if scene.lost_for_good(one)}
    anew = left - ordered - set(kept)
    wanted = replace(wanted, taken=wanted.taken - anew)
    candidates = list(scene.candidates.values())
    best, remarks = place_copy(candidates, wanted)
    if best is not None and load.waiting(best.server_id):
        waiting = {one for one in scene.candidates if load.waiting(one)}
        other, _ = place_copy(candidates, replace(wanted, failed=wanted.failed | waiting))
        if other is not None and _faults(scene, chunk, kept, other) <= _faults(
            scene, chunk, kept, best
        ):
            best = other
    if best is None:
        # Healing: onto a place whose copy does not count, when no better one is free (D3).
        heal = {one.server_id for one in chunk.late} - set(kept)
        others = frozenset(scene.candidates.keys() - heal)
        best, _ = place_copy(candidates, replace(wanted, taken=others))
    return (None, remarks[0]) if best is None else (best.server_id, "")


def _faults(scene: Scene, chunk: Chunk, kept: list[ServerId], target: Candidate) -> int:
    return scene.faults(chunk, [*kept, target.server_id])


def _to_lose(scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> list[tuple[Replica, str]]:
    """Return the holders whose copies are known to be bad, while a good one is left."""
    if not scene.good(chunk_id, chunk):
        return []
    bad = [
        (replica, scene.bad(chunk_id, replica))
        for replica in chunk.replicas
        if replica.server_id in chunk.holders
    ]
    return [(replica, reason) for replica, reason in bad if reason]


def _late_ones(scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> tuple[list[Replica], bool]:
    """Return the places whose servers compared them as alike, and if another may still do so (C7).

    A server lists a replica with the newest order that it obeyed; one of before the seal says
    nothing yet. What differs is quarantined by the comparison, and listed as that.
    """
    alike = []
    comparing = False
    for replica in chunk.late:
        listed = scene.repair.listed.get(replica.server_id, {}).get(chunk_id)
        if listed is None or not scene.live(replica.server_id):
            continue
        if scene.lost(Replica(replica.server_id, listed.disk_id)):
            continue
        if listed.state not in _ALIKE or listed.birth != chunk.birth or listed.end < chunk.length:
            continue
        if listed.order_index >= chunk.sealed_index and listed.state == "fenced":
            # Elsewhere on its server it is first given a place there, as what came back is.
            alike += [replica] if listed.disk_id == replica.disk_id else []
        elif (chunk_id, replica.server_id) not in scene.repair.resting:
            comparing = True
    return alike, comparing


def _compare_doubted(made: Plan, view: View, scene: Scene) -> None:
    """Have copies that somebody could not read look at themselves; nobody is believed blindly."""
    for chunk_id, server_id in sorted(scene.repair.doubted):
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state != SEALED or server_id not in chunk.holders:
            continue
        end = (chunk.sealed_index, chunk.length, chunk.digest)
        made.orders.append((server_id, CompareReplica(chunk_id, chunk.birth, *end)))
