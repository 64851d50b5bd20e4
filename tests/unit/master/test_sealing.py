"""Where a broken chunk ends: every mix of answers, and the cases that cost data without a rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from gfs_ha.ids import Birth, ChunkId, LogIndex, ServerId, SessionId, StartId
from gfs_ha.master.losses import foresee
from gfs_ha.master.seal_attempt import Attempt
from gfs_ha.master.sealing import (
    EMPTY_DIGEST,
    Commit,
    Decision,
    Fence,
    Prove,
    SealingChunk,
    decide,
    records_of,
)
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import FenceAnswer, OrderFailed, ProofAnswer
from gfs_ha.protocol.records import RecordEntry

CHUNK = ChunkId(1 << 48 | 7)
INDEX = LogIndex(50)
A, B, C = ServerId(1), ServerId(2), ServerId(3)
ALL = frozenset((A, B, C))


def chunk(published_end: int = 0, replicas: frozenset[ServerId] = ALL) -> SealingChunk:
    return SealingChunk(CHUNK, Birth(1, 1), INDEX, published_end, replicas)


def proof(end: int) -> FenceAnswer:
    return FenceAnswer(CHUNK, INDEX, end, end, 1, 1, True)


def no_proof(end: int, promised: int) -> FenceAnswer:
    return FenceAnswer(CHUNK, INDEX, end, promised, 1, 1, False, "less verifies than promised")


def failed(code: str) -> OrderFailed:
    return OrderFailed(CHUNK, INDEX, "fence", Failure(code, "because"))


def digest(length: int, value: int = 99) -> ProofAnswer:
    return ProofAnswer(CHUNK, INDEX, length, value)


def fenced(decision: Decision) -> Fence:
    assert isinstance(decision, Fence), decision
    return decision


def proving(decision: Decision) -> Prove:
    assert isinstance(decision, Prove), decision
    return decision


def committed(decision: Decision) -> Commit:
    assert isinstance(decision, Commit), decision
    return decision


def test_every_replica_is_fenced_first() -> None:
    assert fenced(decide(chunk(), {}, {}, ALL)) == Fence(ALL)


def test_a_reachable_replica_is_waited_for_so_that_its_copy_is_kept() -> None:
    assert fenced(decide(chunk(), {A: proof(9), B: proof(9)}, {}, ALL)).servers == {C}


def test_one_proof_is_enough_when_the_others_are_out_of_reach() -> None:
    assert decide(chunk(), {B: proof(9)}, {}, frozenset((B,))) == Prove(9, frozenset((B,)))


def test_the_smallest_end_among_the_proofs_counts() -> None:
    answers = {A: proof(30), B: proof(20), C: proof(25)}
    assert decide(chunk(), answers, {}, ALL) == Prove(20, ALL)


def test_a_replica_that_verifies_less_than_the_proofs_is_no_holder() -> None:
    answers = {A: proof(30), B: no_proof(10, 30), C: proof(30)}
    assert decide(chunk(), answers, {}, ALL) == Prove(30, frozenset((A, C)))


def test_a_replica_that_is_no_proof_but_verifies_enough_may_hold() -> None:
    answers = {A: proof(30), B: no_proof(40, 50), C: proof(30)}
    assert decide(chunk(), answers, {}, ALL) == Prove(30, ALL)


def test_without_a_proof_an_unreachable_replica_blocks_the_chunk() -> None:
    answers = {A: no_proof(10, 30), B: no_proof(20, 30)}
    decision = fenced(decide(chunk(), answers, {}, frozenset((A, B))))
    assert decision.servers == {C}
    assert "no answer from server 3" in decision.blocked
    named = replace(chunk(), names={A: "cs1", C: "cs7"})
    decision = fenced(decide(named, answers, {}, frozenset((A, B))))
    assert "no answer from cs7" in decision.blocked, "people know servers by their names"


def test_all_answered_and_none_is_proof_takes_the_largest_end_that_verifies() -> None:
    answers = {A: no_proof(10, 30), B: no_proof(20, 30), C: no_proof(5, 30)}
    assert decide(chunk(), answers, {}, ALL) == Prove(20, frozenset((B,)))
    done = committed(decide(chunk(), answers, {B: digest(20)}, ALL))
    assert (done.length, done.holders) == (20, (B,))
    assert done.remark == "sealed without a proof"


def test_no_end_below_the_published_one_is_ever_committed() -> None:
    answers = {A: no_proof(10, 30), B: no_proof(20, 30), C: no_proof(5, 30)}
    decision = fenced(decide(chunk(published_end=25), answers, {}, ALL))
    assert "published end 25" in decision.blocked


def test_a_proof_that_the_published_end_has_overtaken_is_none() -> None:
    answers = {A: proof(10), B: proof(30)}
    decision = decide(chunk(published_end=20), answers, {}, frozenset((A, B)))
    assert decision == Prove(30, frozenset((B,)))


def test_a_replica_that_does_not_know_the_chunk_is_not_a_replica_of_length_zero() -> None:
    unknown = failed("UnknownReplica")
    assert decide(chunk(), {A: unknown, B: unknown, C: proof(9)}, {}, ALL) == Prove(
        9, frozenset((C,))
    )
    decision = fenced(decide(chunk(), {A: unknown, B: unknown}, {}, frozenset((A, B))))
    assert decision.blocked


def test_a_chunk_that_nobody_ever_got_ends_empty() -> None:
    unknown = failed("UnknownReplica")
    done = committed(decide(chunk(), {A: unknown, B: unknown, C: unknown}, {}, ALL))
    assert (done.length, done.digest, done.holders) == (0, EMPTY_DIGEST, (A, B, C))


def lacking(*servers: ServerId, published_end: int = 0) -> SealingChunk:
    return replace(chunk(published_end), bereft=frozenset(servers))


def test_who_lacks_the_disk_of_the_chunk_says_nothing_by_knowing_nothing() -> None:
    unknown = failed("UnknownReplica")
    waits = fenced(decide(lacking(A, B, C), dict.fromkeys(ALL, unknown), {}, ALL))
    assert waits.servers == ALL and "disks" in waits.blocked and "bring them back" in waits.blocked
    # Nor may the largest end be taken of who is no proof: more may be on the disks that are away.
    short = {A: unknown, B: unknown, C: no_proof(3, 9)}
    assert fenced(decide(lacking(A, B), short, {}, ALL)).servers == {A, B}


def test_who_lacks_the_disk_of_the_chunk_is_not_waited_for_beside_a_proof() -> None:
    unknown = failed("UnknownReplica")
    answers = {A: unknown, B: unknown, C: proof(9)}
    assert decide(lacking(A, B), answers, {}, ALL) == Prove(9, frozenset((C,)))


def test_one_that_has_its_disk_and_knows_nothing_shows_that_nothing_was_acknowledged() -> None:
    answers = dict.fromkeys(ALL, failed("UnknownReplica"))
    done = committed(decide(lacking(A, B), answers, {}, ALL))
    assert (done.length, done.holders) == (0, (A, B, C))


def test_who_lacked_the_disk_is_not_taken_at_that_word_once_it_has_it_again() -> None:
    unknown = failed("UnknownReplica")
    first = replace(lacking(A, B), starts={A: StartId(1), B: StartId(1)})
    attempt = Attempt(first, {A: unknown}, {A: digest(9)}, resting=True)
    attempt.know(first)
    assert attempt.fences and attempt.proofs and attempt.resting
    attempt.know(replace(lacking(B, C), starts={A: StartId(2), B: StartId(1), C: StartId(1)}))
    assert not (attempt.fences or attempt.proofs or attempt.resting), "another start, another word"
    attempt.fences |= {B: unknown, C: unknown}
    assert fenced(decide(attempt.chunk, attempt.fences, {}, ALL)).servers == {A}


def test_who_has_answered_is_not_asked_again_while_another_one_is_waited_for() -> None:
    attempt = Attempt(lacking(A, B), {A: failed("UnknownReplica")})
    waits = fenced(decide(attempt.chunk, attempt.fences, {}, frozenset()))
    assert waits.blocked and waits.servers == ALL and attempt.unasked(waits) == {B, C}
    attempt = Attempt(chunk(), {A: proof(9), B: proof(9)}, {A: failed("DiskFailed")})
    found = decide(attempt.chunk, attempt.fences, attempt.proofs, frozenset())
    assert isinstance(found, Prove) and found.blocked and attempt.unasked(found) == {B}


def test_a_person_may_give_up_disks_that_are_missing_but_no_byte_that_files_refer_to() -> None:
    answers = dict.fromkeys(ALL, failed("UnknownReplica"))
    done = committed(decide(lacking(A, B, C), answers, {}, ALL, ALL))
    assert (done.length, done.holders, done.given_up) == (0, (A,), (B, C))
    short = {A: failed("UnknownReplica"), B: no_proof(3, 9), C: no_proof(5, 9)}
    done_short = decide(lacking(A), short, {B: digest(5), C: digest(5)}, ALL, frozenset((A,)))
    assert committed(done_short).length == 5 and committed(done_short).given_up == (A,)
    kept = fenced(decide(lacking(A, B, C, published_end=7), answers, {}, ALL, ALL))
    assert "files refer to 7" in kept.blocked


def test_a_person_is_told_what_it_would_mean_to_give_up_missing_disks() -> None:
    answers = dict.fromkeys(ALL, failed("UnknownReplica"))
    blocked = fenced(decide(lacking(A, B, C), answers, {}, ALL)).blocked
    loss = foresee(lacking(A, B, C), answers, {}, ALL, blocked)
    assert (loss.missing, loss.lacking) == (frozenset(), ALL)
    assert (loss.length, loss.refused) == (0, "") and "disk" in loss.said[A]


def test_a_failing_disk_is_no_answer() -> None:
    answers = {A: proof(9), B: failed("DiskFailed"), C: proof(9)}
    assert fenced(decide(chunk(), answers, {}, ALL)).servers == {B}
    assert decide(chunk(), answers, {}, frozenset((A, C))) == Prove(9, frozenset((A, C)))


def test_holders_are_those_that_proved_the_same_digest() -> None:
    answers = {A: proof(9), B: proof(9), C: proof(9)}
    assert proving(decide(chunk(), answers, {A: digest(9)}, ALL)).servers == {B, C}
    proofs = {A: digest(9), B: digest(9), C: digest(9, 13)}
    done = committed(decide(chunk(), answers, proofs, ALL))
    assert (done.digest, done.holders) == (99, (A, B))
    assert "other bytes on [3]" in done.remark


def test_replicas_that_disagree_evenly_block_the_chunk() -> None:
    answers = {A: proof(9), B: proof(9)}
    decision = proving(
        decide(chunk(), answers, {A: digest(9), B: digest(9, 13)}, frozenset((A, B)))
    )
    assert "disagree" in decision.blocked


def test_a_digest_of_another_length_is_asked_for_again() -> None:
    answers = {A: proof(9), B: proof(5)}
    decision = proving(decide(chunk(), answers, {A: digest(9), B: digest(5)}, frozenset((A, B))))
    assert decision == Prove(5, frozenset((A,)))


def test_a_replica_that_cannot_prove_is_left_out() -> None:
    answers = {A: proof(9), B: proof(9)}
    proofs = {A: digest(9), B: failed("CorruptData")}
    assert committed(decide(chunk(), answers, proofs, ALL - {C})).holders == (A,)
    proofs = {A: failed("CorruptData"), B: failed("CorruptData")}
    assert "could prove" in proving(decide(chunk(), answers, proofs, ALL - {C})).blocked


class World:
    """What is really on three replicas: synced ends, and the end that was acknowledged."""

    def __init__(self, ends: tuple[int, ...], lost: tuple[int, ...]) -> None:
        self.ends = dict(zip((A, B, C), ends, strict=True))
        self.lost = dict(zip((A, B, C), lost, strict=True))
        # A byte is acknowledged when every replica has it.
        self.acknowledged = min(ends)

    def answer(self, server: ServerId) -> FenceAnswer:
        end, lost = self.ends[server], self.lost[server]
        return no_proof(end - lost, end) if lost else proof(end)


@pytest.mark.parametrize("reach", list(product((False, True), repeat=3)))
def test_no_mix_of_ends_losses_and_reach_ever_loses_an_acknowledged_byte(
    reach: tuple[bool, bool, bool],
) -> None:
    # A loss of everything everywhere is a fault beyond the promise; then the remark says so.
    for ends in product((0, 1, 2), repeat=3):
        for lost in product((0, 1, 2), repeat=3):
            if any(gone > end for gone, end in zip(lost, ends, strict=True)):
                continue
            world = World(ends, lost)
            reachable = frozenset(
                server for server, there in zip((A, B, C), reach, strict=True) if there
            )
            answers = {server: world.answer(server) for server in reachable}
            decision = decide(chunk(), answers, {}, reachable)
            if isinstance(decision, Prove):
                length = decision.length
                assert all(answers[server].end >= length for server in decision.servers)
                proofs = {server: digest(length) for server in decision.servers}
                decision = decide(chunk(), answers, proofs, reachable)
            if isinstance(decision, Commit):
                if not decision.remark:
                    assert decision.length >= world.acknowledged
                else:
                    assert reachable == ALL and all(lost)
                assert set(decision.holders) <= reachable
            else:
                assert isinstance(decision, Fence)
                assert decision.blocked or not reachable
                assert all(world.lost[server] for server in reachable)


def told(value: int, *records: RecordEntry, crc: int = 7, length: int = 9) -> ProofAnswer:
    return ProofAnswer(CHUNK, INDEX, length, value, crc, records)


FIRST = RecordEntry(SessionId(5), 1, 1, 0, 9)
OTHER = RecordEntry(SessionId(5), 2, 1, 0, 9)


def test_the_records_of_a_tail_are_those_of_its_first_holder_in_the_chain() -> None:
    decision = Commit(9, 99, (A, B, C))
    proofs = {A: told(99, FIRST), B: told(99, FIRST), C: told(99, FIRST)}
    assert records_of((C, B, A), decision, proofs) == (7, (FIRST,), ())
    assert records_of((C, B, A), decision, {**proofs, C: told(99, OTHER)}) == (7, (OTHER,), (B, A))
    assert records_of((C, B, A), decision, {**proofs, A: told(99, FIRST, crc=8)})[2] == (A,)


def test_a_holder_that_was_sealed_before_and_has_no_records_leaves_them_to_the_others() -> None:
    decision = Commit(9, 99, (A, B, C))
    none = ProofAnswer(CHUNK, INDEX, 9, 99, 7, ())
    proofs = {A: none, B: told(99, FIRST), C: told(99, FIRST)}
    assert records_of((A, B, C), decision, proofs) == (7, (FIRST,), ())
    assert records_of((A, B, C), decision, dict.fromkeys((A, B, C), none)) == (7, (), ())


def test_who_is_no_holder_or_proved_another_length_names_no_records() -> None:
    decision = Commit(9, 99, (A, B))
    proofs = {A: told(99, OTHER, length=5), B: told(99, FIRST), C: told(98, OTHER)}
    assert records_of((C, A, B), decision, proofs) == (7, (FIRST,), ())
    assert records_of((C, A, B), decision, {A: failed("Busy"), C: proofs[C]}) == (None, (), ())
    assert records_of((), Commit(9, 99, (A, B)), proofs) == (None, (), ()), "a put has no records"
