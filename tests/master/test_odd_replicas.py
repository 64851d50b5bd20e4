"""A replica that the seal leaves out is told how the chunk ended, by whoever leads then (C4)."""

from __future__ import annotations

from peers import ScriptedServer, digest_of
from test_chunks import allocate, push
from trio import Client, Trio, wait_until

from gfs_ha.protocol.control import CompareReplica, DeleteReplica, FinishReplica
from gfs_ha.protocol.metadata import (
    ChunkAllocated,
    ChunkSealed,
    Extent,
    FinishChunk,
    Publish,
    PublishFile,
    SealChunk,
    StageExtents,
)
from gfs_ha.protocol.repair import SetBudget
from gfs_ha.protocol.reports import GetChunks, GetHealth


def compares(server: ScriptedServer) -> list[CompareReplica]:
    return [order for order in server.orders if isinstance(order, CompareReplica)]


def health_of(client: Client) -> dict[str, str]:
    """Return the replicas of the only chunk with their health, as operators see them."""
    [row] = client.ask(GetChunks()).items
    return {replica.name: replica.health for replica in row.replicas}


def seal_with_an_odd_one(
    client: Client, servers: list[ScriptedServer]
) -> tuple[ChunkAllocated, list[ScriptedServer]]:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    chain[2].replicas[chunk.chunk_id].odd = True
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed), sealed
    assert set(sealed.holders) == {server.server_id for server in chain[:2]}
    return chunk, chain


def test_an_odd_replica_is_quarantined_and_shown_as_what_it_is(
    client: Client, servers: list[ScriptedServer]
) -> None:
    client.ask(SetBudget(copies=0))  # Nobody else makes a copy of it meanwhile.
    chunk, chain = seal_with_an_odd_one(client, servers)
    odd = chain[2]
    wait_until(lambda: odd.replicas[chunk.chunk_id].state == "quarantined", "the quarantine")
    wait_until(lambda: health_of(client).get(odd.name) == "quarantined", "the report")
    [row] = client.ask(GetChunks(under=True)).items
    assert row.copies == 2 and len(row.replicas) == 3
    [finding] = [one for one in client.ask(GetHealth()).items if one.code == "REPLICAS_DAMAGED"]
    assert f"{odd.name}: is quarantined" in finding.message
    heard = odd.heard
    wait_until(lambda: odd.heard > heard + 2, "further heartbeats")
    assert len(compares(odd)) == 1, "once is enough"


def test_a_leader_that_falls_before_the_order_leaves_it_to_the_next(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    odd = chain[2]
    odd.replicas[chunk.chunk_id].odd = True
    fenced = wait_for_seal_without_answer(client, chunk, odd)
    assert fenced
    trio.stop(trio.leader())
    odd.deaf = False
    wait_until(lambda: odd.replicas[chunk.chunk_id].state == "quarantined", "the quarantine")
    wait_until(lambda: health_of(client).get(odd.name) == "quarantined", "the report")


def wait_for_seal_without_answer(
    client: Client, chunk: ChunkAllocated, odd: ScriptedServer
) -> bool:
    """Have the chunk sealed while the odd replica answers nothing; whether it was asked."""
    odd.deaf = True
    sealed = client.ask(SealChunk(chunk.chunk_id, (odd.server_id,)))
    assert isinstance(sealed, ChunkSealed) and odd.server_id not in sealed.holders, sealed
    return bool(odd.orders)


def test_an_equal_replica_that_came_late_is_adopted(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    late = chain[2]
    holders = tuple(server.server_id for server in chain[:2])
    sealed = client.ask(FinishChunk(chunk.chunk_id, 500, digest_of(500), holders))
    assert isinstance(sealed, ChunkSealed), sealed
    wait_until(lambda: compares(late), "the order")
    wait_until(lambda: late.replicas[chunk.chunk_id].state == "sealed", "the stamp")
    assert health_of(client) == {server.name: "live" for server in chain}


def test_a_holder_whose_replica_went_before_it_was_stamped_counts_no_more(
    client: Client, servers: list[ScriptedServer]
) -> None:
    """Its disk broke: asked for the stamp again and again it says that it knows of nothing."""
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    lost = chain[2]
    lost.deaf = True
    holders = tuple(server.server_id for server in chain)
    sealed = client.ask(FinishChunk(chunk.chunk_id, 500, digest_of(500), holders))
    assert isinstance(sealed, ChunkSealed), sealed
    wait_until(lambda: any(isinstance(one, FinishReplica) for one in lost.orders), "the order")
    del lost.replicas[chunk.chunk_id]
    lost.deaf = False
    wait_until(lambda: compares(lost), "the question")
    wait_until(lambda: client.ask(GetChunks()).items[0].copies == 2, "what came of it")


def test_a_refusal_is_forgotten_once_nobody_can_write_the_chunk_any_more(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    refusing = chain[2]
    del refusing.replicas[chunk.chunk_id]  # Nothing of it ever came there.
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed) and len(sealed.holders) == 2, sealed
    heard = refusing.heard
    wait_until(lambda: refusing.heard > heard + 2, "further heartbeats")
    assert refusing.replicas[chunk.chunk_id].state == "tombstone", "its writer may still push"
    staged = client.ask(StageExtents(0, (Extent(0, chunk.chunk_id, 0, 500, 5),)))
    file = PublishFile("/file", 500, 0o644, 0, staged.content_id)
    assert not client.ask(Publish((file,), release=(chunk.chunk_id,))).files[0].error
    wait_until(lambda: chunk.chunk_id not in refusing.replicas, "the order to forget")
    assert not [order for order in refusing.orders if isinstance(order, DeleteReplica)]
    assert client.ask(GetChunks()).items[0].state == "sealed"
