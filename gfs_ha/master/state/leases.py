"""Leases: which run of a server may order appends, until when, and what happened to that (G9).

They are held per server, so that one command renews many; they say who is the primary of which
tail, and since when. Safety does not depend on them: a tail ends by fencing its replicas (C2).
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import LimitExceeded
from gfs_ha.ids import ChunkId, InodeId, ServerId, StartId
from gfs_ha.limits import (
    ITEMS_PER_COMMAND_MAX,
    LEASE_EVENTS_MAX,
    LEASE_MS,
    TAILS_PER_SERVER_MAX,
)
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.tables import LEASE_EVENTS, LEASES, id_key
from gfs_ha.master.state.tail_commands import RenewLeases
from gfs_ha.master.state.tail_reads import lease_of
from gfs_ha.master.state.tail_records import ENDED, GRANTED, Lease, LeaseEventRow, Tail
from gfs_ha.protocol.metadata import Done


@step(RenewLeases)
def renew_leases(draft: Draft, command: RenewLeases) -> Done:
    """Let leases that are still as the leader saw them hold on. Refuses: LimitExceeded."""
    check_count("leases", command.leases, ITEMS_PER_COMMAND_MAX)
    now_ms = draft.counters.cluster_ms
    for server_id, start_id, seen_until_ms in command.leases:
        check_range("server", server_id, 0, U64_MAX)
        lease = lease_of(draft.view, server_id)
        if lease is None or (lease.start_id, lease.until_ms) != (start_id, seen_until_ms):
            continue
        if now_ms < lease.until_ms < now_ms + LEASE_MS:
            renewed = msgspec.structs.replace(
                lease, until_ms=now_ms + LEASE_MS, renewed=lease.renewed + 1
            )
            draft.rows.put(LEASES, id_key(server_id), renewed)
    return Done()


def lease_one_more(draft: Draft, server_id: ServerId, start_id: StartId) -> None:
    """Count one more tail of a primary, and grant its lease if this run holds none.

    Raises: LimitExceeded.
    """
    now_ms = draft.counters.cluster_ms
    lease = lease_of(draft.view, server_id)
    count = lease.tail_count if lease else 0
    if count >= TAILS_PER_SERVER_MAX:
        raise LimitExceeded(f"server {server_id} orders the appends of {count} tails already")
    if lease is None or lease.start_id != start_id or lease.until_ms <= now_ms:
        # Tails of an earlier run, or of a lease that ran out, stay with what they were granted
        # before: they are sealed (why_ended).
        lease = Lease(start_id, draft.order_index, draft.epoch, now_ms, now_ms + LEASE_MS)
    leased = msgspec.structs.replace(lease, tail_count=count + 1)
    draft.rows.put(LEASES, id_key(server_id), leased)


def lease_one_less(draft: Draft, server_id: ServerId) -> None:
    """Count one tail less; the lease goes with the last one."""
    lease = lease_of(draft.view, server_id)
    assert lease is not None, f"a tail of server {server_id} without a lease"
    if lease.tail_count <= 1:
        draft.rows.delete(LEASES, id_key(server_id))
        return
    left = msgspec.structs.replace(lease, tail_count=lease.tail_count - 1)
    draft.rows.put(LEASES, id_key(server_id), left)


def note_granted(draft: Draft, inode_id: InodeId, tail: Tail) -> None:
    """Write down that a server orders the appends to a tail."""
    _note(draft, _event(draft, GRANTED, (tail.chunk_id, inode_id), tail))


def note_ended(draft: Draft, inode_id: InodeId, tail: Tail, reason: str) -> None:
    """Write down that it does so no more."""
    event = _event(draft, ENDED, (tail.chunk_id, inode_id), tail)
    _note(draft, msgspec.structs.replace(event, reason=reason))


def _event(draft: Draft, kind: str, what: tuple[ChunkId, InodeId], tail: Tail) -> LeaseEventRow:
    chunk_id, inode_id = what
    return LeaseEventRow(
        index=draft.order_index,
        wall_ns=draft.stamp.wall_ns,
        kind=kind,
        chunk_id=chunk_id,
        inode_id=inode_id,
        path=tail.path,
        server_id=tail.server_id,
        epoch=tail.epoch,
    )


def _note(draft: Draft, event: LeaseEventRow) -> None:
    """Keep the newest LEASE_EVENTS_MAX; each command adds one, so one leaves."""
    draft.counters.last_lease_event += 1
    number = draft.counters.last_lease_event
    draft.rows.put(LEASE_EVENTS, id_key(number), event)
    if number > LEASE_EVENTS_MAX:
        draft.rows.delete(LEASE_EVENTS, id_key(number - LEASE_EVENTS_MAX))
