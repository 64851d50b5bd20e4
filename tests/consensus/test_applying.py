"""A follower stores the log for its leader at once, and applies it when there is time for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from raft_lab import OurLab

from gfs_ha.limits import RAFT_APPLY_DELAY_S, RAFT_APPLY_ENTRIES, RAFT_LINGER_S
from gfs_ha.master.raft.messages import Appended, decode


@pytest.fixture
def lab(tmp_path: Path) -> OurLab:
    lab = OurLab("ABC", tmp_path)
    lab.elect("A")
    for name in "ABC":
        lab.nodes[name].replica._refresh_s = float("inf")  # It asks only for reads.
    lab.run(1.0)
    return lab


def replicate(lab: OurLab, *values: str) -> int:
    """Have A log values that B holds; return up to where B then says that its log matches."""
    for value in values:
        lab.propose("A", value)
    lab.tick("A")
    lab.deliver("A", "B")
    lab.tick("B")
    answers = [decode(frame) for frame in lab.wire["B", "A"]]
    matched = max(answer.index for answer in answers if isinstance(answer, Appended))
    lab.deliver("B", "A")
    lab.tick("A")
    return matched


def test_a_follower_acknowledges_an_entry_before_it_applies_the_last_one(lab: OurLab) -> None:
    first = replicate(lab, "x")
    assert replicate(lab, "y") == first + 1
    assert lab.outcome("y") == "applied"
    assert lab.nodes["B"].replica.commit_index == first, "it knows that the first one is committed"
    assert lab.applied("B") == []


def test_what_a_follower_gathered_is_applied_and_stored_soon(lab: OurLab) -> None:
    replicate(lab, "x")
    replicate(lab, "y")
    lab.pass_time(RAFT_APPLY_DELAY_S)
    lab.tick("B")
    lab.pass_time(RAFT_LINGER_S)
    lab.tick("B")
    assert lab.applied("B") == ["x"]


def test_a_follower_wakes_up_by_itself_to_apply(lab: OurLab) -> None:
    replicate(lab, "x")
    replicate(lab, "y")
    node = lab.nodes["B"]
    assert node._wait_s(1.0) <= RAFT_APPLY_DELAY_S
    lab.pass_time(RAFT_APPLY_DELAY_S)
    lab.tick("B")
    assert node._wait_s(1.0) <= RAFT_LINGER_S


def test_much_is_applied_without_delay(lab: OurLab) -> None:
    many = [str(number) for number in range(RAFT_APPLY_ENTRIES)]
    replicate(lab, *many)
    replicate(lab, "then")
    replicate(lab, "last")  # Its commit takes along what was applied after the one before.
    assert lab.applied("B") == many


def test_a_read_on_a_follower_does_not_wait_for_the_delay(lab: OurLab) -> None:
    replicate(lab, "x")
    replicate(lab, "y")
    answers: list[object] = []
    lab.nodes["B"].read_index(5.0, answers.append, anywhere=True)
    for source, target in (("B", "A"), ("A", "B")):
        lab.tick(source)
        lab.deliver(source, target)
    lab.tick("B")
    assert answers == [None] and lab.applied("B") == ["x", "y"]


def test_a_follower_that_loses_power_before_it_applied_does_so_afterwards(lab: OurLab) -> None:
    replicate(lab, "x")
    replicate(lab, "y")
    lab.power_cut("B")
    lab.run(1.0)
    assert lab.applied("B") == lab.applied("A") == ["x", "y"]


def test_a_follower_that_becomes_the_leader_first_applies_what_it_gathered(lab: OurLab) -> None:
    replicate(lab, "x")
    replicate(lab, "y")
    lab.kill("A")
    lab.elect("B", "BC")
    assert lab.nodes["B"].replica.serving and lab.applied("B") == ["x", "y"]


def test_a_follower_that_stops_with_applied_state_lets_go_of_its_store(lab: OurLab) -> None:
    replicate(lab, "x")
    replicate(lab, "y")
    lab.pass_time(RAFT_APPLY_DELAY_S)
    lab.tick("B")
    assert lab.disks["B"].writing, "it waits for a commit to share"
    lab.nodes["B"].close()
    assert not lab.disks["B"].writing


def test_the_only_member_outlives_a_disk_that_takes_longer_than_a_command_may(
    tmp_path: Path,
) -> None:
    lab = OurLab("A", tmp_path)
    lab.elect("A")
    lab.propose("A", "x")
    lab.tick("A")
    assert lab.outcome("x") is None, "it counts its own commit in the next tick"
    lab.pass_time(10.0)
    lab.tick("A")
    assert lab.results["x"] == ["applied"] and lab.applied("A") == ["x"]
    assert lab.nodes["A"].replica._proposal_count == 0
