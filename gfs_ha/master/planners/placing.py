"""Restores the rule of placement: a copy where it is better, then the worst one goes (G3, G4).

After a rack was lost and came back, or servers came anew, chunks with all their copies may lie
against their rule. Such a chunk gets one copy more; once that counts, the planner of the surplus
drops the copy without which the others are nearest to the rule. A copy is begun only if the rule is
broken less afterwards, so the two planners never work against each other and come to rest.

Chunks that lack copies come first: while any of these is copied, nothing is begun here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gfs_ha.ids import ChunkId
from gfs_ha.master.placement import HIGH_WATER, Candidate, place_better
from gfs_ha.master.planners.placing_walk import Fleet, PlacingWalk
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.scene import Load, Scene
from gfs_ha.master.rules import breaks
from gfs_ha.master.state.commands import PlaceCopy
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.master.state.view import View


def plan_placing(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return copies for chunks that lie against their rule, as far as the budget allows."""
    made = Plan()
    scene, walk = Scene.of(view, seen, cursors), cursors.placing
    if seen.repair.young or seen.repair.hold or not walk.look(_fleet(scene), seen.now_s):
        return made
    load = Load.under_way(view, scene, limits.busy_rows)
    if load.lacking:
        return made
    hope = _Hope(scene)
    page = view.chunks_after(walk.after, limits.rows)
    for chunk_id, chunk in page:
        if load.full or len(made.proposals) >= limits.items:
            return made
        walk.after = chunk_id
        if chunk.state != SEALED or not scene.breaks(chunk, list(chunk.holders)):
            continue
        walk.misplaced += 1
        if not hope.of(scene, chunk):
            continue
        if _whole(scene, chunk_id, chunk):
            _better(made, scene, (chunk_id, chunk), load, walk)
        else:
            walk.found += 1  # Its servers may have come a moment ago: it is looked at soon again.
    if len(page) < limits.rows:
        walk.end_round(seen.now_s)
    return made


class _Hope:
    """Whether any server could help a chunk at all: where the racks are too few, none can.

    In such a cluster every chunk lies against its rule, so the answer must be quick. It is never no
    when there is one: it only asks whether a copy in any rack that takes copies would help.
    """

    def __init__(self, scene: Scene) -> None:
        self._racks = {one.rack for one in scene.candidates.values() if _takes_copies(one)}
        self._known: dict[tuple[str, int, tuple[str, ...]], bool] = {}

    def of(self, scene: Scene, chunk: Chunk) -> bool:
        """Return whether a copy might help."""
        holders = scene.known(list(chunk.holders))
        racks = tuple(sorted(one.rack for one in holders))
        rule = scene.rule(chunk)
        now = breaks(rule, chunk.goal, holders)
        if now != breaks(rule, chunk.goal, [_Rack(rack) for rack in racks]):
            return True  # Two are on one machine.
        key = (rule, chunk.goal, racks)
        if key not in self._known:
            exchanged = (
                [_Rack(one) for one in (*racks[:out], *racks[out + 1 :], new)]
                for new in self._racks
                for out in range(len(racks))
            )
            self._known[key] = any(breaks(rule, chunk.goal, one) < now for one in exchanged)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class _Rack:
    """A copy somewhere in a rack, on a machine of its own."""

    rack: str
    machine: str = ""


def _takes_copies(one: Candidate) -> bool:
    return not one.trouble and one.used_share < HIGH_WATER


def _whole(scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> bool:
    """Return whether a chunk has exactly its copies, all of them sure, and nothing under way."""
    if len(chunk.holders) != chunk.goal:
        return False
    if len(chunk.replicas) != chunk.goal:  # Something is copied, deleted, or came late.
        return False
    if chunk.punching or chunk.compactor:  # It changes, or is left soon.
        return False
    good = scene.good(chunk_id, chunk)
    return len(good) == chunk.goal and all(one in scene.repair.settled for one in good)


def _better(
    made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], load: Load, walk: PlacingWalk
) -> None:
    """Propose one copy that lets a worse one go, if there is a place for it now."""
    chunk_id, chunk = known
    wanted = scene.copy_wanted(chunk_id, chunk, list(chunk.holders))
    better = place_better(scene.candidates.values(), wanted)
    if better is None:
        rested = replace(wanted, failed=frozenset())
        # Whoever failed or is not reached may be well again long before the next round.
        walk.found += place_better(scene.candidates.values(), rested) is not None
        return
    walk.found += 1
    if not load.free(better[0].server_id, chunk.length):
        # Servers that are busy now are not waited for when another one is as good.
        busy = {one for one in scene.candidates if not load.free(one, chunk.length)}
        wanted = replace(wanted, failed=wanted.failed | busy)
        better = place_better(scene.candidates.values(), wanted)
        if better is None:
            return
    target = better[0].server_id
    sources = scene.sources(chunk_id, chunk, target)
    if not sources or not load.free(sources[0], chunk.length):
        return
    disk_id = better[0].disk_id
    made.proposals.append(
        PlaceCopy(chunk_id, chunk.sealed_index, target, disk_id, len(chunk.holders))
    )
    load.add(target, sources[0], chunk.length)


def _fleet(scene: Scene) -> Fleet:
    """Return what of the servers decides where a copy can lie."""
    return frozenset(
        (
            one.server_id,
            one.rack,
            one.machine,
            _takes_copies(one),
        )
        for one in scene.candidates.values()
    )
