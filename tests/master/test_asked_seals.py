"""A session asks for the seal of its own chunk: one end, told as often as it is asked (C5, S1)."""

from __future__ import annotations

import pytest
from peers import ScriptedServer
from test_chunks import allocate, push, put
from trio import Client, Trio, answer, wait_until

from gfs_ha.errors import DiskFailed
from gfs_ha.ids import SessionId
from gfs_ha.master import sealer
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    ChunkSealed,
    Extent,
    Publish,
    PublishFile,
    ReleaseChunks,
    SealChunk,
    StageExtents,
)
from gfs_ha.protocol.reports import GetChunks


def test_the_same_request_again_hears_the_same_end(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    push(servers, chunk, 500)
    request = client.asked(SealChunk(chunk.chunk_id))
    first = client.send(request)[0]
    assert isinstance(first, ChunkSealed), first
    assert client.send(request)[0] == first
    assert client.ask(SealChunk(chunk.chunk_id)) == first
    assert set(client.send(*(client.asked(SealChunk(chunk.chunk_id)) for _ in range(20)))) == {
        first
    }


def test_many_who_ask_at_once_hear_one_end(client: Client, servers: list[ScriptedServer]) -> None:
    chunk = allocate(client)
    push(servers, chunk, 500)
    asked = [client.asked(SealChunk(chunk.chunk_id, tuple(range(900, 1900)))) for _ in range(50)]
    [answer] = set(client.send(*asked))
    assert isinstance(answer, ChunkSealed) and answer.length == 500, answer


def test_a_sealed_chunk_tells_its_end_after_the_claim_is_over(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = put(client, servers, "/file", 1000)  # Finished, published and released.
    answer = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(answer, ChunkSealed) and answer.length == 1000, answer


def test_a_dead_chunk_and_an_unknown_one_say_so(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    for server in push(servers, chunk, 500):
        server.deaf = True  # So that the row stays.
    client.ask(ReleaseChunks((chunk.chunk_id,)))
    answer = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(answer, Failure) and answer.error == "WrongState", answer
    assert "is dead" in answer.message
    answer = client.ask(SealChunk(chunk.chunk_id + 1))
    assert isinstance(answer, Failure) and answer.error == "UnknownChunk", answer


def test_nobody_seals_the_open_chunk_of_another_session(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    push(servers, chunk, 500)
    told = Client(trio).ask(SealChunk(chunk.chunk_id))
    assert isinstance(told, Failure) and told.error == "NotClaimed", told
    made_up = Asked(SealChunk(chunk.chunk_id), SessionId(1 << 40), 1, 1)
    told = answer(trio.link(), made_up)
    assert isinstance(told, Failure) and told.error == "SessionExpired", told
    assert client.ask(GetChunks()).items[0].state == "open"


def test_who_waits_hears_that_the_chunk_died_meanwhile(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    for server in chain:
        server.deaf = True
    asked = client.asked(SealChunk(chunk.chunk_id)), client.asked(ReleaseChunks((chunk.chunk_id,)))
    answer = client.send(*asked)[0]
    assert isinstance(answer, Failure) and answer.error in ("WrongState", "UnknownChunk"), answer


def test_a_seal_that_takes_too_long_is_busy_before_the_deadline(
    client: Client, servers: list[ScriptedServer], trio: Trio
) -> None:
    chunk = allocate(client)
    staged = push(servers, chunk, 500) and client.ask(
        StageExtents(0, (Extent(0, chunk.chunk_id, 0, 500, 5),))
    )
    file = PublishFile("/half", 500, 0o644, 0, staged.content_id)
    assert not client.ask(Publish((file,))).files[0].error
    for server in servers:
        server.deaf = True
    answer = trio.refusal(client.asked(SealChunk(chunk.chunk_id)), 2.0)
    assert answer.error == "Busy", answer
    assert answer.details["retry_ms"] == 200
    for server in servers:
        server.deaf = False
    wait_until(lambda: isinstance(client.ask(SealChunk(chunk.chunk_id)), ChunkSealed), "the seal")


def test_nobody_waits_for_a_server_that_says_that_its_disk_fails(
    monkeypatch: pytest.MonkeyPatch, client: Client, servers: list[ScriptedServer]
) -> None:
    monkeypatch.setattr(sealer, "PATIENCE_S", 1000.0)
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    chain[0].failing = DiskFailed("cannot write: Input/output error")
    answer = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(answer, ChunkSealed) and answer.length == 500, answer
    assert set(answer.holders) == {one.server_id for one in chain[1:]}


def test_disks_that_fail_everywhere_are_no_proof_and_are_asked_until_one_answers(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    for one in chain:
        one.failing = DiskFailed("cannot write: Input/output error")
    client.post(client.asked(SealChunk(chunk.chunk_id)))
    wait_until(lambda: [row for row in client.ask(GetChunks()).items if row.blocked], "the block")
    chain[1].failing = None
    (sealed,) = wait_until(
        lambda: [row for row in client.ask(GetChunks()).items if row.state == "sealed"], "the seal"
    )
    assert (sealed.length, sealed.copies) == (500, 1)
