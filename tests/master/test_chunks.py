"""Chunks from allocation to death, between real masters and chunkservers by script."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from peers import Held, ScriptedServer, digest_of
from trio import CALL_S, Client, Trio, wait_until

from gfs_ha.errors import GfsError
from gfs_ha.ids import ServerId, SessionId
from gfs_ha.master import observed, unreached
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    ChunkSealed,
    Extent,
    FileOpened,
    FinishChunk,
    OpenFile,
    Publish,
    Published,
    PublishFile,
    Remove,
    Renew,
    SealChunk,
    Staged,
    StageExtents,
    Stat,
)
from gfs_ha.protocol.reports import GetChunks, GetHealth, GetPlacement


def allocate(client: Client, **options: object) -> ChunkAllocated:
    chunk = client.ask(AllocateChunk(**options))  # type: ignore[arg-type]
    assert isinstance(chunk, ChunkAllocated), chunk
    return chunk


def push(servers: list[ScriptedServer], chunk: ChunkAllocated, length: int) -> list[ScriptedServer]:
    """Have the chunk's servers hold `length` bytes, as a push does; return them in chain order."""
    by_id = {server.server_id: server for server in servers}
    chain = [by_id[replica.server_id] for replica in chunk.replicas]
    for server in chain:
        server.replicas[chunk.chunk_id] = Held(chunk.birth, length)
    return chain


def put(client: Client, servers: list[ScriptedServer], path: str, length: int) -> ChunkAllocated:
    chunk = allocate(client)
    chain = push(servers, chunk, length)
    holders = tuple(server.server_id for server in chain)
    sealed = client.ask(FinishChunk(chunk.chunk_id, length, digest_of(length), holders))
    assert isinstance(sealed, ChunkSealed), sealed
    staged = client.ask(StageExtents(0, (Extent(0, chunk.chunk_id, 0, length, 5),)))
    assert isinstance(staged, Staged), staged
    file = PublishFile(path, length, 0o644, 0, staged.content_id)
    published = client.ask(Publish((file,), release=(chunk.chunk_id,)))
    assert isinstance(published, Published) and not published.files[0].error, published
    return chunk


