"""A seal that nobody can prove goes on by itself when a server comes back with its bytes (C3)."""

from __future__ import annotations

import pytest
from msgspec import structs
from peers import Held, ScriptedServer
from test_chunks import allocate, push
from trio import Client, Trio, wait_until

from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import ANY_DISK, ChunkId, DiskId, LogIndex, StartId
from gfs_ha.master import sealer
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.control import DiskFacts, FenceReplica, Order, OrderAnswer, OrderFailed
from gfs_ha.protocol.metadata import ChunkAllocated, SealChunk
from gfs_ha.protocol.reports import ChunkRow, GetChunks


class TwoDisks(ScriptedServer):
    """One of two disks may not be mounted while it runs."""

    unmounted = ANY_DISK

    def disks(self) -> tuple[DiskFacts, ...]:
        (first,) = super().disks()
        both = (first, structs.replace(first, disk_id=DiskId(first.disk_id + 1000)))
        return tuple(one for one in both if one.disk_id != self.unmounted)

    def start_again(self, unmounted: DiskId = ANY_DISK) -> None:
        before = self.registrations
        self.unmounted = unmounted
        self.start_id = StartId(self.start_id + 1)
        wait_until(lambda: self.registrations > before, f"{self.name} registers")


def row_of(client: Client, chunk_id: ChunkId) -> ChunkRow:
    (found,) = [one for one in client.ask(GetChunks()).items if one.chunk_id == chunk_id]
    return found


def block(
    client: Client, servers: list[ScriptedServer]
) -> tuple[ChunkAllocated, list[ScriptedServer]]:
    """Have a chunk that cannot be sealed: its first server is away, the others know nothing of it.

    Returns: the chunk, and its servers in the order of its chain.
    """
    chunk = allocate(client)
    away, *empty = chain = push(servers, chunk, 100)
    away.stop()
    for server in empty:
        del server.replicas[chunk.chunk_id]  # Started on an empty directory.
    client.post(client.asked(SealChunk(chunk.chunk_id, failed=(away.server_id,))))
    wait_until(lambda: row_of(client, chunk.chunk_id).blocked, "the block")
    return chunk, chain


def test_a_server_that_knew_nothing_is_asked_again_while_another_one_is_away(
    monkeypatch: pytest.MonkeyPatch, client: Client, servers: list[ScriptedServer]
) -> None:
    monkeypatch.setattr(sealer, "ASK_AGAIN_S", 0.3)
    chunk, (_, mistaken, _) = block(client, servers)
    mistaken.replicas[chunk.chunk_id] = Held(chunk.birth, 100)  # Started again, on the right one.
    sealed = wait_until(
        lambda: [row for row in client.ask(GetChunks()).items if row.state == "sealed"], "the seal"
    )
    assert (sealed[0].length, sealed[0].copies) == (100, 1)


def test_why_it_is_blocked_is_told_also_while_all_are_asked_anew(
    monkeypatch: pytest.MonkeyPatch, client: Client, servers: list[ScriptedServer], trio: Trio
) -> None:
    monkeypatch.setattr(sealer, "ASK_AGAIN_S", 0.05)
    chunk, (away, empty, _) = block(client, servers)
    before = len(empty.orders)

    term = trio.term()

    def asked_often() -> bool:
        told = row_of(client, chunk.chunk_id).blocked
        assert f"no answer from {away.name}" in told or trio.term() != term
        return len(empty.orders) >= before + 10

    wait_until(asked_often, "it is asked anew, again and again")
    empty.replicas[chunk.chunk_id] = Held(chunk.birth, 100)
    wait_until(lambda: row_of(client, chunk.chunk_id).state == "sealed", "the seal")
    assert not row_of(client, chunk.chunk_id).blocked


def test_a_chunk_is_not_blocked_while_who_may_prove_its_end_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, client: Client, servers: list[ScriptedServer]
) -> None:
    monkeypatch.setattr(sealer, "ASK_AGAIN_S", 0.3)
    chunk, (_, slow, _) = block(client, servers)
    obey = slow._obey

    def fence_only(order: Order) -> OrderAnswer:
        slow.deaf = isinstance(order, FenceReplica)
        return obey(order)

    monkeypatch.setattr(slow, "_obey", fence_only)
    slow.replicas[chunk.chunk_id] = Held(chunk.birth, 100)
    wait_until(lambda: not row_of(client, chunk.chunk_id).blocked, "that it is asked for its proof")
    assert row_of(client, chunk.chunk_id).state != "sealed"


def test_the_word_of_a_start_that_is_over_seals_nothing(
    monkeypatch: pytest.MonkeyPatch, trio: Trio, client: Client
) -> None:
    monkeypatch.setattr(sealer, "ASK_AGAIN_S", 60.0)  # Only its new start has it asked again.
    servers = [TwoDisks(trio, f"cs{at}", f"r{at}").start() for at in (1, 2, 3)]
    chunk = wait_until(
        lambda: len((made := allocate(client)).replicas) == 3 and made, "three servers"
    )
    first, _, third = chain = push(servers, chunk, 100)
    for server, place in zip(chain, chunk.replicas, strict=True):
        del server.replicas[chunk.chunk_id]
        server.start_id = StartId(server.start_id + 10 * server.server_id)  # No two are alike.
        server.start_again(unmounted=place.disk_id)
    third.deaf = True
    client.post(client.asked(SealChunk(chunk.chunk_id, failed=(third.server_id,))))
    wait_until(lambda: "bring them back" in row_of(client, chunk.chunk_id).blocked, "the block")

    first.deaf = True  # It has its disk again, and is slow to say so.
    first.replicas[chunk.chunk_id] = Held(chunk.birth, 100)
    first.start_again()
    desk = trio.servers[trio.leader()]._desk
    known = desk.sealing()._attempts[chunk.chunk_id]
    wait_until(lambda: first.start_id in known.chunk.starts.values(), "its start to be known")
    unknown = failure(UnknownReplica("no such chunk here"))
    late = OrderFailed(chunk.chunk_id, known.chunk.begin_index, "fence", unknown)
    before = StartId(first.start_id - 1)
    desk.post_quietly(lambda: desk.sealing().answered(first.server_id, before, late))
    # Nor does what it says to an order of before this one.
    older = structs.replace(late, order_index=LogIndex(late.order_index - 1))
    desk.post_quietly(lambda: desk.sealing().answered(first.server_id, first.start_id, older))
    third.deaf = False
    wait_until(lambda: chunk.chunk_id in third.replicas, "the word of the third")
    heard = third.heard
    wait_until(lambda: third.heard > heard + 1, "it to be heard")
    first.deaf = False
    found = wait_until(
        lambda: (row := row_of(client, chunk.chunk_id)).state == "sealed" and row, "the seal"
    )
    assert (found.length, found.copies) == (100, 1)
