"""What the leader plans by itself: exact plans, and a plan applied makes the next one empty."""

from __future__ import annotations

from dataclasses import replace

from master_tables import Tables

from gfs_ha.ids import SessionId
from gfs_ha.limits import KEYED_LIFE_MORE_MS
from gfs_ha.master.planners.expiry import (
    REASON,
    REASON_ANEW,
    plan_claims,
    plan_seals,
    plan_sessions,
)
from gfs_ha.master.planners.garbage import HURRIED_STEPS, plan_deletes, plan_reaping
from gfs_ha.master.planners.garbage_seen import GarbageSeen
from gfs_ha.master.planners.orphans import plan_orphans
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Planner, Seen
from gfs_ha.master.state.commands import (
    BeginSeal,
    EndClaims,
    ExpireSessions,
    LeaderElected,
    ReapStep,
    ReplicasDeleted,
)
from gfs_ha.protocol.control import DeleteReplica
from gfs_ha.protocol.metadata import FinishChunk, OpenSession, ReleaseChunks, Remove

LIMITS = PlanLimits()


def plan(tables: Tables, planner: Planner, seen: Seen, cursors: Cursors | None = None) -> Plan:
    with tables.view() as view:
        return planner(view, seen, LIMITS, cursors or Cursors())


def carry_out(tables: Tables, made: Plan) -> None:
    for command in made.proposals:
        tables.do(command)


def seen(now_s: float, sessions: dict[SessionId, float] | None = None) -> Seen:
    return Seen(now_s, 1000.0, sessions or {})


def test_a_claim_ends_when_its_session_is_silent_for_two_minutes() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    heard = {session: 2000.0}
    assert plan(tables, plan_claims, seen(2119.0, heard)).empty
    made = plan(tables, plan_claims, seen(2121.0, heard))
    assert made.proposals == [EndClaims(((session, chunk.chunk_id),))]
    carry_out(tables, made)
    assert plan(tables, plan_claims, seen(2121.0, heard)).empty


def test_a_new_leader_counts_silence_from_its_own_election() -> None:
    tables = Tables()
    tables.chunk(tables.session())
    assert plan(tables, plan_claims, seen(1119.0)).empty
    assert not plan(tables, plan_claims, seen(1121.0)).empty


def test_a_session_that_the_leader_could_not_meet_yet_keeps_its_claim() -> None:
    tables = Tables()
    tables.elapsed_ms = 3_600_000  # Led for an hour, when it opens a session and allocates.
    session = tables.session()
    chunk = tables.chunk(session)
    assert plan(tables, plan_claims, seen(1000.0 + 3600.2)).empty
    assert plan(tables, plan_claims, seen(1000.0 + 3719.0)).empty
    made = plan(tables, plan_claims, seen(1000.0 + 3721.0))
    assert made.proposals == [EndClaims(((session, chunk.chunk_id),))]


def test_claims_are_looked_at_in_parts() -> None:
    tables = Tables()
    session = tables.session()
    chunks = [tables.chunk(session).chunk_id for _ in range(3)]
    cursors, few = Cursors(), replace(LIMITS, rows=2)
    with tables.view() as view:
        first = plan_claims(view, seen(5000.0), few, cursors)
        second = plan_claims(view, seen(5000.0), few, cursors)
    assert first.proposals == [EndClaims(((session, chunks[0]), (session, chunks[1])))]
    assert second.proposals == [EndClaims(((session, chunks[2]),))]
    assert cursors.claims is None


def test_an_open_chunk_without_a_writer_is_sealed_and_one_being_sealed_is_reported() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    tables.publish(session, chunk.chunk_id)
    assert plan(tables, plan_seals, seen(1001.0)).empty
    tables.do(EndClaims(((session, chunk.chunk_id),)))
    made = plan(tables, plan_seals, seen(1001.0))
    assert made.proposals == [BeginSeal(chunk.chunk_id, REASON)]
    carry_out(tables, made)
    made = plan(tables, plan_seals, seen(1001.0))
    assert not made.proposals
    assert [chunk_id for chunk_id, _ in made.sealing] == [chunk.chunk_id]


def test_a_seal_of_an_older_incarnation_is_begun_anew() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    tables.publish(session, chunk.chunk_id)
    tables.do(BeginSeal(chunk.chunk_id, "lost"))
    tables.do(LeaderElected("m1", 2))
    made = plan(tables, plan_seals, seen(1001.0))
    assert made.proposals == [BeginSeal(chunk.chunk_id, REASON_ANEW)] and not made.sealing
    carry_out(tables, made)
    made = plan(tables, plan_seals, seen(1001.0))
    assert not made.proposals and len(made.sealing) == 1


