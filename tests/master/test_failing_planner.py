"""What fails on the masters by a mistake of ours: health names it, and all else goes on."""

from __future__ import annotations

from functools import partial

import pytest
from trio import Client, Trio, wait_until

from gfs_ha.kv import lmdb_kv
from gfs_ha.master import housekeeping
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.commands import SetRepairBudget
from gfs_ha.master.state.draft import STEPS, Draft
from gfs_ha.master.state.view import View
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import FileStatus, Mkdir, SetAttributes
from gfs_ha.protocol.reports import GetHealth, HealthReport
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()


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


def test_a_duty_plans_with_tables_that_know_of_all_that_it_proposed(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "TICK_S", 0.01)
    first, *_, last = housekeeping.PLANNERS
    begins = housekeeping.PLANNERS[first]
    proposed: list[tuple[float, int]] = []  # In which reign, and what.
    known: list[tuple[int, int]] = []

    def dawdles(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
        RUNTIME.sleep(0.05)  # What was proposed is committed meanwhile.
        return begins(view, seen, limits, cursors)

    def counts(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
        budget = view.repair_budget()
        if proposed and proposed[-1][0] == seen.elected_s:
            known.append((budget.copies if budget is not None else 0, proposed[-1][1]))
        proposed.append((seen.elected_s, 10 + len(proposed) % 50))
        return Plan(proposals=[SetRepairBudget(copies=proposed[-1][1])])

    monkeypatch.setitem(housekeeping.PLANNERS, last, counts)
    monkeypatch.setitem(housekeeping.PLANNERS, first, dawdles)
    wait_until(lambda: len(known) > 8, "the duty to be done some times")
    assert [one for one in known if one[0] != one[1]] == []


def test_a_wish_that_is_told_once_is_heard_by_its_duty_also_while_the_disk_of_the_leader_is_slow(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is not in the tables yet: then the duty plans nothing, and hears it."""
    monkeypatch.setattr(housekeeping, "TICK_S", 0.01)
    commit = lmdb_kv._LmdbWriter.commit
    wished = [0]
    heard: list[int] = []

    def slowly(writer: lmdb_kv._LmdbWriter) -> None:
        RUNTIME.sleep(0.01)
        commit(writer)

    def hears(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
        if seen.garbage.wanted:
            heard.append(wished[0])
        budget = view.repair_budget()
        copies = 1 + (budget.copies if budget is not None else 0) % 50
        return Plan(proposals=[SetRepairBudget(copies=copies)])

    def hears_it(asked: list[Reign]) -> bool:
        desk = trio.servers[trio.leader()]._desk
        if desk.reign is not None and desk.reign not in asked:  # Once, of each leader.
            asked.append(desk.reign)
            desk.post(desk.reign.garbage.want)
        return heard[-1:] == [wished[0]]

    Client(trio)  # From now on there are settings, and duties are done.
    monkeypatch.setitem(housekeeping.PLANNERS, "orphans", hears)
    monkeypatch.setattr(lmdb_kv._LmdbWriter, "commit", slowly)
    for wished[0] in range(1, 11):
        wait_until(partial(hears_it, []), "the wish to be heard")
