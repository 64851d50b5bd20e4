"""Lost copies made anew by real masters, with chunkservers by script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import ScriptedServer
from test_chunks import put
from trio import Client, Trio, started, wait_until

from gfs_ha.ids import DiskId
from gfs_ha.limits import DEAD_MIN_S
from gfs_ha.protocol.control import CopyReplica, DeleteReplica
from gfs_ha.protocol.metadata import ChunkAllocated, Remove, ReportReplica
from gfs_ha.protocol.policy import SetReplication
from gfs_ha.protocol.repair import GetRepair, SetBudget, UnplacedRow, WaitingReason, WaitingRow
from gfs_ha.protocol.reports import ChunkRow, GetChunks, GetHealth, GetStatus
from gfs_ha.protocol.server_modes import ListPlaces


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    """Masters that take a server for dead as early as one may have them do."""
    cluster = Trio(tmp_path)
    cluster.dead_after_s = DEAD_MIN_S
    with started(cluster) as running:
        yield running


def row_of(client: Client, chunk: ChunkAllocated) -> ChunkRow:
    rows = client.ask(GetChunks()).items
    return next(row for row in rows if row.chunk_id == chunk.chunk_id)


def live_on(client: Client, chunk: ChunkAllocated) -> set[str]:
    row = row_of(client, chunk)
    return {replica.name for replica in row.replicas if replica.health == "live"}


def copy_orders(servers: list[ScriptedServer]) -> list[CopyReplica]:
    return [o for server in servers for o in server.orders if isinstance(o, CopyReplica)]


def filled(
    client: Client, servers: list[ScriptedServer], count: int = 1
) -> tuple[list[ChunkAllocated], list[ScriptedServer], ScriptedServer]:
    """Return chunks of files that are sealed, the servers of the first, and one that has it not."""
    for server in servers:
        server.copies = True
    chunks = [put(client, servers, f"/file{number}", 1000) for number in range(count)]
    wait_until(
        lambda: all(held.state == "sealed" for one in servers for held in one.replicas.values()),
        "the stamps",
    )
    first = chunks[0].chunk_id
    chain = [one for one in servers if first in one.replicas]
    (spare,) = [one for one in servers if one not in chain]
    return chunks, chain, spare


def test_a_dead_servers_copies_are_made_anew_and_its_own_are_surplus_when_it_returns(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunks, chain, _ = filled(client, servers, count=5)
    dead = chain[0]
    lost = [one for one in chunks if one.chunk_id in dead.replicas]
    term = trio.term()
    dead.stop()
    for chunk in lost:
        wait_until(
            lambda c=chunk: len(live_on(client, c) - {dead.name}) == 3, "three live copies again"
        )
    assert len(copy_orders(servers)) == len(lost), "no copy more than was lost"
    report = client.ask(GetRepair())
    wait_until(lambda: not client.ask(GetRepair()).chunk_count, "nothing to repair")
    assert report.made_count == len(lost) or trio.term() != term, "of its own reign it tells"
    wait_until(lambda: client.ask(GetHealth()).healthy, "health")
    [finding] = [one for one in client.ask(GetHealth()).items if one.code == "SERVER_DEAD"]
    assert finding.severity == "warning" and "on other servers" in finding.advice
    told = client.ask(GetStatus())
    assert told.overview is not None
    totals = told.overview.servers
    room = [row.total_bytes for row in told.servers if row.name != dead.name]
    assert (totals.count, totals.dead, totals.total_bytes) == (4, 1, sum(room))
    assert dead.name not in (totals.low, totals.high)
    again = ScriptedServer(trio, dead.name, dead.rack, start_id=2)
    again.copies, again.replicas = True, dead.replicas
    again.start()
    servers[servers.index(dead)] = again

    def settled() -> bool:
        rows = client.ask(GetChunks()).items
        return all(row.copies == 3 == len(row.replicas) for row in rows)

    wait_until(settled, "the surplus to go")
    for chunk in chunks:
        on = {server.name for server in servers if chunk.chunk_id in server.replicas}
        assert on == live_on(client, chunk)


def test_a_goal_above_the_servers_is_told_with_the_ways_out_until_fewer_copies_are_wanted(
    client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], _, _ = filled(client, servers)
    client.ask(SetReplication("/file0", 6))
    wait_until(lambda: any(one.path for one in client.ask(GetRepair()).unplaced), "its file")
    report = client.ask(GetRepair())
    assert report.unplaced == (UnplacedRow(chunk.chunk_id, "/file0", 6, 4, 1000),)
    assert (report.unplaced_count, report.unplaced_copies, report.unplaced_bytes) == (1, 2, 2000)
    assert report.ways == ("add a server", "want fewer copies: gfsctl setrep 4 /file0")
    listed = client.ask(ListPlaces(chunk.replicas[0].server_id)).items
    assert [(one.chunk_id, one.unplaced) for one in listed] == [(chunk.chunk_id, 2)]
    wait_until(lambda: row_of(client, chunk).copies == 4, "the copy that one can take")
    wait_until(lambda: any(one.stuck for one in client.ask(GetRepair()).reasons), "the reason")
    wait_until(lambda: client.ask(GetRepair()).copy_count == 2, "the next round")
    report = client.ask(GetRepair())
    why = "no server can take a copy: all 4 servers have a place of it"
    assert report.reasons == (WaitingReason(why, 1, 1000, True, (chunk.chunk_id,)),)
    assert report.waiting == (WaitingRow(chunk.chunk_id, 6, 1000, why, True),)
    assert report.eta_ms == -1
    [found] = client.ask(GetHealth()).items
    assert found.code == "CHUNKS_UNDER" and ", or ".join(report.ways) in found.advice
    overview = client.ask(GetStatus()).overview
    assert overview is not None and overview.repair.unplaced == 2
    client.ask(SetReplication("/file0", 4))
    wait_until(lambda: client.ask(GetHealth()).healthy, "health")
    wait_until(lambda: not client.ask(GetRepair()).ways, "nothing to be said")


def test_a_lost_disk_is_repaired_without_waiting(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, _ = filled(client, servers)
    wiped = chain[1]
    wiped.stop()
    again = ScriptedServer(trio, wiped.name, wiped.rack, start_id=2)
    again.disk_id = DiskId(5000)
    again.copies, again.server_id = True, wiped.server_id
    again.start()
    servers[servers.index(wiped)] = again

    def restored() -> bool:
        row = row_of(client, chunk)
        return row.copies == 3 == len(row.replicas)

    wait_until(restored, "three copies")
    assert len(copy_orders(servers)) == 1


def test_a_copy_that_is_gone_is_found_by_a_reader_and_made_anew(
    client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, _ = filled(client, servers)
    del chain[2].replicas[chunk.chunk_id]
    client.ask(ReportReplica(chunk.chunk_id, chain[2].server_id, "it has no such chunk"))

    def healed() -> bool:
        on = {server.name for server in servers if chunk.chunk_id in server.replicas}
        return len(on) == 3 and on == live_on(client, chunk)

    wait_until(healed, "another copy")


def test_a_damaged_copy_is_replaced_and_then_deleted(
    client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, spare = filled(client, servers)
    chain[0].replicas[chunk.chunk_id].state = "quarantined"
    wait_until(lambda: chunk.chunk_id in spare.replicas, "the copy")
    wait_until(lambda: chunk.chunk_id not in chain[0].replicas, "the bad one to go")
    wait_until(lambda: row_of(client, chunk).copies == 3, "three copies")
    assert [type(order) for order in chain[0].orders].count(DeleteReplica) == 1


def test_the_next_leader_goes_on_with_the_copies_of_the_one_before(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, spare = filled(client, servers)
    spare.deaf = True
    chain[0].replicas[chunk.chunk_id].state = "quarantined"
    wait_until(lambda: copy_orders([spare]), "the order")
    trio.stop(trio.leader())
    spare.deaf = False
    wait_until(lambda: row_of(client, chunk).copies == 3, "three copies")
    assert len({order.order_index for order in copy_orders(servers)}) == 1, "the same order"


def test_a_budget_of_no_copies_holds_repair_until_it_is_raised(
    client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, spare = filled(client, servers)
    assert client.ask(SetBudget(copies=0)).copies == 0
    chain[0].replicas[chunk.chunk_id].state = "quarantined"

    def held() -> bool:
        waiting = client.ask(GetRepair()).waiting
        return any("as many copies under way as they may" in one.reason for one in waiting)

    wait_until(held, "the reason")
    report = client.ask(GetRepair())
    assert not copy_orders(servers) and report.chunk_count == 1
    kept = client.ask(SetBudget(copies=9))
    assert kept.copies == 9 and kept.server_bytes_per_s == report.budget.server_bytes_per_s
    wait_until(lambda: chunk.chunk_id in spare.replicas, "the copy")


def test_a_copy_that_fails_is_told_with_its_reason_and_health_goes_on_saying_so(
    client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, spare = filled(client, servers)
    spare.copies = False
    for server in chain:
        server.copies = False
    chain[0].replicas[chunk.chunk_id].state = "quarantined"

    def told() -> bool:
        failures = client.ask(GetRepair()).failures
        return any(one.server == spare.name and "no room" in one.reason for one in failures)

    wait_until(told, "the failure")
    assert not client.ask(GetHealth()).healthy
    spare.copies = True
    wait_until(lambda: row_of(client, chunk).copies == 3, "another try")
    wait_until(lambda: not client.ask(GetRepair()).failures, "all is whole again")


def test_no_failure_is_told_of_a_chunk_that_is_deleted(
    client: Client, servers: list[ScriptedServer]
) -> None:
    [chunk], chain, _ = filled(client, servers)
    for server in servers:
        server.copies = False
    chain[0].replicas[chunk.chunk_id].state = "quarantined"
    wait_until(lambda: client.ask(GetRepair()).failures, "the failure")
    client.ask(Remove("/file0"))
    wait_until(lambda: not client.ask(GetRepair()).failures, "nothing more to repair")


def test_a_restart_of_all_masters_and_servers_copies_nothing(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunks, _, _ = filled(client, servers, count=3)
    for server in servers:
        server.stop()
    for name in list(trio.servers):
        trio.stop(name)
    trio.start()
    again = []
    for server in servers:
        fresh = ScriptedServer(trio, server.name, server.rack, start_id=2)
        fresh.copies, fresh.replicas = True, server.replicas
        again.append(fresh.start())
    for chunk in chunks:
        wait_until(lambda c=chunk: len(live_on(client, c)) == 3, "three live copies")
    heard = [server.heard for server in again]
    wait_until(
        lambda: all(one.heard > seen + 6 for one, seen in zip(again, heard, strict=True)),
        "further heartbeats",
    )
    assert not copy_orders(again)


def test_garbage_that_a_dead_server_holds_is_named_by_health(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    _, chain, _ = filled(client, servers)
    dead = chain[0]
    dead.stop()
    client.ask(Remove("/file0"))

    def told() -> list[str]:
        items = client.ask(GetHealth()).items
        return [one.message for one in items if one.code == "GARBAGE_HELD"]

    [message] = wait_until(told, "health to name the server")
    assert dead.name in message
