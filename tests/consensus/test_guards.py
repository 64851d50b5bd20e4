"""A scenario that finds nothing proves something only if it finds the damage without the guard."""

from __future__ import annotations

from pathlib import Path

import pytest
from raft_lab import OurLab
from raft_scenarios import (
    Make,
    Scenario,
    acknowledged_is_not_durable,
    flaky_link_deposes,
    new_leader_reads_stale,
    old_answer_commits,
    play,
    vote_is_forgotten,
)

from gfs_ha.sim.guards import GUARDS, SimNode


def old_entry_commits_by_counting(make: Make) -> bool:
    """Figure 8 of the Raft paper: an entry of an older term reaches a majority, is taken for
    committed, and is overwritten by a leader whose newer entry never got far.
    """
    lab = make("ABC")
    for name in lab.ids:
        lab._internal(name)._small_batches = False
        lab._internal(name)._batch_entries = 1
    lab.elect("A")
    lab.isolate("A")
    lab.propose("A", "x")
    lab.tick("A")
    lab.elect("B", "BC", settle_s=0.0)
    lab.take("B", "C")
    lab.tick("B")
    lab.isolate("B")
    lab.heal("A", "C")
    lab.elect("A", "AC", settle_s=0.0)
    length = len(lab.log("C"))
    for _ in range(20):
        lab.tick("A")
        lab.deliver("A", "C")
        lab.tick("C")
        if len(lab.log("C")) > length:
            break
        lab.deliver("C", "A")
    assert lab.log("C")[-1] == (3, 1)
    lab.deliver("C", "A")
    lab.tick("A")  # The next entry, of its own term, is on its way and gets lost.
    applied = "x" in lab.applied("A")
    lab.kill("A")
    lab.heal("B", "C")
    lab.run(10.0, "BC")
    assert lab.leaders()
    return applied and "x" not in lab.applied("C")


PAIRS: list[tuple[str, Scenario]] = [
    ("answer-term", old_answer_commits),
    ("own-term-commit", old_entry_commits_by_counting),
    ("one-vote", vote_is_forgotten),
    ("stickiness", flaky_link_deposes),
    ("reads-after-commit", new_leader_reads_stale),
]


def lab_with(node_type: type[SimNode]) -> type[OurLab]:
    return type("GuardLab", (OurLab,), {"node_type": node_type})


@pytest.mark.parametrize(("guard", "scenario"), PAIRS)
def test_the_damage_is_there_without_the_guard(
    guard: str, scenario: Scenario, tmp_path: Path
) -> None:
    assert play(scenario, lab_with(GUARDS[guard]), tmp_path)


def test_only_entries_of_the_own_term_are_counted(tmp_path: Path) -> None:
    assert not play(old_entry_commits_by_counting, OurLab, tmp_path)


def test_acknowledgements_wait_for_the_commit(tmp_path: Path) -> None:
    assert not play(acknowledged_is_not_durable, OurLab, tmp_path)
