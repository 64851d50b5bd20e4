"""The life of a chunk in the tables: placed, claimed, finished or sealed, dead, gone."""

from __future__ import annotations

import pytest
from state_driver import Driver, empty_file

from gfs_ha.ids import Epoch, incarnation_of_order, make_chunk_id
from gfs_ha.limits import CLAIMS_PER_SESSION_MAX, ITEMS_PER_COMMAND_MAX, MIB
from gfs_ha.master.state.commands import (
    BeginSeal,
    CommitSeal,
    EndClaims,
    LeaderElected,
    PlaceChunk,
    ReapStep,
    ReplicasDeleted,
)
from gfs_ha.protocol.metadata import (
    CloseSession,
    Done,
    Extent,
    FinishChunk,
    Publish,
    ReleaseChunks,
    Remove,
    StageExtents,
)

ALL = ((1, 101), (2, 102), (3, 103))


def stage(driver: Driver, session: int, chunk_id: int, length: int) -> None:
    driver.ok(StageExtents(0, (Extent(0, chunk_id, 0, length, 1),)), session)


def begin(driver: Driver, chunk_id: int) -> int:
    driver.ok(BeginSeal(chunk_id, "lost server"))
    return driver.index


def test_a_placed_chunk_is_open_claimed_and_born_in_the_epoch_of_its_command() -> None:
    driver = Driver()
    session = driver.open_session()
    driver.term = 4
    placed = driver.ok(PlaceChunk(ALL, durability="memory", remarks=("one rack",)), session)
    assert placed.chunk_id == make_chunk_id(1, 1)
    assert (placed.birth, placed.capacity) == (Epoch(1, 4), 1 * MIB)
    assert [location.server_id for location in placed.replicas] == [1, 2, 3]
    assert (placed.goal, placed.min_copies, placed.remarks) == (3, 2, ("one rack",))
    with driver.view() as view:
        chunk = view.chunk(placed.chunk_id)
        assert (chunk.state, chunk.claimed_by, chunk.durability) == ("open", session, "memory")
        assert chunk.born_index == driver.index
        assert view.replicas_of(2, None, 10) == [(102, placed.chunk_id)]
        assert view.replica_count(2) == 1
    assert driver.chunk(session).chunk_id == make_chunk_id(1, 2)
    driver.check()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (PlaceChunk(ALL[:1]), "TooFewCopies"),
        (PlaceChunk(()), "TooFewCopies"),
        (PlaceChunk(ALL, goal=2), "InvalidArgument"),
        (PlaceChunk((ALL[0], ALL[0])), "InvalidArgument"),
        (PlaceChunk(((1, 101), (9, 109))), "UnknownServer"),
        (PlaceChunk(((1, 101), (2, 103))), "UnknownServer"),
        (PlaceChunk(((1, 101), (-2, 103))), "InvalidArgument"),
        (PlaceChunk(ALL, goal=9), "InvalidArgument"),
        (PlaceChunk(ALL, goal=-1), "InvalidArgument"),
        (PlaceChunk(ALL, kind="tail"), "InvalidArgument"),
        (PlaceChunk(ALL, durability="paper"), "InvalidArgument"),
    ],
)
def test_a_placement_that_does_not_fit_is_refused(command: PlaceChunk, expected: str) -> None:
    driver = Driver()
    assert driver.error(command, driver.open_session()) == expected
    with driver.view() as view:
        assert view.counters().last_chunk == 0
    driver.check()


def test_a_goal_of_one_needs_one_copy_and_fewer_servers_than_the_goal_are_below_it() -> None:
    driver = Driver()
    session = driver.open_session()
    single = driver.ok(PlaceChunk(ALL[:1], goal=1), session)
    pair = driver.ok(PlaceChunk(ALL[:2]), session)
    assert (single.goal, single.min_copies) == (1, 1)
    with driver.view() as view:
        assert [chunk_id for chunk_id, _ in view.under_goal(0, 10)] == [pair.chunk_id]
        counters = view.counters()
        assert (counters.chunks_with_one, counters.chunks_with_two) == (1, 1)
    assert driver.ok(FinishChunk(single.chunk_id, 5, 1, (1,)), session).holders == (1,)
    driver.check()


