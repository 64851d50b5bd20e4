"""A mistake in one planner: the others go on, it is logged, and health says so."""

from __future__ import annotations

import logging

import pytest

from gfs_ha.errors import DiskFailed
from gfs_ha.master.planner_guard import SHOWN_S, PlannerGuard, planner_findings
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.state.commands import FitGoals

NOW_S = 500.0


def broken() -> Plan:
    raise KeyError("a chunk that is not there")


def good() -> Plan:
    return Plan(proposals=[FitGoals(1)])


def test_what_fails_plans_nothing_and_the_next_one_plans() -> None:
    guard = PlannerGuard()
    assert guard.run("tally", broken, NOW_S).empty
    assert guard.run("goals", good, NOW_S).proposals == [FitGoals(1)]
    assert [(one.name, one.count) for one in guard.faults] == [("tally", 1)]


def test_a_store_that_cannot_be_read_is_no_mistake_of_the_planner() -> None:
    def unreadable() -> Plan:
        raise DiskFailed("the store")

    guard = PlannerGuard()
    with pytest.raises(DiskFailed):
        guard.run("tally", unreadable, NOW_S)
    assert not guard.faults


def test_each_fault_is_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    guard = PlannerGuard()
    with caplog.at_level(logging.ERROR):
        for tick in range(300):
            guard.run("tally", broken, NOW_S + tick / 4)
    assert len(caplog.records) == 2 and caplog.records[0].exc_info
    assert guard.faults[0].count == 300


def test_health_names_the_duty_that_fails_until_it_is_long_past() -> None:
    guard = PlannerGuard()
    guard.run("tally", broken, NOW_S)
    [found] = planner_findings(guard.faults, NOW_S + 12)
    assert found.code == "PLANNER_FAILS" and found.severity == "error"
    assert "'tally' failed 1 times" in found.message and "12 s ago" in found.message
    assert "KeyError" in found.message
    assert planner_findings(guard.faults, NOW_S + SHOWN_S) == []
