"""What is logged of handshakes that fail again and again."""

from __future__ import annotations

import logging

import pytest

from gfs_ha.errors import NewerIncarnation, OldCopy
from gfs_ha.master.raft.refusals import REPEAT_S, Refusals

OLD = NewerIncarnation("the peer is of incarnation 1, the cluster of 2")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_same_reason_is_logged_once_and_then_once_a_minute_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for tick in range(10 * int(REPEAT_S) + 1):
            refusals.note("m2", "10.0.0.2:4000", OLD, tick / 5)
    first, second, third = lines(caplog)
    assert "peer=m2 remote=10.0.0.2:4000 code=NewerIncarnation" in first
    assert first.endswith("repeated=0")
    assert second.endswith("repeated=299") and third.endswith("repeated=299")


def test_who_gives_another_name_each_time_floods_nothing(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            refusals.note(f"x{number}", "10.0.0.2:4000", OLD, 1.0)
    assert len(lines(caplog)) == 30
    assert refusals.reason("x999") and not refusals.reason("x1")


def test_only_an_old_copy_ended_for_good() -> None:
    refusals = Refusals()
    refusals.note("m2", "h:1", OLD, 1.0)
    refusals.note("m3", "h:1", OldCopy("it must not vote again"), 1.0)
    assert refusals.ended("m3") and not refusals.ended("m2")
    refusals.forget("m3")
    assert not refusals.ended("m3") and refusals.reason("m3") == ""
