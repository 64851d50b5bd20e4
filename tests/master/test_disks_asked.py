"""Single disks as real masters answer for them: scripted servers with several, or lost ones."""

from __future__ import annotations

import re

import pytest
from msgspec import structs
from peers import ScriptedServer
from test_chunks import allocate, put
from trio import Client, Trio, wait_until

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import GIB
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.disks import (
    DisksListed,
    DiskStanding,
    DrainDisk,
    ListDisks,
    RemoveDisk,
    UndrainDisk,
)
from gfs_ha.protocol.jobs import GetJob, JobStarted
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.rebalance import GetRebalance, RebalanceStatus
from gfs_ha.protocol.reports import GetChunks, GetHealth, HealthReport
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.server_modes import DrainServer, ListPlaces, RemovalStep, UndrainServer


class Shelved(ScriptedServer):
    """A server with a second disk that is emptier than the first one."""

    def __init__(self, trio: Trio, name: str, rack: str, start_id: int = 1) -> None:
        super().__init__(trio, name, rack, start_id)
        self.first, self.second = self.disk_id, DiskId(self.disk_id + 1000)
        self.failed: dict[DiskId, str] = {}
        self.ailing: dict[DiskId, str] = {}
        self.mounted = [self.first, self.second]
        self.registers_failed = True

    def enrolled(self) -> tuple[DiskFacts, ...]:
        """Return the disks that it registers with."""
        return tuple(one for one in self.disks() if self.registers_failed or not one.failed)

    def disks(self) -> tuple[DiskFacts, ...]:
        free = {self.first: 80 * GIB, self.second: 90 * GIB}
        return tuple(
            DiskFacts(
                one,
                100 * GIB,
                free[one],
                0,
                self.failed.get(one, ""),
                directory=f"/disks/{one}",
                ailing=self.ailing.get(one, ""),
            )
            for one in self.mounted
        )


@pytest.fixture
def shelved(trio: Trio, client: Client) -> list[Shelved]:
    """Four servers with two disks each, registered and beating."""
    racks = ("r1", "r1", "r2", "r2")
    started = [Shelved(trio, f"cs{at}", rack) for at, rack in enumerate(racks, start=1)]
    for one in started:
        one.start()
    wait_until(lambda: all(row.total_bytes and row.directory for row in rows(client)), "all disks")
    return started


def rows(client: Client) -> tuple[DiskStanding, ...]:
    reply = client.ask(ListDisks())
    assert isinstance(reply, DisksListed) and not reply.more
    return reply.items


def row(client: Client, disk_id: DiskId) -> DiskStanding:
    return next(one for one in rows(client) if one.disk_id == disk_id)


def places(client: Client) -> set[DiskId]:
    """Return the disks of a new chunk."""
    chunk_id = allocate(client).chunk_id
    listed = client.ask(GetChunks(after=ChunkId(chunk_id - 1), limit=1)).items
    return {one.disk_id for one in listed[0].replicas}


def test_every_disk_is_listed_with_its_directory_page_by_page(
    client: Client, shelved: list[Shelved]
) -> None:
    found = rows(client)
    assert len(found) == 8 and {one.state for one in found} == {"in-service"}
    first = next(one for one in found if one.disk_id == shelved[0].first)
    assert (first.server, first.rack, first.directory) == ("cs1", "r1", "/disks/1001")
    assert (first.serving, first.places, first.server_state) == (1, -1, "live")
    page = client.ask(ListDisks(rows=3))
    assert len(page.items) == 2 and page.more, "the disks of one server stay together"
    rest = client.ask(ListDisks(page.after))
    assert page.items + rest.items == found or len(page.items + rest.items) == 8
    assert client.ask(ListDisks(rows=1)).items[0].server_id == found[0].server_id
    wrong = client.ask(DrainDisk("cs1", DiskId(77)))
    assert wrong.error == "NotFound" and "there are cs1:1001, cs1:2001" in wrong.message


def test_disks_of_a_server_that_leaves_say_that_they_take_nothing_new(
    client: Client, shelved: list[Shelved]
) -> None:
    job = client.ask(DrainServer("cs1"))
    assert isinstance(job, JobStarted)
    of = {one.disk_id: one for one in rows(client)}
    for disk_id in (shelved[0].first, shelved[0].second):
        assert of[disk_id].state == "in-service", "the disk itself is well"
        assert re.fullmatch(
            rf"cs1 is (draining|drained) by {job.id}: it takes nothing new on any disk",
            of[disk_id].why,
        )
    assert not of[shelved[1].first].why
    assert client.ask(UndrainServer("cs1")) == Done()
    assert not row(client, shelved[0].first).why


