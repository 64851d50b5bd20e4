"""Why a chunk lies where it does, who else would take it or not, and what comes if a copy is lost.

Pure: the very choices that the planners make, asked with the servers as they are now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.placement import (
    HIGH_WATER,
    Candidate,
    CopyWanted,
    Wanted,
    copy_rank,
    may_share,
    place,
    place_better,
    place_copy,
    place_text,
    why_chosen,
    why_no_copy,
    why_not,
    why_passed_over,
)
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.planners.unplaced import Takers
from gfs_ha.master.rules import RULE_TEXTS, breaks
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.protocol.measures import share_text
from gfs_ha.protocol.placement import (
    NewPlacementExplained,
    PlacedRow,
    PlacementExplained,
    RejectedRow,
    SuccessorRow,
)
from gfs_ha.protocol.reports import ChunkRow

_OPEN_TO_MAX = 20
_REJECTED_MAX = 1_000
_CHANGES_MAX = 8
_REASONS_MAX = 4
_NOBODY = "nobody can take its copy"


def explain(scene: Scene, chunk_id: ChunkId, chunk: Chunk, row: ChunkRow) -> PlacementExplained:
    """Return the explanation of one chunk; `row` is how it is shown."""
    counting = chunk.holders if chunk.state == SEALED else [r.server_id for r in chunk.replicas]
    holders = scene.known([one.server_id for one in chunk.replicas if one.server_id in counting])
    good = scene.good(chunk_id, chunk) if chunk.state == SEALED else list(counting)
    wanted = scene.copy_wanted(chunk_id, chunk, good)
    everyone = list(scene.candidates.values())
    shared = may_share(everyone, chunk.goal)
    rejected, usable = [], []
    for one in everyone:
        if one in holders:
            continue
        why = why_no_copy(one, wanted, shared)
        if why:
            rejected.append(RejectedRow(one.server_id, one.name, one.rack, why))
        else:
            usable.append(one)
    usable.sort(key=lambda one: copy_rank(one, wanted))
    rule = scene.rule(chunk)
    if_lost = [_successor(scene, chunk_id, chunk, good, one) for one in holders]
    way, possible = _way_out(scene, chunk_id, chunk, if_lost)
    return PlacementExplained(
        chunk=row,
        rule=rule,
        rule_text=RULE_TEXTS[rule],
        misplaced=_misplaced(scene, chunk_id, chunk, good),
        holders=tuple(_placed(one, _why_there(one, holders)) for one in holders),
        open_to=tuple(_placed(one, place_text(one, holders)) for one in usable[:_OPEN_TO_MAX]),
        rejected=tuple(rejected[:_REJECTED_MAX]),
        if_lost=tuple(if_lost) if chunk.state == SEALED else (),
        changes=tuple(_changes(scene, wanted, [one.server_id for one in rejected])),
        way=way,
        possible=possible,
    )


def _way_out(
    scene: Scene, chunk_id: ChunkId, chunk: Chunk, if_lost: list[SuccessorRow]
) -> tuple[str, int]:
    """Return what gives a server to a copy that nobody can take, and how many copies need none."""
    good = scene.good(chunk_id, chunk)
    if chunk.state != SEALED or not good:
        return "", 0
    takers = Takers(scene)
    kept = {*good, *scene.coming(chunk)}
    way = takers.way(takers.helpers(kept))
    if takers.lacking(chunk.goal, chunk.length, kept):
        return way, takers.possible(chunk.goal, chunk.length, kept)
    if chunk.goal > 1 and any(one.why.startswith(_NOBODY) for one in if_lost):
        return way, chunk.goal - 1
    return "", 0


def explain_new(everyone: list[Candidate], wanted: Wanted, path: str) -> NewPlacementExplained:
    """Return where a new chunk would go, and why every other server gets none of it."""
    chosen: tuple[Candidate, ...] = ()
    remarks: tuple[str, ...] = ()
    refused = ""
    try:
        placed = place(everyone, wanted)
        chosen, remarks = placed.chosen, placed.remarks
    except (NoServers, NoSpace) as error:
        refused = error.message
    rejected = []
    for one in everyone:
        if one in chosen:
            continue
        why = why_not(one, wanted)
        if not why and chosen:
            why = why_passed_over(chosen, one, wanted)
        rejected.append(RejectedRow(one.server_id, one.name, one.rack, why or "could take it"))
    return NewPlacementExplained(
        path=path,
        goal=wanted.goal,
        rule=wanted.rule,
        rule_text=RULE_TEXTS[wanted.rule],
        chosen=tuple(_placed(one, why_chosen(chosen, one, wanted)) for one in chosen),
        rejected=tuple(rejected[:_REJECTED_MAX]),
        remarks=remarks,
        refused=refused,
    )


def _changes(scene: Scene, wanted: CopyWanted, rejected: list[ServerId]) -> Iterator[str]:
    """Yield what would let each of some servers take a copy; the first few."""
    waiting = scene.roster.in_maintenance()
    told = 0
    for server_id in rejected:
        one = scene.candidates[server_id]
        if server_id in wanted.taken:
            continue
        if scene.roster.leaving(server_id):
            change = f"{one.name} back in service"
        elif server_id in waiting:
            change = f"the end of the maintenance of {one.name}"
        elif one.trouble:
            change = f"{one.name} back, live and with a disk that works"
        elif server_id in wanted.failed:
            change = f"a pause: {one.name} is tried again then"
        elif one.used_share >= HIGH_WATER or one.free_bytes < wanted.length:
            below = f"room on {one.name} (below {share_text(HIGH_WATER)})"
            change = f"{below}: a rebalance, or a bigger disk"
        else:
            change = f"{one.name} on a machine of its own"
        yield change
        told += 1
        if told == _CHANGES_MAX:
            return


def _nobody(scene: Scene, wanted: CopyWanted, lost: Candidate) -> str:
    """Return why no server can take a copy, those that have one already counted together."""
    others = [one for one in scene.candidates.values() if one.server_id != lost.server_id]
    shared = may_share(others, wanted.goal)
    having = sum(one.server_id in wanted.taken and not one.trouble for one in others)
    said = [f"{having} others have one already"] if having > 1 else []
    said += ["the other one has it already"] if having == 1 else []
    reasons = [
        f"{one.name} {one.trouble or why_no_copy(one, wanted, shared)}"
        for one in others
        if one.trouble or one.server_id not in wanted.taken
    ]
    more = f" and {len(reasons) - _REASONS_MAX} more" if len(reasons) > _REASONS_MAX else ""
    said += reasons[:_REASONS_MAX]
    return f"{_NOBODY}: {', '.join(said) or 'there is no other server'}{more}"


def _placed(one: Candidate, why: str) -> PlacedRow:
    score = round(one.score, 2)
    return PlacedRow(one.server_id, one.name, one.rack, why, score, round(one.used_share, 4))


def _why_there(one: Candidate, holders: tuple[Candidate, ...]) -> str:
    """Return what a copy is in the rule, the head of the chain first, and what ails its server."""
    place = "head of the chain"
    if one != holders[0]:
        place = place_text(one, holders[: holders.index(one)])
    return f"{place}; it {one.trouble}" if one.trouble else place


def _misplaced(scene: Scene, chunk_id: ChunkId, chunk: Chunk, good: list[ServerId]) -> str:
    if chunk.state != SEALED or not good:
        return ""
    lacking = chunk.goal - len(good)
    if lacking > 0:
        return f"{lacking} of {chunk.goal} copies are lacking"
    wanted = scene.copy_wanted(chunk_id, chunk, good)
    if not breaks(wanted.rule, chunk.goal, wanted.kept):
        return ""
    better = place_better(list(scene.candidates.values()), wanted)
    against = "the copies lie too near to each other for the rule"
    if better is None:
        return f"{against}; no server that can take one would change that"
    target, out = better
    return f"{against}; {target.name} ({target.rack}) gets one, then that of {out.name} can go"


def _successor(
    scene: Scene, chunk_id: ChunkId, chunk: Chunk, good: list[ServerId], lost: Candidate
) -> SuccessorRow:
    """Return who gets the copy that would have to be made if one server died, and from whom."""
    left = [one for one in good if one != lost.server_id]
    if lost.server_id not in good:
        return SuccessorRow(lost.name, "", "", 0.0, "", "its copy does not count now")
    if len(left) >= chunk.goal:
        return SuccessorRow(lost.name, "", "", 0.0, "", "enough copies are left")
    if not left:
        return SuccessorRow(lost.name, "", "", 0.0, "", "no good copy would be left")
    wanted = scene.copy_wanted(chunk_id, chunk, left)
    others = [
        replace(one, trouble="is dead") if one.server_id == lost.server_id else one
        for one in scene.candidates.values()
    ]
    target, _ = place_copy(others, wanted)
    if target is None:
        return SuccessorRow(lost.name, "", "", 0.0, "", _nobody(scene, wanted, lost))
    sources = [
        one for one in scene.sources(chunk_id, chunk, target.server_id) if one != lost.server_id
    ]
    names = {one.server_id: one.name for one in others}
    return SuccessorRow(
        lost=lost.name,
        target=target.name,
        rack=target.rack,
        score=round(target.score, 2),
        source=names.get(sources[0], "") if sources else "",
        why=place_text(target, wanted.kept),
    )
