"""A disk that was changed for another is forgotten by itself, and none that anybody waits for."""

from __future__ import annotations

from dataclasses import replace

from drain_house import DrainHouse

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.planners.lost_disks import plan_lost_disks
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.state.events import events_after
from gfs_ha.master.state.server_mode_commands import ForgetDisk
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.jobs import DISK_DRAIN

OLD, NEW = DiskId(103), DiskId(203)


def swapped() -> DrainHouse:
    """Return a house whose server 3 came back with another disk."""
    house = DrainHouse(4)
    house.chunk((2, 3, 4))
    house.tables.enroll(3, disk=NEW)
    return house


def planned(house: DrainHouse, *told: DiskId) -> Plan:
    seen = house.seen()
    facts = {(ServerId(3), one): DiskFacts(one, 1, 1, 0) for one in told}
    seen = replace(seen, repair=replace(seen.repair, disks=facts))
    with house.tables.view() as view:
        return plan_lost_disks(view, seen, house.limits, house.cursors)


def test_a_lost_disk_is_forgotten_when_no_chunk_has_a_place_there_any_more() -> None:
    house = swapped()
    assert planned(house, NEW).empty
    house.rest()
    made = planned(house, NEW)
    assert list(made.proposals) == [ForgetDisk(ServerId(3), OLD, "in-service")]
    house.apply(made)
    with house.tables.view() as view:
        server = view.server(ServerId(3))
    assert server is not None and [one.disk_id for one in server.disks] == [NEW]
    assert planned(house, NEW).empty


def test_one_that_its_server_tells_of_or_that_nobody_was_heard_of_is_kept() -> None:
    house = swapped()
    house.rest()
    assert planned(house, NEW, OLD).empty
    assert planned(house).empty
    house.suspect.add(3)
    assert planned(house, NEW).empty


def test_one_that_was_being_drained_is_forgotten_when_its_job_has_ended() -> None:
    house = DrainHouse(5)
    house.chunk((2, 3, 4))
    number = house.begin(3, DISK_DRAIN, OLD)
    house.tables.enroll(3, disk=NEW)
    while not house.done(number):
        assert planned(house, NEW).empty, "its job is there to say how it ends"
        house.tick()
    made = planned(house, NEW)
    assert list(made.proposals) == [ForgetDisk(ServerId(3), OLD, "drained")]
    assert planned(house, NEW, OLD).empty, "its server tells of it still"
    house.apply(made)
    with house.tables.view() as view:
        server = view.server(ServerId(3))
        assert view.disk_mode(ServerId(3), OLD) is None
        texts = [row.text for _, row in events_after(view, 0)]
    assert server is not None and [one.disk_id for one in server.disks] == [NEW]
    assert (
        texts[-1] == "disk 0x67 is forgotten: it was drained, and its server came back without it"
    )