def test_a_draining_disk_takes_nothing_new_although_its_server_goes_on(
    client: Client, shelved: list[Shelved]
) -> None:
    emptier = {one.second for one in shelved}
    assert places(client) <= emptier, "the disk with most room is chosen"
    leaving = shelved[0]
    started = client.ask(DrainDisk("cs1", leaving.second, asked_by="ann"))
    assert isinstance(started, JobStarted) and started.id.startswith("x-")
    found = row(client, leaving.second)
    assert found.state in ("draining", "drained") and found.job == started.id
    assert row(client, leaving.first).state == "in-service"
    balance = client.ask(GetRebalance())
    assert isinstance(balance, RebalanceStatus)
    (left_out,) = balance.left_out
    assert left_out.startswith(f"cs1:0x{leaving.second:x} is ")
    (stays,) = (one for one in balance.items if one.name == "cs1")
    assert stays.several, "it is named, although the other one takes no part"
    other = shelved[2]
    assert isinstance(client.ask(DrainDisk("cs3", other.second)), JobStarted)
    wait_until(lambda: row(client, other.second).state != "in-service", "the leader sees it")
    chosen = [places(client) for _ in range(6)]
    assert not any({leaving.second, other.second} & one for one in chosen), chosen
    assert all({leaving.first, other.first} & one for one in chosen), "their servers take part"
    again = client.ask(DrainDisk("cs1", leaving.second))
    assert isinstance(again, Failure) and again.error in ("WrongState", "PreconditionFailed")
    assert client.ask(UndrainDisk("cs1", leaving.second)) == Done()
    assert row(client, leaving.second).state == "in-service"
    assert client.ask(UndrainDisk("cs1", leaving.second)).error == "PreconditionFailed"
    job = client.ask(GetJob(started.number)).items[0]
    assert job.phase in ("cancelled", "done") and job.disk_id == leaving.second


def test_what_ails_a_disk_and_what_it_keeps_is_told_with_it_and_it_takes_nothing_meanwhile(
    client: Client, shelved: list[Shelved]
) -> None:
    ill = shelved[0]
    nothing = (0,) * 9
    read = ScrubFacts(ill.first, ScrubWanted(0, 0), "idle", "", 0, 0, False, *nothing)
    ill.scrub = structs.replace(read, unidentified=2, second=2)
    wait_until(lambda: row(client, ill.first).why, "it is told")
    found = row(client, ill.first)
    assert (found.state, found.why.split(",")[0]) == (
        "in-service",
        "2 slot files are second replicas",
    )
    ill.ailing = {ill.second: "EIO on sync"}
    wait_until(lambda: row(client, ill.second).why, "it is told")
    found = row(client, ill.second)
    assert (found.state, found.why) == ("in-service", "it is looked whether it works: EIO on sync")
    assert all(ill.second not in places(client) for _ in range(4))
    wait_until(lambda: ill.first in places(client), "its server takes part")


def test_a_failed_disk_counts_as_lost_while_its_server_lives(
    client: Client, shelved: list[Shelved]
) -> None:
    chunk = put(client, shelved, "/file", 1000)
    ill = next(one for one in shelved if one.server_id == chunk.replicas[0].server_id)
    ill.failed = {ill.second: "EIO on sync"}
    wait_until(lambda: row(client, ill.second).state == "failed", "it is told")
    assert row(client, ill.second).why == "EIO on sync"
    assert row(client, ill.first).serving == 0, "no other one is left there"
    assert all(ill.second not in places(client) for _ in range(4))
    assert client.ask(GetRebalance()).left_out == (f"{ill.name}:0x{ill.second:x} has failed",)
    listed = client.ask(GetChunks(after=ChunkId(chunk.chunk_id - 1), limit=1)).items[0]
    if any(one.disk_id == ill.second for one in listed.replicas):
        assert listed.copies < 3
    refused = client.ask(DrainDisk(ill.name, ill.second))
    assert refused.error == "PreconditionFailed" and "admin disks replace" in refused.message
    assert f"{ill.name}:0x{ill.second:x}" in refused.message

    def finding() -> object:
        report = client.ask(GetHealth())
        assert isinstance(report, HealthReport)
        return next((one for one in report.items if one.code == "DISK_FAILED"), None)

    found = wait_until(finding, "health names it")
    assert "EIO on sync" in found.message and f"/disks/{ill.second}" in found.message
    assert f"gfsctl admin disks replace {ill.name}:0x{ill.second:x}" in found.advice


def test_a_disk_that_failed_and_that_its_server_came_back_without_is_told_of_once(
    trio: Trio, client: Client, shelved: list[Shelved]
) -> None:
    put(client, shelved, "/file", 1000)
    ill = shelved[0]
    ill.stop()
    anew = Shelved(trio, ill.name, ill.rack, start_id=2)
    anew.server_id, anew.failed = ill.server_id, {ill.second: "EIO on sync"}
    anew.registers_failed = False
    anew.start()
    wait_until(lambda: row(client, ill.second).state == "failed", "it is told of as failed")
    listed = [one.disk_id for one in rows(client) if one.server == ill.name]
    assert sorted(listed) == [ill.first, ill.second]
    for request in (RemoveDisk(ill.name, ill.second), DrainDisk(ill.name, ill.second)):
        refused = client.ask(request)
        assert refused.error == "PreconditionFailed" and "EIO on sync" in refused.message
    found = [
        one for one in client.ask(GetHealth()).items if one.code in ("DISK_FAILED", "DISK_LOST")
    ]
    assert [one.code for one in found] == ["DISK_FAILED"]


