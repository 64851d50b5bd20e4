"""The three rules of placement, against every other choice there was (properties)."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_copy_placement import wanted as copy_wanted
from test_placement import SIX, ids, server, wanted

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.limits import GIB, MIB, PLACEMENT_RULES
from gfs_ha.master.placement import HIGH_WATER, Candidate, place, place_better, place_copy
from gfs_ha.master.rules import HDFS, RULE_TEXTS, SEED, SPREAD, breaks

# (rack, machine within the rack, used share, trouble): a machine stands in one rack.
PLACES = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 3),
        st.sampled_from((0.1, 0.5, 0.94, 0.95, 0.99)),
        st.sampled_from(("", "", "", "is suspect")),
    ),
    min_size=1,
    max_size=8,
)


def fleet(places: list[tuple[int, int, float, str]]) -> list[Candidate]:
    return [
        server(
            number,
            f"r{rack}",
            machine=f"h{rack}.{machine}",
            used_share=used,
            free_bytes=int(100 * GIB * (1 - used)),
            trouble=trouble,
        )
        for number, (rack, machine, used, trouble) in enumerate(places, 1)
    ]


def test_every_rule_is_told() -> None:
    assert tuple(RULE_TEXTS) == PLACEMENT_RULES


@settings(max_examples=300, deadline=None)
@given(PLACES, st.integers(1, 4), st.sampled_from(PLACEMENT_RULES), st.integers(0, 9))
def test_a_new_chunk_lies_as_the_rule_says_whenever_that_is_possible(
    places: list[tuple[int, int, float, str]], goal: int, rule: str, spread: int
) -> None:
    servers = fleet(places)
    request = wanted(goal=goal, rule=rule, spread=spread, min_copies=1)
    usable = [one for one in servers if not one.trouble and one.used_share < HIGH_WATER]
    try:
        chosen = place(servers, request).chosen
    except (NoServers, NoSpace):
        assert not usable
        return
    assert chosen == place(reversed(servers), request).chosen, "equal input, equal choice"
    assert len({one.server_id for one in chosen}) == len(chosen) and set(chosen) <= set(usable)
    machines = len({one.machine for one in usable})
    if len({one.machine for one in servers}) >= goal:
        assert len({one.machine for one in chosen}) == len(chosen) == min(goal, machines)
    else:
        assert len(chosen) == min(goal, len(usable))
    best = min(
        breaks(rule, goal, others)
        for others in combinations(usable, len(chosen))
        if chosen[0] in others
    )
    assert breaks(rule, goal, chosen) == best


@settings(max_examples=200, deadline=None)
@given(PLACES, st.integers(2, 4), st.sampled_from(PLACEMENT_RULES), st.integers(0, 9))
def test_what_was_just_placed_is_never_placed_better(
    places: list[tuple[int, int, float, str]], goal: int, rule: str, spread: int
) -> None:
    """Else each new chunk would be copied once more by the planner of the rule."""
    servers = fleet(places)
    try:
        chosen = place(servers, wanted(goal=goal, rule=rule, spread=spread)).chosen
    except (NoServers, NoSpace):
        return
    assume(len(chosen) == goal)
    request = copy_wanted((), servers, goal=goal, rule=rule, spread=spread)
    held = frozenset(one.server_id for one in chosen)
    better = place_better(
        servers,
        type(request)(goal, MIB, chosen, held, frozenset(), spread, rule),
    )
    if better is not None:
        # Only another head than the one near the writer can be nearer to the rule.
        assert better[1] == chosen[0]


@settings(max_examples=200, deadline=None)
@given(PLACES, st.integers(1, 4), st.sampled_from(PLACEMENT_RULES))
def test_a_copy_is_never_put_above_the_mark_nor_on_the_machine_of_another(
    places: list[tuple[int, int, float, str]], goal: int, rule: str
) -> None:
    servers = fleet(places)
    chosen, remarks = place_copy(servers, copy_wanted((1,), servers, goal=goal, rule=rule))
    if chosen is None:
        assert remarks
        return
    assert chosen.used_share < HIGH_WATER and not chosen.trouble and chosen.server_id != 1
    if len({one.machine for one in servers}) >= goal:
        assert chosen.machine != servers[0].machine


RACKS = {number: f"r{(number + 1) // 2}" for number in range(1, 7)}


@pytest.mark.parametrize(
    ("rule", "goal", "counts"),
    [
        (SEED, 2, [2]),
        (SEED, 3, [1, 2]),
        (SEED, 4, [1, 1, 2]),
        (HDFS, 2, [1, 1]),
        (HDFS, 3, [1, 2]),
        (HDFS, 4, [1, 1, 2]),
        (SPREAD, 2, [1, 1]),
        (SPREAD, 3, [1, 1, 1]),
        (SPREAD, 4, [1, 1, 2]),
    ],
)
def test_the_racks_that_each_rule_uses(rule: str, goal: int, counts: list[int]) -> None:
    for spread in range(30):
        chosen = ids(SIX, wanted(machine="h3", goal=goal, rule=rule, spread=spread))
        assert chosen[0] == 3, "the first one is near the writer"
        racks = [RACKS[number] for number in chosen]
        assert sorted(racks.count(rack) for rack in set(racks)) == counts
        if rule == HDFS and goal > 2:
            assert racks[1] == racks[2] != racks[0]
        if rule == SEED:
            assert racks[0] == racks[1]
        assert not place(SIX, wanted(machine="h3", goal=goal, rule=rule, spread=spread)).remarks


def test_a_machine_that_is_away_does_not_bring_two_copies_onto_another_one() -> None:
    servers = [server(n, f"r{n % 2}", machine=f"h{(n + 1) // 2}") for n in range(1, 7)]
    servers[4] = server(5, "r1", machine="h3", trouble="is dead")
    servers[5] = server(6, "r0", machine="h3", trouble="is dead")
    chosen = place(servers, wanted())
    assert len({one.machine for one in chosen.chosen}) == len(chosen.chosen) == 2
    assert "2 of 3 copies" in chosen.remarks[-1]
    with pytest.raises(NoServers, match="shares a machine with another one"):
        place(servers, wanted(min_copies=3))
    kept = tuple(one.server_id for one in chosen.chosen)
    found, remarks = place_copy(servers, copy_wanted(kept, servers))
    assert found is None and "is on the machine of cs" in remarks[0]


def test_fewer_machines_than_copies_are_shared_evenly() -> None:
    servers = [server(n, machine=f"h{n % 2}") for n in range(1, 7)]
    chosen = place(servers, wanted(goal=4)).chosen
    assert sorted(one.machine for one in chosen) == ["h0", "h0", "h1", "h1"]
