"""Whole masters and clients in virtual time: no seed breaks a promise, unless a rule is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from other_processes import printed

from gfs_ha.master.state.view import View
from gfs_ha.sim.masters.run import MasterRun
from gfs_ha.sim.masters.search import directed_plan, find
from gfs_ha.sim.masters.switches import SWITCHES

SEEDS_FILE = Path(__file__).with_name("seeds.txt")
RULES = {"M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "S1", "S2", "S3"}


def kept_seeds() -> list[tuple[int, str]]:
    rows = []
    for line in SEEDS_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            seed, _, sentence = line.partition(" ")
            rows.append((int(seed), sentence.strip()))
    return rows


@pytest.mark.parametrize("seed", [seed for seed, _ in kept_seeds()])
def test_a_seed_that_once_found_something_breaks_no_promise(seed: int) -> None:
    report = MasterRun(seed).run()
    assert report.violation is None, report.violation


def test_every_kept_seed_says_why() -> None:
    assert kept_seeds()
    assert all(len(sentence.split()) >= 5 for _, sentence in kept_seeds())


def test_clients_get_answers_and_leaders_change() -> None:
    reports = [MasterRun(seed).run() for seed in (3, 9)]
    assert not [report.violation for report in reports if report.violation]
    assert sum(report.acked for report in reports) > 100
    assert sum(report.terms for report in reports) > 2


@pytest.mark.parametrize("name", [name for name in sorted(SWITCHES) if SWITCHES[name].found_at])
def test_without_a_rule_a_promise_is_broken(name: str) -> None:
    # From a seed that is known to show it; where the product's timing has changed, one close by.
    first = SWITCHES[name].found_at
    report = find(name, range(first, first + 200), directed=True)
    assert report is not None and report.violation is not None


@pytest.mark.parametrize("name", ["sockets-before-deadline", "room-for-deletes"])
def test_with_all_rules_the_same_run_breaks_none(name: str) -> None:
    switch = SWITCHES[name]
    report = MasterRun(switch.found_at, plan=directed_plan(switch.found_at, switch.faults)).run()
    assert report.violation is None, report.violation


def test_sessions_of_clients_that_were_killed_expire() -> None:
    plan = directed_plan(1, ("client-kill",))
    run = MasterRun(1, plan=plan)
    report = run.run()
    assert report.violation is None, report.violation
    for master in run.masters.values():
        with master.disk.held.read() as reader:
            counters = View(reader).counters()
        # Each process of a client opened one; those of the killed ones are gone but for the newest.
        assert counters.last_session > len(plan.habits) + 2
        assert counters.sessions <= counters.last_session - 2


def test_every_rule_has_a_switch() -> None:
    assert {switch.rule for switch in SWITCHES.values()} == RULES


def test_a_seed_repeats_itself_byte_for_byte_in_another_process() -> None:
    script = (
        "from gfs_ha.sim.masters.run import MasterRun\n"
        "print(MasterRun(5, show=print).run().digest)\n"
    )
    outputs = printed(script, ("0", "1", "random"))
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) > 50