def test_a_file_is_allocated_finished_staged_published_and_found(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = put(client, servers, "/file", 1000)
    racks = [replica.rack for replica in chunk.replicas]
    assert len(racks) == 3 and racks[0] == racks[1] != racks[2]
    opened = client.ask(OpenFile("/file"))
    assert isinstance(opened, FileOpened)
    assert opened.extents[0].chunk_id == chunk.chunk_id
    assert len(opened.chunks[0].replicas) == 3
    placement = client.ask(GetPlacement("/file"))
    assert placement.items[0].chunk.copies == 3
    # The writer sealed it; the leader tells the servers.
    chain = [s for s in servers if chunk.chunk_id in s.replicas]
    wait_until(lambda: all(s.replicas[chunk.chunk_id].state == "sealed" for s in chain), "seals")


def test_a_server_that_only_the_masters_reach_gets_nothing_new_and_is_read_from_last(
    trio: Trio,
    client: Client,
    servers: list[ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The servers have just started: what is said of them now may be of before.
    monkeypatch.setattr(unreached, "DEAF_S", 0.0)
    cut_off = put(client, servers, "/file", 1000).replicas[0].server_id
    witnesses = [Client(trio), Client(trio)]
    for witness in witnesses:
        allocate(witness)  # A session that the leader knows.
        allocate(witness, failed=(cut_off,))
    for _ in range(10):
        replicas = allocate(client).replicas
        assert len(replicas) == 3 and cut_off not in [one.server_id for one in replicas]
    opened = client.ask(OpenFile("/file"))
    assert isinstance(opened, FileOpened)
    places = opened.chunks[0].replicas
    assert {one.server_id for one in places if not one.live} == {cut_off}
    codes = [finding.code for finding in client.ask(GetHealth()).items]
    assert "SERVER_CUT_OFF" in codes and "SERVER_SUSPECT" not in codes


def test_a_server_that_answers_that_its_disk_failed_is_not_taken_for_one_that_is_cut_off(
    trio: Trio,
    client: Client,
    servers: list[ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unreached, "DEAF_S", 0.0)
    place = put(client, servers, "/file", 1000).replicas[0]
    for witness in [Client(trio), Client(trio)]:
        chunk = allocate_on(witness, place.server_id)
        push(servers, chunk, 10)
        ended = SealChunk(chunk.chunk_id, (place.server_id,), failed_disks=(place.disk_id,))
        assert isinstance(witness.ask(ended), ChunkSealed)
        told = allocate(witness, failed_disks=(place.disk_id,)).replicas
        assert place.disk_id not in [one.disk_id for one in told]
    codes = [finding.code for finding in client.ask(GetHealth()).items]
    assert "SERVER_CUT_OFF" not in codes
    allocate_on(client, place.server_id)


def allocate_on(client: Client, server_id: ServerId) -> ChunkAllocated:
    """Return a chunk with a replica on a server, which is no worse than the others."""
    for _ in range(50):
        chunk = allocate(client)
        if server_id in [one.server_id for one in chunk.replicas]:
            return chunk
    pytest.fail(f"nothing is placed on server {server_id}")


def test_the_replicas_of_a_removed_file_are_deleted_and_forgotten(
    client: Client, servers: list[ScriptedServer]
) -> None:
    put(client, servers, "/file", 1000)
    client.ask(Remove("/file"))
    wait_until(lambda: not any(server.replicas for server in servers), "deletes")
    wait_until(lambda: not client.ask(GetChunks()).items, "the row to go")
    assert client.ask(Stat("/file")).error == "NotFound"


def test_a_broken_chunk_is_sealed_for_its_session(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    chain[0].replicas[chunk.chunk_id].end = 700
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed), sealed
    assert (sealed.length, sealed.digest) == (500, digest_of(500))
    assert set(sealed.holders) == {server.server_id for server in chain}
    wait_until(lambda: all(s.replicas[chunk.chunk_id].end == 500 for s in chain), "the cut")


def test_a_seal_does_not_wait_long_for_a_server_that_the_client_saw_failing(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    chain[1].deaf = True
    sealed = client.ask(SealChunk(chunk.chunk_id, (chain[1].server_id,)))
    assert isinstance(sealed, ChunkSealed), sealed
    assert set(sealed.holders) == {chain[0].server_id, chain[2].server_id}


def test_a_chunk_without_a_proof_is_blocked_until_a_server_with_one_returns(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    for server in chain[:2]:
        server.replicas[chunk.chunk_id].lost = 100
    chain[2].stop()
    answer = client.ask(SealChunk(chunk.chunk_id, (chain[2].server_id,)))
    assert isinstance(answer, Failure) and answer.error == "Busy", answer
    row = client.ask(GetChunks()).items[0]
    assert row.state == "sealing" and "no replica is proof" in row.blocked
    again = ScriptedServer(trio, chain[2].name, chain[2].rack, start_id=2)
    again.replicas = chain[2].replicas
    again.start()
    wait_until(lambda: client.ask(GetChunks()).items[0].state == "sealed", "the seal")
    row = client.ask(GetChunks()).items[0]
    assert (row.length, [replica.name for replica in row.replicas]) == (500, [again.name])


def test_the_first_committed_end_wins_over_a_seal_that_is_under_way(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    for server in chain:
        server.deaf = True
    client.post(client.asked(SealChunk(chunk.chunk_id)))
    wait_until(lambda: all(server.orders for server in chain), "the fences")
    holders = tuple(server.server_id for server in chain[:2])
    finished = client.ask(FinishChunk(chunk.chunk_id, 400, digest_of(400), holders))
    assert client.ask(SealChunk(chunk.chunk_id)) == finished
    for server in chain:
        server.deaf = False
    wait_until(lambda: all(s.replicas[chunk.chunk_id].end == 400 for s in chain[:2]), "the cut")


def test_no_seal_goes_below_what_was_published_meanwhile(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    for server in chain[:2]:
        server.deaf = True
    chain[2].replicas[chunk.chunk_id].end = 300
    client.post(client.asked(SealChunk(chunk.chunk_id)))
    wait_until(lambda: chain[2].replicas[chunk.chunk_id].state == "fenced", "the first fence")
    staged = client.ask(StageExtents(0, (Extent(0, chunk.chunk_id, 0, 450, 5),)))
    assert isinstance(staged, Staged), staged
    for server in chain[:2]:
        server.deaf = False
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed), sealed
    assert sealed.length == 500
    assert set(sealed.holders) == {server.server_id for server in chain[:2]}


def test_another_leader_goes_on_with_a_seal(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    chunk = allocate(client)
    chain = push(servers, chunk, 500)
    for server in chain:
        server.deaf = True
    request = client.asked(SealChunk(chunk.chunk_id))
    client.post(request)
    wait_until(lambda: all(server.orders for server in chain), "the fences")
    trio.stop(trio.leader())
    for server in chain:
        server.deaf = False
    sealed = client.ask(SealChunk(chunk.chunk_id))
    assert isinstance(sealed, ChunkSealed) and sealed.length == 500, sealed


def test_a_new_leader_hears_its_servers_before_it_makes_do_with_fewer_copies(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    trio.stop(trio.leader())
    answers: list[object] = []

    def allocated() -> bool:
        answers.append(client.ask(AllocateChunk()))
        return isinstance(answers[-1], ChunkAllocated)

    wait_until(allocated, "a chunk of the new leader")
    chunk = answers[-1]
    assert isinstance(chunk, ChunkAllocated)
    assert len(chunk.replicas) == 3, (chunk, answers)


def test_any_request_of_a_session_keeps_its_claims(
    client: Client, servers: list[ScriptedServer], trio: Trio
) -> None:
    trio.silence_claims_after(3.0)
    silent = Client(trio)
    kept, given_up = allocate(client), allocate(silent)
    onlooker = Client(trio)

    def claimed() -> set[int]:
        client.ask(Renew())
        return {row.chunk_id for row in onlooker.ask(GetChunks()).items if row.claimed_by}

    assert claimed() == {kept.chunk_id, given_up.chunk_id}
    wait_until(lambda: claimed() == {kept.chunk_id}, "the end of the silent one's claim")


def test_made_up_sessions_push_no_real_one_out_of_what_the_leader_heard(
    client: Client, servers: list[ScriptedServer], trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observed, "SESSIONS_SEEN_MAX", 10)
    allocate(client)
    client.ask(Renew())
    stranger = trio.link()

    def heard(body: tuple[Asked, ...]) -> bool:
        with suppress(GfsError):
            stranger.call(body, CALL_S)
            return True
        return False

    for start in range(0, 400, 200):
        ids = range(10**6 + start, 10**6 + start + 200)
        body = tuple(Asked(Renew(), SessionId(one), 1, 1) for one in ids)
        wait_until(partial(heard, body), "the strangers to be heard")
    reign = trio.servers[trio.leader()]._desk.reign
    assert reign is not None
    assert set(reign.observed.sessions) == {client.session_id}


def test_a_client_that_dies_leaves_nothing_open(
    client: Client, servers: list[ScriptedServer], trio: Trio
) -> None:
    unused = allocate(client)
    push(servers, unused, 300)
    used = allocate(client)
    chain = push(servers, used, 400)
    staged = client.ask(StageExtents(0, (Extent(0, used.chunk_id, 0, 400, 5),)))
    file = PublishFile("/half", 400, 0o644, 0, staged.content_id)
    assert not client.ask(Publish((file,))).files[0].error
    trio.silence_claims_after(1.0)
    onlooker = Client(trio)

    def states() -> dict[int, str]:
        return {row.chunk_id: row.state for row in onlooker.ask(GetChunks()).items}

    wait_until(lambda: states() == {used.chunk_id: "sealed"}, "seal and collection")
    assert all(unused.chunk_id not in server.replicas for server in servers)
    wait_until(lambda: all(s.replicas[used.chunk_id].state == "sealed" for s in chain), "stamps")
