"""Answers of any master in the simulation: each lie about their moment is found."""

from __future__ import annotations

import pytest

from gfs_ha.client.consistency import consistency_of
from gfs_ha.errors import UsageError
from gfs_ha.protocol.calls import AsOf
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.history import ABSENT, STAT, Operation
from gfs_ha.sim.masters.moments import check_moment
from gfs_ha.sim.masters.search import plan_names, plan_of
from gfs_ha.sim.masters.timeline import Timeline
from gfs_ha.sim.scheduler import Scheduler


def judge(consistency: str, as_of: AsOf, answer: str | int = ABSENT, seen_index: int = 0) -> None:
    scheduler = Scheduler()
    timeline = Timeline(scheduler)
    began_s = scheduler.now_s
    timeline.shows(7)
    timeline.leads()
    read = Operation("c", STAT, "a", called_s=began_s + 0.5, answer=answer, as_of=as_of)
    check_moment(read, consistency_of(consistency), seen_index, timeline)


def test_an_answer_that_is_what_it_says_passes() -> None:
    judge("bounded:0", AsOf("m1", 7, 0))
    judge("bounded:1000", AsOf("m1", 3, 900))
    judge("local", AsOf("m1", 3, -1, degraded=True))


@pytest.mark.parametrize(
    ("consistency", "as_of", "answer", "seen_index", "word"),
    [
        ("bounded:0", AsOf("m1", 6, 0), ABSENT, 0, "older than it says"),
        ("bounded:1000", AsOf("m1", 6, 100), ABSENT, 0, "older than it says"),
        ("bounded:100", AsOf("m1", 7, 101), ABSENT, 0, "beyond the bound"),
        ("bounded:100", AsOf("m1", 7, -1), ABSENT, 0, "beyond the bound"),
        ("local", AsOf("m1", 7, 10), ABSENT, 8, "back in time"),
        ("local", AsOf("m1", 7, 10), 5, 0, "false answer"),
    ],
)
def test_a_lie_about_the_moment_is_found(
    consistency: str, as_of: AsOf, answer: str | int, seen_index: int, word: str
) -> None:
    with pytest.raises(Violation, match=word):
        judge(consistency, as_of, answer, seen_index)


def test_every_plan_has_faults_and_an_unknown_one_is_refused() -> None:
    assert all(plan_of(name, 1).fault_kinds for name in plan_names())
    with pytest.raises(UsageError, match="rival"):
        plan_of("nope", 1)
