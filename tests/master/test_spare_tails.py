"""The next tail of a file that fills its tails is created before it is needed (C10)."""

from __future__ import annotations

from collections.abc import Sequence

from growing import grant, grown, members
from peers import ScriptedServer
from trio import Client, Trio, wait_until

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.append import AppendGrant, AppendResult
from gfs_ha.protocol.disks import DrainDisk
from gfs_ha.protocol.jobs import JobStarted
from gfs_ha.protocol.metadata import Remove, Removed
from gfs_ha.protocol.reports import GetChunks

MORE_THAN_HALF = 600_000  # Of a chunk of 1 MiB.


def spare(servers: Sequence[ScriptedServer], granted: AppendGrant) -> ChunkId:
    """Return the tail that is kept ready beside an open one, once all its replicas are there."""

    def created() -> ChunkId | None:
        held = [{*server.replicas} for server in servers]
        for chunk_id in set().union(*held):
            if chunk_id > granted.tail.chunk_id and sum(chunk_id in one for one in held) == 3:
                return chunk_id
        return None

    found: ChunkId = wait_until(created, "the next tail to be created")
    # The leader hears of it with the heartbeats that come.
    heard = [(server, server.heard + 2) for server in servers if found in server.replicas]
    wait_until(lambda: all(one.heard >= count for one, count in heard), "the leader to hear of it")
    return found


def chunk_ids(client: Client) -> set[ChunkId]:
    return {row.chunk_id for row in client.ask(GetChunks()).items}


def test_a_file_that_fills_its_tail_has_the_next_one_ready(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, MORE_THAN_HALF)
    ready = spare(servers, first)
    assert chunk_ids(client) == {first.tail.chunk_id, ready}
    second = grant(client, refused=first.tail.chunk_id, sequences=(1, 2))
    assert second.tail.chunk_id == ready, "another one was placed"
    assert second.tail.file_offset == MORE_THAN_HALF
    assert second.results == (AppendResult(1, 0, MORE_THAN_HALF),)
    assert members(servers, second)[0].replicas[ready].primary
    # Who filled one fills the next: that is not waited for.
    third = spare(servers, second)
    assert grant(client, refused=second.tail.chunk_id).tail.chunk_id == third


def test_a_spare_with_a_server_that_is_gone_or_came_back_is_given_up_and_another_placed(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    """A server takes no append on a chunk that was open before its process started (C10)."""
    first = grown(client, servers, MORE_THAN_HALF)
    ready = spare(servers, first)
    last = next(
        server
        for server in reversed(servers)
        if ready in server.replicas and server is not members(servers, first)[0]
    )
    last.stop()
    back = ScriptedServer(trio, last.name, last.rack, start_id=2)
    back.server_id, back.replicas = last.server_id, last.replicas
    back.start()
    second = grant(client, refused=first.tail.chunk_id)
    assert second.tail.chunk_id != ready
    wait_until(lambda: ready not in chunk_ids(client), "the end of what is not used")


def test_a_spare_on_a_disk_that_fails_is_given_up_and_another_placed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, MORE_THAN_HALF)
    ready = spare(servers, first)
    failing = next(server for server in servers if ready in server.replicas)
    failing.ailing = "cannot write: Input/output error"
    # The file is still filling its tail: it has a spare that nobody has to find out about.
    wait_until(lambda: ready not in chunk_ids(client), "the end of what is not used")
    second = grant(client, refused=first.tail.chunk_id)
    assert second.tail.chunk_id != ready
    assert failing not in members(servers, second)


def test_a_spare_on_a_disk_that_is_drained_does_not_hold_the_drain_up(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, MORE_THAN_HALF)
    ready = spare(servers, first)
    leaving = next(server for server in servers if ready in server.replicas)
    assert isinstance(client.ask(DrainDisk(leaving.name, leaving.disk_id)), JobStarted)
    # It is nobody's: nobody else would find out while the file has its tail, for minutes.
    wait_until(lambda: ready not in chunk_ids(client), "the end of what is not used")


def test_a_spare_ends_with_its_file_and_with_its_leader(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    first = grown(client, servers, MORE_THAN_HALF)
    ready = spare(servers, first)
    trio.stop(trio.leader())
    wait_until(lambda: ready not in chunk_ids(client), "the end of what another epoch placed")
    assert isinstance(client.ask(Remove("/log")), Removed)
    wait_until(lambda: not chunk_ids(client), "the end of what no file needs")
