"""Which duties wait until the tables show what they proposed, and which do not wait for ever."""

from __future__ import annotations

import pytest

from gfs_ha.errors import GfsError, NotLeader, UnknownOutcome
from gfs_ha.master.duties import Duties
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.runtime import ThreadedRuntime


def test_a_duty_waits_until_the_tables_show_the_newest_of_all_that_it_proposed() -> None:
    duties = Duties(ThreadedRuntime())
    for _ in range(2):
        duties.begin("copies")
    assert duties.pending("copies") and duties.waits("copies", 100)
    assert not duties.pending("drain") and not duties.waits("drain", 0)
    duties.ended("copies", Outcome(b"", None, 12, 1))
    assert duties.waits("copies", 100), "one is still on its way"
    duties.ended("copies", Outcome(b"", None, 11, 1))
    assert not duties.pending("copies")
    assert duties.waits("copies", 11) and not duties.waits("copies", 12)


@pytest.mark.parametrize("error", [UnknownOutcome("the leader changed"), NotLeader("ask m2")])
def test_a_command_that_may_never_be_applied_holds_back_nothing(error: GfsError) -> None:
    """Another leader's log was shorter, and little is written: its place may come hours later."""
    duties = Duties(ThreadedRuntime())
    duties.begin("copies")
    duties.ended("copies", Outcome(None, error, 900, 1))
    assert not duties.waits("copies", 100)
