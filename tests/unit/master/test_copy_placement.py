"""Where a lost copy goes: back to the rule of racks, never where the chunk has a place already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_placement import server

from gfs_ha.ids import ServerId
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.placement import (
    Candidate,
    CopyWanted,
    copy_rank,
    may_share,
    place_copy,
    takes_copy,
    why_no_copy,
)
from gfs_ha.master.rules import HDFS, SEED, SPREAD, faults

SIX = [server(n, f"r{(n + 1) // 2}") for n in range(1, 7)]  # r1: 1 2, r2: 3 4, r3: 5 6.


def wanted(kept: tuple[int, ...], servers: list[Candidate] = SIX, **changes: object) -> CopyWanted:
    by_id = {one.server_id: one for one in servers}
    fields: dict[str, object] = {
        "goal": 3,
        "length": 64 * MIB,
        "kept": tuple(by_id[ServerId(one)] for one in kept),
        "taken": frozenset(kept),
        "failed": frozenset(),
        "spread": 1,
    }
    return CopyWanted(**{**fields, **changes})  # type: ignore[arg-type]


def target(request: CopyWanted, servers: list[Candidate] = SIX) -> int:
    chosen, _ = place_copy(servers, request)
    assert chosen is not None
    return chosen.server_id


@pytest.mark.parametrize(
    ("kept", "racks"),
    [
        ((1, 2), {"r2", "r3"}),  # The pair is there: another rack.
        ((1, 3), {"r1", "r2"}),  # Two racks: the pair again.
        ((1,), {"r2", "r3"}),  # One copy is safe only with one in another rack.
    ],
)
def test_the_rule_of_the_chunk_is_restored(kept: tuple[int, ...], racks: set[str]) -> None:
    for spread in range(30):
        chosen, remarks = place_copy(SIX, wanted(kept, spread=spread))
        assert chosen is not None and chosen.rack in racks and not remarks
        assert chosen.server_id not in kept


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True),
    st.sets(st.integers(1, 6)),
    st.sets(st.integers(1, 6)),
    st.integers(1, 8),
)
def test_who_asks_whether_anybody_takes_a_copy_hears_what_a_choice_would_come_to(
    kept: list[int], taken: set[int], failed: set[int], goal: int
) -> None:
    servers = [server(n, f"r{n % 2}", machine=f"h{n % 4}") for n in range(1, 7)]
    asked = wanted(
        tuple(kept), servers, taken=frozenset({*kept, *taken}), failed=frozenset(failed), goal=goal
    )
    assert takes_copy(servers, asked) is (place_copy(servers, asked)[0] is not None)


def test_two_copies_share_a_rack_as_the_rule_says() -> None:
    assert target(wanted((3,), goal=2)) == 4


def test_without_a_server_where_the_rule_wants_one_the_copy_goes_elsewhere_and_says_why() -> None:
    servers = [one for one in SIX if one.rack != "r3"]
    servers = [
        server(one.server_id, one.rack, trouble="is dead") if one.rack == "r2" else one
        for one in servers
    ]
    servers.append(server(7, "r1"))
    chosen, remarks = place_copy(servers, wanted((1, 2), servers))
    assert chosen is not None and chosen.server_id == 7
    assert "rack r1" in remarks[0] and "cs3 is dead" in remarks[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trouble": "is suspect"}, "cs4 is suspect"),
        ({"used_share": 0.96}, "cs4 is above the high-water mark"),
        ({"free_bytes": 63 * MIB}, "cs4 has no room"),
    ],
)
def test_a_server_that_cannot_take_it_is_named(changes: dict[str, object], why: str) -> None:
    servers = [*SIX[:3], server(4, "r2", **changes)]
    chosen, remarks = place_copy(servers, wanted((1, 2, 3), servers, goal=4))
    assert chosen is None and why in remarks[0] and "3 have a place of it" in remarks[0]


def test_a_server_that_failed_with_it_lately_is_left_out() -> None:
    assert target(wanted((1, 2), failed=frozenset({3, 4, 5}))) == 6


def test_of_equal_racks_the_emptier_server_on_a_machine_of_its_own_is_taken() -> None:
    servers = [
        server(1),
        server(2),
        server(3, "r2", machine="h1"),
        server(4, "r2", used_share=0.8),
        server(5, "r2", used_share=0.4, free_bytes=60 * GIB),
    ]
    assert target(wanted((1, 2), servers), servers) == 5


@given(st.lists(st.integers(0, 3), min_size=1, max_size=10), st.integers(2, 5), st.integers(0, 99))
def test_copy_by_copy_a_chunk_never_stays_in_one_rack_when_there_are_more(
    racks: list[int], goal: int, spread: int
) -> None:
    servers = [server(number, f"r{rack}") for number, rack in enumerate(racks, 1)]
    kept = [1]
    while len(kept) < goal:
        chosen, _ = place_copy(servers, wanted(tuple(kept), servers, goal=goal, spread=spread))
        if chosen is None:
            assert len(kept) == len(servers)
            return
        assert chosen.server_id not in kept
        kept.append(chosen.server_id)
    by_id = {one.server_id: one for one in servers}
    found = [by_id[ServerId(one)] for one in kept]
    if goal > 2 and len(set(racks)) > 1:
        assert len({one.rack for one in found}) > 1
    # No exchange of the last copy would be nearer to the rule.
    others = [one for one in servers if one.server_id not in kept]
    best = min((faults(SEED, goal, (*found[:-1], one)) for one in others), default=1 << 30)
    assert faults(SEED, goal, found) <= best


PLACED = st.tuples(st.integers(0, 3), st.sampled_from(("", "m1", "m2", "m3")), st.integers(0, 9))


@given(
    st.lists(PLACED, min_size=2, max_size=12),
    st.integers(1, 3),
    st.sampled_from((SEED, SPREAD, HDFS)),
    st.integers(0, 99),
)
def test_who_is_chosen_is_the_first_by_the_rank_that_explanations_show(
    fleet: list[tuple[int, str, int]], kept_count: int, rule: str, spread: int
) -> None:
    servers = [
        server(number, f"r{rack}", machine=machine, used_share=used / 10)
        for number, (rack, machine, used) in enumerate(fleet, 1)
    ]
    kept = tuple(range(1, min(kept_count, len(servers)) + 1))
    request = wanted(kept, servers, goal=4, spread=spread, rule=rule)
    chosen, remarks = place_copy(servers, request)
    shared = may_share(servers, 4)
    usable = [one for one in servers if not why_no_copy(one, request, shared)]
    assert chosen == min(usable, key=lambda one: copy_rank(one, request), default=None)
    if chosen is not None:
        free = [one for one in servers if shared or one.machine not in machines_of(request)]
        nearest = min(faults(rule, 4, (*request.kept, one)) for one in (*free, chosen))
        assert bool(remarks) == (nearest < faults(rule, 4, (*request.kept, chosen)))


def machines_of(request: CopyWanted) -> set[str]:
    return {one.machine for one in request.kept if one.machine}
