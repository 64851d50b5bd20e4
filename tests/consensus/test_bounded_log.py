"""The log is bounded (M7), who was away too long comes back by a snapshot, low space is known."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from raft_lab import OurLab

from gfs_ha.master.raft.contract import RaftStatus


class ShortLog(OurLab):
    log_bytes_max = 4000


@pytest.fixture
def lab(tmp_path: Path) -> OurLab:
    return ShortLog("ABC", tmp_path)


def status(lab: OurLab, name: str) -> RaftStatus:
    found: RaftStatus = lab.nodes[name].status()
    return found


def write(lab: OurLab, name: str, count: int, only: str) -> None:
    for number in range(count):
        lab.propose(name, f"value {number}")
        if number % 10 == 0:
            lab.run(0.1, only)
    lab.run(1.0, only)


def test_what_everybody_applied_is_dropped(lab: OurLab) -> None:
    lab.elect("A")
    write(lab, "A", 200, "ABC")
    for name in "ABC":
        assert status(lab, name).last > 200
        assert status(lab, name).last - status(lab, name).first < 20
        assert len(lab.applied(name)) == 200


def test_while_a_member_is_away_nothing_that_it_lacks_is_dropped(lab: OurLab) -> None:
    lab.elect("A")
    lab.isolate("C")
    write(lab, "A", 30, "ABC")
    assert status(lab, "A").first <= status(lab, "C").last
    lab.rejoin("C")
    lab.run(2.0)
    assert len(lab.applied("C")) == 30
    assert status(lab, "C").too_far_behind is None


def test_beyond_the_limit_the_log_goes_on_and_the_absent_member_gets_a_snapshot(
    lab: OurLab,
) -> None:
    lab.elect("A")
    lab.isolate("C")
    write(lab, "A", 300, "ABC")
    assert status(lab, "A").log_bytes <= 4000
    assert status(lab, "A").first > status(lab, "C").last
    term = lab.term("A")
    lab.rejoin("C")
    while not any(peer.behind for peer in status(lab, "A").peers):
        lab.run(0.02)
    reason = status(lab, "C").too_far_behind
    assert reason is not None and "snapshot" in reason
    assert status(lab, "C").role == "follower"
    (peer,) = [peer for peer in status(lab, "A").peers if peer.member_id == "C"]
    assert peer.behind and peer.connected
    assert lab.leads("A") and lab.term("A") == term
    lab.propose("A", "still served")
    lab.run(0.5)
    assert lab.outcome("still served") == "applied"
    lab.run(3.0)
    assert status(lab, "C").too_far_behind is None
    assert lab.applied("C") == lab.applied("A")


def test_a_member_that_is_too_far_behind_never_leads(lab: OurLab) -> None:
    lab.elect("A")
    lab.isolate("C")
    write(lab, "A", 300, "ABC")
    lab.rejoin("C")
    lab.run(0.12)
    assert status(lab, "C").too_far_behind
    lab.kill("A")
    lab.run(10.0, "BC")
    assert lab.leaders() == ["B"]  # C votes, as its log allows, but holds no new entry.
    lab.propose("B", "C is back by a snapshot of B")
    lab.run(5.0, "BC")
    assert lab.outcome("C is back by a snapshot of B") == "applied"
    assert lab.applied("C") == lab.applied("B")


def test_the_leader_hears_of_low_space_on_a_voter(lab: OurLab) -> None:
    lab.elect("A")
    assert not status(lab, "A").any_voter_low
    lab.nodes["B"].space_low_source = lambda: True
    lab.run(3.0)
    assert status(lab, "A").any_voter_low and not status(lab, "A").space_low
    assert [peer.space_low for peer in status(lab, "A").peers] == [True, False]
    lab.nodes["B"].space_low_source = lambda: False
    lab.run(3.0)
    assert not status(lab, "A").any_voter_low


def test_a_space_source_that_raises_does_no_harm(
    lab: OurLab, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise OSError("no such disk")

    lab.nodes["A"].space_low_source = broken
    lab.elect("A")
    assert "no such disk" in caplog.text


def test_time_without_a_leader_is_reported(lab: OurLab) -> None:
    lab.elect("A")
    lab.run(1.0)
    assert status(lab, "B").no_leader_since_ms is None
    lab.isolate("B")
    lab.run(6.0)
    since_ms = status(lab, "B").no_leader_since_ms
    assert since_ms is not None and 3000 < since_ms < 6000
    assert status(lab, "B").leader is None


class SlowSnapshots(ShortLog):
    log_room_bytes = 1 << 20


def test_the_log_waits_for_a_snapshot_that_takes_longer_than_the_log_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else each one is useless before it has arrived, and the next one begins from nothing."""
    caplog.set_level(logging.INFO)
    lab = SlowSnapshots("ABC", tmp_path)
    lab.elect("A")
    lab.isolate("C")
    write(lab, "A", 200, "ABC")
    replica = lab.nodes["A"].replica
    replica._snapshot_chunk_bytes, replica._snapshot_chunk_s = 200, 0.05
    lab.rejoin("C")
    caplog.clear()
    for number in range(500):
        for turn in range(5):
            lab.propose("A", f"later {number} {turn}")
        lab.run(0.02)
        if len(lab.applied("C")) > 200 and not status(lab, "C").too_far_behind:
            break
    lab.run(2.0)
    assert lab.applied("C") == lab.applied("A")
    told = [record.getMessage() for record in caplog.records]
    assert len([one for one in told if one.startswith("installing a snapshot")]) == 1
    assert len([one for one in told if one.startswith("too far behind")]) == 1
    assert status(lab, "A").log_bytes <= 4000
