"""What would be lost if a person gave up the replicas of a chunk that are out of reach (C3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gfs_ha.ids import ServerId
from gfs_ha.master.sealing import (
    Commit,
    Fence,
    FenceAnswers,
    ProofAnswers,
    SealingChunk,
    decide,
    is_conclusive,
    mute_of,
)
from gfs_ha.protocol.control import FenceAnswer, OrderFailed

NO_LENGTH = -1
_NO_DISK = ", and the disk that it was placed on is missing there"


@dataclass(frozen=True, slots=True)
class Loss:
    """A seal without `missing`, at `length`; or why there can be none (`refused`).

    `said` is what each replica answered, in words.
    """

    missing: frozenset[ServerId]
    length: int
    refused: str
    said: Mapping[ServerId, str]
    lacking: frozenset[ServerId] = frozenset()  # Answer, and have the disk no more.


def foresee(
    chunk: SealingChunk,
    fences: FenceAnswers,
    proofs: ProofAnswers,
    reachable: frozenset[ServerId],
    blocked: str,
) -> Loss:
    """Return what a seal without the replicas that do not answer would be."""
    answered = {one for one, answer in fences.items() if is_conclusive(answer)}
    mute = mute_of(chunk, fences)
    missing = chunk.replicas - answered
    said = {
        one: _words(fences.get(one)) + (_NO_DISK if one in chunk.bereft else "")
        for one in sorted(chunk.replicas)
    }
    normal = decide(chunk, fences, proofs, reachable)
    if not isinstance(normal, Fence) or not missing | mute:
        why = "the normal way goes on: who answers can prove its end, or soon may"
        if not missing | mute:
            why = f"every replica has answered; giving one up changes nothing: {blocked}"
        return Loss(missing, NO_LENGTH, why, said)
    if missing & reachable or not (blocked and normal.blocked):
        return Loss(missing, NO_LENGTH, "its replicas are being asked; ask again in 10 s", said)
    made = decide(chunk, fences, proofs, reachable, missing | mute)
    if isinstance(made, Commit):
        return Loss(missing, made.length, "", said, mute)
    if isinstance(made, Fence):
        return Loss(missing, NO_LENGTH, made.blocked, said, mute)
    return Loss(missing, made.length, made.blocked, said, mute)


def _words(answer: FenceAnswer | OrderFailed | None) -> str:
    if answer is None:
        return "no answer"
    if isinstance(answer, OrderFailed):
        return f"{answer.failure.error}: {answer.failure.message}"
    proof = "proof" if answer.proof else f"no proof ({answer.why_not})"
    return f"verifies {answer.end} of {answer.promised_end} bytes, {proof}"
