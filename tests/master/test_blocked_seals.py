"""A seal that nobody can prove goes on by itself when a server comes back with its bytes (C3)."""

from __future__ import annotations

import pytest
from peers import Held, ScriptedServer
from test_chunks import allocate, push
from trio import Client, wait_until

from gfs_ha.master import sealer
from gfs_ha.protocol.metadata import SealChunk
from gfs_ha.protocol.reports import GetChunks


def test_a_server_that_knew_nothing_is_asked_again_while_another_one_is_away(
    monkeypatch: pytest.MonkeyPatch, client: Client, servers: list[ScriptedServer]
) -> None:
    monkeypatch.setattr(sealer, "ASK_AGAIN_S", 0.3)
    chunk = allocate(client)
    away, mistaken, empty = push(servers, chunk, 100)
    away.stop()
    for server in (mistaken, empty):
        del server.replicas[chunk.chunk_id]  # Started on an empty directory.
    client.post(client.asked(SealChunk(chunk.chunk_id, failed=(away.server_id,))))
    wait_until(lambda: [row for row in client.ask(GetChunks()).items if row.blocked], "the block")
    mistaken.replicas[chunk.chunk_id] = Held(chunk.birth, 100)  # Started again, on the right one.
    sealed = wait_until(
        lambda: [row for row in client.ask(GetChunks()).items if row.state == "sealed"], "the seal"
    )
    assert (sealed[0].length, sealed[0].copies) == (100, 1)
