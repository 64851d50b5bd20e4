"""Leases as operators see them: who orders the appends to what, what happened, and the end (G9)."""

from __future__ import annotations

from growing import grant, grown, made, members
from peers import ScriptedServer
from trio import Client, Trio, wait_until

from gfs_ha.protocol.append import (
    LeaseHistory,
    LeaseList,
    LeaseRevoked,
    LeaseRow,
    ListLeaseHistory,
    ListLeases,
    RevokeLease,
)
from gfs_ha.protocol.codec import Failure


def listed(client: Client) -> tuple[LeaseRow, ...]:
    found = client.ask(ListLeases())
    assert isinstance(found, LeaseList) and found.total == len(found.items), found
    return found.items


def test_a_lease_is_shown_per_chunk_with_what_its_holder_said(
    client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 90)
    primary = members(servers, granted)[0]
    primary.replicas[granted.tail.chunk_id].idle_ms = 1234
    told = (90, 1234)
    wait_until(lambda: [(r.length, r.idle_ms) for r in listed(client)] == [told], "a heartbeat")
    [row] = listed(client)
    assert (row.chunk_id, row.path, row.holder) == (granted.tail.chunk_id, "/log", primary.name)
    assert (row.server_id, row.start_id) == (primary.server_id, primary.start_id)
    assert (row.epoch, row.granted_index) == (granted.tail.birth, granted.tail.granted_index)
    assert row.idle_ms == 1234 and row.renewed == 0 and 0 < row.left_ms <= 60_000
    wait_until(lambda: 0 < primary.lease_ms <= row.left_ms, "the holder to be told")


def test_leases_are_listed_in_pages(client: Client, servers: list[ScriptedServer]) -> None:
    chunks = []
    for number in range(3):
        made(client, f"/{number}")
        chunks.append(grant(client, f"/{number}").tail.chunk_id)
    first = client.ask(ListLeases(limit=2))
    rest = client.ask(ListLeases(first.items[-1].chunk_id, 2))
    assert [row.chunk_id for row in (*first.items, *rest.items)] == sorted(chunks)
    assert first.more and not rest.more and first.total == rest.total == 3
    assert client.ask(ListLeases(limit=0)).error == "InvalidArgument"


def test_what_happened_to_leases_is_told_with_the_reason(
    client: Client, servers: list[ScriptedServer]
) -> None:
    made(client)
    first = grant(client)
    grant(client, refused=first.tail.chunk_id)
    history = client.ask(ListLeaseHistory())
    assert isinstance(history, LeaseHistory)
    assert [(one.kind, one.path) for one in history.items] == [
        ("granted", "/log"),
        ("ended", "/log"),
        ("granted", "/log"),
    ]
    assert history.items[1].reason == "its primary took no more appends"
    assert client.ask(ListLeaseHistory(limit=1)).items == history.items[:1]
    assert client.ask(ListLeaseHistory(limit=1001)).error == "InvalidArgument"


def test_a_revoked_lease_is_answered_when_its_tail_is_sealed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 90)
    revoked = client.ask(RevokeLease(chunk_id=granted.tail.chunk_id))
    assert revoked == LeaseRevoked((granted.tail.chunk_id,))
    assert not listed(client)
    assert grant(client).tail.file_offset == 90
    again = client.ask(RevokeLease(chunk_id=granted.tail.chunk_id))
    assert isinstance(again, Failure) and again.error == "WrongState", again
    assert client.ask(RevokeLease(chunk_id=77)).error == "UnknownChunk"
    assert client.ask(RevokeLease(server_id=77)).error == "UnknownServer"
    assert client.ask(RevokeLease()).error == "InvalidArgument"
    assert client.ask(RevokeLease(chunk_id=-1)).error == "InvalidArgument"
    assert client.ask(ListLeases(after=-2)).error == "InvalidArgument"


def test_all_that_a_server_holds_is_revoked_at_once(
    client: Client, servers: list[ScriptedServer]
) -> None:
    for number in range(3):
        made(client, f"/{number}")
        grant(client, f"/{number}", machine="cs1")
    holder = servers[0].server_id
    assert {row.server_id for row in listed(client)} == {holder}
    held = tuple(row.chunk_id for row in listed(client))
    revoked = client.ask(RevokeLease(server_id=holder))
    assert isinstance(revoked, LeaseRevoked) and sorted(revoked.sealed) == sorted(held)
    assert not listed(client)
    assert client.ask(RevokeLease(server_id=holder)) == LeaseRevoked(())


def test_a_seal_that_is_blocked_makes_a_revocation_busy(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    granted = grown(client, servers, 90)
    chain = members(servers, granted)
    for server in chain[:2]:
        server.replicas[granted.tail.chunk_id].lost = 10
    chain[2].stop()
    revoked = client.ask(RevokeLease(chunk_id=granted.tail.chunk_id))
    assert isinstance(revoked, Failure) and revoked.error == "Busy", revoked
    assert "no replica is proof" in revoked.message
