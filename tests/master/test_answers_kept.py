"""What was applied is answered alike for ever, whatever has become of the cluster (S3)."""

from __future__ import annotations

from peers import ScriptedServer
from trio import Client, Trio

from gfs_ha.protocol.metadata import AllocateChunk, ChunkAllocated


def test_an_allocation_whose_answer_was_lost_is_not_refused_for_want_of_servers(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    asked = client.asked(AllocateChunk())
    first = client.send(asked)[0]
    assert isinstance(first, ChunkAllocated), first
    for server in servers:
        server.stop()
    trio.stop(trio.leader())  # The next leader has heard of no server: it can place nothing.
    assert client.send(asked)[0] == first
    refused = client.ask(AllocateChunk())
    assert refused.error in ("NoServers", "Busy"), refused
