"""The scrub in the tables: settings and asked rounds, what is accepted and what is refused."""

from __future__ import annotations

import pytest
from state_driver import Driver, server

from gfs_ha.limits import SCRUB_PERIOD_MAX_S, SCRUB_PERIOD_MIN_S
from gfs_ha.master.state.scrub_commands import AskScrub, SetScrub
from gfs_ha.master.state.scrubs import USUAL, scrub_settings, scrub_wanted
from gfs_ha.master.state.tables import TABLES
from gfs_ha.protocol.scrub import SERVERS_PER_START_MAX, ScrubBudgetReport, ScrubWanted


@pytest.fixture
def driver() -> Driver:
    made = Driver()
    for number in (1, 2):
        made.ok(server(number))
    return made


def wanted(driver: Driver, number: int) -> ScrubWanted:
    with driver.view() as view:
        return scrub_wanted(view, number)


def test_without_a_word_of_anybody_the_usual_settings_hold(driver: Driver) -> None:
    with driver.view() as view:
        assert scrub_settings(view) == USUAL
    assert wanted(driver, 1) == ScrubWanted(USUAL.bytes_per_s, USUAL.period_s)


def test_settings_hold_for_every_server(driver: Driver) -> None:
    driver.ok(SetScrub(5, SCRUB_PERIOD_MIN_S, 1))
    assert wanted(driver, 1) == wanted(driver, 2) == ScrubWanted(5, SCRUB_PERIOD_MIN_S, True)
    driver.ok(SetScrub(0, 0, 0))
    assert wanted(driver, 2) == ScrubWanted(0, 0)
    driver.check()


def test_each_number_is_changed_by_itself_and_all_of_them_are_answered(driver: Driver) -> None:
    driver.ok(SetScrub(period_s=7200))
    driver.ok(SetScrub(bytes_per_s=9))
    said = driver.ok(SetScrub(paused=1))
    assert said == ScrubBudgetReport(9, 7200, True)
    assert wanted(driver, 1) == ScrubWanted(9, 7200, True)


@pytest.mark.parametrize(
    "command",
    [
        SetScrub(-2, 7200, 0),
        SetScrub(1 << 63, 7200, 0),
        SetScrub(1, SCRUB_PERIOD_MIN_S - 1, 0),
        SetScrub(1, SCRUB_PERIOD_MAX_S + 1, 0),
        SetScrub(1, -2, 0),
        SetScrub(1, 7200, 2),
        SetScrub(paused=-2),
        AskScrub((), 0),
        AskScrub((1,), -1),
    ],
)
def test_what_makes_no_sense_is_refused(driver: Driver, command: SetScrub | AskScrub) -> None:
    before = wanted(driver, 1)
    assert driver.error(command) == "InvalidArgument"
    assert wanted(driver, 1) == before


def test_a_round_is_asked_of_some_servers_and_a_later_one_has_a_greater_number(
    driver: Driver,
) -> None:
    driver.ok(AskScrub((2,), 7))
    first = wanted(driver, 2)
    assert wanted(driver, 1).asked == 0
    assert first.asked > 0 and first.asked_bytes_per_s == 7
    driver.ok(AskScrub((1, 2)))
    assert wanted(driver, 1).asked == wanted(driver, 2).asked > first.asked
    assert wanted(driver, 2).asked_bytes_per_s == 0
    driver.check()


def test_a_round_of_a_server_that_is_none_is_asked_of_nobody(driver: Driver) -> None:
    assert driver.error(AskScrub((1, 9))) == "UnknownServer"
    assert wanted(driver, 1).asked == 0
    many = tuple(range(1, SERVERS_PER_START_MAX + 2))
    assert driver.error(AskScrub(many)) == "LimitExceeded"


def test_no_two_tables_lie_at_one_place() -> None:
    places = [(one.table.database, one.table.prefix) for one in TABLES]
    assert len(set(places)) == len(places)
