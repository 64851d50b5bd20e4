"""What fails on the masters by a mistake of ours: health names it, and all else goes on."""

from __future__ import annotations

import pytest
from trio import Client, Trio, wait_until

from gfs_ha.master import housekeeping
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.draft import STEPS, Draft
from gfs_ha.master.state.view import View
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import FileStatus, Mkdir, SetAttributes
from gfs_ha.protocol.reports import GetHealth, HealthReport


def test_duties_after_one_that_fails_are_done_and_health_names_it(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(trio)
    first, *_, last = housekeeping.PLANNERS
    still = housekeeping.PLANNERS[last]
    done: list[float] = []

    def fails(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
        raise IndexError("a mistake of ours")

    def counts(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
        done.append(seen.now_s)
        return still(view, seen, limits, cursors)

    monkeypatch.setitem(housekeeping.PLANNERS, first, fails)
    monkeypatch.setitem(housekeeping.PLANNERS, last, counts)

    def told() -> list[str]:
        report = client.ask(GetHealth())
        assert isinstance(report, HealthReport), report
        return [one.message for one in report.items if one.code == "PLANNER_FAILS"]

    [message] = wait_until(told, "health to name the duty")
    assert first in message and "IndexError: a mistake of ours" in message
    wait_until(lambda: len(done) > 2, "the last duty to be done")


def test_a_command_that_fails_is_answered_counted_and_named_by_health(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(trio)

    def told() -> list[str]:
        items = client.ask(GetHealth()).items
        return [one.message for one in items if one.code == "INTERNAL_ERRORS"]

    def fails(draft: Draft, command: Mkdir) -> FileStatus:
        raise IndexError("a mistake of ours")

    assert told() == []
    monkeypatch.setitem(STEPS, Mkdir, fails)
    refused = client.ask(Mkdir("/a", 0o755, "o", "g"))
    assert isinstance(refused, Failure) and refused.error == "InternalError"
    assert isinstance(client.ask(SetAttributes("/", mode=0o700)), FileStatus)
    [message] = wait_until(told, "health to name the command")
    assert "Mkdir" in message and "IndexError" in message
