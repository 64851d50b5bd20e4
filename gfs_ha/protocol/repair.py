"""What operators read and set of repair, as it is sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId
from gfs_ha.protocol.codec import Word


class RepairAllowance(Word, frozen=True):
    """What repair may take on a server from now on; it lapses in 2 s unless it is repeated."""

    copies_bytes_per_s: int = -1  # Of all copies to it together; 0: no limit, -1: none.
    server_bytes_per_s: int = 0  # Of these and those from it; 0: no limit.


class RepairFacts(Word, frozen=True):
    """What holds on a server for repair now, and how its clients fare; numbers as allowed."""

    copies_bytes_per_s: int = -1
    server_bytes_per_s: int = 0  # Less than allowed while it backs off.
    backing_off: bool = False
    slow_count: int = 0  # Of what clients asked in the last 3 s, how much took too long...
    judged_count: int = 0  # ...of how much of which it is known how long it usually takes.


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
    stuck: bool = False  # No server can take a copy until a person does something.


class WaitingReason(Word, frozen=True):
    """Chunks that wait for the same reason, and the first few of them."""

    reason: str
    chunk_count: int
    length: int  # Of all of them.
    stuck: bool
    first: tuple[ChunkId, ...]


class UnplacedRow(Word, frozen=True):
    """A chunk that wants more copies than servers can hold, and a file that wants them so."""

    chunk_id: ChunkId
    path: str  # Empty while it is not known.
    goal: int
    possible: int
    length: int


class RepairFailure(Word, frozen=True):
    """A copy that failed lately; it is tried elsewhere, and there again after a pause."""

    chunk_id: ChunkId
    server: str
    reason: str


class BackedOffRow(Word, frozen=True):
    """A server that gives repair less than its budget because its clients wait longer than usual.

    Of what they asked there in its last 3 s so much was slow: more than twice the usual time.
    """

    server: str
    bytes_per_s: int  # That are left to repair.
    slow_count: int
    judged_count: int


class RepairBudgetReport(Word, frozen=True, tag="repair_budget"):
    """-> kind RepairBudget: what repair may take; 0 bytes per second = no limit."""

    cluster_bytes_per_s: int
    server_bytes_per_s: int
    copies_per_server: int
    copies: int
    backed_off: tuple[BackedOffRow, ...] = ()


def held_by(budget: RepairBudgetReport) -> str:
    """Return why a budget lets no copy begin; empty: it does."""
    if budget.copies and budget.copies_per_server:
        return ""
    of = " of a server" if budget.copies else ""
    return f"repair is held: the budget allows 0 copies at once{of}"


class RepairReport(Word, frozen=True, tag="repair_report"):
    """-> kind Repair: what is being repaired, how fast, and for how long still.

    Counts are those of the newest round over all chunks. `eta_ms`: of what servers can take; -1 =
    it cannot be told. What is unplaced is counted in the copies that are lacking, too.
    """

    chunk_count: int  # Sealed chunks with fewer good copies than their goal.
    copy_count: int  # Copies that they lack.
    lacking_bytes: int  # The same in bytes.
    lost_count: int  # Without any good copy: only a returning server helps.
    copying: tuple[CopyRow, ...]
    waiting: tuple[WaitingRow, ...]
    failures: tuple[RepairFailure, ...]
    deleting_count: int
    made_count: int  # Copies made under this leader, moves of jobs with them.
    bytes_per_s: int
    eta_ms: int
    hold: str  # Why no copy is begun now, else empty.
    budget: RepairBudgetReport
    misplaced_count: int = 0  # Chunks that lie against their rule of placement.
    allowed_bytes_per_s: int = 0  # What the servers may take now, all together; 0: no limit.
    unplaced_count: int = 0  # Chunks with copies that no server can take, whatever time passes.
    unplaced_copies: int = 0
    unplaced_bytes: int = 0
    unplaced: tuple[UnplacedRow, ...] = ()  # The first few of them.
    ways: tuple[str, ...] = ()  # What a person can do about these, with the commands.
    reasons: tuple[WaitingReason, ...] = ()  # Of all that wait, the ones of most chunks first.
    below_count: int = 0  # Chunks of which fewer copies can be read now than are wanted.


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
