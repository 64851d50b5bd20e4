"""Compares what servers say is sealed on their disks with the tables, bucket by bucket (G7).

The leader's own tally of a disk is counted from the tables in steps, only when the server's has
changed or was not looked at for a while. A bucket that differs in two counts is listed in full by
the server, and only rows that disagree with that list lead to anything, never to more than a
question or a proposal: a copy that is missing is asked to compare itself, one that nobody knows of
is adopted or dropped like any other, one of a dead chunk is deleted as its command said.

Replicas that are not sealed are in no tally, but listed in full. One that a slow push made on a
server after its place was given up is as unknown as any other.
"""

from __future__ import annotations

from itertools import islice

from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.master.planners.copies import evidence
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.planners.walk import NUMBERS, Disk, TallyWalk
from gfs_ha.master.state.commands import ConfirmCopy, DropReplica, PlaceCopy
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Replica
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import BucketListing, CompareReplica, DeleteReplica
from gfs_ha.protocol.server_modes import EMPTY
from gfs_ha.protocol.tally import BUCKETS, LIST_BUCKETS_MAX, bucket_of, replica_hash

RECHECK_S = 60.0  # How often a disk is counted whose server says nothing new.
_ROWS = 4  # Times the rows of other walks: with 500 some 10 ms a turn, a million in two minutes.


