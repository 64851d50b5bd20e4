"""The scrub on the wire: what a server is told, how far it is, and what operators ask and read."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.codec import Word

SERVERS_PER_START_MAX = 250


class ScrubWanted(Word, frozen=True):
    """How a server is to scrub. `asked` numbers the newest round that a person asked for."""

    bytes_per_s: int  # At most; 0: no limit.
    period_s: int  # A whole round in that time; 0: only rounds that are asked for.
    paused: bool = False
    asked: int = 0
    asked_bytes_per_s: int = 0  # Of that round; 0: as others.


class ScrubFinding(Word, frozen=True):
    """A replica that a read or the scrub found damaged; it may be healed by now."""

    found_ms: int
    chunk_id: ChunkId
    why: str


class ScrubFacts(Word, frozen=True):
    """How far a server is with one disk. Times are wall times in ms; 0 = never.

    `state`: "idle", "reading" (less than it might: `note`), "waiting" (why: `note`), "paused".
    """

    disk_id: DiskId
    wanted: ScrubWanted  # What it goes by.
    state: str
    note: str
    number: int  # Of the round: counts from 1 in the life of the disk.
    began_ms: int  # Of the newest round.
    asked: bool  # A person asked for it.
    bytes_done: int
    bytes_total: int
    replicas_done: int
    replicas_total: int
    found: int  # Damaged replicas, in this round.
    mended: int  # Headers of which one copy was damaged and is written anew, in this round.
    bytes_per_s: int  # As it reads now.
    eta_ms: int  # Until the end of the round; -1 = it cannot be told, or none runs.
    next_ms: int  # Wall time of the next round; 0 = none is planned.
    ended_ms: int = 0  # The last whole round: when it ended...
    took_ms: int = 0  # ...how long it took...
    last_found: int = 0  # ...and what it found.
    found_ever: int = 0  # Damaged replicas in the life of the disk, also those that reads found.
    begun: int = 0  # The number of the newest asked round that it has begun.
    finds: tuple[ScrubFinding, ...] = ()  # The newest, at most 16, oldest first.
    unidentified: int = 0  # Slot files that no chunk claims; they are kept.
    second: int = 0  # Those of them that are second replicas; they go beside one that is whole.


class GetScrub(Word, frozen=True, tag="get_scrub"):
    """-> ScrubReport, of the servers with an id above `after`."""

    after: ServerId = ServerId(0)
    limit: int = 500


class StartScrub(Word, frozen=True, tag="start_scrub"):
    """-> ScrubStarted. A round begins now on these servers; none: on all of them.

    A server that is away begins when it is back. Raises: UnknownServer, InvalidArgument.
    """

    servers: tuple[ServerId, ...] = ()
    bytes_per_s: int = 0  # Of this round; 0: as the budget says.


class ScrubStarted(Word, frozen=True, tag="scrub_started"):
    """Which servers are told. `number` is that of the round as servers echo it (`asked`)."""

    servers: tuple[ServerId, ...]
    number: int


class ChangeScrub(Word, frozen=True, tag="change_scrub"):
    """-> ScrubBudgetReport. -1 leaves a number as it is."""

    bytes_per_s: int = -1
    period_s: int = -1
    paused: int = -1  # 0 or 1.


class ScrubBudgetReport(Word, frozen=True, tag="scrub_budget"):
    """-> kind ScrubBudget."""

    bytes_per_s: int
    period_s: int
    paused: bool


class ScrubSummary(Word, frozen=True):
    """The scrub of all disks: how much of their newest rounds is read, and what they found."""

    share: float
    running: int  # Disks whose round is not at its end.
    bytes_per_s: int
    found: int
    paused: bool


class ScrubRow(Word, frozen=True):
    """A server and its disks; `state` is its liveness. `told`: it goes by the newest orders."""

    server_id: ServerId
    name: str
    state: str
    told: bool
    disks: tuple[ScrubFacts, ...]


class ScrubReport(Word, frozen=True, tag="scrub_report"):
    """-> kind ScrubList, one page."""

    items: tuple[ScrubRow, ...]
    budget: ScrubBudgetReport
    more: bool = False


ScrubRequest = GetScrub | StartScrub | ChangeScrub
ScrubReply = ScrubReport | ScrubStarted | ScrubBudgetReport
