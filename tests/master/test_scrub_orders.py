"""The scrub and verified chunks as real masters see them, with chunkservers by script."""

from __future__ import annotations

from peers import ScriptedServer
from test_chunks import put
from trio import Client, Trio, wait_until

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.state.scrubs import USUAL
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.damage import CORRUPT, INTACT, VerifyChunk
from gfs_ha.protocol.scrub import (
    ChangeScrub,
    GetScrub,
    ScrubFacts,
    ScrubReport,
    ScrubStarted,
    ScrubWanted,
    StartScrub,
)

KNOWN = ScrubWanted(USUAL.bytes_per_s, USUAL.period_s)


def facts(server: ScriptedServer) -> ScrubFacts:
    numbers = (1, 5, False, 10, 10, 1, 1, 0, 0, 0, -1, 0)
    return ScrubFacts(server.disk_id, KNOWN, "idle", "", *numbers)


def test_a_round_that_is_asked_for_is_told_to_the_servers_that_were_named_by_every_leader(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    named, other, old = servers[:3]
    for server in (named, other):
        server.scrub = facts(server)
    wait_until(lambda: len(told(client)) == 2, "what the two say")
    started = client.ask(StartScrub((named.server_id,), 77))
    assert isinstance(started, ScrubStarted) and started.servers == (named.server_id,)
    wait_until(lambda: named.scrubs_told, "the word")
    assert named.scrubs_told[-1].asked == started.number
    assert named.scrubs_told[-1].asked_bytes_per_s == 77
    trio.stop(trio.leader())
    before = len(named.scrubs_told)
    named.scrub = facts(named)  # It is started again, and has forgotten it.
    wait_until(lambda: len(named.scrubs_told) > before, "the word of the next leader")
    assert named.scrubs_told[-1].asked == started.number
    assert not other.scrubs_told and not old.scrubs_told


def told(client: Client) -> list[DiskId]:
    report = client.ask(GetScrub())
    return [disk.disk_id for row in report.items for disk in row.disks]


def test_pages_refusals_and_changes_in_a_row_that_are_all_kept(
    client: Client, servers: list[ScriptedServer]
) -> None:
    first = client.ask(GetScrub(limit=3))
    rest = client.ask(GetScrub(after=first.items[-1].server_id, limit=3))
    assert isinstance(first, ScrubReport) and first.more and not rest.more
    assert [row.name for row in (*first.items, *rest.items)] == [one.name for one in servers]
    refused = client.ask(GetScrub(limit=0))
    assert isinstance(refused, Failure) and refused.error == "InvalidArgument"
    refused = client.ask(StartScrub((ServerId(99),)))
    assert isinstance(refused, Failure) and refused.error == "UnknownServer"
    refused = client.ask(ChangeScrub(period_s=5))
    assert isinstance(refused, Failure) and refused.error == "InvalidArgument"
    for number in range(20):
        assert client.ask(ChangeScrub(bytes_per_s=number)).bytes_per_s == number
        said = client.ask(ChangeScrub(paused=number % 2))
        assert (said.bytes_per_s, said.paused) == (number, bool(number % 2))


def test_a_chunk_is_verified_by_every_holder(client: Client, servers: list[ScriptedServer]) -> None:
    chunk = put(client, servers, "/file", 1000)
    holders = [one for one in servers if chunk.chunk_id in one.replicas]
    wait_until(
        lambda: all(one.replicas[chunk.chunk_id].state == "sealed" for one in holders), "the stamps"
    )
    report = client.ask(VerifyChunk(chunk.chunk_id))
    assert {row.verdict for row in report.replicas} == {INTACT} and len(report.replicas) == 3
    holders[0].replicas[chunk.chunk_id].odd = True
    del holders[1].replicas[chunk.chunk_id]
    report = client.ask(VerifyChunk(chunk.chunk_id))
    found = {row.name: (row.verdict, row.why) for row in report.replicas}
    assert found[holders[0].name][0] == found[holders[1].name][0] == CORRUPT
    assert "quarantined" in found[holders[0].name][1]
    assert found[holders[1].name][1] == "it is not there"
    assert found[holders[2].name][0] == INTACT
    refused = client.ask(VerifyChunk(chunk.chunk_id + 50))
    assert isinstance(refused, Failure) and refused.error == "UnknownChunk"