def test_a_lost_disk_stays_until_nothing_is_missed_and_is_then_forgotten(
    trio: Trio, client: Client, shelved: list[Shelved]
) -> None:
    chunk = put(client, shelved, "/file", 1000)
    ill = next(one for one in shelved if one.server_id == chunk.replicas[0].server_id)
    early = client.ask(RemoveDisk(ill.name, ill.second))
    assert early.error == "PreconditionFailed" and "in-service" in early.message
    ill.stop()
    anew = Shelved(trio, ill.name, ill.rack, start_id=2)
    anew.server_id, anew.mounted = ill.server_id, [anew.first]
    anew.replicas = {}
    for one in shelved:
        one.copies = True
    anew.copies = True
    anew.start()
    wait_until(lambda: row(client, ill.second).state == "lost", "it is lost")
    assert row(client, ill.second).places >= 0
    assert row(client, ill.second).directory == f"/disks/{ill.second}", "where it was"
    kept = client.ask(ListPlaces(ill.server_id, disk_id=ill.second))
    assert all(ill.server_id not in one.good for one in kept.items)

    def forgotten() -> bool:
        step = client.ask(RemoveDisk(ill.name, ill.second))
        if isinstance(step, Failure):
            assert step.error in ("NotFound", "Busy", "WrongState", "NoLeader"), step
            return step.error == "NotFound"
        assert isinstance(step, RemovalStep)
        return step.removed

    wait_until(forgotten, "its chunks have their copies elsewhere")
    assert {one.disk_id for one in rows(client) if one.server == ill.name} == {anew.first}
    left = client.ask(GetChunks(after=ChunkId(chunk.chunk_id - 1), limit=1)).items[0]
    assert left.copies == 3 and all(one.disk_id != ill.second for one in left.replicas)


class Odd(Shelved):
    """A server whose directories are named as nobody would, and yet may."""

    def disks(self) -> tuple[DiskFacts, ...]:
        long = "/with\ttabs and\u00a0more" + 200 * "/\u00e9long"
        return tuple(
            structs.replace(one, directory=f"{long}/{one.disk_id}") for one in super().disks()
        )


def test_a_server_registers_whatever_its_directories_are_called_and_the_end_is_kept(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    odd = Odd(trio, "cs9", "r1")
    odd.start()
    wait_until(lambda: any(one.server == "cs9" for one in rows(client)), "it is registered")
    tabbed = Odd(trio, "cs8", "r1")
    tabbed.disks = lambda: tuple(  # type: ignore[method-assign]
        structs.replace(one, directory="/a\tb") for one in Shelved.disks(tabbed)
    )
    tabbed.start()
    wait_until(lambda: any(one.server == "cs8" for one in rows(client)), "it is registered")
    reply = client.ask(DrainDisk("cs9", DiskId(77)))
    assert f"there are cs9:{odd.first}, cs9:{odd.second}" in reply.message


def test_a_disk_whose_server_is_away_says_for_how_long(
    client: Client, shelved: list[Shelved]
) -> None:
    shelved[0].stop()
    away = wait_until(
        lambda: (one := row(client, shelved[0].first)).state != "in-service" and one, "it is missed"
    )
    assert away.state == "not reported"
    assert re.fullmatch(r"cs1 is suspect \(no heartbeat for \d+ s\)", away.why), away.why


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (DrainDisk("cs-none", DiskId(1)), "NotFound"),
        (UndrainDisk("x" * 5000, DiskId(1)), "NotFound"),
        (DrainDisk("cs1", DiskId(-1)), "InvalidArgument"),
        (UndrainDisk("cs1", DiskId(-1)), "InvalidArgument"),
        (RemoveDisk("cs-none", DiskId(1)), "NotFound"),
        (RemoveDisk("cs1", DiskId(1), ChunkId(-5)), "InvalidArgument"),
        (ListDisks(rows=0), "InvalidArgument"),
        (ListDisks(ServerId(-1)), "InvalidArgument"),
        (ListPlaces(ServerId(1), disk_id=DiskId(-1)), "InvalidArgument"),
    ],
)
def test_what_makes_no_sense_is_refused(guest: Client, request_: object, error: str) -> None:
    reply = guest.ask(request_)
    assert isinstance(reply, Failure) and reply.error == error


def test_disks_that_are_not_there_are_named_with_those_that_are(
    client: Client, servers: list[ScriptedServer]
) -> None:
    reply = client.ask(DrainDisk("cs1", DiskId(77)))
    assert reply.error == "NotFound" and "0x3e9" in reply.message
