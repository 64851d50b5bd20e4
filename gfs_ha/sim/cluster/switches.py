"""The rules of chunks and repair, each with what takes it out of the running code.

They exist only here: a simulation that finds nothing proves something only if it finds the damage
once a rule is switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gfs_ha.chunk.appends.known_records import KnownRecords
from gfs_ha.chunk.appends.tail import Tail
from gfs_ha.chunk.journal.journal import Journal
from gfs_ha.chunk.slots import replica
from gfs_ha.chunk.slots.answers import check_served
from gfs_ha.chunk.slots.gate import Gate
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.client import chunk_push
from gfs_ha.ids import ServerId
from gfs_ha.master import housekeeping, placement, repairing, sealer, sealing
from gfs_ha.master.handlers import holds as taking
from gfs_ha.master.observed import Observed
from gfs_ha.master.planners import copies, punching, replication, surplus
from gfs_ha.master.planners import tally as tallies
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.repairs import RepairBook
from gfs_ha.master.state import append_results, garbage, holds
from gfs_ha.master.state.living import Living
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.records import TailLength
from gfs_ha.sim.cluster.plans import RunPlan


@dataclass(frozen=True, slots=True)
class Patch:
    """Something of a class or a module that is another thing while a rule is off."""

    owner: Any
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Switch:
    """A rule that is off: what that means, and the faults among which it shows soonest."""

    rule: str
    text: str
    patches: tuple[Patch, ...]
    faults: tuple[str, ...]
    twist: Callable[[RunPlan], RunPlan] = lambda plan: plan  # What else is as it must be.
    found_at: int = 1  # The first seed of the directed search which shows it; 0: none did.


@contextmanager
def without(switch: Switch) -> Iterator[None]:
    """Run everything in the block with a rule off, in this process."""
    with ExitStack() as undo:
        for patch in switch.patches:
            undo.callback(setattr, patch.owner, patch.name, vars(patch.owner)[patch.name])
            setattr(patch.owner, patch.name, patch.value)
        yield


_journal_write = Journal._write
_read_acks = chunk_push.read_acks


def _never(*_: Any) -> bool:
    return False


def _nothing(*_: Any) -> None:
    return None


def _none(*_: Any) -> tuple[Any, ...]:
    return ()


def _no_plan(*_: Any) -> Plan:
    return Plan()


def _all_holders(scene: Scene, chunk_id: Any, chunk: Any, but: ServerId) -> tuple[ServerId, ...]:
    return tuple(one for one in chunk.holders if one != but)


def _unknown_is_empty(
    chunk: Any, fences: Any, proofs: Any, reachable: Any, *given_up: Any
) -> sealing.Decision:
    empty = {
        one: answer
        if isinstance(answer, FenceAnswer)
        else FenceAnswer(chunk.chunk_id, chunk.begin_index, 0, 0, 1, 1, True, "")
        for one, answer in fences.items()
    }
    return sealing.decide(chunk, empty, proofs, reachable, *given_up)


def _first_answer(
    chunk: Any, fences: Any, proofs: Any, reachable: Any, *given_up: Any
) -> sealing.Decision:
    """Take any answer for a proof, also one of bytes that were promised and are not there."""
    trusted = {
        one: FenceAnswer(
            *(answer.chunk_id, answer.order_index, answer.end, answer.promised_end),
            *(answer.boot_id, answer.first_boot_id, True, ""),
        )
        if isinstance(answer, FenceAnswer)
        else answer
        for one, answer in fences.items()
    }
    return sealing.decide(chunk, trusted, proofs, reachable, *given_up)


def _stays_open(gate: Gate, header: Any) -> None:
    gate.check_here(header)


def _counts_at_once(book: RepairBook, answered: Any, length: int, now_s: float) -> None:
    book.answered("copy", answered)


def _unheard_is_old(observed: Observed, server_id: ServerId, now_s: float) -> float:
    facts = observed.servers.get(server_id)
    return 1e9 if facts is None else max(0.0, now_s - facts.heard_s)


def _nothing_lives(*_: Any) -> Living:
    return Living(0, 0, 0)


def _write_unsynced(journal: Journal, group: Any) -> bool:
    file: Any = journal._file
    unsynced: Any = _Unsynced(file)
    journal._file = unsynced
    try:
        return _journal_write(journal, group)
    finally:
        journal._file = file


class _Unsynced:
    """A file whose syncs do nothing."""

    def __init__(self, file: Any) -> None:
        self.write = file.write
        self.sync = _nothing


def _all_acknowledge(chunk: Any, acks: Any, end: int, error: Any) -> chunk_push.PushOutcome:
    outcome = _read_acks(chunk, acks, end, error)
    everybody = tuple(one.server_id for one in chunk.replicas)
    return replace(outcome, complete=everybody) if outcome.complete else outcome


def _newest_length(tail: Tail) -> TailLength:
    return TailLength(tail.replica.header.chunk_id, tail._end, True)


def _serve_all(header: Any, committed: int, wanted: tuple[int, int], data: bool) -> None:
    check_served(header, sum(wanted), wanted, data)


def _quiet(plan: RunPlan) -> RunPlan:
    return replace(plan, habits=replace(plan.habits, pause_s=1.0))


def _keyed(plan: RunPlan) -> RunPlan:
    return replace(plan, keyed=True)


def _three_servers(plan: RunPlan) -> RunPlan:
    return replace(plan, racks=("r0", "r1", "r2"))


def _planners(**changed: Any) -> dict[str, Any]:
    return {**housekeeping.PLANNERS, **changed}


SWITCHES: dict[str, Switch] = {
    "sync-before-ack": Switch(
        "C1",
        "bytes are acknowledged before they are synced",
        (Patch(Replica, "durable", property(_never)),),
        ("power-all",),
    ),
    "journal-before-ack": Switch(
        "D4",
        "records are acknowledged before the journal that has them is synced",
        (Patch(Journal, "_write", _write_unsynced),),
        ("power-all",),
    ),
    "fence-ends-appends": Switch(
        "C2",
        "a fenced replica goes on taking appends, and acknowledges them",
        (
            Patch(Gate, "check_open", _stays_open),
            Patch(Gate, "closed", property(_never)),
        ),
        ("server-island",),
    ),
    "unknown-is-no-end": Switch(
        "C3",
        "a replica that is not there is taken for one of length 0",
        (Patch(sealer, "decide", _unknown_is_empty),),
        ("swap-disk",),
        twist=_quiet,
        found_at=2,
    ),
    "promised-bytes-are-proof": Switch(
        "C3",
        "less than was promised, or memory after a reboot, is taken for a proof",
        (Patch(sealer, "decide", _first_answer),),
        ("power-server",),
        found_at=2,
    ),
    "writers-name-holders": Switch(
        "C5",
        "a writer names servers as holders that did not acknowledge the end",
        (Patch(chunk_push, "read_acks", _all_acknowledge),),
        ("server-alone", "one-pair", "kill-server"),
    ),
    "content-not-version": Switch(
        "C7",
        "what was not at the seal counts as stale for ever",
        (Patch(replication, "_late_ones", lambda *_: ([], False)),),
        ("kill-server", "stop-server", "pause-repair"),
        twist=_three_servers,
        found_at=7,
    ),
    "known-records": Switch(
        "C8",
        "a primary does not look for records that it has already",
        (Patch(KnownRecords, "find", _nothing),),
        ("kill-user",),
        twist=_keyed,
    ),
    "results-outlive-tails": Switch(
        "C8",
        "the records of a sealed tail are forgotten",
        (Patch(append_results, "_merge_appender", _nothing),),
        ("kill-server", "one-pair", "stop-server"),
    ),
    "holds": Switch(
        "C9",
        "a file is copied, cut or removed while a tail of it is open",
        (Patch(holds, "tails_below", _none), Patch(taking, "tails_below", _none)),
        ("hand-over",),
    ),
    "commit-length": Switch(
        "C10",
        "readers of a growing file get what not every replica has yet",
        (
            Patch(Tail, "length", _newest_length),
            Patch(replica, "check_served", _serve_all),
        ),
        ("one-pair", "server-alone", "kill-server"),
        found_at=0,
    ),
    "claims-end": Switch(
        "C11",
        "the claims of clients that are gone stand for ever",
        (Patch(housekeeping, "PLANNERS", _planners(claims=_no_plan)),),
        ("kill-user", "kill-user", "kill-server"),
    ),
    "evidence-of-now": Switch(
        "G3",
        "a copy is deleted on the word of the tables, whoever is heard",
        (
            Patch(copies, "evidence", _all_holders),
            Patch(surplus, "evidence", _all_holders),
            Patch(tallies, "evidence", _all_holders),
        ),
        ("lose-disk", "kill-server"),
    ),
    "verified-copies": Switch(
        "G4",
        "a copy counts as soon as it is ordered",
        (Patch(RepairBook, "wanted", _counts_at_once),),
        ("lose-disk", "kill-server"),
    ),
    "no-more-than-the-goal": Switch(
        "G5",
        "a planner does not see what is under way already",
        (Patch(Scene, "coming", lambda *_: []),),
        ("lose-disk", "kill-server"),
    ),
    "age-from-election": Switch(
        "G6",
        "a new leader takes whom it has not heard yet for dead",
        (
            Patch(Observed, "age_s", _unheard_is_old),
            Patch(repairing, "SUSPECT_S", 0.0),
            Patch(repairing, "_mass_outage", lambda *_: ""),
        ),
        ("kill-master", "hand-over"),
    ),
    "tallies-compared": Switch(
        "G7",
        "what servers have and the tables are never compared",
        (Patch(housekeeping, "PLANNERS", _planners(tally=_no_plan)),),
        ("lose-file",),
    ),
    "living-blocks": Switch(
        "G8",
        "nobody looks whether a block is alive before it is given up",
        (Patch(garbage, "living", _nothing_lives), Patch(punching, "living", _nothing_lives)),
        ("kill-server",),
    ),
    "leases-end": Switch(
        "G9",
        "tails of primaries that are gone are never sealed",
        (Patch(housekeeping, "PLANNERS", _planners(tails=_no_plan, leases=_no_plan)),),
        ("kill-server",),
        twist=_quiet,
        found_at=4,
    ),
    "high-water": Switch(
        "placement",
        "full servers get copies like all others",
        (Patch(placement, "HIGH_WATER", 2.0),),
        ("full-disk", "full-disk", "lose-disk"),
    ),
    "rule-restored": Switch(
        "placement",
        "nobody restores the rule of placement",
        (Patch(housekeeping, "PLANNERS", _planners(placing=_no_plan)),),
        ("power-rack", "power-all"),
        found_at=9,
    ),
    "damage-heals": Switch(
        "D3",
        "what servers find damaged is not noted",
        (Patch(Observed, "damaged", _nothing), Patch(Observed, "_compare_listed", _nothing)),
        ("rot", "rot", "kill-server"),
        found_at=0,
    ),
}
