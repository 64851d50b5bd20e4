"""Changes that take files with open tails away: sealed first, applied once (C9)."""

from __future__ import annotations

from growing import append, deaf, grant, grown, made, members, removed_in_the_end
from peers import ScriptedServer
from trio import Client, Trio, answer, wait_until

from gfs_ha.ids import InodeId
from gfs_ha.protocol.append import (
    AppendGrant,
    AppendResult,
    FindRecords,
    GrantAppend,
    LeaseList,
    ListLeases,
    RecordsFound,
)
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.extents import StageCopy, StagedCopy
from gfs_ha.protocol.metadata import (
    Done,
    Mkdir,
    Publish,
    PublishFile,
    Remove,
    Removed,
    Rename,
    Stat,
)
from gfs_ha.protocol.reports import GetChunks, GetHealth


def leases(client: Client) -> LeaseList:
    listed = client.ask(ListLeases())
    assert isinstance(listed, LeaseList), listed
    return listed


def test_a_file_that_is_appended_to_is_removed_once_its_tail_is_sealed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    grown(client, servers, 100)
    asked = client.asked(Remove("/log"))
    removed = client.send(asked)[0]
    assert isinstance(removed, Removed), removed
    assert not leases(client).items
    # The same request again gets the same answer, although another file is there by now.
    made(client)
    second = grant(client)
    assert client.send(asked)[0] == removed
    assert grant(client).tail == second.tail


def test_a_copy_takes_all_that_was_appended_before_it(
    client: Client, servers: list[ScriptedServer]
) -> None:
    grown(client, servers, 100)
    copied = client.ask(StageCopy("/log", 0, 1 << 40, 0, 0))
    assert isinstance(copied, StagedCopy) and copied.copied == 100, copied
    assert grant(client).tail.file_offset == 100


def test_a_directory_is_removed_with_all_tails_below_it(
    client: Client, servers: list[ScriptedServer]
) -> None:
    client.ask(Mkdir("/a/b", parents=True))
    for path in ("/a/1", "/a/b/2", "/a/b/3", "/other"):
        made(client, path)
        grant(client, path)
    refused = client.ask(Remove("/a"))
    assert isinstance(refused, Failure) and refused.error == "DirectoryNotEmpty"
    assert leases(client).total == 4, "a command that is refused anyway has sealed tails"
    refused = client.ask(Remove("/", recursive=True))
    assert isinstance(refused, Failure) and refused.error == "InvalidArgument"
    refused = client.ask(Rename("/other", "/a"))
    assert isinstance(refused, Failure) and refused.error == "IsADirectory"
    assert leases(client).total == 4, "a command that is refused anyway has sealed tails"
    assert isinstance(client.ask(Remove("/a", recursive=True)), Removed)
    assert [row.path for row in leases(client).items] == ["/other"]


def test_a_file_is_replaced_by_rename_and_by_publish_with_its_tail_sealed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    for path in ("/new", "/log", "/put", "/stays"):
        made(client, path)
    for path in ("/log", "/put", "/stays"):
        grant(client, path)
    assert isinstance(client.ask(Rename("/new", "/log")), Done)
    client.ask(Rename("/put", "/log", replace=False))
    assert leases(client).total == 2
    assert not client.ask(Publish((PublishFile("/put", 0, 0o600, 0),))).files[0].error
    absent = PublishFile("/stays", 0, 0o600, 0, if_absent=True)
    assert client.ask(Publish((absent,))).files[0].error == "AlreadyExists"
    assert [row.path for row in leases(client).items] == ["/stays"]


def found(client: Client, granted: AppendGrant, *sequences: int) -> RecordsFound:
    """Return what became of records that were sent to the tail of a grant."""
    told = client.ask(
        FindRecords(granted.inode_id, granted.tail.chunk_id, client.session_id, sequences)
    )
    assert isinstance(told, RecordsFound), told
    return told


def test_a_file_is_moved_with_its_tail_sealed_for_who_appends_follows_the_name(
    client: Client, servers: list[ScriptedServer]
) -> None:
    """Else records go on into what was rotated away, after mv has said that it is done."""
    client.ask(Mkdir("/d"))
    granted = grown(client, servers, 100)
    made(client, "/d/stays")
    stays = grant(client, "/d/stays")
    assert isinstance(client.ask(Rename("/log", "/d/moved")), Done)
    assert [row.path for row in leases(client).items] == ["/d/stays"]
    assert client.ask(Stat("/d/moved")).size == 100
    gone = client.ask(GrantAppend("/log", inode_id=granted.inode_id))
    assert isinstance(gone, Failure) and gone.error == "FileChanged"
    assert found(client, granted, 1, 2) == RecordsFound((AppendResult(1, 0, 100),), window_start=1)
    made(client)
    assert isinstance(client.ask(Rename("/d", "/e")), Done)
    assert leases(client).total == 0
    assert found(client, stays, 1) == RecordsFound()


