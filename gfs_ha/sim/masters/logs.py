"""What must hold of the members' logs: they match, and a leader has all that was committed."""

from __future__ import annotations

from itertools import combinations

from gfs_ha.master.raft.journal import Journal
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.ledger import Ledger

_COMPARED_MAX = 200  # Entries below the newest common one that one look compares.


def check_matching(journals: dict[str, Journal]) -> None:
    """Two logs with an entry of the same index and term are equal up to it (log matching)."""
    for (one, first), (other, second) in combinations(journals.items(), 2):
        low = max(first.first_index, second.first_index)
        index = min(first.last_index, second.last_index)
        while index >= low and first.term_at(index) != second.term_at(index):
            index -= 1
        low = max(low, index - _COMPARED_MAX)
        for at in range(index, low, -1):
            if first.entries(at, 1, 1) != second.entries(at, 1, 1):
                raise Violation(
                    f"log matching: {one} and {other} agree on the term of {index} and differ at"
                    f" {at}"
                )


def check_complete(name: str, term: int, journal: Journal, ledger: Ledger) -> None:
    """A new leader's log holds everything that was committed before (leader completeness)."""
    for index, committed_term in ledger.applied_terms():
        if committed_term >= term or index < journal.first_index:
            continue
        if index > journal.last_index or journal.term_at(index) != committed_term:
            raise Violation(
                f"leader completeness: {name} leads term {term} without entry {index} of term"
                f" {committed_term}"
            )
        return  # What lies below it is the same by log matching.
