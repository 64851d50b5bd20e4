"""How the budget of repair is shared: all of it, never more, and none to who has no use for it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from repair_house import LENGTH, House

from gfs_ha.limits import MIB
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.shares import NOTHING, plan_shares, share
from gfs_ha.master.state.commands import SetRepairBudget
from gfs_ha.protocol.control import CopyProgress
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts

SERVERS = st.integers(1, 9)
SETTLED = 3  # Rounds after which all that was given up is given to others.


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1_000, 1 << 32),
    st.dictionaries(SERVERS, st.integers(1, 1 << 36), min_size=1),
    st.dictionaries(SERVERS, st.integers(0, 1 << 31)),
    st.dictionaries(SERVERS, st.integers(-1, 1 << 31)),
)
def test_the_shares_are_never_more_than_the_budget_also_while_they_move(
    budget: int, wants: dict[int, int], caps: dict[int, int], held: dict[int, int]
) -> None:
    caps = {one: caps.get(one, 0) for one in wants}
    held = {one: rate for one, rate in held.items() if one in wants}
    for _ in range(SETTLED):
        shares = share(budget, wants, caps, held)
        assert shares.keys() == wants.keys() and min(shares.values()) >= 1
        # What was told before holds on every server until it has heard of the new one.
        before = {one: budget if held.get(one) == 0 else held.get(one, 0) for one in wants}
        if sum(max(0, rate) for rate in before.values()) <= budget:
            most = sum(max(shares[one], before[one]) for one in wants)
            assert most <= budget + len(wants)
        held = shares
    assert sum(shares.values()) <= budget + len(wants)
    assert all(not caps[one] or shares[one] <= max(1, caps[one]) for one in wants)
    if not any(caps.values()):
        assert sum(shares.values()) >= budget - len(wants), "all of it is given away"


def test_a_share_goes_by_the_bytes_that_are_left_so_that_all_end_together() -> None:
    shares = share(100, {1: 92 * MIB, 2: 42 * MIB, 3: 42 * MIB}, {1: 0, 2: 0, 3: 0}, {})
    assert shares == {1: 50, 2: 25, 3: 25}


def test_what_a_server_cannot_take_goes_to_the_others() -> None:
    shares = share(90, {1: MIB, 2: MIB, 3: MIB}, {1: 10, 2: 0, 3: 0}, {})
    assert shares == {1: 10, 2: 40, 3: 40}


def test_a_share_is_raised_only_when_another_server_is_known_to_have_given_its_up() -> None:
    wants, caps = {1: MIB, 2: MIB}, {1: 0, 2: 0}
    assert share(100, wants, caps, {1: 100, 2: NOTHING}) == {1: 50, 2: 1}
    assert share(100, wants, caps, {1: 50, 2: 1}) == {1: 50, 2: 50}


def test_without_a_budget_of_the_cluster_every_server_has_its_own() -> None:
    assert share(0, {1: MIB, 2: MIB}, {1: 7, 2: 0}, {1: 3}) == {1: 7, 2: 0}


def repairing() -> House:
    """Return a cluster in which some servers are being given copies."""
    house = House(server_count=8)
    house.limits = replace(house.limits, items=1000)
    house.tables.do(SetRepairBudget(64_000, 40_000, 2, 99))
    for _ in range(4):
        house.chunk((1, 2, 3))
    house.dead = {3}
    house.apply(house.plan(plan_replication))
    return house


def rates(house: House) -> dict[int, int]:
    """Return what may be copied to each server, as it would be told."""
    made: Plan = house.plan(plan_shares)
    assert made.proposals == [] and all(
        one.server_bytes_per_s == 40_000 for one in made.allowances.values()
    )
    return {one: told.copies_bytes_per_s for one, told in made.allowances.items()}


def targets(house: House) -> set[int]:
    with house.tables.view() as view:
        busy = view.busy_chunks(0, 100)
    return {order.server_id for _, chunk in busy for order in chunk.copying}


def test_only_servers_that_are_given_copies_have_a_share_the_dead_are_told_nothing() -> None:
    house = repairing()
    told = rates(house)
    assert 3 not in told and set(told) == {1, 2, 4, 5, 6, 7, 8}
    assert {one for one, rate in told.items() if rate != NOTHING} == targets(house)
    assert sum(rate for rate in told.values() if rate > 0) <= 64_000
    assert len(targets(house)) > 2, "no server makes all copies while others have none"


def test_a_copy_that_is_done_has_no_share_before_it_is_confirmed() -> None:
    house = repairing()
    first, *others = sorted(targets(house))
    with house.tables.view() as view:
        for chunk_id, chunk in view.busy_chunks(0, 100):
            for order in chunk.copying:
                if order.server_id == first:
                    house.copied.add((chunk_id, first, order.order_index))
    told = rates(house)
    assert told[first] == NOTHING and all(told[one] > 0 for one in others)


def test_who_is_nearly_done_has_less_and_who_backs_off_no_more_than_is_left_to_it() -> None:
    house = repairing()
    house.tables.do(SetRepairBudget(64_000_000, 0, 2, 99))
    [one, other, *_] = sorted(targets(house))
    house.facts = {other: RepairFacts(0, 5_000, True, 9, 10)}
    told = house.plan(plan_shares).allowances
    assert told[other] == RepairAllowance(5_000, 0)
    with house.tables.view() as view:
        for chunk_id, chunk in view.busy_chunks(0, 100):
            for order in chunk.copying:
                if order.server_id == one:
                    done = CopyProgress(chunk_id, order.order_index, LENGTH, LENGTH)
                    house.running[chunk_id, one] = done
    assert house.plan(plan_shares).allowances[one].copies_bytes_per_s == NOTHING


def test_a_new_leader_gives_nobody_more_than_it_has_until_old_allowances_have_lapsed() -> None:
    house = repairing()
    [one, other, *rest] = sorted(targets(house))
    house.young = True
    house.facts = {one: RepairFacts(1_000, 0), other: RepairFacts(NOTHING, 0)}
    told = rates(house)
    assert (told[one], told[other]) == (1_000, NOTHING)
    assert not set(rest) & set(told), "what these may take is not known"
    house.young = False
    assert all(rates(house)[server] > 0 for server in targets(house))