def test_a_session_claims_a_bounded_number_of_chunks_and_closes_with_all_of_them() -> None:
    driver = Driver()
    session = driver.open_session()
    for _ in range(CLAIMS_PER_SESSION_MAX):
        driver.chunk(session, copies=2)  # Below the goal: the most rows that a release can change.
    assert driver.error(PlaceChunk(ALL), session) == "LimitExceeded"
    assert driver.ok(CloseSession(), session) == Done()
    with driver.view() as view:
        assert view.counters().dead_chunks == CLAIMS_PER_SESSION_MAX
    driver.check()


def test_the_writer_finishes_its_chunk_with_the_holders_that_acknowledged() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    sealed = driver.ok(FinishChunk(chunk_id, 1000, 77, (3, 1)), session)
    assert (sealed.length, sealed.digest, sealed.holders) == (1000, 77, (1, 3))
    with driver.view() as view:
        chunk = view.chunk(chunk_id)
        assert (chunk.state, chunk.sealed_index) == ("sealed", driver.index)
        assert [key for key, _ in view.under_goal(0, 10)] == [chunk_id]
        (located,) = view.locate([chunk_id])
        assert (located.sealed, located.length) == (True, 1000)
        assert [location.server_id for location in located.replicas] == [1, 3]
        assert view.open_or_sealing(0, 10) == []
    driver.check()


@pytest.mark.parametrize(
    ("length", "digest", "holders", "expected"),
    [
        (1000, 1, (1,), "TooFewCopies"),
        (1000, 1, (), "InvalidArgument"),
        (1000, 1, (1, 1), "InvalidArgument"),
        (1000, 1, (1, 4), "InvalidArgument"),
        (99, 1, (1, 2), "WrongState"),
        (-1, 1, (1, 2), "InvalidArgument"),
        (MIB + 1, 1, (1, 2), "InvalidArgument"),
        (1000, 1 << 32, (1, 2), "InvalidArgument"),
    ],
)
def test_a_finish_that_would_lose_or_invent_bytes_is_refused(
    length: int, digest: int, holders: tuple[int, ...], expected: str
) -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    stage(driver, session, chunk_id, 100)
    assert driver.error(FinishChunk(chunk_id, length, digest, holders), session) == expected
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "open"
    driver.check()


def test_only_the_claiming_session_finishes_a_chunk() -> None:
    driver = Driver()
    session, other = driver.open_session(), driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    assert driver.error(FinishChunk(chunk_id, 5, 1, (1, 2)), other) == "NotClaimed"
    assert driver.error(FinishChunk(chunk_id + 1, 5, 1, (1, 2)), session) == "UnknownChunk"
    driver.ok(ReleaseChunks((chunk_id,)), session)
    assert driver.error(FinishChunk(chunk_id, 5, 1, (1, 2)), session) == "WrongState"


def test_the_first_committed_end_wins_whoever_it_is_from() -> None:
    driver = Driver()
    session = driver.open_session()
    by_writer, by_leader = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    for chunk_id, first, second in (
        (by_writer, "writer", "leader"),
        (by_leader, "leader", "writer"),
    ):
        order = begin(driver, chunk_id)
        for who, length in ((first, 500), (second, 700)):
            if who == "writer":
                sealed = driver.ok(FinishChunk(chunk_id, length, length, (1, 2)), session)
            else:
                sealed = driver.ok(CommitSeal(chunk_id, order, length, length, (2,)))
            assert (sealed.length, sealed.digest) == (500, 500)
    driver.check()


