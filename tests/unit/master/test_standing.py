"""Who may get new chunks: servers and disks that are not in service, and maintenance."""

from __future__ import annotations

import pytest
from master_tables import Tables
from msgspec.structs import replace

from gfs_ha.errors import NoServers
from gfs_ha.ids import Epoch
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.candidates import candidates, choose
from gfs_ha.master.observed import Observed
from gfs_ha.master.placement import Candidate, Wanted
from gfs_ha.master.roster import Roster, roster
from gfs_ha.master.state.records import Disk
from gfs_ha.master.state.server_mode_commands import SetDiskMode, SetMaintenance, SetServerMode
from gfs_ha.protocol.control import DiskFacts, Heartbeat, RegisterServer
from gfs_ha.protocol.server_modes import (
    DECOMMISSIONED,
    DRAINED,
    DRAINING,
    IN_SERVICE,
)

NOW_S = 105.0


def heard(*numbers: int, elected_s: float = 100.0) -> Observed:
    """Return what a leader knows that has heard these servers just now."""
    seen = Observed(elected_s)
    for number in numbers:
        disks = (DiskFacts(100 + number, 100 * GIB, 90 * GIB, 0),)
        start = RegisterServer(f"cs{number}", number, "h", 1, "r", "m", 1, 1, disks)
        seen.registered(number, start, NOW_S)
        seen.heard(Heartbeat(number, 1, 1, Epoch(1, 1), 0.1, 0, 0, disks), NOW_S, 0)
    return seen


@pytest.fixture
def tables() -> Tables:
    return Tables()


def known(tables: Tables, led_s: float = 0.0) -> Roster:
    with tables.view() as view:
        return roster(view, led_s)


def seen(tables: Tables, number: int, led_s: float = 0.0) -> Candidate:
    found = candidates(known(tables, led_s), heard(1, 2, 3, 4), NOW_S)
    return next(one for one in found if one.server_id == number)


def test_a_server_that_is_drained_is_named_by_what_is_done_to_it(tables: Tables) -> None:
    assert not seen(tables, 2).trouble
    tables.do(SetServerMode(2, IN_SERVICE, DRAINING, 7))
    assert seen(tables, 2).trouble == "is being drained"
    tables.do(SetServerMode(2, DRAINING, DECOMMISSIONED, 7, 7))
    assert seen(tables, 2).trouble == "is decommissioned"
    tables.do(SetServerMode(2, DECOMMISSIONED, IN_SERVICE, 0, 7))
    assert not seen(tables, 2).trouble


def test_maintenance_ends_by_itself_in_cluster_time(tables: Tables) -> None:
    tables.do(SetMaintenance(3, 90_000))
    assert seen(tables, 3).trouble == "is in maintenance (2 min more)"
    assert known(tables).in_maintenance() == {3}
    assert seen(tables, 3, led_s=60.0).trouble == "is in maintenance (1 min more)"
    assert not seen(tables, 3, led_s=95.0).trouble
    assert known(tables, led_s=95.0).in_maintenance() == frozenset()


def test_no_new_chunk_goes_to_a_server_that_is_not_in_service(tables: Tables) -> None:
    tables.do(SetServerMode(1, IN_SERVICE, DRAINING, 7))
    wanted = Wanted(3, 2, MIB, "", "", frozenset(), 7)
    chosen = choose(known(tables), heard(1, 2, 3, 4), wanted, NOW_S)
    assert {server_id for server_id, _ in chosen.replicas} == {2, 3, 4}
    for number in (2, 3):
        tables.do(SetMaintenance(number, 60_000))
    with pytest.raises(NoServers, match="is being drained"):
        choose(known(tables), heard(1, 2, 3, 4), wanted, NOW_S)


def test_a_new_leader_does_not_wait_for_servers_that_would_take_nothing(tables: Tables) -> None:
    tables.do(SetServerMode(4, IN_SERVICE, DRAINING, 7))
    young = heard(1, 2, 3, elected_s=NOW_S - 0.5)
    wanted = Wanted(4, 2, MIB, "", "", frozenset(), 7)
    assert len(choose(known(tables), young, wanted, NOW_S).replicas) == 3


def test_a_server_with_one_disk_on_its_way_out_uses_its_others(tables: Tables) -> None:
    tables.do(SetDiskMode(2, 102, IN_SERVICE, DRAINING, 5))
    assert seen(tables, 2).trouble == "is left without a disk: all are drained"
    facts = heard(1, 2, 3, 4)
    both = (DiskFacts(102, 100 * GIB, 99 * GIB, 0), DiskFacts(202, 100 * GIB, 10 * GIB, 0))
    row = known(tables)
    servers = [
        (one, replace(server, disks=(Disk(102, GIB), Disk(202, GIB))) if one == 2 else server)
        for one, server in row.servers
    ]
    facts.servers[2].disks = both
    found = candidates(Roster(servers, row.modes, row.disk_modes), facts, NOW_S)
    chosen = next(one for one in found if one.server_id == 2)
    assert (chosen.disk_id, chosen.trouble) == (202, "")
    tables.do(SetDiskMode(2, 102, DRAINING, DRAINED, 5, 5))
