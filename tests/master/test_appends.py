"""Tails from grant to seal, between real masters and chunkservers by script (C8, C10)."""

from __future__ import annotations

from typing import Any

from peers import ScriptedServer
from trio import Client, Trio, wait_until

from gfs_ha.ids import SessionId
from gfs_ha.protocol.append import (
    AppendGrant,
    AppendResult,
    GrantAppend,
)
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    FileOpened,
    OpenFile,
    Publish,
    Published,
    PublishFile,
)
from gfs_ha.protocol.records import RecordEntry


def made(client: Client, path: str = "/log") -> str:
    """Make an empty file."""
    published = client.ask(Publish((PublishFile(path, 0, 0o644, 0),)))
    assert isinstance(published, Published) and not published.files[0].error, published
    return path


def grant(client: Client, path: str = "/log", **options: Any) -> AppendGrant:
    """Return a grant; Busy is asked again."""

    def ask() -> Any:
        reply = client.ask(GrantAppend(path, **options))
        busy = isinstance(reply, Failure) and reply.error in ("Busy", "Held")
        return None if busy else reply

    reply = wait_until(ask, "a grant")
    assert isinstance(reply, AppendGrant), reply
    return reply


def members(servers: list[ScriptedServer], granted: AppendGrant) -> list[ScriptedServer]:
    """Return the servers of the tail, the primary first."""
    by_id = {server.server_id: server for server in servers}
    return [by_id[replica.server_id] for replica in granted.tail.replicas]


def append(
    servers: list[ScriptedServer], granted: AppendGrant, record: tuple[SessionId, int], length: int
) -> None:
    """Have the servers of the tail hold one more record, as a push of the primary does."""
    for server in members(servers, granted):
        held = server.replicas[granted.tail.chunk_id]
        held.records.append(RecordEntry(*record, 1, held.end, length))
        held.end += length


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
    made(client)
    first = grant(client)
    append(servers, first, (client.session_id, 1), 100)
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
