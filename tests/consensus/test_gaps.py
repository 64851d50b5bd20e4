"""How long there was no leader, as the member knows that takes over."""

from __future__ import annotations

from pathlib import Path

from raft_lab import TIMEOUT_MAX_S, TIMEOUT_MIN_S, OurLab

from gfs_ha.master.raft.gaps import KEPT_S, Gaps


def longest_ms(lab: OurLab, name: str) -> int:
    return int(lab.nodes[name].status().longest_gap_ms)


def test_who_takes_over_knows_since_when_nobody_led(tmp_path: Path) -> None:
    lab = OurLab("ABC", tmp_path)
    try:
        lab.elect("A")
        lab.run(1.0)
        assert longest_ms(lab, "A") == -1, "nobody led before"
        lab.kill("A")
        lab.run(3 * TIMEOUT_MAX_S)
        (leader,) = lab.leaders()
        (other,) = {"B", "C"} - {leader}
        assert TIMEOUT_MIN_S * 1000 <= longest_ms(lab, leader) <= 3000 * TIMEOUT_MAX_S
        assert longest_ms(lab, other) == -1, "it did not take over"
    finally:
        lab.close()


def test_a_leader_that_is_elected_again_counts_from_its_own_last_moment() -> None:
    gaps = Gaps()
    gaps.follow(10.0)
    gaps.lead(3, 10.7)
    for moment in (11.0, 20.0):
        gaps.lead(3, moment)
    assert gaps.longest_ms(20.0) == 699
    gaps.lead(4, 22.5)
    assert gaps.longest_ms(23.0) == 2500


def test_only_the_longest_of_the_last_days_counts() -> None:
    gaps = Gaps()
    moment = 0.0
    for term, took_s in enumerate((9.0, 1.0, 3.0, 2.0)):
        gaps.follow(moment)
        gaps.lead(term, moment + took_s)
        moment += KEPT_S / 4
    assert gaps.longest_ms(moment) == 9000
    assert gaps.longest_ms(9.5 + KEPT_S) == 3000
    assert gaps.longest_ms(2.5 + KEPT_S * 1.5) == 3000
    assert gaps.longest_ms(3.5 + KEPT_S * 1.5) == 2000
    assert gaps.longest_ms(KEPT_S * 3) == -1
