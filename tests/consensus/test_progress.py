"""What a leader concludes from the answers of one member."""

from __future__ import annotations

from gfs_ha.master.raft.progress import Progress


def test_a_rejection_moves_back_to_what_the_member_asks_for() -> None:
    progress = Progress(100)
    assert progress.rejected(40, echo_ns=1, now_ns=2)
    assert (progress.next_index, progress.probing) == (40, True)


def test_what_a_member_applied_is_never_asked_for_again() -> None:
    # It is committed, hence the same in both logs, and the leader may have dropped it already.
    progress = Progress(100)
    progress.applied_index = 90
    assert progress.rejected(40, echo_ns=1, now_ns=2)
    assert progress.next_index == 91
    assert progress.match_index == 0, "counted is only what the member answered as durable"
    assert progress.agreed_index == 90


def test_a_late_rejection_says_nothing_new() -> None:
    progress = Progress(100)
    progress.restart(60, now_ns=10)
    assert not progress.rejected(40, echo_ns=10, now_ns=20)
    assert progress.next_index == 60
