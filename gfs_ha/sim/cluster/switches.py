"""The rules of chunks and repair, each with what takes it out of the running code.

They exist only here: a simulation that finds nothing proves something only if it finds the damage
once a rule is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from gfs_ha.chunk.appends.known_records import KnownRecords
from gfs_ha.chunk.slots.gate import Gate
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.ids import ServerId
from gfs_ha.master import housekeeping, placement, repairing, sealer, sealing
from gfs_ha.master.observed import Observed
from gfs_ha.master.planners import copies, punching, replication, surplus
from gfs_ha.master.planners import tally as tallies
from gfs_ha.master.planners.plan import Plan
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.repairs import RepairBook
from gfs_ha.master.state import append_results, garbage
from gfs_ha.master.state.living import Living
from gfs_ha.protocol.control import FenceAnswer


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
    found_at: int = 1  # The first seed of the directed search which shows it; 0: none did.


@contextmanager
def without(switch: Switch) -> Iterator[None]:
    """Run everything in the block with a rule off, in this process."""
    with ExitStack() as undo:
        for patch in switch.patches:
            undo.callback(setattr, patch.owner, patch.name, vars(patch.owner)[patch.name])
            setattr(patch.owner, patch.name, patch.value)
        yield


def _never(*_: Any) -> bool:
    return False


def _nothing(*_: Any) -> None:
    return None


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


def _planners(**changed: Any) -> dict[str, Any]:
    return {**housekeeping.PLANNERS, **changed}


SWITCHES: dict[str, Switch] = {
    "sync-before-ack": Switch(
        "C1",
        "bytes are acknowledged before they are synced",
        (Patch(Replica, "durable", property(_never)),),
        ("power-all",),
        found_at=0,
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
        ("lose-disk",),
        found_at=0,
    ),
    "promised-bytes-are-proof": Switch(
        "C3",
        "less than was promised, or memory after a reboot, is taken for a proof",
        (Patch(sealer, "decide", _first_answer),),
        ("power-server",),
        found_at=0,
    ),
    "content-not-version": Switch(
        "C7",
        "what was not at the seal counts as stale for ever",
        (Patch(replication, "_late_ones", lambda *_: ([], False)),),
        ("rot", "lose-disk", "kill-server", "stop-server"),
        found_at=0,
    ),
    "known-records": Switch(
        "C8",
        "a primary does not look for records that it has already",
        (Patch(KnownRecords, "find", _nothing),),
        ("user-way",),
        found_at=0,
    ),
    "results-outlive-tails": Switch(
        "C8",
        "the records of a sealed tail are forgotten",
        (Patch(append_results, "_merge_appender", _nothing),),
        ("kill-server", "one-pair", "stop-server"),
        found_at=3,
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
        ("lose-disk", "kill-server", "rot", "kill-master"),
        found_at=0,
    ),
    "verified-copies": Switch(
        "G4",
        "a copy counts as soon as it is ordered",
        (Patch(RepairBook, "wanted", _counts_at_once),),
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
        found_at=19,
    ),
    "damage-heals": Switch(
        "D3",
        "what servers find damaged is not noted",
        (Patch(Observed, "damaged", _nothing), Patch(Observed, "_compare_listed", _nothing)),
        ("rot", "rot", "kill-server"),
    ),
}
