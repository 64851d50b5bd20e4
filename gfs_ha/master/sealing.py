"""What the leader must do next to seal a broken chunk: fence, prove, commit, or wait (C2-C4).

A decision is a function of the chunk's row and of the answers so far, made anew after every
answer, so a new leader that asks everything again comes to the same end. The rules, and why:

- A replica is *proof* when it shows everything that it ever acknowledged. A byte was acknowledged
  by every replica of the set, so no acknowledged byte lies beyond the end of any proof: the
  smallest end among the proofs loses nothing, and one proof is enough.
- Without a proof nothing may be concluded while a replica is out of reach: it may be the one that
  has more. When all have answered and none is proof (one power cut kept the headers and lost the
  data), there is nothing left to wait for: the largest end that any of them verifies.
- "Unknown here" is an answer but not an end of 0: it proves nothing about the others. A server does
  not say so while the disk that the chunk was placed on is out of service. Where it has that disk
  no more (another one, or an empty directory, is in its place), it says nothing by it: the disk may
  only not be mounted. That is not waited for when a replica is proof. Nor when a server that has
  its disk knows nothing of the chunk: then none was acknowledged, for that takes every replica.
- A person may give up replicas that are out of reach: then it ends as if these had answered without
  a proof. One of them that answers after all is heard, and its proof counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from gfs_ha.checksum import chunk_digest
from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import Birth, ChunkId, DiskId, LogIndex, ServerId, StartId
from gfs_ha.protocol.control import FenceAnswer, OrderFailed, ProofAnswer
from gfs_ha.protocol.records import RecordEntry

# Failures that say for good what a replica can tell; after any other it is asked again.
_CONCLUSIVE = ("UnknownReplica", "WrongBirth", "ReplicaDamaged")

EMPTY_DIGEST = chunk_digest(())


@dataclass(frozen=True, slots=True)
class SealingChunk:
    """The facts of the chunk's row that the decision needs."""

    chunk_id: ChunkId
    birth: Birth
    begin_index: LogIndex
    published_end: int
    replicas: frozenset[ServerId]
    names: Mapping[ServerId, str] = field(default_factory=dict, compare=False)  # For people.
    disks: Mapping[ServerId, DiskId] = field(default_factory=dict, compare=False)
    bereft: frozenset[ServerId] = frozenset()  # Have the disk no more that it was placed on.
    starts: Mapping[ServerId, StartId] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Fence:
    """Ask these replicas to fence. `blocked` says why nothing else can go on meanwhile."""

    servers: frozenset[ServerId]
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Prove:
    """Ask these replicas for the digest of their first `length` bytes."""

    length: int
    servers: frozenset[ServerId]
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """Propose this end of the chunk. `remark` is an event for the operator, if there is one.

    `given_up` are replicas that may have had more, and that a person gave up.
    """

    length: int
    digest: int
    holders: tuple[ServerId, ...]
    remark: str = ""
    given_up: tuple[ServerId, ...] = ()


Decision = Fence | Prove | Commit
FenceAnswers = Mapping[ServerId, FenceAnswer | OrderFailed]
ProofAnswers = Mapping[ServerId, ProofAnswer | OrderFailed]


def decide(
    chunk: SealingChunk,
    fences: FenceAnswers,
    proofs: ProofAnswers,
    reachable: frozenset[ServerId],
    given_up: frozenset[ServerId] = frozenset(),
) -> Decision:
    """Return what to do next for a chunk whose BeginSeal is committed.

    Args: `fences` and `proofs` are the newest answers by server, of orders with the chunk's
    begin_index; `reachable` are the servers that are worth waiting for; `given_up` are those that a
    person does not want to be waited for.
    """
    answered = {
        server: fences[server]
        for server in chunk.replicas & fences.keys()
        if is_conclusive(fences[server])
    }
    missing = chunk.replicas - answered.keys()
    if missing & reachable:
        return Fence(frozenset(missing))
    ends = {
        server: answer.end for server, answer in answered.items() if isinstance(answer, FenceAnswer)
    }
    proven = [
        answer.end
        for answer in answered.values()
        if isinstance(answer, FenceAnswer) and is_proof(answer, chunk.published_end)
    ]
    if proven:
        length = min(proven)
        if length == 0:
            return Commit(0, EMPTY_DIGEST, tuple(sorted(answered)))
        return _agree(chunk, length, ends, proofs, reachable)
    mute = mute_of(chunk, fences)
    missing |= mute
    if missing - given_up:
        names = ", ".join(sorted(chunk.names.get(one, f"server {one}") for one in missing))
        why = f"no replica is proof, and no answer from {names}"
        if mute:
            why += ": the disks that it was placed on there are missing; bring them back"
        return Fence(frozenset(missing), why)
    if missing:
        return _without(chunk, missing, (answered.keys(), ends), proofs, reachable)
    length = max(ends.values(), default=0)
    if length < chunk.published_end:
        return Fence(
            chunk.replicas,
            f"all replicas answered, none verifies up to the published end {chunk.published_end}",
        )
    if length == 0:
        # Nobody ever got a byte of it; whoever has none holds all of it.
        return Commit(0, EMPTY_DIGEST, tuple(sorted(answered)), "sealed empty without a proof")
    return _agree(chunk, length, ends, proofs, reachable, "sealed without a proof")


