"""Tails from grant to seal, between real masters and chunkservers by script (C8, C10)."""

from __future__ import annotations

from asker import Asker, followers
from growing import append, deaf, grant, grown, made, members
from peers import ScriptedServer
from trio import Client, Trio, answer, wait_until

from gfs_ha.ids import ChunkId, SessionId
from gfs_ha.protocol.append import (
    AppendResult,
    ConfirmTail,
    GrantAppend,
    LeaseList,
    ListLeases,
)
from gfs_ha.protocol.calls import LINEARIZABLE, Asked, ReadTerms
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    Done,
    FileOpened,
    FileStatus,
    ListDirectory,
    Locate,
    OpenFile,
    Stat,
)
from gfs_ha.protocol.reports import GetChunks, GetPlacement, PlacementReport


def test_a_tail_is_opened_and_granted_to_everybody_who_asks(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    first = grant(client)
    again = grant(Client(trio))
    assert first.tail.chunk_id == again.tail.chunk_id
    chain = members(servers, first)
    assert len(chain) == 3 and first.tail.primary == chain[0].server_id
    assert first.tail.start_id == chain[0].start_id and first.tail.file_offset == 0
    assert [server.replicas[first.tail.chunk_id].primary for server in chain] == [
        True,
        False,
        False,
    ]
    assert chain[0].lease_ms > 0, "the primary was not told of its lease"
    assert first.lease_ms > 50_000 and first.record_bytes_max == first.capacity // 4


def test_a_refused_tail_is_sealed_and_the_next_grant_knows_its_records(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, 100)
    append(servers, first, (client.session_id, 2), 50)
    second = grant(client, refused=first.tail.chunk_id, sequences=(1, 2, 3))
    assert second.tail.chunk_id != first.tail.chunk_id
    assert second.tail.file_offset == 150
    assert second.results == (AppendResult(1, 0, 100), AppendResult(2, 100, 50))
    assert not second.expired
    opened = client.ask(OpenFile("/log"))
    assert isinstance(opened, FileOpened)
    assert [(one.file_offset, one.chunk_id, one.length) for one in opened.extents] == [
        (0, first.tail.chunk_id, 150)
    ]
    assert opened.tail is not None and opened.tail.chunk_id == second.tail.chunk_id
    # Asked again with the old refusal, the new tail stays as it is.
    assert grant(client, refused=first.tail.chunk_id).tail == second.tail


def test_what_was_reported_of_a_growing_file_is_shown_and_confirmed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 100)

    def size() -> int:
        status = client.ask(Stat("/log"))
        assert isinstance(status, FileStatus) and status.growing
        return status.size

    wait_until(lambda: size() == 100, "the next heartbeat")
    [entry] = client.ask(ListDirectory("/")).entries
    assert entry.status.growing and entry.status.size == 100
    opened = client.ask(OpenFile("/log"))
    assert opened.tail.known_length == 100 and opened.status.size == 100 and not opened.extents
    confirm = ConfirmTail(granted.inode_id, granted.tail.chunk_id, granted.tail.granted_index)
    assert isinstance(client.ask(confirm), Done)
    grant(client, refused=granted.tail.chunk_id)
    changed = client.ask(confirm)
    assert isinstance(changed, Failure) and changed.error == "FileChanged"