def test_sealing_begins_once_and_only_on_an_open_chunk() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    order = begin(driver, chunk_id)
    assert driver.error(BeginSeal(chunk_id, "again")) == "StaleCommand"
    assert driver.error(BeginSeal(chunk_id + 9, "")) == "UnknownChunk"
    with driver.view() as view:
        chunk = view.chunk(chunk_id)
        assert (chunk.state, chunk.begin_index, chunk.reason) == ("sealing", order, "lost server")
        assert [key for key, _ in view.open_or_sealing(0, 10)] == [chunk_id]
        assert view.counters().sealing_chunks == 1
    driver.ok(CommitSeal(chunk_id, order, 0, 0, (1, 2, 3)))
    assert driver.error(BeginSeal(chunk_id, "")) == "StaleCommand"
    driver.check()


def test_a_recovered_cluster_begins_seals_anew_above_all_orders_of_before() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    lost = begin(driver, chunk_id)
    driver.ok(LeaderElected("m1", 3))
    driver.ok(BeginSeal(chunk_id, "recovered"))
    assert driver.error(BeginSeal(chunk_id, "again")) == "StaleCommand"
    with driver.view() as view:
        chunk = view.chunk(chunk_id)
    assert chunk.begin_index > lost + 1_000_000, "servers ignore what is older than they obeyed"
    assert incarnation_of_order(chunk.begin_index) == 3
    assert driver.error(CommitSeal(chunk_id, lost, 0, 0, (1, 2, 3))) == "StaleCommand"
    driver.ok(CommitSeal(chunk_id, chunk.begin_index, 0, 0, (1, 2, 3)))
    with driver.view() as view:
        assert view.chunk(chunk_id).sealed_index > chunk.begin_index
    driver.check()


def test_a_seal_of_the_leader_compares_before_it_writes() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    assert driver.error(CommitSeal(chunk_id, 0, 5, 1, (1,))) == "StaleCommand"
    order = begin(driver, chunk_id)
    assert driver.error(CommitSeal(chunk_id, order - 1, 5, 1, (1,))) == "StaleCommand"
    assert driver.error(CommitSeal(chunk_id, order, 5, 1, ())) == "InvalidArgument"
    assert driver.error(CommitSeal(chunk_id, order, 5, 1, (7,))) == "InvalidArgument"
    assert driver.error(CommitSeal(chunk_id, order, MIB + 1, 1, (1,))) == "InvalidArgument"
    assert driver.error(CommitSeal(chunk_id + 1, order, 5, 1, (1,))) == "UnknownChunk"
    # Extents may be staged while the leader seals: what was proved before is too short now.
    stage(driver, session, chunk_id, 100)
    assert driver.error(CommitSeal(chunk_id, order, 99, 1, (1,))) == "StaleCommand"
    sealed = driver.ok(CommitSeal(chunk_id, order, 100, 1, (1,)))
    assert (sealed.length, sealed.holders) == (100, (1,))
    driver.check()


def test_a_released_chunk_without_references_is_dead_at_once_and_never_sealed() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    order = begin(driver, chunk_id)
    driver.ok(ReleaseChunks((chunk_id, chunk_id, 12345)), session)
    with driver.view() as view:
        chunk = view.chunk(chunk_id)
        assert (chunk.state, chunk.dead_index, chunk.claimed_by) == ("dead", driver.index, 0)
        assert view.open_or_sealing(0, 10) == [] and view.locate([chunk_id]) == []
    assert driver.error(CommitSeal(chunk_id, order, 0, 0, (1,))) == "StaleCommand"
    assert driver.error(BeginSeal(chunk_id, "")) == "StaleCommand"
    driver.check()


def test_a_claim_keeps_a_chunk_alive_whatever_becomes_of_its_references() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    file = empty_file("/a", size=10, extents=(Extent(0, chunk_id, 0, 10, 1),))
    driver.ok(Publish((file,)), session)
    driver.ok(Remove("/a"), session)
    driver.ok(ReapStep(100))
    with driver.view() as view:
        assert not view.referenced(chunk_id)
        assert view.chunk(chunk_id).state == "open"
    driver.check()
    driver.ok(ReleaseChunks((chunk_id,)), session)
    with driver.view() as view:
        assert view.chunk(chunk_id).state == "dead"
    driver.check()