def test_what_became_of_records_is_told_when_their_file_is_removed_or_replaced(
    client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 100)
    assert isinstance(client.ask(Remove("/log")), Removed)
    assert found(client, granted, 1, 2) == RecordsFound((AppendResult(1, 0, 100),), window_start=1)
    for path in ("/log", "/new"):
        made(client, path)
    empty = grant(client)
    assert isinstance(client.ask(Rename("/new", "/log")), Done)
    assert found(client, empty, 2) == RecordsFound()
    never = FindRecords(InodeId(1 << 40), empty.tail.chunk_id, client.session_id, (1,))
    assert client.ask(never) == RecordsFound(expired=True)


def test_a_tail_that_is_asked_about_is_sealed_first(
    client: Client, servers: list[ScriptedServer]
) -> None:
    """Else a record that is still on its way is said to be nowhere, and comes there afterwards."""
    granted = grown(client, servers, 100)
    assert found(client, granted, 1, 2) == RecordsFound((AppendResult(1, 0, 100),), window_start=1)
    assert leases(client).total == 0
    second = grant(client)
    assert found(client, granted, 1).results
    assert grant(client).tail == second.tail, "another tail than the one asked about was sealed"


def test_a_seal_that_is_blocked_makes_the_change_wait_and_not_fail_for_good(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 100)
    chain = members(servers, granted)
    with deaf(chain):
        asked = client.asked(Remove("/log"))
        assert trio.refusal(asked, 2.0).error == "Busy"
        held = client.ask(GrantAppend("/log"))
        assert isinstance(held, Failure) and held.error in ("Busy", "Held"), held
    removed_in_the_end(client, asked)


def test_a_leader_that_falls_in_a_hold_leaves_the_request_to_the_next(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 100)
    chain = members(servers, granted)
    with deaf(chain):
        asked = client.asked(Remove("/log"))
        client.post(asked)
        wait_until(
            lambda: all(order_seen(server, granted.tail.chunk_id) for server in chain), "fences"
        )
        trio.stop(trio.leader())
    removed_in_the_end(client, asked)
    assert client.ask(Stat("/log")).error == "NotFound"
    made(client)
    assert grant(client).tail.file_offset == 0


def order_seen(server: ScriptedServer, chunk_id: int) -> bool:
    return any(
        order.chunk_id == chunk_id and type(order).__name__ == "FenceReplica"
        for order in list(server.orders)
    )


def test_the_same_request_at_once_on_two_ways_is_applied_once(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    append(servers, grant(client), (client.session_id, 1), 100)
    asked = client.asked(Remove("/log"))
    client.post(asked)
    removed = client.send(asked)[0]
    assert isinstance(removed, Removed), removed
    assert answer(trio.link(), asked) == removed


def test_whoever_comes_first_a_removed_file_leaves_no_tail(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    appender = Client(trio)
    for number in range(12):
        path = made(client, f"/{number}")
        appender.post(appender.asked(GrantAppend(path)))

        def gone(path: str = path) -> bool:
            reply = client.ask(Remove(path))
            assert isinstance(reply, Removed) or reply.error in ("Held", "Busy", "NotFound"), reply
            return isinstance(reply, Removed)

        wait_until(gone, "the removal")
        assert client.ask(Stat(path)).error == "NotFound"
    wait_until(lambda: not leases(client).total, "the last tails to end")
    wait_until(lambda: not client.ask(GetChunks()).items, "their chunks to go")


def test_a_blocked_end_of_a_file_is_named_in_health_and_is_held_no_longer_than_needed(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 100)
    chain = members(servers, granted)
    for server in chain[:2]:
        server.replicas[granted.tail.chunk_id].lost = 10
    chain[2].stop()
    answer = client.ask(Remove("/log"))
    assert isinstance(answer, Failure) and answer.error == "Busy", answer
    texts = [one.message for one in client.ask(GetHealth()).items if one.code == "CHUNKS_BLOCKED"]
    assert len(texts) == 1 and "the end of /log" in texts[0]
    again = ScriptedServer(trio, chain[2].name, chain[2].rack, start_id=2)
    again.replicas = chain[2].replicas
    again.start()
    wait_until(lambda: not leases(client).total, "the seal")
    granted = client.ask(GrantAppend("/log"))
    assert not isinstance(granted, Failure), "a change that was given up still holds the file"
