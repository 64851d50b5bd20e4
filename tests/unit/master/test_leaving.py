"""Copies that leave for a move go soon and are counted, whatever else there is too much of."""

from __future__ import annotations

import pytest
from fleet_house import Fleet
from test_moves import begun, move

from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.fullness import Traffic
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.state.commands import ConfirmCopy, DropReplica, PlaceCopy

STAYING = 1_100


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """A cluster in which a dead server's copies were made anew, and one more chunk was moved."""
    fleet = Fleet(server_count=8, totals=dict.fromkeys(range(1, 9), 10 * STAYING))
    for at in range(STAYING):
        if at % 200 == 0:
            fleet.session = fleet.tables.session()  # One claims so many at most.
        give(fleet, fleet.chunk((1, 2, 6)), 3)
    fleet.dead = {6}
    moved = fleet.chunk((1, 2, 3))
    move(fleet, moved, begun(fleet), 5, 1)
    for _ in range(2):  # It is ordered and made, and confirmed.
        made = fleet.plan(plan_copies)
        fleet.apply(made)
        fleet.obey(made)
    assert fleet.row(moved).leaving == (1,)
    return fleet


def give(fleet: Fleet, chunk_id: int, server: int) -> None:
    """Give a chunk one copy more."""
    row = fleet.row(chunk_id)
    place = (server, 100 + server)
    fleet.tables.do(PlaceCopy(chunk_id, row.sealed_index, *place, len(row.holders)))
    order = fleet.row(chunk_id).copying[0].order_index
    end = (row.length, row.digest, order)
    fleet.tables.do(ConfirmCopy(chunk_id, row.sealed_index, *place, *end))
    fleet.on_disk.setdefault(server, set()).add(chunk_id)


def test_a_copy_that_leaves_is_counted_behind_however_many_that_stay(fleet: Fleet) -> None:
    with fleet.tables.view() as view:
        traffic = Traffic(view, Scene(view, fleet.seen()), PlanLimits().busy_rows)
    assert traffic.unfreed == 1 and sum(traffic.going.values()) > 0


def test_a_copy_that_leaves_is_dropped_before_the_walk_comes_to_it(fleet: Fleet) -> None:
    fleet.limits = PlanLimits(rows=10)
    (dropped,) = fleet.plan(plan_surplus).proposals
    assert isinstance(dropped, DropReplica) and dropped.server_id == 1
