"""A tail that its primary ended is sealed by that word alone: no server is asked anything (C5)."""

from __future__ import annotations

import threading

from growing import grant, grown, members
from peers import ScriptedServer, digest_of
from trio import Client, wait_until

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.append import AppendGrant, AppendResult
from gfs_ha.protocol.control import FenceReplica, FinishedTail, ProveReplica
from gfs_ha.protocol.reports import GetChunks

LENGTH = 600_000  # More than half of a chunk of 1 MiB: so the next tail is kept ready.


def end_of(servers: list[ScriptedServer], granted: AppendGrant) -> FinishedTail:
    replicas = members(servers, granted)
    held = replicas[0].replicas[granted.tail.chunk_id]
    digest = digest_of(held.end)
    holders = tuple(server.server_id for server in replicas)
    chunk_id = granted.tail.chunk_id
    return FinishedTail(chunk_id, held.end, digest, digest, holders, tuple(held.records))


def state(client: Client, chunk_id: ChunkId) -> str:
    return next(row.state for row in client.ask(GetChunks()).items if row.chunk_id == chunk_id)


def asked(servers: list[ScriptedServer], chunk_id: ChunkId) -> bool:
    """Return whether any server was ordered to fence the chunk or to prove what it has."""
    return any(
        isinstance(order, FenceReplica | ProveReplica) and order.chunk_id == chunk_id
        for server in servers
        for order in list(server.orders)
    )


def wait_for_beats(servers: list[ScriptedServer]) -> None:
    """Return once a heartbeat of each that left from now on has been answered."""
    before = [server.heard + 2 for server in servers]
    wait_until(
        lambda: all(one.heard >= heard for one, heard in zip(servers, before, strict=True)),
        "heartbeats",
    )


def test_its_records_are_the_file_s_and_the_next_tail_follows(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, LENGTH)
    chunk_id = first.tail.chunk_id
    members(servers, first)[0].finished = (end_of(servers, first),)
    wait_until(lambda: state(client, chunk_id) == "sealed", "the seal")
    second = grant(client, sequences=(1, 2))
    assert second.tail.chunk_id != chunk_id and second.tail.file_offset == LENGTH
    assert second.results == (AppendResult(1, 0, LENGTH),)
    assert not asked(servers, chunk_id)
    # Its replicas are told, as of any sealed chunk; and its end is told with every heartbeat.
    for server in members(servers, first):
        wait_until(lambda one=server: one.replicas[chunk_id].state == "sealed", "the stamps")
    assert grant(client).tail.chunk_id == second.tail.chunk_id


def test_only_the_primary_of_the_tail_in_this_run_is_believed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, LENGTH)
    end = end_of(servers, first)
    others = [server for server in servers if server is not members(servers, first)[0]]
    for server in others:
        server.finished = (end,)
    wait_for_beats(others)
    assert state(client, first.tail.chunk_id) == "open"
    assert grant(client).tail.chunk_id == first.tail.chunk_id


def test_it_ends_a_seal_that_was_begun_and_whose_servers_do_not_answer(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, LENGTH)
    chunk_id = first.tail.chunk_id
    replicas = members(servers, first)
    end = end_of(servers, first)
    for server in replicas:
        server.deaf = True
    granted: list[AppendGrant] = []
    asking = threading.Thread(
        target=lambda: granted.append(grant(client, refused=chunk_id, sequences=(1,)))
    )
    asking.start()
    try:
        wait_until(lambda: state(client, chunk_id) == "sealing", "the beginning of a seal")
        replicas[0].finished = (end,)
        wait_until(lambda: state(client, chunk_id) == "sealed", "its end")
    finally:
        for server in replicas:
            server.deaf = False
        asking.join(60.0)
    assert granted[0].results == (AppendResult(1, 0, LENGTH),)
    assert granted[0].tail.file_offset == LENGTH
