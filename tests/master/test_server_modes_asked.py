"""How servers stand as real masters answer it: scripted chunkservers, leaders that stop."""

from __future__ import annotations

from collections import Counter

import pytest
from peers import ScriptedServer
from test_chunks import allocate, put
from trio import Client, Trio, wait_until

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.state.commands import LeaderCommand
from gfs_ha.master.state.garbage_commands import NoteOrphans
from gfs_ha.master.state.server_mode_commands import SetServerMode
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.jobs import CANCELLED, GetJob, JobReport, JobStarted
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.reports import GetServers, ServerReport, ServerRow
from gfs_ha.protocol.server_modes import (
    ChangeLabels,
    ChangeMaintenance,
    DrainServer,
    ListPlaces,
    PlacesListed,
    RemovalStep,
    RemoveChunkserver,
    UndrainServer,
)


def row(client: Client, name: str) -> ServerRow:
    report = client.ask(GetServers())
    assert isinstance(report, ServerReport)
    return next(one for one in report.items if one.name == name)


def test_a_drain_is_known_to_the_next_leader_and_undrain_cancels_its_job(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    leaving = put(client, servers, "/file", 1000).replicas[0]
    name = leaving.name
    started = client.ask(DrainServer(name, asked_by="ann"))
    assert isinstance(started, JobStarted) and started.id.startswith("d-")
    again = client.ask(DrainServer(name))
    assert isinstance(again, Failure) and again.error in ("WrongState", "PreconditionFailed")
    trio.stop(trio.leader())
    assert row(client, name).mode in ("draining", "drained")
    placed = allocate(client)
    assert all(one.server_id != leaving.server_id for one in placed.replicas)
    assert client.ask(UndrainServer(name, "ann")) == Done()
    assert row(client, name).mode == "in-service"
    job = client.ask(GetJob(started.number))
    assert isinstance(job, JobReport) and job.items[0].phase in (CANCELLED, "done")
    assert client.ask(UndrainServer(name)).error == "PreconditionFailed"


def row_of(client: Client, server_id: ServerId) -> ServerRow:
    report = client.ask(GetServers())
    assert isinstance(report, ServerReport)
    return next(one for one in report.items if one.server_id == server_id)


def test_places_are_listed_page_by_page_and_a_server_in_service_is_not_removed(
    client: Client, servers: list[ScriptedServer]
) -> None:
    chunks = [put(client, servers, f"/file{number}", 100 + number) for number in range(4)]
    counts = Counter(one.server_id for chunk in chunks for one in chunk.replicas)
    holder, count = counts.most_common(1)[0]
    assert count >= 3, "four chunks of three copies on four servers"
    first = client.ask(ListPlaces(holder, rows=2))
    assert isinstance(first, PlacesListed) and len(first.items) == 2 and first.more
    rest = client.ask(ListPlaces(holder, first.after))
    assert isinstance(rest, PlacesListed) and not rest.more
    listed = [one.chunk_id for one in first.items + rest.items]
    assert len(listed) == len(set(listed)) == count
    assert all(holder in one.good for one in first.items)
    refused = client.ask(RemoveChunkserver(row_of(client, holder).name))
    assert isinstance(refused, Failure) and refused.error == "PreconditionFailed"
    assert "decommission" in refused.message


def test_maintenance_and_labels_are_shown_and_end(
    client: Client, servers: list[ScriptedServer]
) -> None:
    name = row_of(client, servers[1].server_id).name
    client.ask(ChangeMaintenance(name, 600_000))
    client.ask(ChangeLabels(name, (("room", "b12"),)))
    wait_until(lambda: row(client, name).maintenance_left_ms > 0, "it is shown")
    assert row(client, name).labels == (("room", "b12"),)
    client.ask(ChangeMaintenance(name, 0))
    client.ask(ChangeLabels(name, (), ("room",)))
    found = row(client, name)
    assert (found.maintenance_left_ms, found.labels, found.mode) == (0, (), "in-service")


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (DrainServer("cs-none"), "NotFound"),
        (UndrainServer("x" * 5000), "NotFound"),
        (ChangeMaintenance("cs-none", 1), "NotFound"),
        (ListPlaces(ServerId(-1)), "InvalidArgument"),
        (ListPlaces(ServerId(1), rows=0), "InvalidArgument"),
        (ListPlaces(ServerId(1), (DiskId(-1), ChunkId(0))), "InvalidArgument"),
        (ListPlaces(ServerId(1), (DiskId(0), ChunkId(1 << 63))), None),
        (RemoveChunkserver("cs-none"), "NotFound"),
        (RemoveChunkserver("cs-none", (DiskId(0), ChunkId(-5))), "InvalidArgument"),
    ],
)
def test_what_makes_no_sense_is_refused(guest: Client, request_: object, error: str | None) -> None:
    reply = guest.ask(request_)
    if error is None:
        assert isinstance(reply, PlacesListed)
    else:
        assert isinstance(reply, Failure) and reply.error == error


def test_what_was_answered_holds_for_the_next_question_at_once(
    client: Client, servers: list[ScriptedServer]
) -> None:
    name = servers[0].name
    for _ in range(10):
        assert isinstance(client.ask(DrainServer(name)), JobStarted)
        assert client.ask(UndrainServer(name)) == Done()
        refused = client.ask(UndrainServer(name))
        assert isinstance(refused, Failure) and refused.error == "PreconditionFailed"


def test_a_removal_goes_on_until_all_that_was_noted_of_the_server_is_forgotten(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    server = row(client, servers[3].name)
    unknown = [
        (server.server_id, DiskId(servers[3].disk_id), ChunkId(number)) for number in range(1, 451)
    ]
    for start in range(0, len(unknown), 150):
        propose(trio, NoteOrphans(tuple(unknown[start : start + 150])))
    propose(trio, SetServerMode(server.server_id, "in-service", "decommissioned"))
    wait_until(lambda: row(client, server.name).mode == "decommissioned", "it is written down")

    def step() -> RemovalStep | None:
        answer = client.ask(RemoveChunkserver(server.name))
        if isinstance(answer, Failure) and answer.error == "Busy":
            return None  # The leader is new.
        assert isinstance(answer, RemovalStep), answer
        return answer if answer.removed else None

    wait_until(step, "it is removed")
    assert server.name not in {one.name for one in client.ask(GetServers()).items}


def propose(trio: Trio, command: LeaderCommand) -> None:
    """Have the leader propose something, and wait for what it comes to."""
    outcomes: list[Outcome] = []
    desk = trio.servers[trio.leader()]._desk
    desk.proposer.propose(command, 10.0, outcomes.append)
    wait_until(lambda: outcomes, "an outcome")
