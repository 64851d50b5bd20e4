"""The cluster in a few numbers, beside the rows of the status: as sent, shown, printed as JSON."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.disk_counts import DiskCounts
from gfs_ha.protocol.jobs import JobRow
from gfs_ha.protocol.rates import LoadRates

LEASE_ENDS_SOON_MS = 10_000
COPIES = ("0", "1", "2", "3+")


class ServerTotals(Word, frozen=True):
    """The chunkservers by state and mode, and their room. Names: of the emptiest, the fullest.

    Who is on its way out counts as `leaving`, who is empty as `left`, in whatever state it is.
    """

    count: int = 0
    live: int = 0
    suspect: int = 0
    dead: int = 0
    leaving: int = 0
    left: int = 0
    maintenance: int = 0
    racks: int = 0
    total_bytes: int = 0
    free_bytes: int = 0
    low: str = ""
    low_usage: float = 0.0
    high: str = ""
    high_usage: float = 0.0
    suspects: tuple[str, ...] = ()  # The first few names of those that are suspect ...
    gone: tuple[str, ...] = ()  # ... and of those that are dead.
    unheard: int = 0  # Of those that are not dead: a new leader does not know how full they are.
    disks: DiskCounts = DiskCounts()  # Only those in service are room.


class GoalRow(Word, frozen=True):
    """The chunks of one goal by how many of their copies can be read: 0, 1, 2, 3 and more.

    `copies`: the same up to the largest goal that there may be, and more; a leader of the release
    before does not tell it.
    """

    goal: int
    chunks: tuple[int, ...]
    copies: tuple[int, ...] = ()

    def by_copies(self, top: int) -> tuple[int, ...]:
        """Return the chunks with 0, 1, 2… copies, at last those with `top` and more."""
        told = self.copies or self.chunks
        return (*told[:top], sum(told[top:]))

    @property
    def below(self) -> int:
        """Return how many chunks have fewer copies than their goal, as far as that is told."""
        return sum(self.copies[: self.goal] or self.chunks[: min(self.goal, len(COPIES) - 1)])


class LeaseTotals(Word, frozen=True):
    """The rights to order appends. `ending`: of servers whose lease ends within ten seconds."""

    tails: int = 0
    holders: int = 0
    ending: int = 0


class RepairTotals(Word, frozen=True):
    """What repair still has to do. `eta_ms`: -1 = it cannot be told."""

    chunks: int = 0
    copies: int = 0
    lacking_bytes: int = 0
    lost: int = 0
    bytes_per_s: int = 0
    eta_ms: int = 0
    hold: str = ""
    misplaced: int = 0
    unplaced: int = 0  # Of the copies, those that no server can take.


class MasterClock(Word, frozen=True):
    """How far the clock of a master is ahead of the leader's, give or take `within_us`."""

    name: str
    ahead_us: int
    within_us: int


class Overview(Word, frozen=True):
    """What the leader of the moment knows of all of it. `measured` servers are in the load."""

    wall_ns: int
    servers: ServerTotals = ServerTotals()
    load: LoadRates = LoadRates()
    measured: int = 0
    goals: tuple[GoalRow, ...] = ()
    leases: LeaseTotals = LeaseTotals()
    repair: RepairTotals = RepairTotals()
    jobs: int = 0  # That have not ended.
    running: tuple[JobRow, ...] = ()  # The newest of them.
    clocks: tuple[MasterClock, ...] = ()  # Added by a client, which asks every master.
