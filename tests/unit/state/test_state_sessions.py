"""Each request of a session is applied once, and answered as long as it may be asked for."""

from __future__ import annotations

import msgspec
import pytest
from state_driver import WALL_NS, Driver, empty_file

from gfs_ha.limits import KEYED_LIFE_MORE_MS, SESSION_LIFE_MS, SESSION_WINDOW
from gfs_ha.master.state import tables
from gfs_ha.master.state.commands import Entry, ExpireSessions, ReapStep
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    CloseSession,
    Done,
    Extent,
    Mkdir,
    OpenSession,
    Publish,
    Remove,
    Rename,
    StageExtents,
)


def send(driver: Driver, session: int, sequence: int, window: int, command: object) -> Reply:
    return driver.apply(Entry(driver.index, WALL_NS, command, session, sequence, window))


def code(reply: Reply) -> str:
    return reply.error if isinstance(reply, Failure) else ""


def test_a_repeated_request_gets_the_stored_answer_and_changes_nothing() -> None:
    driver = Driver()
    session = driver.open_session()
    first = send(driver, session, 1, 1, Mkdir("/a"))
    moved = send(driver, session, 2, 1, Rename("/a", "/b"))
    assert (first.kind, moved) == ("directory", Done())
    # Else: the retry of the first would make a new /a, that of the second move it over /b.
    assert send(driver, session, 1, 1, Mkdir("/a")) == first
    assert send(driver, session, 2, 1, Rename("/a", "/b")) == Done()
    with driver.view() as view:
        assert [entry.name for entry in view.list_page("/", "", 10).entries] == ["b"]
    driver.check()


def test_a_refusal_is_an_answer_that_a_retry_gets_again() -> None:
    driver = Driver()
    session = driver.open_session()
    assert code(send(driver, session, 1, 1, Remove("/a"))) == "NotFound"
    assert code(send(driver, session, 2, 1, Mkdir("/a"))) == ""
    assert code(send(driver, session, 1, 1, Remove("/a"))) == "NotFound"
    with driver.view() as view:
        assert view.status("/a").kind == "directory"


def test_requests_may_be_applied_in_any_order_within_the_window() -> None:
    driver = Driver()
    session = driver.open_session()
    for sequence in (5, 2, 4, 1, 3):
        assert code(send(driver, session, sequence, 1, Mkdir(f"/d{sequence}"))) == ""
    for sequence in (1, 2, 3, 4, 5):
        assert send(driver, session, sequence, 1, Mkdir("/other")).kind == "directory"
    with driver.view() as view:
        assert view.counters().directories == 6


def test_a_request_too_far_ahead_is_refused_and_may_come_again() -> None:
    driver = Driver()
    session = driver.open_session()
    ahead = 1 + SESSION_WINDOW
    assert code(send(driver, session, ahead, 1, Mkdir("/a"))) == "WindowFull"
    assert code(send(driver, session, ahead - 1, 1, Mkdir("/b"))) == ""
    assert code(send(driver, session, ahead, 2, Mkdir("/a"))) == ""


def test_nothing_above_the_window_start_is_ever_evicted_and_below_it_all_is() -> None:
    driver = Driver()
    session = driver.open_session()
    first = {
        sequence: send(driver, session, sequence, 1, Mkdir(f"/d{sequence}"))
        for sequence in range(1, 7)
    }
    first[7] = send(driver, session, 7, 5, Mkdir("/d7"))
    for sequence in (1, 4):
        assert code(send(driver, session, sequence, 1, Mkdir("/x"))) == "SessionExpired"
    for sequence in (5, 6, 7):
        assert send(driver, session, sequence, 5, Mkdir("/x")) == first[sequence]
    # A window start that comes late does not bring the window back.
    assert code(send(driver, session, 8, 2, Mkdir("/d8"))) == ""
    assert code(send(driver, session, 4, 2, Mkdir("/x"))) == "SessionExpired"
    with driver.view() as view:
        assert sum(1 for _ in view.rows.scan(tables.REPLIES)) == 4
    driver.check()


@pytest.mark.parametrize(
    ("session", "sequence", "window", "expected"),
    [
        (77, 1, 1, "SessionExpired"),
        (1, 1, 2, "InvalidArgument"),
        (1, -1, -1, "InvalidArgument"),
        (1, 1 << 63, 1, "InvalidArgument"),
        (-1, 1, 1, "InvalidArgument"),
        ((1 << 64) - 1, 1, 1, "InvalidArgument"),
    ],
)
def test_numbers_that_belong_to_no_session_are_refused_without_a_row(
    session: int, sequence: int, window: int, expected: str
) -> None:
    driver = Driver()
    assert driver.open_session() == 1
    assert code(send(driver, session, sequence, window, Mkdir("/a"))) == expected
    with driver.view() as view:
        assert view.counters().directories == 1
        assert not list(view.rows.scan(tables.REPLIES))
    driver.check()


def test_closing_releases_claims_at_once_and_discards_what_was_staged() -> None:
    driver = Driver()
    session = driver.open_session()
    lost, kept = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    extent = Extent(0, kept, 0, 100, 1)
    driver.ok(StageExtents(0, (extent,)), session)
    driver.ok(Publish((empty_file("/a", size=100, extents=(extent,)),)), session)
    assert driver.ok(CloseSession(), session) == Done()
    with driver.view() as view:
        assert view.session(session) is None
        assert view.claims(None, 10) == []
        assert [chunk_id for chunk_id, _ in view.dead_chunks(0, 10)] == [lost]
        assert [chunk_id for chunk_id, _ in view.open_or_sealing(0, 10)] == [kept]
    driver.check()
    driver.ok(ReapStep(100))
    driver.check()
    with driver.view() as view:
        assert view.counters().reapable == 0
        assert not list(view.rows.scan(tables.REPLIES))
        assert sum(1 for _ in view.rows.scan(tables.EXTENTS)) == 1


