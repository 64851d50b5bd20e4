"""The disks of the servers in service and how full they are, with what is on its way there."""

from __future__ import annotations

from collections import Counter

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import SLOT_HEAD_BYTES
from gfs_ha.master.disk_room import out_of_service
from gfs_ha.master.observed import LIVE
from gfs_ha.master.planners.balance import Balance, Disk, DiskKey, Movable, Spot
from gfs_ha.master.planners.plan import NO_CHUNK
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.records import SEALED, Chunk, Replica
from gfs_ha.master.state.view import View
from gfs_ha.protocol.gone import bytes_of, unpack_blocks


class Traffic:
    """What is under way to disks and from them, and how much of it belongs to one job."""

    def __init__(self, view: View, scene: Scene, rows: int, job: int = 0) -> None:
        self.coming: Counter[DiskKey] = Counter()
        self.lacking: Counter[DiskKey] = Counter()
        self.going: Counter[DiskKey] = Counter()
        self.freeing: Counter[DiskKey] = Counter()
        self.moves = 0  # Of the job: copies under way.
        self.left_bytes = 0  # Of these, whole: a move counts as made once it is confirmed.
        self.unfreed = 0  # Copies of any job that are made and whose old place is still there.
        self.others: Counter[int] = Counter()  # Copies under way, by job.
        for chunk_id, chunk in view.busy_chunks(NO_CHUNK, rows):
            self._busy(scene, (chunk_id, chunk), job)
        for chunk_id, chunk in view.leaving_chunks(NO_CHUNK, rows):
            if len(scene.good(chunk_id, chunk)) <= chunk.goal:
                continue  # It stays: some other copy was lost, or lies on a dead server.
            for server_id in filter(scene.there, chunk.leaving):
                self.unfreed += 1
                self.going[_place(chunk, server_id)] += _room(chunk)

    def _busy(self, scene: Scene, known: tuple[ChunkId, Chunk], job: int) -> None:
        chunk_id, chunk = known
        room = _room(chunk)
        enough = len(scene.good(chunk_id, chunk)) >= chunk.goal
        for order in chunk.copying:
            left = scene.bytes_left(chunk_id, chunk, order)
            target = scene.target_of(chunk, order)
            place = (target.server_id, target.disk_id)
            self.coming[place] += room
            # A copy that has begun has its room already.
            self.lacking[place] += room if left == chunk.length else 0
            if order.leaves in chunk.holders and enough:
                self.going[_place(chunk, order.leaves)] += room
            self.others[order.job] += 1
            if order.job == job:
                self.moves += 1
                self.left_bytes += chunk.length
        for order in chunk.deleting:
            if (chunk_id, order.server_id, order.order_index) in scene.repair.deleted:
                continue  # It is gone from what its server told with that.
            self.unfreed += bool(order.leaves) and scene.there(order.server_id)
            self.freeing[_place(chunk, order.server_id)] += room


def balance_of(view: View, scene: Scene, traffic: Traffic, threshold: float) -> Balance:
    """Return the disks that are to be as full as each other: of servers that serve, not dead."""
    spots = {one: Spot(known.rack, known.machine) for one, known in scene.candidates.items()}
    return Balance(_disks(view, scene, traffic), spots, threshold)


def unheard(scene: Scene) -> list[str]:
    """Return the servers in service of which this leader does not know how full they are."""
    known = {server_id for server_id, _ in scene.repair.disks}
    return [
        server.name
        for server_id, server in scene.roster.servers
        if scene.there(server_id) and server_id not in known and not scene.roster.trouble(server_id)
    ]


def _disks(view: View, scene: Scene, traffic: Traffic) -> list[Disk]:
    found = []
    for (server_id, disk_id), facts in scene.repair.disks.items():
        candidate = scene.candidates.get(server_id)
        if candidate is None or scene.roster.trouble(server_id) or facts.total_bytes <= 0:
            continue
        server = scene.server(server_id)
        if server is None or scene.lost(Replica(server_id, disk_id)):
            continue
        if out_of_service((server_id, server), disk_id, facts, scene.roster.disk_modes):
            continue
        own = [one.disk_id for one in server.disks if not one.lost]
        key = (server_id, disk_id)
        promised = candidate.pending_bytes if disk_id == candidate.disk_id else 0
        live = scene.repair.states.get(server_id) == LIVE
        cut_off = "is not reached by others" if server_id in scene.repair.unreached else ""
        found.append(
            Disk(
                server_id=server_id,
                disk_id=disk_id,
                name=candidate.name,
                rack=candidate.rack,
                machine=candidate.machine,
                total=facts.total_bytes,
                used=max(0, facts.total_bytes - facts.free_bytes),
                coming=traffic.coming[key] + promised,
                lacking=traffic.lacking[key],
                going=traffic.going[key],
                freeing=traffic.freeing[key],
                trouble=candidate.trouble or cut_off,
                gives=live,
                several=len(own) > 1,
            )
        )
    return found


NOT_WHOLE = "copies of its chunks are under way or lacking"


def movable(scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> Movable | None:
    """Return a chunk of which one copy may go elsewhere; None: not now.

    It has exactly its copies, all of them sure, and nothing is under way. What it had on servers
    that are dead does not matter: whether these come back, nobody knows.
    """
    if chunk.state != SEALED or not chunk.length or chunk.copying or chunk.deleting:
        return None
    if chunk.punching or chunk.compactor:  # It changes, or is left soon.
        return None
    good = scene.good(chunk_id, chunk)
    if len(good) != chunk.goal or not all(one in scene.repair.settled for one in good):
        return None
    if any(scene.there(one.server_id) for one in chunk.replicas if one.server_id not in good):
        return None
    return Movable(chunk_id, kept_bytes(chunk), chunk.goal, scene.rule(chunk), tuple(good))


def kept_bytes(chunk: Chunk) -> int:
    """Return how many bytes of a chunk a copy keeps on its disk."""
    if not chunk.gone:
        return chunk.length
    return max(0, chunk.length - bytes_of(unpack_blocks(chunk.gone), chunk.length))


def _room(chunk: Chunk) -> int:
    return kept_bytes(chunk) + SLOT_HEAD_BYTES


def _place(chunk: Chunk, server_id: ServerId) -> DiskKey:
    place = next(one for one in chunk.replicas if one.server_id == server_id)
    return place.server_id, place.disk_id