def test_an_idle_session_expires_unless_the_leader_hears_it() -> None:
    tables = Tables()
    session = tables.session()
    tables.elapsed_ms = LIMITS.session_life_ms + 10
    other = tables.session()
    assert plan(tables, plan_sessions, seen(1060.0)).empty  # Elected a minute ago.
    assert plan(tables, plan_sessions, seen(2000.0, {session: 1990.0})).empty
    made = plan(tables, plan_sessions, seen(2000.0))
    assert made.proposals == [ExpireSessions(((session, 0),))]
    carry_out(tables, made)
    assert plan(tables, plan_sessions, seen(2000.0)).empty
    with tables.view() as view:
        assert view.session(session) is None and view.session(other) is not None


def test_a_session_with_a_key_is_not_asked_to_end_before_its_time() -> None:
    tables = Tables()
    tables.do(OpenSession("appends", "key"))
    tables.elapsed_ms = LIMITS.session_life_ms + KEYED_LIFE_MORE_MS - 10
    tables.session()
    assert plan(tables, plan_sessions, seen(2000.0)).empty
    tables.elapsed_ms += 30
    tables.session()
    made = plan(tables, plan_sessions, seen(2000.0))
    carry_out(tables, made)
    assert plan(tables, plan_sessions, seen(2000.0)).empty
    with tables.view() as view:
        assert view.session(SessionId(1)) is None


def test_every_replica_of_a_dead_chunk_is_ordered_to_be_deleted_until_it_is_recorded() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    assert plan(tables, plan_deletes, seen(1001.0)).empty
    tables.do(ReleaseChunks((chunk.chunk_id,)), session)
    made = plan(tables, plan_deletes, seen(1001.0))
    order = DeleteReplica(chunk.chunk_id, tables.index, "the chunk is dead")
    assert made.deletes == [(1, order), (2, order), (3, order)]
    acknowledged = ((chunk.chunk_id, 1, 101), (chunk.chunk_id, 2, 102))
    made = plan(tables, plan_deletes, replace(seen(1001.0), deleted=acknowledged))
    assert made.proposals == [ReplicasDeleted(acknowledged)]
    assert made.deletes == [(3, order)]
    carry_out(tables, made)
    last = replace(seen(1001.0), deleted=((chunk.chunk_id, 3, 103),))
    carry_out(tables, plan(tables, plan_deletes, last))
    assert plan(tables, plan_deletes, seen(1001.0)).empty
    with tables.view() as view:
        assert view.chunk(chunk.chunk_id) is None


def test_a_replica_on_a_lost_disk_is_recorded_as_gone() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    tables.enroll(1, disk=999)
    tables.do(ReleaseChunks((chunk.chunk_id,)), session)
    made = plan(tables, plan_deletes, seen(1001.0))
    assert made.proposals == [ReplicasDeleted(((chunk.chunk_id, 1, 101),))]
    assert [server_id for server_id, _ in made.deletes] == [2, 3]


def test_what_nobody_can_reach_is_reaped_until_nothing_is_left() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    tables.do(FinishChunk(chunk.chunk_id, 10, 5, (1, 2, 3)), session)
    tables.publish(session, chunk.chunk_id)
    tables.do(ReleaseChunks((chunk.chunk_id,)), session)
    assert plan(tables, plan_reaping, seen(1001.0)).empty
    tables.do(Remove("/f"), session)
    for _ in range(10):
        made = plan(tables, plan_reaping, seen(1001.0))
        if made.empty:
            break
        assert made.proposals == [ReapStep(LIMITS.reap_rows)]
        carry_out(tables, made)
    assert plan(tables, plan_reaping, seen(1001.0)).empty
    assert len(plan(tables, plan_deletes, seen(1001.0)).deletes) == 3


def test_who_wants_it_gone_has_more_of_it_taken_apart_at_once_until_nothing_is_left() -> None:
    tables = Tables()
    session = tables.session()
    chunk = tables.chunk(session)
    tables.publish(session, chunk.chunk_id)
    tables.do(Remove("/f"), session)
    cursors = Cursors()
    assert plan(tables, plan_reaping, seen(1001.0), cursors).proposals == [ReapStep(1000)]
    wanted = replace(seen(1001.0), garbage=GarbageSeen(wanted=True))
    assert plan(tables, plan_orphans, wanted, cursors).empty
    made = plan(tables, plan_reaping, seen(1001.0), cursors)
    assert made.proposals == HURRIED_STEPS * [ReapStep(1000)]
    carry_out(tables, made)
    assert plan(tables, plan_reaping, seen(1001.0), cursors).empty and not cursors.hurry
