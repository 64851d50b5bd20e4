"""The life of a chunk: placed, finished by its writer or sealed by the leader, dead, forgotten."""

from __future__ import annotations

import msgspec

from gfs_ha.errors import (
    InvalidArgument,
    StaleCommand,
    TooFewCopies,
    WrongState,
)
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import U32_MAX, U64_MAX, check_count, check_range, check_text
from gfs_ha.master.state.chunk_births import NewChunk, bear
from gfs_ha.master.state.chunk_rows import (
    begin_sealing,
    begun_before,
    get_chunk,
    put_chunk,
    seal,
)
from gfs_ha.master.state.claims import check_claim_count, claim, require_claim
from gfs_ha.master.state.commands import (
    BeginSeal,
    CommitSeal,
    PlaceChunk,
    ReplicasDeleted,
    SealWithLoss,
)
from gfs_ha.master.state.copies import forget_dropped
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.reclaimed import DEAD_CHUNKS, SURPLUS, freed_of, reclaim
from gfs_ha.master.state.records import DEAD, OPEN, SEALED, SEALING, Chunk, PlaceOrder, Replica
from gfs_ha.master.state.tail_reads import lease_of, tail_of, why_ended
from gfs_ha.master.state.tail_seals import seal_tail
from gfs_ha.protocol.events import CHUNK, WARNING
from gfs_ha.protocol.metadata import (
    PUT,
    ChunkAllocated,
    ChunkSealed,
    Done,
    FinishChunk,
)

_REASON_BYTES_MAX = 255


@step(PlaceChunk, session=True)
def place_chunk(draft: Draft, command: PlaceChunk) -> ChunkAllocated:
    """Return a fresh open chunk, claimed by the session (C1, C11).

    Refuses: TooFewCopies, UnknownServer, LimitExceeded, InvalidArgument.
    """
    check_claim_count(draft)
    if command.kind != PUT:
        raise InvalidArgument(f"no session can write a chunk of kind {command.kind!r}")
    wanted = NewChunk(
        command.kind,
        command.durability,
        command.goal,
        command.replicas,
        claimed_by=draft.stamp.session_id,
        remarks=command.remarks,
        rule=command.rule,
        capacity=command.capacity,
    )
    allocated = bear(draft, wanted)
    claim(draft, allocated.chunk_id)
    return allocated


@step(FinishChunk, session=True)
def finish_chunk(draft: Draft, command: FinishChunk) -> ChunkSealed:
    """Seal the chunk where its writer says; a seal that came before stands (C2, C5).

    Refuses: UnknownChunk, WrongState, NotClaimed, TooFewCopies, InvalidArgument.
    """
    chunk = get_chunk(draft, command.chunk_id)
    if chunk.state == SEALED:
        return _sealed(command.chunk_id, chunk)
    name = format_id(command.chunk_id)
    if chunk.state == DEAD:
        raise WrongState(f"chunk {name} is dead; write its bytes again into a new one")
    require_claim(draft, command.chunk_id, chunk)
    holders = _check_end(command.chunk_id, chunk, command)
    if len(holders) < chunk.min_copies:
        raise TooFewCopies(
            f"chunk {name} has {len(holders)} holders, {chunk.min_copies} are needed;"
            " ask the leader to seal it"
        )
    if command.length < chunk.published_end:
        raise WrongState(
            f"chunk {name} cannot end at {command.length}: it is published up to"
            f" {chunk.published_end}"
        )
    end = (command.length, command.digest, holders)
    sealed = seal(chunk, draft.order_index, end)
    put_chunk(draft, command.chunk_id, chunk, sealed)
    return _sealed(command.chunk_id, sealed)


@step(BeginSeal)
def begin_seal(draft: Draft, command: BeginSeal) -> Done:
    """Make an open chunk sealing (C2), or begin anew what an older incarnation began.

    Servers may have obeyed orders of that which this one does not know. Refuses: UnknownChunk,
    StaleCommand.
    """
    check_text("reason", command.reason, _REASON_BYTES_MAX, bytes_min=0)
    chunk = get_chunk(draft, command.chunk_id)
    anew = chunk.state == SEALING and begun_before(chunk, draft.settings.incarnation)
    if chunk.state != OPEN and not anew:
        raise StaleCommand(f"chunk {format_id(command.chunk_id)} is {chunk.state}, not open")
    if chunk.unopened:
        raise StaleCommand(f"tail {format_id(command.chunk_id)} was never opened; abandon it")
    sealing = begin_sealing(chunk, draft.order_index, command.reason)
    put_chunk(draft, command.chunk_id, chunk, sealing)
    return Done()


@step(CommitSeal)
def commit_seal(draft: Draft, command: CommitSeal) -> ChunkSealed:
    """Seal the chunk where its replicas proved that it ends (C4).

    One holder is enough: what the others had beyond it was never acknowledged (C3). Refuses:
    UnknownChunk, StaleCommand, InvalidArgument, LimitExceeded.
    """
    return _commit(draft, command, get_chunk(draft, command.chunk_id))