def test_many_who_ask_at_once_get_the_same_tail(
    client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    asked = [client.asked(GrantAppend("/log")) for _ in range(50)]
    tails = {reply.tail.chunk_id for reply in client.send(*asked)}
    assert len(tails) == 1
    [refused] = tails
    again = [client.asked(GrantAppend("/log", refused=refused)) for _ in range(50)]
    assert len({reply.tail.chunk_id for reply in client.send(*again)} - tails) == 1
    kept = "no more tails than are needed"
    wait_until(lambda: sum(r.state != "dead" for r in client.ask(GetChunks()).items) <= 2, kept)


def test_a_server_that_does_not_create_its_replica_is_left_out(
    client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    first = grant(client)
    full, silent = members(servers, first)[0], members(servers, first)[1]
    full.creates = False
    second = grant(client, refused=first.tail.chunk_id)
    assert full.server_id not in {one.server_id for one in second.tail.replicas}
    full.creates, silent.deaf = True, True
    made(client, "/second")
    third = grant(client, "/second", machine=silent.name)
    assert silent.server_id not in {one.server_id for one in third.tail.replicas}
    silent.deaf = False
    opened = {second.tail.chunk_id, third.tail.chunk_id}
    wait_until(
        lambda: {row.chunk_id for row in client.ask(GetChunks()).items} == opened,
        "the tails that were given up to be gone",
    )
    assert not any(chunk_id not in opened for one in servers for chunk_id in one.replicas)


def test_when_no_server_creates_a_replica_the_client_is_told(
    client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    for server in servers:
        server.creates = False
    reply = client.ask(GrantAppend("/log"))
    assert isinstance(reply, Failure) and reply.error in ("Busy", "NoServers"), reply
    assert reply.raised().retryable
    for server in servers:
        server.creates = True
    grant(client)


def test_a_restarted_primary_loses_its_tail(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, 70)
    primary = members(servers, first)[0]
    primary.stop()
    again = ScriptedServer(trio, primary.name, primary.rack, start_id=2)
    again.replicas = primary.replicas
    again.start()
    second = grant(client, sequences=(1,))
    assert second.tail.chunk_id != first.tail.chunk_id
    assert second.results == (AppendResult(1, 0, 70),)


def test_a_dead_primary_that_a_client_reports_is_not_waited_for(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, 70)
    primary = members(servers, first)[0]
    primary.stop()
    second = grant(
        client,
        refused=first.tail.chunk_id,
        failed=(primary.server_id,),
        sequences=(1,),
    )
    assert primary.server_id not in {one.server_id for one in second.tail.replicas}
    assert second.results == (AppendResult(1, 0, 70),)


def test_another_leader_goes_on_with_an_open_tail(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, 70)
    trio.stop(trio.leader())
    again = grant(client)
    assert again.tail.chunk_id == first.tail.chunk_id
    assert again.tail.granted_index == first.tail.granted_index
    listed = client.ask(ListLeases())
    assert isinstance(listed, LeaseList) and listed.items[0].epoch == first.tail.birth


def test_a_leader_that_falls_while_a_tail_is_created_leaves_nothing_behind(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    with deaf(servers):
        client.post(client.asked(GrantAppend("/log")))
        wait_until(lambda: any(server.orders for server in servers), "the orders to create")
        placed = {row.chunk_id for row in client.ask(GetChunks()).items}
        trio.stop(trio.leader())
    granted = grant(client)
    assert granted.tail.chunk_id not in placed
    wait_until(
        lambda: [row.chunk_id for row in client.ask(GetChunks()).items] == [granted.tail.chunk_id],
        "the tail that was never opened to be gone",
    )


def test_a_leader_that_falls_in_a_seal_loses_no_record(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, 70)
    chain = members(servers, first)
    with deaf(chain):
        client.post(client.asked(GrantAppend("/log", refused=first.tail.chunk_id)))
        wait_until(lambda: client.ask(GetChunks()).items[0].state == "sealing", "the seal")
        trio.stop(trio.leader())
    second = grant(client, sequences=(1, 2))
    assert second.results == (AppendResult(1, 0, 70),) and second.tail.file_offset == 70


def test_who_has_no_session_or_no_file_is_told(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)

    def error(asked: Asked) -> str:
        reply = answer(trio.link(), asked)
        assert isinstance(reply, Failure), reply
        return reply.error

    assert error(Asked(GrantAppend("/log"))) == "SessionExpired"
    assert error(Asked(GrantAppend("/log"), SessionId(1 << 40))) == "SessionExpired"
    assert error(client.asked(GrantAppend("/log", appender=SessionId(99)))) == "SessionExpired"
    assert error(client.asked(GrantAppend("/nothing"))) == "NotFound"
    assert error(client.asked(GrantAppend("/"))) == "IsADirectory"
    assert error(client.asked(GrantAppend("/log", inode_id=77))) == "FileChanged"
    assert error(client.asked(GrantAppend("/log", durability="air"))) == "InvalidArgument"
    assert error(client.asked(GrantAppend("/log", appender=SessionId(-1)))) == "InvalidArgument"
    assert error(client.asked(GrantAppend("/log", inode_id=1 << 63))) == "InvalidArgument"
    assert error(client.asked(ConfirmTail(-1, 1, 1))) == "InvalidArgument"
    assert error(client.asked(ConfirmTail(99, 1, 1))) == "NotFound"
    assert error(client.asked(GrantAppend("/log", sequences=tuple(range(1025))))) == (
        "InvalidArgument"
    )


def test_a_chunk_that_grows_is_shown_and_placed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    granted = grant(client)
    rows = {row.chunk_id: row for row in client.ask(GetChunks()).items}
    row = rows[granted.tail.chunk_id]
    assert (row.kind, row.state) == ("tail", "open")
    placement = client.ask(GetPlacement("/log"))
    assert isinstance(placement, PlacementReport), placement
    assert [item.chunk.chunk_id for item in placement.items] == [granted.tail.chunk_id]
    append(servers, granted, (client.session_id, 1), 60)
    wait_until(lambda: client.ask(GetChunks()).items[0].length == 60, "the next heartbeat")
    placement = client.ask(GetPlacement("/log"))
    assert placement.size == placement.items[0].length == 60
    located = client.ask(Locate((ChunkId(granted.tail.chunk_id),)))
    assert len(located.chunks[0].replicas) == 3 and not located.chunks[0].sealed


def test_a_tail_that_is_being_sealed_is_granted_to_nobody(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, 70)
    chain = members(servers, first)
    with deaf(chain):
        client.post(client.asked(GrantAppend("/log", refused=first.tail.chunk_id)))
        wait_until(lambda: client.ask(GetChunks()).items[0].state == "sealing", "the seal")
        assert trio.refusal(client.asked(GrantAppend("/log")), 1.5).error == "Busy"
    assert grant(client).tail.file_offset == 70


def test_nothing_is_granted_before_every_server_has_its_replica(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    for server in servers[:3]:
        server.deaf = True  # So that every placement has one of them.
    answer = trio.refusal(client.asked(GrantAppend("/log")), 1.5)
    assert answer.error in ("Busy", "NoServers"), answer
    assert not client.ask(ListLeases()).items
    for server in servers[:3]:
        server.deaf = False
    chain = members(servers, grant(client))
    assert len(chain) == 3 and all(server.replicas for server in chain)


def test_a_follower_knows_that_a_file_grows_and_not_how_far(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 100)
    terms = ReadTerms(LINEARIZABLE)
    answer = Asker(trio).ask(followers(trio)[0], terms, Stat("/log"), OpenFile("/log"))
    status, opened = answer.replies
    assert isinstance(status, FileStatus) and status.growing and status.size == 0
    assert isinstance(opened, FileOpened) and opened.tail is not None
    assert (opened.tail.chunk_id, opened.tail.known_length) == (granted.tail.chunk_id, 0)
    assert opened.tail.granted_index == granted.tail.granted_index
