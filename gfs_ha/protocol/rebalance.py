"""Evening out how full servers are: what it would move, its start, how even the disks are now."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.jobs import JobOptions, JobRow, JobStarted

LISTED_MAX = 1_000  # Moves of a plan that are listed in full.


class BalanceRow(Word, frozen=True):
    """One disk of a server in service, with what is under way; `_after`: by a plan.

    `several`: its server has more disks. `outside`: why it stays outside the threshold, else empty.
    """

    name: str
    rack: str
    disk_id: DiskId
    several: bool
    total_bytes: int
    used_bytes: int
    share: float
    trouble: str = ""  # Why no copy is brought there, else empty.
    share_after: float = 0.0
    used_after: int = 0
    most_bytes: int = 0  # In use at any moment.
    bytes_in: int = 0
    bytes_out: int = 0
    outside: str = ""


class PlannedMove(Word, frozen=True):
    """One copy that would go, and why just there; disks are named where a server has several."""

    chunk_id: ChunkId
    length: int
    source: str
    target: str
    why: str
    source_disk: DiskId = DiskId(0)  # 0: its server has only one.
    target_disk: DiskId = DiskId(0)


class RebalancePlan(Word, frozen=True, tag="rebalance_plan"):
    """-> kind RebalancePlan. `whole`: it was played to its end; else it is as far as time allowed.

    `moves` are the first of all. `eta_ms` is reckoned by `bytes_per_s`, what it may take.
    """

    items: tuple[BalanceRow, ...]
    moves: tuple[PlannedMove, ...]
    move_count: int
    moved_bytes: int
    mean: float
    threshold: float
    bytes_per_s: int
    eta_ms: int
    balanced: bool  # Nothing is outside the threshold now.
    running: str = ""  # The rebalance that has not ended, else empty.
    waits: str = ""  # Why nothing would be begun now, else empty.
    whole: bool = True
    left_out: tuple[str, ...] = ()  # Servers that take no part, and why: `cs3 is dead`.


class RebalanceStatus(Word, frozen=True, tag="rebalance_status"):
    """-> kind RebalanceStatus: how full disks are now, and the newest rebalance, if any."""

    items: tuple[BalanceRow, ...]
    mean: float
    threshold: float
    left_bytes: int  # To be moved at least.
    job: JobRow | None = None
    left_out: tuple[str, ...] = ()


class PlanRebalance(Word, frozen=True, tag="plan_rebalance"):
    """-> RebalancePlan, with so many moves listed. Busy while it is played through: some seconds.

    Raises: InvalidArgument, Busy.
    """

    options: JobOptions
    listed: int = 100


class GetRebalance(Word, frozen=True, tag="get_rebalance"):
    """-> RebalanceStatus."""


class StartRebalance(Word, frozen=True, tag="start_rebalance"):
    """-> JobStarted. `planned_…` is what its plan foresaw.

    Raises: WrongState while another one has not ended, InvalidArgument.
    """

    options: JobOptions
    planned_bytes: int = 0
    planned_moves: int = 0
    asked_by: str = ""


RebalanceRequest = PlanRebalance | GetRebalance | StartRebalance
RebalanceReply = RebalancePlan | RebalanceStatus | JobStarted
