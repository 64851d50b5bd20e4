"""The comparison of the masters' states as an operator asks for it, with or without counting."""

from __future__ import annotations

from msgspec import structs

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.membership import newest_members
from gfs_ha.errors import DeadlineExceeded, GfsError
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.protocol.state_checks import (
    CheckStates,
    CountStates,
    RowCount,
    StateReport,
    StatesCounting,
)

SILENT_S = 2.0  # How long a master that does not answer is waited for.
_PAUSE_S = 0.05


def verify_states(calls: ClusterCalls, deep: bool) -> StateReport:
    """Compare the states of all masters; with `deep` each counts all of its rows before that.

    Raises: DeadlineExceeded when a count makes no progress; what the leader refuses.
    """
    counts = _count(calls) if deep else {}
    report = calls.ask(CheckStates(), StateReport)
    items = tuple(structs.replace(row, count=counts.get(row.name)) for row in report.items)
    return structs.replace(report, items=items)


def _count(calls: ClusterCalls) -> dict[str, RowCount]:
    """Have all masters count their rows and return what the ones that answer found."""
    index = calls.ask(CountStates(), StatesCounting).index
    runtime = calls.runtime
    began_s = moved_s = runtime.monotonic_s()
    before: dict[str, RowCount | None] = {}
    while True:
        said = _members_of(calls.facts())
        now_s = runtime.monotonic_s()
        counts = {
            name: _count_since(facts, index)
            for name, facts in said.items()
            if isinstance(facts, MasterFacts)
        }
        done = {name: count for name, count in counts.items() if count is not None and count.done}
        silent = len(counts) < len(said)
        if len(done) == len(counts) and (not silent or now_s - began_s >= SILENT_S):
            return done
        if counts != before:
            before, moved_s = counts, now_s
        if now_s - moved_s >= calls.timeout_s:
            late = ", ".join(sorted(counts.keys() - done.keys())) or "no master"
            raise DeadlineExceeded(
                f"{late} did not go on counting for {calls.timeout_s:.0f} s; see its log"
            )
        runtime.sleep(_PAUSE_S)


def _members_of(said: dict[str, MasterFacts | GfsError]) -> dict[str, MasterFacts | GfsError]:
    """Return what the members said: one that was removed and still runs counts for nobody."""
    members = {
        one.name for one in newest_members(f for f in said.values() if isinstance(f, MasterFacts))
    }
    return {name: facts for name, facts in said.items() if not members or name in members}


def _count_since(facts: MasterFacts, index: int) -> RowCount | None:
    count = None if facts.state is None else facts.state.count
    return count if count is not None and count.asked_index >= index else None
