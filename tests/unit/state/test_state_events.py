"""Events in the tables: numbered without gaps, each thing told once, damped when it flaps."""

from __future__ import annotations

from state_driver import INIT, WALL_NS, Driver, server

from gfs_ha.limits import EVENT_NOTED_MAX, EVENT_WINDOW_MS, EVENTS_KEPT, EVENTS_PER_WINDOW
from gfs_ha.master.state.commands import (
    Command,
    EnrolledDisk,
    LeaderElected,
    SetRepairBudget,
)
from gfs_ha.master.state.event_commands import EndMute, NotedChange, NoteEvents, StartMute
from gfs_ha.master.state.event_records import Event
from gfs_ha.master.state.events import all_noted, events_after, events_below, first_event
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.mutes import all_mutes
from gfs_ha.master.state.scrub_commands import SetScrub
from gfs_ha.protocol.jobs import CANCELLED, DRAIN, RUNNING, JobOptions
from gfs_ha.protocol.policy import SetPolicy

KEY = "server/cs1"


def told(driver: Driver, after: int = 0) -> list[Event]:
    with driver.view() as view:
        return [row for _, row in events_after(view, after)]


def texts(driver: Driver, after: int = 0) -> list[str]:
    return [f"{row.subject} {row.text}" for row in told(driver, after)]


def last(driver: Driver) -> int:
    with driver.view() as view:
        return view.counters().last_event


def change(seen: str, state: str, text: str = "", **more: object) -> NoteEvents:
    said = text or f"is {state or 'back'}"
    return NoteEvents((NotedChange(KEY, seen, state, "server", "cs1", said, **more),))


def test_a_cluster_tells_how_it_began_who_leads_and_which_servers_joined() -> None:
    driver = Driver(server_count=1)
    driver.ok(LeaderElected("m2", 1))
    driver.ok(LeaderElected("m2", 1))  # The same term again.
    assert texts(driver) == [
        "test the cluster begins: 3 copies, at least 2, chunks of 1 MiB, placement seed",
        "cs1 joins: 127.0.0.1:7301, rack r1, 1 disk",
        "m2 leads, term 1",
    ]
    assert driver.error(INIT) == "AlreadyInitialized"


def test_a_server_that_starts_again_tells_of_disks_that_are_other_ones() -> None:
    driver = Driver(server_count=1)
    known = last(driver)
    driver.ok(server(1))  # The same start.
    other = (EnrolledDisk(901, 1 << 40), EnrolledDisk(101, 1 << 40))
    driver.ok(server(1, start_id=2, disks=other))
    assert texts(driver, known) == [
        "cs1 started again",
        "cs1 came with the new disk 0x385",
    ]


def test_what_is_set_is_told_with_its_values_and_only_when_it_changes() -> None:
    driver = Driver()
    known = last(driver)
    session = driver.open_session()
    for _ in range(2):
        driver.ok(SetRepairBudget(copies=7))
        driver.ok(SetScrub(paused=1))
        driver.ok(SetPolicy("/", goal=2), session)
    said = texts(driver, known)
    assert [line.split()[0] for line in said] == ["repair", "scrub", "policy"]
    assert "7 copies at once" in said[0] and "paused" in said[1] and "2 copies" in said[2]


def test_jobs_tell_of_their_begin_and_their_end() -> None:
    driver = Driver()
    known = last(driver)
    number = driver.ok(StartJob(DRAIN, JobOptions(), 1, asked_by="ann@host")).number
    driver.ok(SetJobPhase(number, RUNNING, CANCELLED, "asked for by bob"))
    assert texts(driver, known) == [
        f"d-{number} drain of cs1 begins, asked for by ann@host",
        f"d-{number} drain of cs1 was cancelled: asked for by bob",
    ]


def test_two_leaders_that_saw_the_same_tell_of_it_once() -> None:
    driver = Driver()
    known = last(driver)
    for _ in range(3):
        driver.ok(change("", "suspect"))
    driver.ok(change("suspect", "dead"))
    driver.ok(change("suspect", ""))  # An older leader's news.
    assert texts(driver, known) == ["cs1 is suspect", "cs1 is dead"]


def test_the_end_of_something_says_how_long_it_lasted_by_the_leaders_clocks() -> None:
    driver = Driver()
    known = last(driver)
    driver.ok(change("", "suspect"))
    driver.ok(change("suspect", "dead"))
    with driver.view() as view:
        since_ns = all_noted(view)[KEY].since_wall_ns
    assert since_ns >= WALL_NS
    driver.ok(change("dead", "", "is back", timed=True))
    assert texts(driver, known)[-1] == "cs1 is back after 0 s"
    with driver.view() as view:
        assert all_noted(view)[KEY].since_wall_ns == 0