def plan_tally(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return which buckets are to be listed, and what follows from those that were."""
    made = Plan()
    scene = Scene.of(view, seen, cursors)
    walk = cursors.tally
    for server_id, start_id in seen.repair.starts.items():
        walk.note_start(server_id, start_id)
    _unsealed_strays(made, view, scene, limits, walk)
    for server_id, listing in seen.repair.listings:
        disk = (server_id, listing.disk_id)
        before = _asked(made)
        unsure = _compare(made, view, scene, (disk, listing), walk)
        if not unsure and _asked(made) == before and disk in seen.repair.tallies:
            # By what is under way; looked at again when the server says something new.
            walk.explain(disk, seen.repair.tallies[disk], listing.bucket)
    if walk.disk is None:
        walk.begin(_next_disk(seen, walk.last, walk.agreed, walk.checked_s))
    if walk.disk is not None and _count(view, cursors, limits):
        _judge(made, seen, cursors)
    return made


def _asked(made: Plan) -> int:
    """Return how much has come of comparing so far."""
    return len(made.proposals) + len(made.orders) + len(made.waits)


def _next_disk(
    seen: Seen,
    last: Disk,
    agreed: dict[Disk, bytes],
    checked_s: dict[Disk, float],
) -> Disk | None:
    """Return the next disk whose tally is to be counted; None when all of them are known."""
    due = [
        disk
        for disk, told in seen.repair.tallies.items()
        if agreed.get(disk) != told or seen.now_s - checked_s.get(disk, 0.0) >= RECHECK_S
    ]
    return min(due, key=lambda disk: (disk <= last, disk), default=None)


def _count(view: View, cursors: Cursors, limits: PlanLimits) -> bool:
    """Count some more replicas of the disk; return whether it is through."""
    walk = cursors.tally
    assert walk.disk is not None, "no disk is counted"
    server_id, disk_id = walk.disk
    rows = _ROWS * limits.rows
    page = view.replicas_of(server_id, (disk_id, walk.after), rows)
    for found_disk, chunk_id in page:
        if found_disk != disk_id:
            return True
        walk.after = chunk_id
        chunk = view.chunk(chunk_id)
        if chunk is not None and chunk.state == SEALED and server_id in chunk.holders:
            walk.add(chunk_id, chunk.length)
    return len(page) < rows


def _judge(made: Plan, seen: Seen, cursors: Cursors) -> None:
    """Compare a count that is through with what the server said last."""
    walk = cursors.tally
    disk = walk.disk
    assert disk is not None, "no disk is counted"
    told = seen.repair.tallies.get(disk)
    if seen.now_s - walk.judged_s.get(disk, 0.0) >= RECHECK_S:
        walk.judged_s[disk] = seen.now_s
        walk.explained.pop(disk, None)
    own = walk.end(seen.now_s)
    if told is None or len(told) != NUMBERS.size:
        return
    differing = {
        bucket
        for bucket, (mine, theirs) in enumerate(zip(own, NUMBERS.unpack(told), strict=True))
        if mine != theirs
    }
    explained = walk.explained_buckets(disk, told)
    listed = walk.matched.get(disk, frozenset()) & explained
    walk.matched[disk] = (frozenset(range(BUCKETS)) - differing) | listed
    differing -= explained
    again = differing & walk.suspects.get(disk, set())
    walk.suspects[disk] = differing
    walk.judged(disk, differing, seen.now_s)
    if differing:
        walk.agreed.pop(disk, None)  # Also if it says next what it said before.
    else:
        walk.agreed[disk] = told
    for bucket in sorted(again)[:LIST_BUCKETS_MAX]:
        made.listings.append((disk[0], disk[1], bucket))


def _compare(
    made: Plan,
    view: View,
    scene: Scene,
    told: tuple[Disk, BucketListing],
    walk: TallyWalk,
) -> bool:
    """Look for what a listing and the rows of now do not agree on.

    Returns whether something waits for the tallies of other servers.
    """
    (server_id, disk_id), listing = told
    members, unsure, missing = walk.members.get((server_id, disk_id), {}), False, False
    listed = {chunk_id: damaged for chunk_id, _, damaged in listing.replicas}
    whole = {(chunk_id, length) for chunk_id, length, damaged in listing.replicas if not damaged}
    unsettled = scene.repair.listed.get(server_id, {})
    for chunk_id in sorted(listed.keys() | members.get(listing.bucket, set())):
        chunk = view.chunk(chunk_id)
        if chunk is None:
            if chunk_id in listed:
                made.strays.append((server_id, disk_id, chunk_id))
        elif chunk.state == DEAD and chunk_id in listed:
            made.orders.append(
                (server_id, DeleteReplica(chunk_id, chunk.dead_index, "the chunk is dead"))
            )
        elif chunk.state != SEALED or any(one.server_id == server_id for one in chunk.copying):
            continue
        elif chunk_id not in listed:
            here = bucket_of(replica_hash(chunk_id, chunk.length)) == listing.bucket
            # It may have moved to another disk since it was counted.
            held = server_id in chunk.holders and scene.disk_of(chunk, server_id) == disk_id
            missing |= held
            if here and held and chunk_id not in unsettled:
                end = (chunk.sealed_index, chunk.length, chunk.digest)
                made.doubts.append((chunk_id, server_id))
                made.orders.append((server_id, CompareReplica(chunk_id, chunk.birth, *end)))
        elif all(one.server_id != server_id for one in chunk.replicas):
            unsure |= _stray(made, scene, (chunk_id, chunk), (server_id, disk_id), walk)
        elif server_id in chunk.holders and not listed[chunk_id]:
            _put_right(made, scene, (chunk_id, chunk), (server_id, disk_id))
        elif (chunk_id, chunk.length) in whole:
            _adopt_late(made, scene, (chunk_id, chunk), (server_id, disk_id))
    if not missing:
        walk.all_listed((server_id, disk_id), listing.bucket)
    return unsure


def _put_right(made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], disk: Disk) -> None:
    """Have the row say on which disk of its server a copy lies, as a move to where it is (D6)."""
    chunk_id, chunk = known
    server_id, disk_id = disk
    if scene.disk_of(chunk, server_id) != disk_id and not chunk.deleting:
        seen = len(chunk.holders) + len(chunk.copying)
        made.proposals.append(
            PlaceCopy(chunk_id, chunk.sealed_index, server_id, disk_id, seen, leaves=server_id)
        )


def _adopt_late(made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], disk: Disk) -> None:
    """Count a copy again that was lost with its disk, when one is missing: that disk is back (D6).

    It was sealed as the tables say, or has compared itself. It may be the only one by now. If a
    copy was to come to another disk of the server meanwhile, and none did, its place is this one.
    """
    chunk_id, chunk = known
    server_id, disk_id = disk
    placed = [one.disk_id for one in chunk.late if one.server_id == server_id]
    if not placed or not scene.live(server_id) or scene.bad(chunk_id, Replica(*disk)):
        return
    if len(scene.good(chunk_id, chunk)) + len(scene.coming(chunk)) >= chunk.goal:
        return
    if placed == [disk_id]:
        end = (chunk.length, chunk.digest)
        made.proposals.append(ConfirmCopy(chunk_id, chunk.sealed_index, *disk, *end))
    else:
        _place(made, scene, known, disk)


def _place(made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], disk: Disk) -> None:
    """Have a copy verified where a server says that it has one, and counted if it is whole."""
    chunk_id, chunk = known
    emptied = _emptied(scene, disk)
    if emptied:
        made.waits[chunk_id] = emptied
        return
    seen = len(chunk.holders) + len(chunk.copying)
    made.proposals.append(PlaceCopy(chunk_id, chunk.sealed_index, *disk, seen))


def _unsealed_strays(
    made: Plan, view: View, scene: Scene, limits: PlanLimits, walk: TallyWalk
) -> None:
    """Look for fenced replicas of sealed chunks that the tables know nowhere, or elsewhere."""
    for server_id, listed in scene.repair.listed.items():
        fenced = (one for one in listed.values() if one.state == "fenced")
        for replica in islice(fenced, limits.rows):
            chunk = view.chunk(replica.chunk_id)
            if chunk is None or chunk.state != SEALED or chunk.birth != replica.birth:
                continue
            # It has compared itself: who differs is quarantined, and kept for a person to see.
            if replica.order_index < chunk.sealed_index:
                continue
            known, disk = (replica.chunk_id, chunk), (server_id, replica.disk_id)
            if any(one.server_id == server_id for one in chunk.replicas):
                if Replica(*disk) not in chunk.replicas and replica.end >= chunk.length:
                    _adopt_late(made, scene, known, disk)
            else:
                lacks = replica.end < chunk.length and not _has_room(scene, disk, chunk)
                if not lacks or len(scene.good(replica.chunk_id, chunk)) >= chunk.goal:
                    _stray(made, scene, known, disk, walk)


def _has_room(scene: Scene, disk: Disk, chunk: Chunk) -> bool:
    """Return whether a copy of a chunk may be made on a disk: what is short is copied whole."""
    if scene.roster.leaving(disk[0]) or not scene.roster.serves(*disk):
        return False  # It would go from there at once.
    facts = scene.repair.disks.get(disk)
    if facts is None or facts.total_bytes <= 0:
        return False
    used = facts.total_bytes - facts.free_bytes
    return used + chunk.length <= HIGH_WATER * facts.total_bytes


def _stray(
    made: Plan, scene: Scene, known: tuple[ChunkId, Chunk], disk: Disk, walk: TallyWalk
) -> bool:
    """Adopt a copy that the tables do not know when one is missing, else drop it.

    A copy that is ordered onto it verifies it: what is whole there is done at once. That there is
    one at all says that tables and disks may tell of different times: after masters went on from
    an older copy of theirs, all of a chunk may have been moved since. So it is only dropped when
    the tallies of the others say that they have theirs; returns whether that is waited for.
    """
    chunk_id, chunk = known
    server_id, disk_id = disk
    count = len(scene.good(chunk_id, chunk)) + len(scene.coming(chunk))
    sure = evidence(scene, chunk_id, chunk, server_id)
    seen_there = [one for one in sure if _holds(scene, walk, known, one)]
    if count < chunk.goal:
        _place(made, scene, known, disk)
    elif len(seen_there) >= chunk.goal:
        shown = tuple(seen_there[: chunk.goal])
        made.proposals.append(DropReplica(chunk_id, chunk.sealed_index, server_id, disk_id, shown))
    else:
        return len(sure) >= chunk.goal
    return False


def _holds(
    scene: Scene, walk: TallyWalk, known: tuple[ChunkId, Chunk], server_id: ServerId
) -> bool:
    """Return whether a holder's own tally says that it has its copy."""
    chunk_id, chunk = known
    return walk.holds((server_id, scene.disk_of(chunk, server_id)), chunk_id, chunk.length)


def _emptied(scene: Scene, disk: Disk) -> str:
    """Return why a copy is not adopted where nothing may be placed any more, and the way out."""
    server_id, disk_id = disk
    server, mode = scene.server(server_id), scene.roster.mode(server_id).mode
    name = server.name if server is not None else f"#{server_id}"
    if mode in EMPTY:
        undrain = f"gfsctl admin chunkservers undrain {name}"
        return f"a copy lies on {name}, which is {mode}; to have it, take that back: {undrain}"
    row = scene.roster.disk_modes.get(disk)
    if row is not None and row.mode in EMPTY:
        shown = f"{name}:{format_id(disk_id)}"
        undrain = f"gfsctl admin disks undrain {shown}"
        return f"a copy lies on disk {shown}, which is {row.mode}; take that back: {undrain}"
    return ""