def mute_of(chunk: SealingChunk, fences: FenceAnswers) -> frozenset[ServerId]:
    """Return those that know nothing because they lack the disk that the chunk was placed on.

    None where one that has its disk knows nothing either: then nothing was acknowledged.
    """
    unknown = {server for server in chunk.replicas if _is_unknown(fences.get(server))}
    return frozenset() if unknown - chunk.bereft else chunk.bereft & unknown


def _is_unknown(answer: FenceAnswer | OrderFailed | None) -> bool:
    return isinstance(answer, OrderFailed) and answer.failure.error == UnknownReplica.__name__


def _without(
    chunk: SealingChunk,
    missing: frozenset[ServerId],
    known: tuple[Set[ServerId], Mapping[ServerId, int]],
    proofs: ProofAnswers,
    reachable: frozenset[ServerId],
) -> Decision:
    """Return the end without replicas that were given up: all that anybody left verifies."""
    answered, ends = known
    length = max(ends.values(), default=0)
    remark = "sealed without a proof, and without replicas that a person gave up"
    if not answered:
        return Fence(missing, "no server of it answers: start one, on an empty disk if it must be")
    if length < chunk.published_end:
        return Fence(
            missing,
            f"who answers verifies {length} bytes, and files refer to {chunk.published_end}",
        )
    # Who has none of it holds all of it. If all are only bereft, one does, and gives up the rest.
    holders = answered if missing - answered else {min(answered)}
    made: Decision = Commit(0, EMPTY_DIGEST, tuple(sorted(holders)), remark)
    if length:
        made = _agree(chunk, length, ends, proofs, reachable, remark)
    if not isinstance(made, Commit):
        return made
    return replace(made, given_up=tuple(sorted(missing - set(made.holders))))


def records_of(
    chain: tuple[ServerId, ...], decision: Commit, proofs: ProofAnswers
) -> tuple[int | None, tuple[RecordEntry, ...], tuple[ServerId, ...]]:
    """Return CRC and records of a tail that ends so, and the holders that name other ones.

    Those of the first holder in the chain count: what the primary answered to its clients, it has.
    Same bytes with other records are our mistake, for each batch is written with its entries. But
    who was sealed before, by masters of whom a copy without that seal was recovered, has none left.
    """
    told = [
        (server, proof)
        for server in chain
        if server in decision.holders
        and isinstance(proof := proofs.get(server), ProofAnswer)
        and proof.length == decision.length
    ]
    if not told:
        return None, (), ()
    first = next((proof for _, proof in told if proof.records), told[0][1])
    odd = [
        server
        for server, proof in told
        if proof.crc != first.crc or proof.records not in ((), first.records)
    ]
    return first.crc, first.records, tuple(odd)


def is_conclusive(answer: FenceAnswer | OrderFailed) -> bool:
    """Return whether the replica has said all that it can say about its end."""
    return isinstance(answer, FenceAnswer) or answer.failure.error in _CONCLUSIVE


def is_proof(answer: FenceAnswer, published_end: int) -> bool:
    """Return whether an answer may decide the length; the published end may have grown since."""
    return answer.proof and answer.end >= published_end


def _agree(
    chunk: SealingChunk,
    length: int,
    ends: Mapping[ServerId, int],
    proofs: ProofAnswers,
    reachable: frozenset[ServerId],
    remark: str = "",
) -> Decision:
    """Return the seal at `length` by the replicas that prove one digest, or what is missing."""
    able = frozenset(server for server, end in ends.items() if end >= length)
    digests: dict[ServerId, int] = {}
    failed: set[ServerId] = set()
    for server in able & proofs.keys():
        proof = proofs[server]
        if isinstance(proof, OrderFailed):
            failed.add(server)
        elif proof.length == length:
            digests[server] = proof.digest
    silent = able - digests.keys() - failed
    if silent & reachable:
        return Prove(length, silent)
    if not digests:
        return Prove(length, able, f"no replica could prove the first {length} bytes")
    votes: dict[int, list[ServerId]] = {}
    for server, digest in sorted(digests.items()):
        votes.setdefault(digest, []).append(server)
    ranked = sorted(votes.items(), key=lambda vote: len(vote[1]), reverse=True)
    if len(ranked) > 1:
        if len(ranked[0][1]) == len(ranked[1][1]):
            return Prove(length, able, f"replicas disagree about the first {length} bytes")
        odd = sorted(server for _, servers in ranked[1:] for server in servers)
        remark = f"{remark + '; ' if remark else ''}other bytes on {odd}"
    digest, holders = ranked[0]
    return Commit(length, digest, tuple(holders), remark)
