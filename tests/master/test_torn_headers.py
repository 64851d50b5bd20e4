"""A power cut that tore headers amid a seal: unless sealed again, parts of it cannot be read."""

from __future__ import annotations

from peers import ScriptedServer, digest_of
from test_chunks import allocate, push
from trio import Client, wait_until

from gfs_ha.protocol.metadata import ChunkSealed, FinishChunk


def test_a_holder_that_lost_a_copy_of_its_header_is_told_to_seal(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 1000)
    for server in chain:
        # All lost power while they sealed: the copy that was being written is torn on each.
        server.replicas[chunk.chunk_id].state = "damaged"
    holders = tuple(server.server_id for server in chain)
    sealed = client.ask(FinishChunk(chunk.chunk_id, 1000, digest_of(1000), holders))
    assert isinstance(sealed, ChunkSealed), sealed
    wait_until(lambda: all(s.replicas[chunk.chunk_id].state == "sealed" for s in chain), "seals")
