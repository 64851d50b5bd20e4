"""How a sealed chunk gains and loses copies: placed, confirmed, lost, dropped (G2-G4, C7).

Each command compares with the row before it writes, so that one that comes late or twice, or was
proposed on older news, does no harm. A copy counts only while its server is in `holders`:

- a place is made for a copy (`copying`), and counts when the copy was verified there;
- a copy that is damaged or gone counts no more, but its place stays: nothing is destroyed by it;
- a copy is dropped only while as many others as the goal are holders; the mark (`deleting`) takes
  it out of the holders first, and whoever leads then takes the mark back or has it deleted;
- a place that did not count when it was marked does not count when the mark is taken back;
- a move is a copy of a job that says which holder goes for it (`leaving`): that one is dropped like
  any copy beyond the goal, and only then;
- a move between two disks of a holder changes where its copy lies, and never whether it counts: the
  server lets go of the old one when the new one is whole (D6).
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import LimitExceeded, StaleCommand, UnknownServer
from gfs_ha.ids import ChunkId, DiskId, LogIndex, ServerId, format_id
from gfs_ha.limits import (
    GOAL_MAX,
    REPAIR_CLUSTER_BYTES_PER_S,
    REPAIR_COPIES,
    REPAIR_COPIES_MAX,
    REPAIR_COPIES_PER_SERVER,
    REPAIR_SERVER_BYTES_PER_S,
    SPARE_PLACES_MAX,
)
from gfs_ha.master.state.bounds import SIZE_MAX, U64_MAX, check_count, check_range, check_text
from gfs_ha.master.state.chunk_rows import get_chunk, put_chunk
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndCopy,
    LoseHolder,
    PlaceCopy,
    SetRepairBudget,
)
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.jobs import count_move, get_job
from gfs_ha.master.state.records import SEALED, Chunk, PlaceOrder, RepairBudget, Replica
from gfs_ha.master.state.server_modes import require_service
from gfs_ha.master.state.tables import ONLY, REPAIR_BUDGET
from gfs_ha.protocol.events import SETTING
from gfs_ha.protocol.jobs import RUNNING
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.repair import RepairBudgetReport

# Apply fills in what a change leaves open from this: other numbers are another schema.
USUAL_BUDGET = RepairBudget(
    REPAIR_CLUSTER_BYTES_PER_S, REPAIR_SERVER_BYTES_PER_S, REPAIR_COPIES_PER_SERVER, REPAIR_COPIES
)
_REASON_BYTES_MAX = 255


@step(PlaceCopy)
def place_copy(draft: Draft, command: PlaceCopy) -> Done:
    """Make a place for a copy, which does not count yet.

    Refuses: UnknownChunk, StaleCommand, UnknownServer, LimitExceeded.
    """
    chunk = _sealed(draft, command.chunk_id, command.sealed_index)
    server_id = command.server_id
    _check_disk(draft, server_id, command.disk_id)
    require_service(draft, server_id, command.disk_id)
    if command.seen != len(chunk.holders) + len(chunk.copying):
        raise _stale(command.chunk_id, f"has not {command.seen} copies, with those under way")
    if _order_of(chunk.copying + chunk.deleting, server_id):
        raise _stale(command.chunk_id, f"has an order for server {server_id} already")
    _check_move(draft, chunk, command)
    if command.leaves == server_id:
        return _place_within(draft, chunk, command)
    if server_id in chunk.holders:
        raise _stale(command.chunk_id, f"has a copy on server {server_id} already")
    others = _without(chunk, server_id)
    if len(others) >= chunk.goal + SPARE_PLACES_MAX:
        raise LimitExceeded(f"chunk {format_id(command.chunk_id)} has {len(others)} places already")
    fresh = len(others) == len(chunk.replicas)
    order = PlaceOrder(server_id, draft.order_index, fresh, command.job, command.leaves)
    placed = msgspec.structs.replace(
        chunk,
        replicas=(*others, Replica(server_id, command.disk_id)),
        copying=(*chunk.copying, order),
    )
    put_chunk(draft, command.chunk_id, chunk, placed)
    return Done()


def _place_within(draft: Draft, chunk: Chunk, command: PlaceCopy) -> Done:
    """Order a holder to have its copy on another one of its disks."""
    server_id = command.server_id
    if Replica(server_id, command.disk_id) in chunk.replicas:
        raise _stale(command.chunk_id, f"lies on this disk of server {server_id} already")
    order = PlaceOrder(
        *(server_id, draft.order_index, False, command.job, server_id, command.disk_id)
    )
    placed = msgspec.structs.replace(chunk, copying=(*chunk.copying, order))
    put_chunk(draft, command.chunk_id, chunk, placed)
    return Done()


@step(ConfirmCopy)
def confirm_copy(draft: Draft, command: ConfirmCopy) -> Done:
    """Make a place a holder whose bytes were proved.

    Refuses: UnknownChunk, StaleCommand, UnknownServer.
    """
    chunk = _sealed(draft, command.chunk_id, command.sealed_index)
    server_id = command.server_id
    if (command.length, command.digest) != (chunk.length, chunk.digest):
        raise _stale(command.chunk_id, "has another length or digest")
    order = _order_of(chunk.copying + chunk.deleting, server_id)
    within = order is not None and order.disk_id == command.disk_id
    if not within and Replica(server_id, command.disk_id) not in chunk.replicas:
        raise _stale(command.chunk_id, f"has no place on this disk of server {server_id}")
    if not within and server_id in chunk.holders:
        return Done()
    if (order.order_index if order else 0) != command.order_index:
        raise _stale(command.chunk_id, f"has another order for server {server_id}")
    if order is not None and order.fresh and order in chunk.deleting:
        raise _stale(command.chunk_id, f"did not count server {server_id} before it was dropped")
    if within:
        # No row kept its place: the server may have come back without the disk, or emptied it.
        _check_disk(draft, server_id, command.disk_id)
        require_service(draft, server_id, command.disk_id)
    # In the order of the places: the first one is the head of the chain that wrote it.
    counted = {*chunk.holders, server_id}
    place = Replica(server_id, command.disk_id)
    confirmed = msgspec.structs.replace(
        chunk,
        replicas=tuple(place if one.server_id == server_id else one for one in chunk.replicas),
        holders=tuple(one.server_id for one in chunk.replicas if one.server_id in counted),
        copying=_except(chunk.copying, server_id),
        deleting=_except(chunk.deleting, server_id),
    )
    if order is not None and order.leaves and not within:
        leaving = (*(one for one in chunk.leaving if one != order.leaves), order.leaves)
        confirmed = msgspec.structs.replace(confirmed, leaving=leaving)
    if order is not None and order.job:
        count_move(draft, order.job, chunk.length)
    elif not within:
        draft.counters.repaired_copies += 1
        draft.counters.repaired_bytes += chunk.length
    if chunk.gone:
        # What was there already may lack the marks. The order comes after all that it obeyed.
        waits = (*chunk.punching, server_id)
        confirmed = msgspec.structs.replace(
            confirmed, punching=waits, punch_index=draft.order_index
        )
    put_chunk(draft, command.chunk_id, chunk, confirmed)
    return Done()


@step(EndCopy)
def end_copy(draft: Draft, command: EndCopy) -> Done:
    """Give a copy up, and the place that it was to have. Refuses: UnknownChunk, StaleCommand.

    A place that is deleted and never counted loses its mark, and stays what it was.
    """
    check_text("reason", command.reason, _REASON_BYTES_MAX, bytes_min=0)
    chunk = get_chunk(draft, command.chunk_id)
    kept = _order_of(chunk.deleting, command.server_id)
    if kept is not None and kept.fresh and kept.order_index == command.order_index:
        left = _except(chunk.deleting, command.server_id)
        put_chunk(draft, command.chunk_id, chunk, msgspec.structs.replace(chunk, deleting=left))
        return Done()
    order = _order_of(chunk.copying, command.server_id)
    if order is None or order.order_index != command.order_index:
        raise _stale(command.chunk_id, f"is not copied to server {command.server_id} by this order")
    ended = msgspec.structs.replace(
        chunk,
        replicas=_without(chunk, command.server_id) if order.fresh else chunk.replicas,
        copying=_except(chunk.copying, command.server_id),
    )
    put_chunk(draft, command.chunk_id, chunk, ended)
    return Done()


@step(LoseHolder)
def lose_holder(draft: Draft, command: LoseHolder) -> Done:
    """Count a copy no more; never the last one. Refuses: UnknownChunk, StaleCommand."""
    check_text("reason", command.reason, _REASON_BYTES_MAX, bytes_min=0)
    chunk = _sealed(draft, command.chunk_id, command.sealed_index)
    left = tuple(holder for holder in chunk.holders if holder != command.server_id)
    if len(left) == len(chunk.holders) or not left:
        raise _stale(command.chunk_id, f"has no holder beside server {command.server_id} to lose")
    put_chunk(draft, command.chunk_id, chunk, msgspec.structs.replace(chunk, holders=left))
    return Done()


@step(DropReplica)
def drop_replica(draft: Draft, command: DropReplica) -> Done:
    """Mark a copy beyond the goal as being deleted (G3).

    One that the tables do not know, found by comparing tallies, gets a place with the mark. A mark
    that stands is renewed: what its order says now is newer than a `keep`. Refuses: UnknownChunk,
    StaleCommand, LimitExceeded, UnknownServer.
    """
    chunk = _sealed(draft, command.chunk_id, command.sealed_index)
    server_id = command.server_id
    check_count("holders", command.evidence, GOAL_MAX + SPARE_PLACES_MAX)
    others = {holder for holder in chunk.holders if holder != server_id}
    if len(set(command.evidence)) < chunk.goal or not set(command.evidence) <= others:
        raise _stale(command.chunk_id, f"has no {chunk.goal} other copies by {command.evidence}")
    if _order_of(chunk.copying, server_id):
        raise _stale(command.chunk_id, f"is just copied to server {server_id}")
    replicas = chunk.replicas
    if all(replica.server_id != server_id for replica in replicas):
        _check_disk(draft, server_id, command.disk_id)
        replicas = (*replicas, Replica(server_id, command.disk_id))
        if len(replicas) > chunk.goal + SPARE_PLACES_MAX:
            raise LimitExceeded(f"chunk {format_id(command.chunk_id)} has too many places already")
    before = _order_of(chunk.deleting, server_id)
    counted = server_id in chunk.holders if before is None else not before.fresh
    leaves = server_id in chunk.leaving if before is None else before.leaves == server_id
    marked = server_id if leaves else ServerId(0)
    dropped = msgspec.structs.replace(
        chunk,
        replicas=replicas,
        holders=tuple(holder for holder in chunk.holders if holder != server_id),
        deleting=(
            *_except(chunk.deleting, server_id),
            PlaceOrder(server_id, draft.order_index, not counted, leaves=marked),
        ),
    )
    put_chunk(draft, command.chunk_id, chunk, dropped)
    return Done()


@step(SetRepairBudget)
def set_repair_budget(draft: Draft, command: SetRepairBudget) -> RepairBudgetReport:
    """Write down how much repair may take, and return all of it. Refuses: InvalidArgument."""
    check_range("cluster_bytes_per_s", command.cluster_bytes_per_s, -1, SIZE_MAX)
    check_range("server_bytes_per_s", command.server_bytes_per_s, -1, SIZE_MAX)
    check_range("copies_per_server", command.copies_per_server, -1, REPAIR_COPIES_MAX)
    check_range("copies", command.copies, -1, REPAIR_COPIES_MAX)
    known = draft.view.repair_budget() or USUAL_BUDGET

    def chosen(asked: int, before: int) -> int:
        return before if asked == -1 else asked

    row = RepairBudget(
        chosen(command.cluster_bytes_per_s, known.cluster_bytes_per_s),
        chosen(command.server_bytes_per_s, known.server_bytes_per_s),
        chosen(command.copies_per_server, known.copies_per_server),
        chosen(command.copies, known.copies),
    )
    if row != known:
        draft.rows.put(REPAIR_BUDGET, ONLY, row)
        said = (
            f"repair may take {row.cluster_bytes_per_s >> 20} MiB/s in all and"
            f" {row.server_bytes_per_s >> 20} at a server (0: no limit),"
            f" {row.copies} copies at once, {row.copies_per_server} at a server"
        )
        note_event(draft, SETTING, "repair", said)
    return budget_report(row)


def budget_report(row: RepairBudget) -> RepairBudgetReport:
    """Return a budget as operators read it."""
    return RepairBudgetReport(
        row.cluster_bytes_per_s, row.server_bytes_per_s, row.copies_per_server, row.copies
    )


def forget_dropped(draft: Draft, chunk_id: ChunkId, order: PlaceOrder) -> bool:
    """Forget the place of a copy that a server deleted; return whether its order still stood."""
    for name, value in (("chunk", chunk_id), ("server", order.server_id)):
        check_range(name, value, 0, U64_MAX)
    chunk = draft.view.chunk(chunk_id)
    stands = None if chunk is None else _order_of(chunk.deleting, order.server_id)
    if chunk is None or stands is None or stands.order_index != order.order_index:
        return False
    forgotten = msgspec.structs.replace(
        chunk,
        replicas=_without(chunk, order.server_id),
        deleting=_except(chunk.deleting, order.server_id),
    )
    put_chunk(draft, chunk_id, chunk, forgotten)
    return True


def _sealed(draft: Draft, chunk_id: ChunkId, sealed_index: LogIndex) -> Chunk:
    chunk = get_chunk(draft, chunk_id)
    if chunk.state != SEALED or chunk.sealed_index != sealed_index:
        raise _stale(chunk_id, f"is {chunk.state}, not sealed as the leader saw it")
    return chunk


def _check_disk(draft: Draft, server_id: ServerId, disk_id: DiskId) -> None:
    check_range("server", server_id, 0, U64_MAX)
    server = draft.view.server(server_id)
    disks = () if server is None else server.disks
    if not any(disk.disk_id == disk_id and not disk.lost for disk in disks):
        raise UnknownServer(f"server {server_id} has no disk {format_id(disk_id)}")


def _check_move(draft: Draft, chunk: Chunk, command: PlaceCopy) -> None:
    """Refuse a move of a job that has ended meanwhile, or pauses. Raises: StaleCommand."""
    if not (command.job or command.leaves):
        return
    job = get_job(draft.view, command.job) if command.job else None
    # Without a job: the copy lies on another disk of its server than the row says.
    put_right = not command.job and command.leaves == command.server_id
    if not put_right and (job is None or job.phase != RUNNING):
        raise _stale(command.chunk_id, f"is not moved: job {command.job} does not run")
    if command.leaves not in chunk.holders:
        raise _stale(command.chunk_id, f"has no copy on server {command.leaves} to move")


def _order_of(orders: tuple[PlaceOrder, ...], server_id: ServerId) -> PlaceOrder | None:
    return next((one for one in orders if one.server_id == server_id), None)


def _except(orders: tuple[PlaceOrder, ...], server_id: ServerId) -> tuple[PlaceOrder, ...]:
    return tuple(one for one in orders if one.server_id != server_id)


def _without(chunk: Chunk, server_id: ServerId) -> tuple[Replica, ...]:
    return tuple(replica for replica in chunk.replicas if replica.server_id != server_id)


def _stale(chunk_id: ChunkId, why: str) -> StaleCommand:
    return StaleCommand(f"chunk {format_id(chunk_id)} {why}")
