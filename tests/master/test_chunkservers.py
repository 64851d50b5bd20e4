"""Chunkservers and their leader: starts, failovers, returning servers, too few of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from free_ports import free_ports
from peers import Held, ScriptedServer, digest_of
from test_chunks import allocate, push, put
from trio import WAIT_S, Client, Trio, answer, wait_until

from gfs_ha.chunk.run import build_chunkserver
from gfs_ha.config import ChunkserverConfig, DiskConfig
from gfs_ha.ids import ChunkId, DiskId, Epoch, ServerId, StartId, make_chunk_id
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import (
    CompareReplica,
    DamageFound,
    DiskFacts,
    FinishReplica,
    RegisterServer,
)
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkSealed,
    FinishChunk,
    ReleaseChunks,
    Remove,
    ReportReplica,
)
from gfs_ha.protocol.repair import SetBudget
from gfs_ha.protocol.reports import GetChunks, GetHealth, GetServers, GetStatus
from gfs_ha.protocol.servers import ListServers


def codes(client: Client) -> set[str]:
    return {finding.code for finding in client.ask(GetHealth()).items}


def test_servers_are_known_to_the_next_leader_without_registering_again(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    trio.stop(trio.leader())

    def heard() -> bool:
        rows = client.ask(GetServers()).items
        return len(rows) == 4 and all(row.heartbeat_age_ms >= 0 for row in rows)

    wait_until(heard, "heartbeats at the new leader")
    assert [server.registrations for server in servers] == [1, 1, 1, 1]
    wait_until(lambda: {server.epoch.term for server in servers} == {trio.term()}, "its epoch")


def test_a_server_that_was_told_a_newer_epoch_is_sent_on_and_gets_no_orders(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    [first, *others] = push(servers, chunk, 10)
    first.stop()
    again = ScriptedServer(trio, first.name, first.rack)
    again.server_id, again.replicas, again.epoch = first.server_id, first.replicas, Epoch(7, 1)
    again.start(register=False)
    wait_until(lambda: again.refusals, "the refusal")
    client.ask(ReleaseChunks((chunk.chunk_id,)))
    wait_until(lambda: not any(server.replicas for server in others), "the other deletes")
    assert not again.orders


def test_a_restarted_server_keeps_its_id_and_must_register_its_start(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    servers[0].stop()
    again = ScriptedServer(trio, "cs1", "r1", start_id=2)
    again.server_id = servers[0].server_id
    again.start(register=False)
    wait_until(lambda: again.registrations, "the order to register again")
    assert again.server_id == servers[0].server_id
    rows = client.ask(GetServers()).items
    assert len(rows) == 4
    assert len(client.ask(ListServers()).servers) == 4


def test_a_second_process_under_a_living_name_waits_until_the_first_is_silent(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    first = servers[0]
    second = ScriptedServer(trio, first.name, first.rack, start_id=99)
    second.disk_id = DiskId(7777)
    request = RegisterServer(
        first.name,
        ServerId(0),
        "127.0.0.1",
        7999,
        first.rack,
        first.name,
        StartId(99),
        1,
        second.disks(),
    )
    refused = answer(trio.link("chunkserver", first.name), Asked(request))
    assert isinstance(refused, Failure) and refused.error == "Busy", refused
    assert "another data directory" in refused.message
    first.stop()
    second.start()  # Asks again until it is taken.
    assert second.server_id == first.server_id


@pytest.mark.parametrize("name", ["../../evil", "-rf", "cs 1", "cs1:0x7", ".", "x" * 65])
def test_a_name_that_no_file_could_give_a_server_is_refused(guest: Client, name: str) -> None:
    disks = (DiskFacts(DiskId(4242), 1 << 30, 1 << 30, 0),)
    where = ("127.0.0.1", 7999, "r1", "h", StartId(1), 1)
    refused = guest.ask(RegisterServer(name, ServerId(0), *where, disks))
    assert isinstance(refused, Failure) and refused.error == "InvalidArgument", refused


def test_a_server_that_returns_deletes_what_died_meanwhile(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = put(client, servers, "/file", 1000)
    chain = [server for server in servers if chunk.chunk_id in server.replicas]
    away = chain[2]
    away.stop()
    client.ask(Remove("/file"))

    def left() -> list[tuple[str, str]]:
        rows = client.ask(GetChunks()).items
        return [(row.state, replica.name) for row in rows for replica in row.replicas]

    wait_until(lambda: left() == [("dead", away.name)], "the other deletes")
    again = ScriptedServer(trio, away.name, away.rack, start_id=2)
    again.replicas = away.replicas
    again.start()
    wait_until(lambda: not again.replicas, "the delete")
    wait_until(lambda: not client.ask(GetChunks()).items, "the row to go")


def test_only_what_can_never_come_back_is_deleted_by_comparison(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    push(servers, chunk, 10)
    client.ask(ReleaseChunks((chunk.chunk_id,)))
    wait_until(lambda: not client.ask(GetChunks()).items, "the row to go")
    gone, unborn, foreign = chunk.chunk_id, ChunkId(chunk.chunk_id + 1), make_chunk_id(9, 1)
    servers[0].replicas.update({one: Held(chunk.birth, 10) for one in (gone, unborn, foreign)})
    wait_until(lambda: gone not in servers[0].replicas, "the delete of what is gone")
    deleted = {order.chunk_id for order in servers[0].orders}
    assert unborn not in deleted and foreign not in deleted


def test_an_equal_copy_that_came_late_is_compared_adopted_and_stamped(
    client: Client, servers: list[ScriptedServer]
) -> None:
    client.ask(SetBudget(copies=0))  # Nobody else makes a copy of it meanwhile.
    chunk = allocate(client)
    chain = push(servers, chunk, 10)
    holders = tuple(server.server_id for server in chain[:2])
    sealed = client.ask(FinishChunk(chunk.chunk_id, 10, digest_of(10), holders))
    assert isinstance(sealed, ChunkSealed)
    wait_until(lambda: all(s.replicas[chunk.chunk_id].state == "sealed" for s in chain[:2]), "seal")
    late = chain[2]
    wait_until(lambda: late.replicas[chunk.chunk_id].state == "sealed", "the third")
    kinds = [type(order) for order in late.orders]
    assert kinds[0] is CompareReplica, "first to look whether its bytes are the same (C4)"
    assert set(kinds) == {CompareReplica, FinishReplica}
    [row] = client.ask(GetChunks()).items
    assert row.copies == 3 and len(row.replicas) == 3


def test_a_holder_that_lost_bytes_before_its_stamp_counts_no_more_and_is_made_good(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 10)
    for server in servers:
        server.copies = True
    chain[2].replicas[chunk.chunk_id].lost = 4  # It was in the memory of a machine without power.
    holders = tuple(server.server_id for server in chain)
    sealed = client.ask(FinishChunk(chunk.chunk_id, 10, digest_of(10), holders))
    assert isinstance(sealed, ChunkSealed)

    def whole() -> int:
        held = [server.replicas.get(chunk.chunk_id) for server in servers]
        return sum(one is not None and one.state == "sealed" and not one.lost for one in held)

    wait_until(lambda: whole() == 3, "another copy")


def test_with_a_server_missing_a_chunk_gets_fewer_copies_and_is_listed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    for server in servers[2:]:
        server.stop()
    wait_until(lambda: len(client.ask(ListServers()).servers) == 2, "their silence to be noticed")
    chunk = allocate(client)
    assert len(chunk.replicas) == 2
    assert "2 of 3 copies" in chunk.remarks[-1] and "cs3" in chunk.remarks[-1]
    chain = push(servers, chunk, 10)
    holders = tuple(server.server_id for server in chain)
    sealed = client.ask(FinishChunk(chunk.chunk_id, 10, digest_of(10), holders))
    assert isinstance(sealed, ChunkSealed)
    [row] = client.ask(GetChunks(under=True)).items
    assert (row.chunk_id, row.copies, row.goal) == (chunk.chunk_id, 2, 3)
    assert {"CHUNKS_UNDER", "SERVER_SUSPECT"} <= codes(client)
    status = client.ask(GetStatus())
    assert status.under_count == 1 and not status.health.healthy
    none = client.ask(AllocateChunk(failed=(chain[0].server_id,)))
    assert none.error == "NoServers" and "was seen failing by the client" in none.message


def test_a_server_whose_name_means_itself_on_its_machine_only_is_told_of(
    trio: Trio, client: Client
) -> None:
    [port] = free_ports(1)
    disks = (DiskConfig(trio.directory / "cs1"),)
    own = ChunkserverConfig("cs1", disks, "127.1", port, "r1", "cs1")  # No address, but a name.
    real = build_chunkserver(replace(trio.config("m1"), master=None, chunkserver=own), trio.runtime)
    real.start()
    try:
        for number in (2, 3):
            server = ScriptedServer(trio, f"cs{number}", f"r{number}")
            server.host = f"10.0.0.{number}"
            server.start()
            wait_until(lambda server=server: server.heard, "its first heartbeat")
        wait_until(lambda: "SERVER_ADDRESS" in codes(client), "what it says of itself")
        [found] = [one for one in client.ask(GetHealth()).items if one.code == "SERVER_ADDRESS"]
        assert found.subject == "cs1" and "listens at 127.0.0.1" in found.message
    finally:
        assert real.stop(WAIT_S)


def test_a_report_of_a_replica_is_taken(client: Client, servers: list[ScriptedServer]) -> None:
    chunk = put(client, servers, "/file", 100)
    server_id = chunk.replicas[0].server_id
    client.ask(ReportReplica(chunk.chunk_id, server_id, "times out"))
    assert "REPLICAS_DAMAGED" not in codes(client), "what a client says is no fact"


def test_damage_is_told_of_each_server_that_found_it(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = put(client, servers, "/file", 100)
    holders = [server for server in servers if chunk.chunk_id in server.replicas]
    for server in holders:
        server.damage = (DamageFound(chunk.chunk_id, server.disk_id, 0),)

    def told() -> bool:
        found = [one for one in client.ask(GetHealth()).items if one.code == "REPLICAS_DAMAGED"]
        return any(all(server.name in one.message for server in holders) for one in found)

    wait_until(told, "a finding that names all of them")
