"""Which chunkserver is which: ids given once, names kept, foreign directories refused."""

from __future__ import annotations

import pytest
from state_driver import Driver, server

from gfs_ha.ids import Epoch
from gfs_ha.limits import DISKS_PER_SERVER_MAX
from gfs_ha.master.state.commands import EnrolledDisk, PlaceChunk, ReplicasDeleted
from gfs_ha.master.state.events import events_after
from gfs_ha.protocol.metadata import ReleaseChunks

OLD, NEW = EnrolledDisk(101, 1 << 40), EnrolledDisk(201, 1 << 41)


def test_a_name_gets_its_id_once_and_keeps_it_through_restarts() -> None:
    driver = Driver(server_count=0)
    driver.term = 3
    first = driver.ok(server(1))
    assert (first.server_id, first.epoch) == (1, Epoch(1, 3))
    assert driver.ok(server(2)).server_id == 2
    assert driver.ok(server(1, start_id=9, port=99)).server_id == 1
    assert driver.ok(server(1, server_id=1, rack="r2")).server_id == 1
    with driver.view() as view:
        row = view.server(1)
        assert (row.port, row.rack, row.start_id) == (7301, "r2", 1)
        assert [server_id for server_id, _ in view.servers()] == [1, 2]
        assert view.location(2).name == "cs2" and view.location(3) is None
    driver.check()


@pytest.mark.parametrize(
    "changes",
    [
        {"server_id": 2},
        {"server_id": 9},
        {"name": "cs9", "server_id": 1},
        {"name": "cs9"},
        {"name": "cs2"},
        {"disks": (OLD, EnrolledDisk(102, 1))},
        {"disks": (EnrolledDisk(102, 1), OLD)},
        {"disks": (NEW, EnrolledDisk(102, 1))},
        {"name": "new", "server_id": 5, "disks": (NEW,)},
    ],
)
def test_ids_that_do_not_fit_are_a_wrong_directory(changes: dict[str, object]) -> None:
    driver = Driver()
    assert driver.error(server(1, **changes)) == "WrongDirectory"
    with driver.view() as view:
        assert view.server(1).name == "cs1" and view.counters().servers == 3
    driver.check()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "n" * 65},
        {"name": "a\nb"},
        {"host": ""},
        {"port": 0},
        {"port": 65536},
        {"rack": "r" * 256},
        {"disks": ()},
        {"disks": (OLD, OLD)},
        {"disks": (EnrolledDisk(0, 1),)},
        {"disks": (EnrolledDisk(1, -1),)},
        {"start_id": -1},
        {"server_id": -1},
    ],
)
def test_an_enrolment_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    driver = Driver(server_count=0)
    assert driver.error(server(1, **changes)) == "InvalidArgument"
    driver.check()


def test_a_disk_more_is_a_new_disk_and_no_old_one_is_lost() -> None:
    driver = Driver()
    driver.chunk(driver.open_session())
    driver.ok(server(1, disks=(OLD, NEW)))
    with driver.view() as view:
        assert [(disk.disk_id, disk.lost) for disk in view.server(1).disks] == [
            (101, False),
            (201, False),
        ]
    driver.check()


def test_an_empty_directory_under_a_known_name_loses_the_old_disk_until_it_comes_back() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    assert driver.ok(server(1, disks=(NEW,))).server_id == 1
    with driver.view() as view:
        assert [(disk.disk_id, disk.lost) for disk in view.server(1).disks] == [
            (201, False),
            (101, True),
        ]
        (located,) = view.locate([chunk_id])
        assert [location.live for location in located.replicas] == [False, True, True]
        assert view.replica_count(1) == 1, "nothing is destroyed by a wrong mount"
    driver.check()
    lost = PlaceChunk(((1, 101), (2, 102)))
    assert driver.error(lost, session) == "UnknownServer"
    driver.ok(server(1, disks=(OLD, NEW)))
    with driver.view() as view:
        assert all(location.live for location in view.locate([chunk_id])[0].replicas)
    driver.check()


def test_a_server_that_comes_with_new_directories_only_hears_and_tells_what_it_lacks() -> None:
    driver = Driver()
    driver.chunk(driver.open_session())
    assert driver.ok(server(1, start_id=2, disks=(OLD, NEW))).lost_disks == 0
    other = EnrolledDisk(301, 1 << 41)
    assert driver.ok(server(1, start_id=3, disks=(NEW, other))).lost_disks == 1
    with driver.view() as view:
        assert not any("new directories only" in row.text for _, row in events_after(view, 0))
    assert driver.ok(server(1, start_id=4, disks=(EnrolledDisk(401, 1),))).lost_disks == 1
    with driver.view() as view:
        (told,) = [row for _, row in events_after(view, 0) if "new directories only" in row.text]
    assert (told.subject, told.severity) == ("cs1", "warning") and "its disk" in told.text
    driver.check()


def test_a_disk_mounted_again_counts_again_and_what_came_beside_it_meanwhile_does_not() -> None:
    driver = Driver()
    session = driver.open_session()
    before = driver.chunk(session).chunk_id
    driver.ok(server(1, disks=(NEW,)))  # The mount point was empty.
    driver.ok(PlaceChunk(((1, 201), (2, 102))), session)
    with driver.view() as view:
        assert view.replica_count(1) == 2
    for mounted, lost in (((OLD,), 201), ((NEW,), 101), ((OLD,), 201)):
        driver.ok(server(1, disks=mounted))
        with driver.view() as view:
            assert {one.disk_id for one in view.server(1).disks if one.lost} == {lost}
            (located,) = view.locate([before])
            assert located.replicas[0].live == (mounted == (OLD,))
            assert view.replica_count(1) == 2, "nothing is destroyed by a wrong mount"
        driver.check()


def test_a_lost_disk_without_replicas_is_forgotten() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(server(1, disks=(NEW,)))
    driver.ok(ReleaseChunks((chunk_id,)), session)
    driver.ok(ReplicasDeleted(((chunk_id, 1, 101),)))
    driver.ok(server(1, disks=(NEW,)))
    with driver.view() as view:
        assert [disk.disk_id for disk in view.server(1).disks] == [201]
    driver.check()
    assert driver.ok(server(4, disks=(OLD,))).server_id == 4


def test_disks_of_a_server_are_bounded() -> None:
    driver = Driver()
    many = tuple(EnrolledDisk(1000 + n, 1) for n in range(DISKS_PER_SERVER_MAX + 1))
    assert driver.error(server(1, disks=many)) == "LimitExceeded"
    driver.check()


def test_a_lost_disk_keeps_the_directory_where_it_was_last() -> None:
    driver = Driver()
    driver.ok(server(1, start_id=2, disks=(EnrolledDisk(101, 1 << 40, "/disks/a"), NEW)))
    driver.chunk(driver.open_session())
    moved = EnrolledDisk(101, 1 << 40, "/disks/b")
    driver.ok(server(1, start_id=3, disks=(moved, NEW)))
    driver.ok(server(1, start_id=4, disks=(NEW,)))
    with driver.view() as view:
        (lost,) = [one for one in view.server(1).disks if one.lost]
    assert (lost.disk_id, lost.directory) == (101, "/disks/b")
    endless = EnrolledDisk(101, 1 << 40, "/" + 512 * "x")
    assert driver.error(server(1, start_id=5, disks=(endless,))) == "InvalidArgument"
    driver.check()
