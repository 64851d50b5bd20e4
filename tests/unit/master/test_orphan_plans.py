"""Replicas that no chunk knows of: deleted by a command that looked again, or kept for 7 days."""

from __future__ import annotations

import pytest
from master_tables import Tables

from gfs_ha.ids import ChunkId, DiskId, LogIndex, ServerId, make_chunk_id, order_index
from gfs_ha.limits import QUARANTINE_S
from gfs_ha.master.garbage_book import NOTES_MAX, GarbageBook
from gfs_ha.master.planners.garbage_seen import GarbageSeen, Place
from gfs_ha.master.planners.orphans import plan_orphans
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.commands import LeaderElected, ReplicasDeleted
from gfs_ha.master.state.garbage_commands import NoteOrphans, OrphansDeleted
from gfs_ha.master.state.invariants import check_all
from gfs_ha.protocol.control import DeleteReplica
from gfs_ha.protocol.metadata import ReleaseChunks

ROOM = 4096
QUARANTINE_MS = int(QUARANTINE_S * 1000)


def place(chunk_id: int, server: int = 1) -> Place:
    return ServerId(server), DiskId(100 + server), ChunkId(chunk_id)


def plan(tables: Tables, **facts: object) -> Plan:
    seen = Seen(1.0, 1.0, {}, garbage=GarbageSeen(**facts))  # type: ignore[arg-type]
    with tables.view() as view:
        return plan_orphans(view, seen, PlanLimits(), Cursors())


def carry_out(tables: Tables, made: Plan) -> None:
    for command in made.proposals:
        tables.do(command)
    with tables.view() as view:
        assert check_all(view) == []


def orphans(tables: Tables) -> dict[Place, int]:
    with tables.view() as view:
        return {place: row.delete_index for place, row in view.orphans(None, 100)}


def forgotten(tables: Tables) -> ChunkId:
    """Return a chunk whose id was given and whose row is gone."""
    session = tables.session()
    chunk_id = tables.chunk(session).chunk_id
    tables.do(ReleaseChunks((chunk_id,)), session)
    tables.do(ReplicasDeleted(tuple((chunk_id, one, 100 + one) for one in (1, 2, 3))))
    return chunk_id


def test_a_stray_of_this_incarnation_is_deleted_under_the_command_that_noted_it() -> None:
    tables = Tables()
    stray = place(forgotten(tables))
    made = plan(tables, strays=(stray,))
    assert made.proposals == [NoteOrphans((stray,))] and not made.orders
    carry_out(tables, made)
    index = LogIndex(orphans(tables)[stray])
    assert index == order_index(1, tables.index), "numbered by its own command (G2)"
    order = DeleteReplica(stray[2], index, "the chunk is gone")
    made = plan(tables, strays=(stray,))
    assert made.orders == [(1, order)] and not made.proposals, "it is no news any more"
    made = plan(tables, freed={(stray[2], stray[0], index): ROOM})
    assert made.proposals == [OrphansDeleted(((*stray, index, ROOM),))] and not made.orders
    carry_out(tables, made)
    carry_out(tables, made)
    assert orphans(tables) == {} and plan(tables).empty
    with tables.view() as view:
        got = view.reclaimed()["orphans"]
    assert (got.bytes, got.count) == (ROOM, 1)


def test_what_has_a_row_or_may_get_one_is_no_orphan_whatever_is_proposed() -> None:
    tables = Tables()
    session = tables.session()
    known = place(tables.chunk(session).chunk_id)
    coming = place(known[2] + 1)
    newer = place(make_chunk_id(9, 1))
    assert plan(tables, strays=(known, coming, newer)).empty
    tables.do(NoteOrphans((known, coming, newer)))
    assert orphans(tables) == {}


def test_an_id_that_is_given_between_plan_and_command_is_safe() -> None:
    tables = Tables()
    session = tables.session()
    stray = place(tables.chunk(session).chunk_id + 1)
    tables.chunk(session)
    tables.do(NoteOrphans((stray,)))
    assert orphans(tables) == {}


