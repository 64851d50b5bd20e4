"""How servers and disks stand: what is accepted, what is refused, and what is never said early."""

from __future__ import annotations

import pytest
from state_driver import Driver, server

from gfs_ha.limits import LABELS_MAX, MAINTENANCE_MS_MAX
from gfs_ha.master.state.commands import EnrolledDisk, PlaceChunk, PlaceCopy, ReplicasDeleted
from gfs_ha.master.state.server_mode_commands import (
    ServerModeCommand,
    SetDiskMode,
    SetLabels,
    SetMaintenance,
    SetServerMode,
)
from gfs_ha.master.state.server_mode_records import IN_SERVICE_ROW, ServerMode
from gfs_ha.master.state.server_modes import disk_modes, server_modes
from gfs_ha.protocol.metadata import FinishChunk, ReleaseChunks
from gfs_ha.protocol.server_modes import (
    DECOMMISSIONED,
    DECOMMISSIONING,
    DRAINED,
    DRAINING,
    IN_SERVICE,
)


@pytest.fixture
def driver() -> Driver:
    return Driver(server_count=4)


def mode(driver: Driver, number: int) -> ServerMode:
    with driver.view() as view:
        return view.server_mode(number)


def test_a_server_without_a_word_of_anybody_is_in_service(driver: Driver) -> None:
    assert mode(driver, 1) == IN_SERVICE_ROW and mode(driver, 1).mode == IN_SERVICE
    with driver.view() as view:
        assert server_modes(view) == {} and disk_modes(view) == {}


def test_a_server_goes_out_of_service_and_comes_back(driver: Driver) -> None:
    driver.ok(SetServerMode(2, IN_SERVICE, DRAINING, 7))
    row = mode(driver, 2)
    assert (row.mode, row.job) == (DRAINING, 7) and row.since_wall_ns > 0
    driver.ok(SetServerMode(2, DRAINING, DRAINED, 7, 7))
    driver.ok(SetServerMode(2, DRAINED, IN_SERVICE, 0, 7))
    with driver.view() as view:
        assert server_modes(view) == {}, "a row that says nothing is none"
    driver.check()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (SetServerMode(9, IN_SERVICE, DRAINING), "UnknownServer"),
        (SetServerMode(-1, IN_SERVICE, DRAINING), "InvalidArgument"),
        (SetServerMode(1, IN_SERVICE, "asleep"), "InvalidArgument"),
        (SetServerMode(1, IN_SERVICE, DRAINING, -1), "InvalidArgument"),
        (SetServerMode(1, DRAINING, IN_SERVICE), "StaleCommand"),
        (SetServerMode(1, IN_SERVICE, DRAINING, 3, 2), "StaleCommand"),
        (SetDiskMode(1, 102, IN_SERVICE, DRAINING), "UnknownServer"),
        (SetDiskMode(1, 101, IN_SERVICE, DECOMMISSIONING), "InvalidArgument"),
        (SetDiskMode(1, 101, DRAINING, DRAINED), "StaleCommand"),
        (SetMaintenance(1, -1), "InvalidArgument"),
        (SetMaintenance(1, MAINTENANCE_MS_MAX + 1), "InvalidArgument"),
        (SetMaintenance(1, 1000, 5), "StaleCommand"),
        (SetMaintenance(9, 1000), "UnknownServer"),
        (SetLabels(1, (("a=b", "c"),)), "InvalidArgument"),
        (SetLabels(1, (("a-", "c"),)), "InvalidArgument"),
        (SetLabels(1, (("", "c"),)), "InvalidArgument"),
        (SetLabels(1, (("a", "c\n"),)), "InvalidArgument"),
        (SetLabels(1, (("a", "c" * 64),)), "InvalidArgument"),
        (SetLabels(9, (("a", "c"),)), "UnknownServer"),
    ],
)
def test_what_makes_no_sense_or_comes_late_is_refused(
    driver: Driver, command: ServerModeCommand, error: str
) -> None:
    assert driver.error(command) == error
    with driver.view() as view:
        assert server_modes(view) == {} and disk_modes(view) == {}
    driver.check()


