"""Chunks with too few copies are found by index, and counted in steps."""

from __future__ import annotations

from collections.abc import Collection

from master_tables import Tables

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.census import Census, Presence, lost_disks, under_goal
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import FinishChunk, ReleaseChunks

FIRST = ChunkId(0)


def presence(view: View, dead: Collection[int] = ()) -> Presence:
    return Presence(lambda server_id: server_id not in dead, lost_disks(view))


def under(tables: Tables, dead: Collection[int] = (), limit: int = 100) -> tuple[list[int], bool]:
    with tables.view() as view:
        found, more = under_goal(view, presence(view, dead), FIRST, limit)
    return [chunk_id for chunk_id, _ in found], more


def test_chunks_below_their_goal_are_found_by_the_tables_and_by_what_is_dead() -> None:
    tables = Tables()
    session = tables.session()
    whole = tables.chunk(session, (1, 2, 3)).chunk_id
    short = tables.chunk(session, (2, 3)).chunk_id
    other = tables.chunk(session, (2, 3, 4)).chunk_id
    assert under(tables) == ([short], False)
    assert under(tables, dead=(1,)) == ([whole, short], False)
    assert under(tables, dead=(1, 2)) == ([whole, short, other], False)


def test_a_replica_that_is_no_holder_does_not_count() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session, (1, 2, 3)).chunk_id
    tables.do(FinishChunk(chunk, 10, 5, (1, 3)), session)
    assert under(tables) == ([chunk], False)


def test_a_replica_on_a_lost_disk_does_not_count() -> None:
    tables = Tables()
    chunk = tables.chunk(tables.session(), (1, 2, 3)).chunk_id
    tables.enroll(1, disk=999)
    assert under(tables) == ([chunk], False)


def test_a_damaged_replica_does_not_count() -> None:
    tables = Tables()
    session = tables.session()
    whole = tables.chunk(session, (1, 2, 3)).chunk_id
    hurt = tables.chunk(session, (1, 2, 3)).chunk_id
    with tables.view() as view:
        there = Presence(lambda server_id: True, lost_disks(view), frozenset({(hurt, ServerId(2))}))
        found, more = under_goal(view, there, FIRST, 100)
        assert ([chunk_id for chunk_id, _ in found], more) == ([hurt], False)
        copies = {one: there.copies(one, chunk) for one, chunk in view.chunks_after(FIRST, 10)}
    assert copies == {whole: 3, hurt: 2}


def test_dead_chunks_are_nobody_s_concern() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session, (2, 3)).chunk_id
    tables.do(ReleaseChunks((chunk,)), session)
    assert under(tables, dead=(2,)) == ([], False)


def test_pages_go_on_where_the_last_one_ended() -> None:
    tables = Tables()
    session = tables.session()
    chunks = [tables.chunk(session, (1, 2, 3)).chunk_id for _ in range(7)]
    found: list[int] = []
    after, more = FIRST, True
    with tables.view() as view:
        while more:
            page, more = under_goal(view, presence(view, (1, 2)), after, 3)
            found += [chunk_id for chunk_id, _ in page]
            after = page[-1][0]
    assert found == chunks


def test_a_census_counts_in_steps_and_shows_its_last_whole_round() -> None:
    tables = Tables()
    session = tables.session()
    tables.chunk(session, (1, 2, 3))
    tables.chunk(session, (2, 3))
    tables.chunk(session, (2, 3, 4))
    census = Census()
    with tables.view() as view:
        there = presence(view, (1,))
        assert not census.step(view, there, 2)
        assert sum(census.result.values()) == 0
        assert census.step(view, there, 2)
        assert census.result == {"0": 0, "1": 0, "2": 2, "3+": 1}
        census.step(view, there, 100)
        assert census.result == {"0": 0, "1": 0, "2": 2, "3+": 1}


def test_a_census_tells_five_copies_of_six_from_six() -> None:
    tables = Tables()
    for server in (5, 6):
        tables.enroll(server)
    session = tables.session()
    tables.chunk(session, (1, 2, 3, 4, 5), goal=6)
    tables.chunk(session, (1, 2, 3, 4, 5, 6), goal=6)
    census = Census()
    with tables.view() as view:
        assert census.step(view, presence(view, ()), 100)
    assert census.goals == {6: [0, 0, 0, 0, 0, 1, 1, 0, 0]}
    assert census.below == 1
    assert census.result == {"0": 0, "1": 0, "2": 0, "3+": 2}