def test_what_comes_and_goes_tells_a_few_times_and_then_how_often_it_did() -> None:
    driver = Driver()
    known = last(driver)
    for _ in range(EVENTS_PER_WINDOW):
        driver.ok(change("", "suspect"))
        driver.ok(change("suspect", ""))
    assert len(texts(driver, known)) == EVENTS_PER_WINDOW
    with driver.view() as view:
        assert all_noted(view)[KEY].held == EVENTS_PER_WINDOW
    driver.elapsed_ms += EVENT_WINDOW_MS
    driver.ok(change("", "", "is as it was"))
    assert texts(driver, known)[-1] == f"cs1 is as it was ({EVENTS_PER_WINDOW} more like this)"
    driver.elapsed_ms += EVENT_WINDOW_MS
    driver.ok(NoteEvents((NotedChange(KEY, "", "", "server", "cs1"),)))
    with driver.view() as view:
        assert KEY not in all_noted(view)


def test_the_newest_events_are_kept_and_their_numbers_have_no_gap() -> None:
    driver = Driver()
    for number in range(EVENTS_KEPT // 64 + 1):
        rows = tuple(
            NotedChange(f"{number}/{one}", "", "x", "server", "cs1", "is x") for one in range(64)
        )
        if number * 64 < EVENT_NOTED_MAX:
            driver.ok(NoteEvents(rows))
        else:
            # Things that are noted already, and rested for a while: one tick of time is enough.
            driver.elapsed_ms += EVENT_WINDOW_MS
            again = tuple(
                NotedChange(f"{number % 64}/{one}", "x", "x", "server", "cs1", "is x")
                for one in range(64)
            )
            driver.ok(NoteEvents(again))
    with driver.view() as view:
        newest = view.counters().last_event
        assert newest > EVENTS_KEPT
        numbers = [number for number, _ in events_below(view, 0)]
        assert numbers == list(range(newest, newest - EVENTS_KEPT, -1))
        assert first_event(view) == numbers[-1]
        assert next(events_after(view, 0))[0] == numbers[-1]
    more = NoteEvents((NotedChange("one more", "", "x", "server", "cs1", "is x"),))
    assert driver.error(more) == "LimitExceeded"


def refused(driver: Driver, command: Command) -> str:
    return driver.error(command)


def test_news_that_no_leader_sends_are_refused() -> None:
    driver = Driver()
    good = NotedChange(KEY, "", "x", "server", "cs1", "is x")
    assert refused(driver, NoteEvents((good,) * 65)) == "LimitExceeded"
    for bad in (
        NotedChange("", "", "x", "server", "cs1"),
        NotedChange(KEY, "", "x", "party", "cs1"),
        NotedChange(KEY, "", "x", "server", ""),
        NotedChange(KEY, "", "x", "server", "cs1", "two\nlines"),
        NotedChange(KEY, "", "x", "server", "cs1", "x" * 500),
        NotedChange(KEY, "", "x", "server", "cs1", severity="loud"),
        NotedChange(KEY, "", "x", "server", "cs1", values=(-1,)),
    ):
        assert refused(driver, NoteEvents((good, bad))) == "InvalidArgument"
    with driver.view() as view:
        assert not all_noted(view)


def test_a_mute_is_replaced_by_the_next_one_and_ended_only_by_who_saw_it() -> None:
    driver = Driver()
    known = last(driver)
    driver.ok(StartMute("SERVER_DEAD", 3_600_000, "error", ("cs1",), "a new disk", "ann@host"))
    with driver.view() as view:
        first = all_mutes(view)["SERVER_DEAD"]
    driver.ok(StartMute("SERVER_DEAD", 1000, "warning"))
    assert driver.error(EndMute("SERVER_DEAD", first.made_index, "over")) == "StaleCommand"
    with driver.view() as view:
        second = all_mutes(view)["SERVER_DEAD"]
    driver.ok(EndMute("SERVER_DEAD", second.made_index, "its time is over"))
    assert driver.error(EndMute("SERVER_DEAD", second.made_index, "over")) == "StaleCommand"
    assert driver.error(EndMute("SERVER_DEAD", 0, "over")) == "NotFound"
    assert texts(driver, known) == [
        "SERVER_DEAD muted for 60 min by ann@host: a new disk",
        "SERVER_DEAD muted for 1 s",
        "SERVER_DEAD counts again: its time is over",
    ]
    for bad in (
        StartMute("", 1000, "error"),
        StartMute("X", 0, "error"),
        StartMute("X", 31 * 24 * 3_600_000, "error"),
        StartMute("X", 1000, "info"),
        StartMute("X", 1000, "error", ("",)),
    ):
        assert driver.error(bad) == "InvalidArgument"


def test_only_so_many_codes_are_muted_at_once() -> None:
    driver = Driver()
    for number in range(64):
        driver.ok(StartMute(f"CODE_{number}", 1000, "error"))
    assert driver.error(StartMute("ONE_MORE", 1000, "error")) == "LimitExceeded"
    driver.ok(StartMute("CODE_1", 1000, "error"))
