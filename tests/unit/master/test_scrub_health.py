"""What the scrub says of a cluster's health, and on one line."""

from __future__ import annotations

import pytest
from msgspec import structs

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.scrub_health import WORN_AT, scrub_findings, summarise
from gfs_ha.protocol.scrub import (
    ScrubBudgetReport,
    ScrubFacts,
    ScrubReport,
    ScrubRow,
    ScrubWanted,
)

DAY_S = 24 * 3600
DAY_MS = DAY_S * 1000
NOW = 1_000 * DAY_MS
BUDGET = ScrubBudgetReport(1 << 20, 7 * DAY_S, False)
WANTED = ScrubWanted(1 << 20, 7 * DAY_S)


def disk(number: int = 1, **more: object) -> ScrubFacts:
    facts = ScrubFacts(
        disk_id=DiskId(number),
        wanted=WANTED,
        state="idle",
        note="",
        number=3,
        began_ms=NOW - DAY_MS,
        asked=False,
        bytes_done=100,
        bytes_total=100,
        replicas_done=1,
        replicas_total=1,
        found=0,
        mended=0,
        bytes_per_s=0,
        eta_ms=-1,
        next_ms=0,
        ended_ms=NOW - DAY_MS,
    )
    return structs.replace(facts, **more)


def report(*disks: ScrubFacts, budget: ScrubBudgetReport = BUDGET) -> ScrubReport:
    rows = [
        ScrubRow(ServerId(at), f"cs{at}", "live", True, (one,)) for at, one in enumerate(disks, 1)
    ]
    return ScrubReport((*rows, ScrubRow(ServerId(99), "cs99", "dead", False, ())), budget)


def codes(told: ScrubReport) -> list[str]:
    findings = scrub_findings(told, NOW)
    assert all(one.severity == "warning" and one.advice for one in findings)
    return [one.code for one in findings]


def test_disks_that_are_scrubbed_in_time_are_well() -> None:
    assert codes(report(disk(1), disk(2, ended_ms=NOW - 13 * DAY_MS))) == []


def test_a_disk_without_a_whole_round_in_two_periods_is_late() -> None:
    late = report(disk(1), disk(2, ended_ms=NOW - 15 * DAY_MS))
    assert codes(late) == ["SCRUB_LATE"]
    [finding] = scrub_findings(late, NOW)
    assert (
        "cs2 (the last one ended 15 days ago)" in finding.message and "cs1" not in finding.message
    )
    never = report(disk(1, ended_ms=0, began_ms=NOW - 20 * DAY_MS))
    assert "the first one began 20 days ago" in scrub_findings(never, NOW)[0].message


def test_without_a_period_or_before_the_first_round_nobody_is_late() -> None:
    by_hand = structs.replace(BUDGET, period_s=0)
    assert codes(report(disk(1, ended_ms=NOW - 400 * DAY_MS), budget=by_hand)) == []
    assert codes(report(disk(1, ended_ms=0, began_ms=0))) == []


def test_a_pause_is_said_and_nobody_is_late_for_it() -> None:
    paused = structs.replace(BUDGET, paused=True)
    assert codes(report(disk(1, ended_ms=NOW - 99 * DAY_MS), budget=paused)) == ["SCRUB_PAUSED"]


def test_a_disk_with_much_damage_in_its_life_is_named() -> None:
    worn = report(disk(1, found_ever=WORN_AT - 1), disk(2, found_ever=WORN_AT))
    [finding] = scrub_findings(worn, NOW)
    assert finding.code == "DISK_WORN" and "0x2 of cs2" in finding.message


@pytest.mark.parametrize(
    ("unidentified", "second", "said", "not_said"),
    [
        (2, 0, "disk 0x1 of cs1: 2 slot files no chunk claims: neither", "second"),
        (3, 3, "disk 0x1 of cs1: 3 slot files are second replicas, older", "neither copy"),
        (1, 1, "disk 0x1 of cs1: 1 slot file is a second replica, older", "neither copy"),
        (3, 2, "2 slot files are second replicas, ", "3 slot"),
        (3, 2, "; 1 slot file no chunk claims: neither", "3 slot"),
    ],
)
def test_slot_files_that_no_chunk_claims_are_told_as_what_they_are(
    unidentified: int, second: int, said: str, not_said: str
) -> None:
    [finding] = scrub_findings(report(disk(1, unidentified=unidentified, second=second)), NOW)
    assert finding.code == "SLOTS_UNIDENTIFIED"
    assert said in finding.message and not_said not in finding.message
    assert ("go by themselves" in finding.advice) == bool(second)
    assert ("is kept" in finding.advice) == (unidentified > second)


def test_very_many_late_disks_are_named_in_part() -> None:
    many = report(*(disk(number, ended_ms=DAY_MS) for number in range(1, 40)))
    [finding] = scrub_findings(many, NOW)
    assert "and others" in finding.message and len(finding.message) < 600


def test_the_whole_scrub_on_one_line() -> None:
    running = disk(2, state="reading", bytes_done=50, bytes_total=300, bytes_per_s=9, found=2)
    line = summarise(report(disk(1), running))
    assert (line.share, line.running, line.bytes_per_s, line.found) == (150 / 400, 1, 9, 2)
    assert summarise(ScrubReport((), BUDGET)).share == 1.0