@step(SealWithLoss)
def seal_with_loss(draft: Draft, command: SealWithLoss) -> ChunkSealed:
    """Seal the chunk where those that are left say, for a person gave the others up (C3).

    Never below the published end: files refer to those bytes. Refuses: as `commit_seal`.
    """
    seal_wanted, given_up = command.seal, command.given_up
    chunk = get_chunk(draft, seal_wanted.chunk_id)
    members = {replica.server_id for replica in chunk.replicas}
    left = set(given_up) - set(seal_wanted.holders)
    if not given_up or len(left) != len(given_up) or not left <= members:
        raise InvalidArgument(
            f"servers {given_up} of chunk {format_id(seal_wanted.chunk_id)} cannot be given up"
        )
    if chunk.state == SEALING and chunk.tail_of:
        _check_silent_primary(draft, chunk, left)
    names = ", ".join(str(one) for one in given_up)
    reason = f"a person gave up server {names}: {chunk.reason}"
    kept = reason.encode()[:_REASON_BYTES_MAX].decode("utf-8", "ignore")
    named = ", ".join(_name(draft, one) for one in given_up)
    said = f"sealed at {seal_wanted.length:,} bytes, a person gave up what {named} had beyond"
    note_event(draft, CHUNK, format_id(seal_wanted.chunk_id), said, WARNING)
    return _commit(draft, seal_wanted, msgspec.structs.replace(chunk, reason=kept))


def _name(draft: Draft, server_id: ServerId) -> str:
    server = draft.view.server(server_id)
    return server.name if server is not None else f"#{server_id}"


def _check_silent_primary(draft: Draft, chunk: Chunk, given_up: set[ServerId]) -> None:
    """Raise StaleCommand while a primary that is given up may tell appenders of records.

    Unreached by us it may be reached by them, and repeat that a record is in the file that was
    beyond the seal and is in none: the record would be lost although its appender asks again.
    """
    tail = tail_of(draft.view, chunk.tail_of)
    if tail is None or tail.server_id not in given_up:
        return
    lease = lease_of(draft.view, tail.server_id)
    if not why_ended(tail, lease, draft.counters.cluster_ms):
        raise StaleCommand(
            f"server {tail.server_id} may still order appends to {format_id(tail.chunk_id)}; wait"
            " until its lease has ended"
        )


def _commit(draft: Draft, command: CommitSeal, chunk: Chunk) -> ChunkSealed:
    name = format_id(command.chunk_id)
    if chunk.state == SEALED:
        return _sealed(command.chunk_id, chunk)
    if chunk.state != SEALING or chunk.begin_index != command.begin_index:
        raise StaleCommand(f"chunk {name} is {chunk.state}, not sealing since this order")
    holders = _check_end(command.chunk_id, chunk, command)
    if command.length < chunk.published_end:
        raise StaleCommand(
            f"chunk {name} is published up to {chunk.published_end} by now, beyond {command.length}"
        )
    if chunk.tail_of:
        return _sealed(command.chunk_id, seal_tail(draft, chunk, command, holders))
    end = (command.length, command.digest, holders)
    sealed = seal(chunk, draft.order_index, end)
    put_chunk(draft, command.chunk_id, chunk, sealed)
    return _sealed(command.chunk_id, sealed)


@step(ReplicasDeleted)
def replicas_deleted(draft: Draft, command: ReplicasDeleted) -> Done:
    """Forget replicas of dead chunks, and of living ones that were dropped.

    A dead chunk without a replica leaves the table.
    """
    check_count("replicas", command.replicas + command.dropped, ITEMS_PER_COMMAND_MAX)
    for position, (chunk_id, server_id, disk_id) in enumerate(command.replicas):
        for name, value in (("chunk", chunk_id), ("server", server_id), ("disk", disk_id)):
            check_range(name, value, 0, U64_MAX)
        chunk = draft.view.chunk(chunk_id)
        if chunk is None or chunk.state != DEAD:
            continue
        gone = Replica(server_id, disk_id)
        left = tuple(replica for replica in chunk.replicas if replica != gone)
        if len(left) != len(chunk.replicas):
            after = msgspec.structs.replace(chunk, replicas=left) if left else None
            put_chunk(draft, chunk_id, chunk, after)
            reclaim(draft, DEAD_CHUNKS, freed_of(command.freed, position))
    for position, (chunk_id, server_id, index) in enumerate(command.dropped):
        if forget_dropped(draft, chunk_id, PlaceOrder(server_id, index)):
            reclaim(draft, SURPLUS, freed_of(command.dropped_freed, position))
    return Done()


def _check_end(
    chunk_id: ChunkId, chunk: Chunk, command: FinishChunk | CommitSeal
) -> tuple[ServerId, ...]:
    """Return the holders. Raises: InvalidArgument unless they and the end fit the chunk."""
    check_range("length", command.length, 0, chunk.capacity)
    check_range("digest", command.digest, 0, U32_MAX)
    members = [replica.server_id for replica in chunk.replicas]
    holders = set(command.holders)
    if not holders or len(holders) != len(command.holders) or not holders <= set(members):
        raise InvalidArgument(
            f"holders {command.holders} of chunk {format_id(chunk_id)} are not of its replicas"
        )
    return tuple(server_id for server_id in members if server_id in holders)


def _sealed(chunk_id: ChunkId, chunk: Chunk) -> ChunkSealed:
    return ChunkSealed(chunk_id, chunk.length, chunk.digest, chunk.holders)