def test_a_server_with_places_of_chunks_is_never_called_empty(driver: Driver) -> None:
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(SetServerMode(1, IN_SERVICE, DRAINING, 7))
    driver.ok(SetDiskMode(2, 102, IN_SERVICE, DRAINING, 8))
    assert driver.error(SetServerMode(1, DRAINING, DRAINED, 7, 7)) == "StaleCommand"
    assert driver.error(SetServerMode(1, DRAINING, DECOMMISSIONED, 7, 7)) == "StaleCommand"
    assert driver.error(SetDiskMode(2, 102, DRAINING, DRAINED, 8, 8)) == "StaleCommand"
    driver.ok(ReleaseChunks((chunk_id,)), session)
    # Dead, and not deleted yet: its tombstone is a place, too.
    assert driver.error(SetServerMode(1, DRAINING, DRAINED, 7, 7)) == "StaleCommand"
    driver.ok(ReplicasDeleted(((chunk_id, 1, 101), (chunk_id, 2, 102))))
    driver.ok(SetServerMode(1, DRAINING, DRAINED, 7, 7))
    driver.ok(SetDiskMode(2, 102, DRAINING, DRAINED, 8, 8))
    driver.check()


def test_nothing_is_placed_on_a_server_or_disk_that_was_emptied(driver: Driver) -> None:
    session = driver.open_session()
    chunk_id = driver.chunk(session, copies=2).chunk_id
    driver.ok(FinishChunk(chunk_id, 5, 1, (1, 2)), session)
    with driver.view() as view:
        sealed_index = view.chunk(chunk_id).sealed_index
    driver.ok(SetServerMode(3, IN_SERVICE, DRAINED, 7))
    driver.ok(SetDiskMode(4, 104, IN_SERVICE, DRAINED, 7))
    for number in (3, 4):
        wanted = PlaceChunk(((1, 101), (number, 100 + number)))
        assert driver.error(wanted, session) == "UnknownServer"
        copy = PlaceCopy(chunk_id, sealed_index, number, 100 + number, 2)
        assert driver.error(copy) == "UnknownServer"
    driver.ok(SetServerMode(3, DRAINED, IN_SERVICE, 0, 7))
    driver.ok(PlaceCopy(chunk_id, sealed_index, 3, 103, 2))
    driver.check()


def test_maintenance_is_counted_in_cluster_time_and_replaced_as_seen(driver: Driver) -> None:
    driver.ok(SetMaintenance(1, 60_000))
    until = mode(driver, 1).maintenance_until_ms
    assert mode(driver, 1).in_maintenance(until - 1) and not mode(driver, 1).in_maintenance(until)
    driver.ok(SetMaintenance(1, 90_000))
    assert driver.error(SetMaintenance(1, 0, until)) == "StaleCommand", "it was made longer"
    driver.ok(SetMaintenance(1, 0, mode(driver, 1).maintenance_until_ms))
    with driver.view() as view:
        assert server_modes(view) == {}
    driver.check()


def test_a_server_in_maintenance_may_be_drained_and_keeps_its_labels(driver: Driver) -> None:
    driver.ok(SetLabels(1, (("zone", "a"), ("disk", "ssd"))))
    driver.ok(SetMaintenance(1, 60_000))
    driver.ok(SetServerMode(1, IN_SERVICE, DECOMMISSIONING, 4))
    driver.ok(SetLabels(1, (("zone", "b"),), ("disk", "none")))
    row = mode(driver, 1)
    assert (row.mode, row.labels) == (DECOMMISSIONING, (("zone", "b"),))
    assert row.maintenance_until_ms
    driver.check()


def test_labels_are_bounded(driver: Driver) -> None:
    many = tuple((f"k{number}", "") for number in range(LABELS_MAX))
    driver.ok(SetLabels(1, many))
    assert driver.error(SetLabels(1, (("one-more", ""),))) == "LimitExceeded"
    driver.ok(SetLabels(1, (("one-more", ""),), ("k0",)))
    assert driver.error(SetLabels(1, (*many, ("x", "")))) == "LimitExceeded"
    driver.check()


def test_the_mode_of_a_disk_that_is_forgotten_is_forgotten(driver: Driver) -> None:
    driver.ok(server(1, disks=(EnrolledDisk(101, 1), EnrolledDisk(201, 1))))
    driver.ok(SetDiskMode(1, 201, IN_SERVICE, DRAINED, 3))
    driver.ok(server(1, disks=(EnrolledDisk(101, 1),)))
    with driver.view() as view:
        assert disk_modes(view) == {}
    driver.check()