def test_closing_twice_is_done_and_anything_else_after_it_is_expired() -> None:
    driver = Driver()
    session = driver.open_session()
    close = Entry(1, WALL_NS, CloseSession(), session, 1, 1)
    assert driver.apply(close) == Done()
    assert driver.apply(close) == Done()
    assert driver.error(Mkdir("/a"), session) == "SessionExpired"
    never_given = msgspec.structs.replace(close, session_id=session + 1)
    assert code(driver.apply(never_given)) == "SessionExpired"
    driver.ok(ReapStep(100))
    assert driver.apply(close) == Done()
    driver.check()


def test_a_session_ends_a_day_after_its_last_request_and_not_before() -> None:
    driver = Driver()
    session = driver.open_session()
    driver.ok(Mkdir("/a"), session)
    with driver.view() as view:
        last_ms = view.session(session).last_ms
        assert view.sessions_idle(last_ms + 1) == ([(session, last_ms)], 0)
        assert view.sessions_idle(last_ms)[0] == []
    driver.elapsed_ms = last_ms + SESSION_LIFE_MS - 2
    driver.ok(ExpireSessions(((session, last_ms),)))
    with driver.view() as view:
        assert view.session(session) is not None, "too early"
    driver.ok(ExpireSessions(((session, last_ms - 1), (session + 1, 5))))
    with driver.view() as view:
        assert view.session(session) is not None, "heard of since"
    driver.ok(ExpireSessions(((session, last_ms),)))
    assert driver.error(Mkdir("/b"), session) == "SessionExpired"
    driver.check()


def test_a_session_with_a_key_is_found_by_it_for_a_day_although_it_is_renewed_hourly() -> None:
    """Else an id that was renewed an hour before its run was killed is forgotten after 23 hours."""
    driver = Driver()
    session = driver.ok(OpenSession("test", "key")).session_id
    with driver.view() as view:
        last_ms = view.session(session).last_ms
    driver.elapsed_ms = last_ms + SESSION_LIFE_MS + 3600 * 1000
    driver.ok(ExpireSessions(((session, last_ms),)))
    assert driver.ok(OpenSession("test", "key")).session_id == session
    with driver.view() as view:
        last_ms = view.session(session).last_ms
    driver.elapsed_ms = last_ms + SESSION_LIFE_MS + KEYED_LIFE_MORE_MS
    driver.ok(ExpireSessions(((session, last_ms),)))
    assert driver.ok(OpenSession("test", "key")).session_id != session
    driver.check()


def test_a_session_with_a_claim_does_not_expire() -> None:
    driver = Driver()
    session = driver.open_session()
    driver.chunk(session)
    with driver.view() as view:
        last_ms = view.session(session).last_ms
        assert view.sessions_idle(last_ms + 1)[0] == []
    driver.elapsed_ms += 2 * SESSION_LIFE_MS
    driver.ok(ExpireSessions(((session, last_ms),)))
    with driver.view() as view:
        assert view.session(session) is not None
    driver.check()


def test_idle_sessions_are_looked_for_page_by_page() -> None:
    driver = Driver()
    sessions = [driver.open_session() for _ in range(5)]
    found, after = [], 0
    with driver.view() as view:
        for _ in range(3):
            page, after = view.sessions_idle(1 << 40, after, limit=2)
            found += [session for session, _ in page]
    assert (found, after) == (sessions, 0)


def test_a_key_leads_to_its_session_as_long_as_that_lives() -> None:
    driver = Driver()
    first = driver.ok(OpenSession("a", "key")).session_id
    driver.elapsed_ms += 1000
    assert driver.ok(OpenSession("b", "key")).session_id == first
    with driver.view() as view:
        assert view.session(first).last_ms == driver.elapsed_ms
        assert view.counters().sessions == 1
    assert driver.ok(OpenSession("b", "other")).session_id != first
    assert driver.ok(OpenSession("b")).session_id != driver.ok(OpenSession("b")).session_id
    driver.check()


def test_a_key_is_free_again_when_its_session_is_closed_or_expired() -> None:
    driver = Driver()
    closed = driver.ok(OpenSession("a", "key")).session_id
    driver.ok(CloseSession(), closed)
    driver.check()
    expired = driver.ok(OpenSession("a", "key")).session_id
    assert expired != closed
    with driver.view() as view:
        last_ms = view.session(expired).last_ms
    driver.elapsed_ms += SESSION_LIFE_MS + KEYED_LIFE_MORE_MS
    driver.ok(ExpireSessions(((expired, last_ms),)))
    driver.check()
    assert driver.ok(OpenSession("a", "key")).session_id not in (closed, expired)


def test_a_session_that_was_found_by_its_key_lives_on_from_then() -> None:
    driver = Driver()
    session = driver.ok(OpenSession("a", "key")).session_id
    with driver.view() as view:
        last_ms = view.session(session).last_ms
    driver.elapsed_ms += SESSION_LIFE_MS
    assert driver.ok(OpenSession("a", "key")).session_id == session
    driver.ok(ExpireSessions(((session, last_ms),)))
    with driver.view() as view:
        assert view.session(session) is not None


def test_a_key_is_short_and_printable() -> None:
    driver = Driver()
    assert driver.error(OpenSession("a", "k" * 256)) == "InvalidArgument"
    assert driver.error(OpenSession("a", "k\n")) == "InvalidArgument"
    driver.check()
