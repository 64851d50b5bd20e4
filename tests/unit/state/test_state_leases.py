"""Leases: held per server, renewed together, over with the last tail; and their history (G9)."""

from __future__ import annotations

from state_driver import Driver, server

from gfs_ha.ids import Epoch, order_index
from gfs_ha.limits import LEASE_EVENTS_MAX, LEASE_MS
from gfs_ha.master.state import leases as lease_steps
from gfs_ha.master.state import tail_reads
from gfs_ha.master.state.tail_commands import OpenTail, RenewLeases
from gfs_ha.master.state.tail_records import Lease


def started(*paths: str) -> Driver:
    driver = Driver()
    session = driver.open_session()
    for path in paths:
        driver.file(session, path)
    return driver


def lease(driver: Driver, server_id: int = 1) -> Lease | None:
    with driver.view() as view:
        return tail_reads.lease_of(view, server_id)


def why_ended(driver: Driver, path: str) -> str:
    with driver.view() as view:
        tail = tail_reads.tail_of(view, view.resolve(path).inode_id)
        held = tail_reads.lease_of(view, tail.server_id)
        return tail_reads.why_ended(tail, held, view.counters().cluster_ms)


def renewal(driver: Driver, server_id: int = 1) -> RenewLeases:
    held = lease(driver, server_id)
    return RenewLeases(((server_id, held.start_id, held.until_ms),))


def test_the_first_tail_of_a_server_grants_its_lease_and_the_last_one_ends_it() -> None:
    driver = started("/a", "/b")
    first = driver.tail("/a")
    granted = lease(driver)
    assert granted == Lease(
        1,
        order_index(1, driver.index),
        Epoch(1, 1),
        driver.elapsed_ms,
        driver.elapsed_ms + LEASE_MS,
        0,
        1,
    )
    second = driver.tail("/b")
    assert lease(driver).granted_index == granted.granted_index
    assert (lease(driver).tail_count, lease(driver).until_ms) == (2, granted.until_ms)
    driver.seal(first, 5)
    assert lease(driver).tail_count == 1
    driver.seal(second, 0)
    assert lease(driver) is None
    driver.check()


def test_one_command_renews_many_leases_that_are_as_the_leader_saw_them() -> None:
    driver = started("/a", "/b", "/c")
    driver.tail("/a")
    with driver.view() as view:
        inode_id = view.resolve("/b").inode_id
    driver.ok(OpenTail(inode_id, driver.place(inode_id, copies=2, first=2), "/b", 2, 1))
    driver.elapsed_ms += 40_000
    seen = {one: (row.start_id, row.until_ms) for one, row in held(driver).items()}
    driver.ok(RenewLeases(((1, *seen[1]), (2, seen[2][0], seen[2][1] - 1), (3, 1, 5))))
    assert lease(driver, 1).until_ms == driver.elapsed_ms + LEASE_MS
    assert lease(driver, 1).renewed == 1
    assert (lease(driver, 2).until_ms, lease(driver, 2).renewed) == (seen[2][1], 0)
    assert lease(driver, 3) is None
    driver.ok(RenewLeases(((1, *seen[1]),)))
    assert lease(driver, 1).renewed == 1
    driver.check()


def held(driver: Driver) -> dict[int, Lease]:
    with driver.view() as view:
        return dict(tail_reads.leases(view))


def test_a_lease_that_ran_out_is_never_renewed() -> None:
    driver = started("/a")
    driver.tail("/a")
    command = renewal(driver)
    driver.elapsed_ms += LEASE_MS - 2
    assert why_ended(driver, "/a") == ""
    driver.ok(command)
    assert lease(driver).renewed == 1
    command = renewal(driver)
    driver.elapsed_ms += LEASE_MS
    driver.ok(command)
    assert lease(driver).renewed == 1
    assert why_ended(driver, "/a") == "its lease ended"


def test_another_run_of_the_server_is_not_renewed_and_holds_none_of_the_old_tails() -> None:
    driver = started("/a", "/b")
    driver.tail("/a")
    driver.ok(RenewLeases(((1, 2, lease(driver).until_ms),)))
    assert lease(driver).renewed == 0
    driver.ok(server(1, start_id=2))
    with driver.view() as view:
        inode_id = view.resolve("/b").inode_id
    driver.ok(OpenTail(inode_id, driver.place(inode_id), "/b", 1, 2))
    assert (lease(driver).start_id, lease(driver).tail_count) == (2, 2)
    assert why_ended(driver, "/a") == "the primary started again"
    assert why_ended(driver, "/b") == ""
    driver.check()


def test_a_lease_that_is_granted_anew_revives_no_tail_of_the_one_that_ran_out() -> None:
    driver = started("/a", "/b")
    driver.tail("/a")
    driver.elapsed_ms += LEASE_MS
    driver.tail("/b")
    assert why_ended(driver, "/b") == ""
    assert why_ended(driver, "/a") == "its lease ended"
    assert lease(driver).tail_count == 2


def test_a_lease_goes_on_under_the_next_leader_for_what_is_left_of_it() -> None:
    driver = started("/a")
    driver.tail("/a")
    until_ms = lease(driver).until_ms
    driver.term, driver.elapsed_ms = 2, 0
    driver.ok(renewal(driver))
    assert lease(driver).epoch == Epoch(1, 1)
    with driver.view() as view:
        now_ms = view.counters().cluster_ms
    assert now_ms < until_ms and lease(driver).until_ms == now_ms + LEASE_MS


def test_a_server_is_the_primary_of_so_many_tails_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(lease_steps, "TAILS_PER_SERVER_MAX", 2)
    driver = started("/a", "/b", "/c")
    driver.tail("/a")
    driver.tail("/b")
    with driver.view() as view:
        inode_id = view.resolve("/c").inode_id
    chunk_id = driver.place(inode_id)
    assert driver.error(OpenTail(inode_id, chunk_id, "/c", 1, 1)) == "LimitExceeded"
    driver.check()


def test_history_tells_who_held_what_and_why_it_ended_the_newest_first() -> None:
    driver = started("/a")
    chunk_id = driver.tail("/a")
    opened = order_index(1, driver.index)
    driver.seal(chunk_id, 5, reason="full")
    with driver.view() as view:
        ended, granted = tail_reads.lease_events(view, 10)
    assert (granted.kind, granted.index, granted.reason) == ("granted", opened, "")
    assert (ended.kind, ended.reason) == ("ended", "full")
    for event in (ended, granted):
        assert (event.chunk_id, event.path, event.holder) == (chunk_id, "/a", "cs1")
        assert event.epoch == Epoch(1, 1)


def test_history_keeps_the_newest_events_and_no_more() -> None:
    driver = started("/a")
    for _ in range(LEASE_EVENTS_MAX // 2 + 2):
        driver.seal(driver.tail("/a"), 0)
    with driver.view() as view:
        events = tail_reads.lease_events(view, 2 * LEASE_EVENTS_MAX)
        assert len(events) == LEASE_EVENTS_MAX
        assert events[0].index == order_index(1, driver.index)
        assert len(tail_reads.lease_events(view, 3)) == 3
    driver.check()


def test_strange_renewals_are_refused_or_passed_over() -> None:
    driver = started("/a")
    driver.tail("/a")
    assert driver.error(RenewLeases(((-1, 1, 1),))) == "InvalidArgument"
    assert driver.error(RenewLeases(((1, 1, 1),) * 251)) == "LimitExceeded"
    driver.ok(RenewLeases(((1, -5, -5), (2, 1, 1), (1 << 63, 0, 0))))
    assert lease(driver).renewed == 0
    driver.check()
