"""What operators read and set of repair, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.codec import Word


class CopyRow(Word, frozen=True):
    """A copy that is being made."""

    chunk_id: ChunkId
    server: str  # That gets it.
    bytes_done: int
    bytes_total: int
    running: bool  # False: it is ordered, and the server has not said that it began.


class WaitingRow(Word, frozen=True):
    """A chunk with too few copies for which none is begun now, and why."""

    chunk_id: ChunkId
    goal: int
    length: int
    reason: str


class RepairFailure(Word, frozen=True):
    """A copy that failed lately; it is tried elsewhere, and there again after a pause."""

    chunk_id: ChunkId
    server: str
    reason: str


class RepairBudgetReport(Word, frozen=True, tag="repair_budget"):
    """-> kind RepairBudget: what repair may take; 0 bytes per second = no limit."""

    cluster_bytes_per_s: int
    server_bytes_per_s: int
    copies_per_server: int
    copies: int


def held_by(budget: RepairBudgetReport) -> str:
    """Return why a budget lets no copy begin; empty: it does."""
    if budget.copies and budget.copies_per_server:
        return ""
    of = " of a server" if budget.copies else ""
    return f"repair is held: the budget allows 0 copies at once{of}"


class RepairReport(Word, frozen=True, tag="repair_report"):
    """-> kind Repair: what is being repaired, how fast, and for how long still.

    Counts are those of the newest round over all chunks. `eta_ms`: -1 = it cannot be told.
    """

    chunk_count: int  # Sealed chunks with fewer good copies than their goal.
    copy_count: int  # Copies that they lack.
    lacking_bytes: int  # The same in bytes.
    lost_count: int  # Without any good copy: only a returning server helps.
    copying: tuple[CopyRow, ...]
    waiting: tuple[WaitingRow, ...]
    failures: tuple[RepairFailure, ...]
    deleting_count: int
    made_count: int  # Copies made under this leader.
    bytes_per_s: int
    eta_ms: int
    hold: str  # Why no copy is begun now, else empty.
    budget: RepairBudgetReport
    misplaced_count: int = 0  # Chunks that lie against their rule of placement.


class GetRepair(Word, frozen=True, tag="get_repair"):
    """-> RepairReport."""

    limit: int = 200  # Of each list in it.


class SetBudget(Word, frozen=True, tag="set_budget"):
    """-> RepairBudgetReport. -1 leaves a number as it is."""

    cluster_bytes_per_s: int = -1
    server_bytes_per_s: int = -1
    copies_per_server: int = -1
    copies: int = -1


RepairRequest = GetRepair | SetBudget
RepairReply = RepairReport | RepairBudgetReport
