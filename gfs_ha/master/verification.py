"""What the hashes of the members say: who has the state of the majority, and who another one.

A majority of *all* members decides, not the leader's own hash: if the leader is the odd one, its
followers are right. Without a majority nothing is attested, because whoever stopped then might be
the last one with the right state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gfs_ha.ids import LogIndex
from gfs_ha.master.state.commands import AttestState
from gfs_ha.master.state.digest import HASH_BYTES
from gfs_ha.master.state.records import StateCheck
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.protocol.state_checks import StateReport, StateRow

CHECK_PERIOD_MS = 3_600_000  # Of cluster time, between checks that nobody asked for.

EQUAL, DIFFERS, SILENT = "equal", "differs", "silent"


def due(check: StateCheck | None, cluster_ms: int) -> bool:
    """Return whether the leader compares the states again by itself."""
    return check is None or cluster_ms - check.cluster_ms >= CHECK_PERIOD_MS


def hash_at(facts: MasterFacts, index: LogIndex) -> bytes | None:
    """Return the hash that a master noted at a check, None if it has not come there yet."""
    if facts.state is None:
        return None
    for noted_index, text in facts.state.checks:
        if noted_index == index:
            return _read_hash(text)
    return None


def _read_hash(text: str) -> bytes | None:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if len(value) == HASH_BYTES else None


def judge(index: LogIndex, members: Sequence[str], answers: Mapping[str, bytes]) -> AttestState:
    """Return what is to be attested of a check, given the hashes of the members that answered."""
    heard = {name: answers[name] for name in sorted(members) if name in answers}
    missing = tuple(name for name in sorted(members) if name not in heard)
    value, votes = next(iter(Counter(heard.values()).most_common(1)), (b"", 0))
    if 2 * votes <= len(members):
        # Silence is no difference: with too few answers that are all the same, nobody differs.
        differing = tuple(heard) if len(set(heard.values())) > 1 else ()
        return AttestState(index, b"", (), differing, missing)
    agreed = tuple(name for name, said in heard.items() if said == value)
    differing = tuple(name for name, said in heard.items() if said != value)
    return AttestState(index, value, agreed, differing, missing)


def report_of(check: StateCheck) -> StateReport:
    """Return a check as operators read it."""
    rows = [
        StateRow(name, verdict)
        for verdict, names in (
            (EQUAL, check.agreed),
            (DIFFERS, check.differing),
            (SILENT, check.missing),
        )
        for name in names
    ]
    rows.sort(key=lambda row: row.name)
    return StateReport(
        items=tuple(rows),
        index=check.index,
        digest=check.value.hex(),
        diverged=check.diverged,
        checked_ns=check.wall_ns,
    )
