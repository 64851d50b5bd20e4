"""Replicas that a person gives up: only those out of reach, and never against a proof (C3)."""

from __future__ import annotations

from itertools import combinations, product

from test_sealing import ALL, A, B, C, chunk, committed, digest, failed, fenced, no_proof, proof

from gfs_ha.ids import ServerId
from gfs_ha.master.losses import NO_LENGTH, foresee
from gfs_ha.master.sealing import EMPTY_DIGEST, Commit, Fence, Prove, decide
from gfs_ha.protocol.control import FenceAnswer, OrderFailed

NOBODY: frozenset[ServerId] = frozenset()
GONE = failed("UnknownReplica")


def test_it_ends_where_the_longest_replica_that_answers_verifies() -> None:
    fences = {A: no_proof(5, 9), B: no_proof(7, 9)}
    assert fenced(decide(chunk(), fences, {}, ALL - {C})).blocked
    given = frozenset({C})
    assert decide(chunk(), fences, {}, ALL - {C}, given) == Prove(7, frozenset({B}))
    made = committed(decide(chunk(), fences, {B: digest(7)}, ALL - {C}, given))
    assert (made.length, made.holders, made.given_up) == (7, (B,), (C,))


def test_servers_that_know_nothing_of_it_hold_its_empty_end() -> None:
    fences = {A: GONE, B: GONE}
    made = committed(decide(chunk(), fences, {}, ALL - {C}, frozenset({C})))
    assert (made.length, made.digest, made.holders) == (0, EMPTY_DIGEST, (A, B))
    assert made.given_up == (C,)


def test_without_an_answer_there_is_no_end() -> None:
    assert "start one" in fenced(decide(chunk(), {}, {}, NOBODY, ALL)).blocked


def test_nothing_ends_below_what_files_refer_to() -> None:
    fences = {A: no_proof(5, 9), B: GONE}
    decision = decide(chunk(published_end=6), fences, {}, NOBODY, frozenset({C}))
    assert "files refer to 6" in fenced(decision).blocked


def test_a_replica_that_answers_after_all_is_heard_in_every_mix_of_answers() -> None:
    """Giving up changes an outcome only where one that is given up did not answer."""
    answers: list[FenceAnswer | OrderFailed | None] = [None, GONE, no_proof(5, 9), proof(4)]
    given_ups = [frozenset(one) for n in range(4) for one in combinations((A, B, C), n)]
    ended = 0
    for mix in product(answers, repeat=3):
        fences = {one: said for one, said in zip((A, B, C), mix, strict=True) if said is not None}
        silent = ALL - fences.keys()
        plain = decide(chunk(), fences, {}, NOBODY)
        for given_up in given_ups:
            made = decide(chunk(), fences, {}, NOBODY, given_up)
            if not silent or not silent <= given_up or not isinstance(plain, Fence):
                assert made == plain, (mix, given_up)
            elif isinstance(made, Commit):
                assert frozenset(made.given_up) == silent and not set(made.holders) & silent
                ended += 1
    assert ended


def test_the_plan_says_who_answered_what_and_refuses_what_needs_no_person() -> None:
    fences: dict[ServerId, FenceAnswer | OrderFailed] = {A: GONE, B: no_proof(7, 9)}
    loss = foresee(chunk(), fences, {}, ALL - {C}, "blocked")
    assert (loss.missing, loss.length, loss.refused) == ({C}, 7, "")
    assert loss.said[C] == "no answer" and "7 of 9 bytes, no proof" in loss.said[B]
    assert "UnknownReplica" in loss.said[A]
    normal = foresee(chunk(), {A: proof(3), B: GONE}, {}, NOBODY, "")
    assert normal.length == NO_LENGTH and "normal way" in normal.refused
    asked = foresee(chunk(), fences, {}, ALL, "blocked")
    assert "being asked" in asked.refused
    everyone = foresee(chunk(), {A: GONE, B: GONE, C: no_proof(3, 9)}, {}, ALL, "")
    assert everyone.refused
    below = foresee(chunk(published_end=8), fences, {}, NOBODY, "blocked")
    assert "files refer to 8" in below.refused and below.length == NO_LENGTH