def test_the_last_reference_of_an_unclaimed_chunk_is_its_death() -> None:
    driver = Driver()
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    files = tuple(
        empty_file(f"/{name}", size=10, extents=(Extent(0, chunk_id, 0, 10, 1),)) for name in "ab"
    )
    driver.ok(Publish(files, release=(chunk_id,)), session)
    for name, state in (("/a", "open"), ("/b", "dead")):
        driver.ok(Remove(name), session)
        with driver.view() as view:
            assert view.chunk(chunk_id).state == "open"
        driver.ok(ReapStep(100))
        with driver.view() as view:
            assert view.chunk(chunk_id).state == state
        driver.check()


def test_claims_of_silent_sessions_end_and_those_that_do_not_stand_are_passed_over() -> None:
    driver = Driver()
    session, other = driver.open_session(), driver.open_session()
    referred, unused = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    stage(driver, session, referred, 10)
    assert driver.ok(EndClaims(((other, referred), (99, unused), (session, 4242)))) == Done()
    with driver.view() as view:
        assert view.claims(None, 10) == [(session, referred), (session, unused)]
    driver.ok(EndClaims(((session, referred), (session, unused))))
    with driver.view() as view:
        assert view.claims(None, 10) == []
        assert view.chunk(unused).state == "dead"
        assert (view.chunk(referred).state, view.chunk(referred).claimed_by) == ("open", 0)
    late = StageExtents(0, (Extent(0, referred, 10, 5, 1),))
    assert driver.error(late, session) == "NotClaimed"
    driver.check()


def test_a_dead_chunk_leaves_the_table_when_its_last_replica_is_deleted() -> None:
    driver = Driver()
    session = driver.open_session()
    alive, dead = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    driver.ok(ReleaseChunks((dead,)), session)
    driver.ok(ReplicasDeleted(((dead, 1, 101), (alive, 1, 101), (dead, 1, 999), (55, 1, 101))))
    with driver.view() as view:
        assert [replica.server_id for replica in view.chunk(dead).replicas] == [2, 3]
        assert len(view.chunk(alive).replicas) == 3
        assert view.replica_count(1) == 1
    driver.check()
    driver.ok(ReplicasDeleted(((dead, 2, 102), (dead, 3, 103), (dead, 3, 103))))
    with driver.view() as view:
        assert view.chunk(dead) is None
        assert view.counters().dead_chunks == 0
    driver.check()
    assert driver.chunk(session).chunk_id == make_chunk_id(1, 3), "an id is never used again"


def test_lists_in_commands_are_bounded() -> None:
    driver = Driver()
    session = driver.open_session()
    many = ITEMS_PER_COMMAND_MAX + 1
    assert driver.error(ReleaseChunks((1,) * many), session) == "LimitExceeded"
    assert driver.error(EndClaims(((1, 1),) * many)) == "LimitExceeded"
    assert driver.error(ReplicasDeleted(((1, 1, 1),) * many)) == "LimitExceeded"
    assert driver.error(ReleaseChunks((-1,)), session) == "InvalidArgument"


def test_chunks_are_listed_page_by_page() -> None:
    driver = Driver()
    session = driver.open_session()
    ids = [driver.chunk(session, copies=2).chunk_id for _ in range(5)]
    with driver.view() as view:
        for page in (view.chunks_after, view.under_goal, view.open_or_sealing):
            assert [key for key, _ in page(0, 2)] == ids[:2]
            assert [key for key, _ in page(ids[1], 10)] == ids[2:]
        assert view.replicas_of(1, (101, ids[1]), 2) == [(101, ids[2]), (101, ids[3])]
        assert view.claims((session, ids[3]), 9) == [(session, ids[4])]
