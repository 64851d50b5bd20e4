"""Files that are appended to, by script: made, granted, grown, and servers that go deaf."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peers import ScriptedServer
from trio import Client, wait_until

from gfs_ha.ids import SessionId
from gfs_ha.protocol.append import AppendGrant, GrantAppend
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import Publish, Published, PublishFile, Removed
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


def members(servers: Sequence[ScriptedServer], granted: AppendGrant) -> list[ScriptedServer]:
    """Return the servers of the tail, the primary first."""
    by_id = {server.server_id: server for server in servers}
    return [by_id[replica.server_id] for replica in granted.tail.replicas]


def append(
    servers: Sequence[ScriptedServer],
    granted: AppendGrant,
    record: tuple[SessionId, int],
    length: int,
) -> None:
    """Have the servers of the tail hold one more record, as a push of the primary does."""
    for server in members(servers, granted):
        held = server.replicas[granted.tail.chunk_id]
        held.records.append(RecordEntry(*record, 1, held.end, length))
        held.end += length


def grown(
    client: Client, servers: Sequence[ScriptedServer], length: int, path: str = "/log"
) -> AppendGrant:
    """Return the grant of a file, made anew, with one record of that many bytes."""
    made(client, path)
    granted = grant(client, path)
    append(servers, granted, (client.session_id, 1), length)
    return granted


@contextmanager
def deaf(servers: Sequence[ScriptedServer]) -> Iterator[None]:
    """Have servers answer nothing for a while."""
    for server in servers:
        server.deaf = True
    try:
        yield
    finally:
        for server in servers:
            server.deaf = False


def removed_in_the_end(client: Client, asked: Asked) -> None:
    """Send a removal until it is applied; nothing but a hold may be in its way."""

    def again() -> bool:
        reply = client.send(asked)[0]
        assert isinstance(reply, Removed) or reply.error in ("Busy", "Held"), reply
        return isinstance(reply, Removed)

    wait_until(again, "the removal")
