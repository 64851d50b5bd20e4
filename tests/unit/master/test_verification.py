"""Who has the state of the majority: pure, from the hashes that the members tell."""

from __future__ import annotations

from itertools import product

import pytest

from gfs_ha.master.state.records import StateCheck
from gfs_ha.master.verification import CHECK_PERIOD_MS, due, hash_at, judge, report_of
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.protocol.state_checks import StateFacts

MEMBERS = ("m1", "m2", "m3")
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.mark.parametrize(
    ("answers", "value", "agreed", "differing", "missing"),
    [
        ({"m1": A, "m2": A, "m3": A}, A, MEMBERS, (), ()),
        ({"m1": B, "m2": A, "m3": A}, A, ("m2", "m3"), ("m1",), ()),
        ({"m1": A, "m3": A}, A, ("m1", "m3"), (), ("m2",)),
        ({"m1": A, "m2": B, "m3": C}, b"", (), MEMBERS, ()),
        ({"m1": A, "m2": B}, b"", (), ("m1", "m2"), ("m3",)),
        ({"m2": A}, b"", (), (), ("m1", "m3")),
        ({}, b"", (), (), MEMBERS),
    ],
)
def test_a_majority_of_all_members_decides(answers, value, agreed, differing, missing) -> None:
    found = judge(7, MEMBERS, answers)
    assert (found.index, found.value) == (7, value)
    assert (found.agreed, found.differing, found.missing) == (agreed, differing, missing)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_attested_hash_never_stops_half_of_the_members_or_more(count: int) -> None:
    members = tuple(f"m{number}" for number in range(count))
    for said in product((A, B, None), repeat=count):
        answers = {name: one for name, one in zip(members, said, strict=True) if one is not None}
        found = judge(1, members, answers)
        parts = (*found.agreed, *found.differing, *found.missing)
        if found.value:
            assert sorted(parts) == sorted(members)
            stops = [name for name, one in answers.items() if one != found.value]
            assert set(stops) == set(found.differing)
            assert 2 * len(found.agreed) > count and 2 * len(stops) < count
        else:
            assert all(2 * list(answers.values()).count(one) <= count for one in (A, B))


def test_who_is_no_member_has_no_voice() -> None:
    found = judge(1, MEMBERS, {"m1": A, "m2": A, "x1": B, "x2": B, "x3": B})
    assert found.value == A and found.differing == () and found.missing == ("m3",)


def facts(state: StateFacts | None) -> MasterFacts:
    numbers = (0,) * 12
    return MasterFacts("m1", "follower", 1, "m2", *numbers, 1, "0.1", "", state)


@pytest.mark.parametrize("text", [A.hex() + "00", "", "zz" * 16, "a"])
def test_a_hash_that_is_none_counts_as_silence(text: str) -> None:
    assert hash_at(facts(StateFacts(9, A.hex(), ((5, text),))), 5) is None


def test_only_the_hash_at_the_index_of_the_check_counts() -> None:
    told = facts(StateFacts(9, C.hex(), ((7, B.hex()), (5, A.hex()))))
    assert hash_at(told, 5) == A and hash_at(told, 7) == B
    assert hash_at(told, 9) is None
    assert hash_at(facts(None), 5) is None


def test_a_check_is_due_after_an_hour_of_cluster_time_or_when_there_was_none() -> None:
    check = StateCheck(5, A, MEMBERS, (), (), (), cluster_ms=1000, wall_ns=5)
    assert due(None, 0)
    assert not due(check, 999 + CHECK_PERIOD_MS)
    assert due(check, 1000 + CHECK_PERIOD_MS)


def test_a_check_is_told_by_name() -> None:
    check = StateCheck(5, A, ("m1", "m3"), ("m2",), ("m4",), ("m2",), cluster_ms=1, wall_ns=9)
    report = report_of(check)
    assert [(row.name, row.verdict) for row in report.items] == [
        ("m1", "equal"),
        ("m2", "differs"),
        ("m3", "equal"),
        ("m4", "silent"),
    ]
    assert (report.index, report.digest, report.diverged) == (5, A.hex(), ("m2",))