def test_one_of_an_older_incarnation_is_kept_for_seven_days_of_cluster_time() -> None:
    tables = Tables()
    stray = place(forgotten(tables) + 7)  # The copy of the masters' disks did not know it.
    tables.do(LeaderElected("m1", 2))
    made = plan(tables, strays=(stray,))
    carry_out(tables, made)
    assert orphans(tables) == {stray: 0}
    assert plan(tables, strays=(stray,)).empty
    tables.do(NoteOrphans((stray,)))  # A plan that comes twice shortens nothing.
    assert orphans(tables) == {stray: 0}
    tables.elapsed_ms = QUARANTINE_MS - 1000
    tables.do(NoteOrphans(()))
    assert plan(tables, strays=(stray,)).empty, "not a second too early"
    tables.do(NoteOrphans((stray,)))
    assert orphans(tables) == {stray: 0}
    tables.elapsed_ms = QUARANTINE_MS + 1000
    tables.do(NoteOrphans(()))
    made = plan(tables)
    assert made.proposals == [NoteOrphans((stray,))]
    carry_out(tables, made)
    assert orphans(tables)[stray] == order_index(2, tables.index)
    assert [type(order) for _, order in plan(tables).orders] == [DeleteReplica]


def test_what_lay_on_a_lost_disk_is_forgotten() -> None:
    tables = Tables()
    stray = place(forgotten(tables), server=4)
    older = place(5, server=4)
    carry_out(tables, plan(tables, strays=(stray, older)))
    index = orphans(tables)[stray]
    tables.enroll(4, disk=204)
    made = plan(tables)
    assert made.proposals == [OrphansDeleted(((*older, 0, 0), (*stray, index, 0)))]
    carry_out(tables, made)
    assert orphans(tables) == {}
    with tables.view() as view:
        assert view.reclaimed()["orphans"].bytes == 0


def test_who_wants_it_now_has_every_disk_counted_again_and_shortens_no_quarantine() -> None:
    tables = Tables()
    stray = place(5)
    carry_out(tables, plan(tables, strays=(stray,)))
    cursors = Cursors()
    cursors.tally.agreed[1, 101] = b"told"  # type: ignore[index]
    seen = Seen(1.0, 1.0, {}, garbage=GarbageSeen(wanted=True))
    with tables.view() as view:
        assert plan_orphans(view, seen, PlanLimits(), cursors).empty
    assert not cursors.tally.agreed and orphans(tables) == {stray: 0}


def test_the_book_tells_strays_and_wishes_once_and_counts_an_answer_once() -> None:
    book = GarbageBook()
    book.want()
    book.stray(*place(5))
    answered = (ChunkId(5), ServerId(1), LogIndex(9))
    book.punched(answered, 6_000, 10.0)
    book.punched(answered, 0, 11.0)
    first, second = book.seen(take=True), book.seen(take=True)
    assert first.wanted and first.strays == (place(5),) and first.punched == {answered: 6_000}
    assert not second.wanted and not second.strays and second.punched == {answered: 6_000}
    assert [book.bytes_per_s(now_s) for now_s in (12.0, 40.0, 71.0)] == [1_200, 200, 0]
    book.want()
    assert not book.seen(take=False).wanted and book.seen(take=True).wanted


@pytest.mark.parametrize("kind", ["strays", "answers"])
def test_the_book_is_bounded(kind: str) -> None:
    book = GarbageBook()
    for number in range(NOTES_MAX + 10):
        if kind == "strays":
            book.stray(*place(number))
        else:
            book.deleted((ChunkId(number), ServerId(1), LogIndex(1)), 1, 1.0)
    seen = book.seen(take=True)
    assert len(seen.freed) <= NOTES_MAX and len(seen.strays) <= NOTES_MAX
