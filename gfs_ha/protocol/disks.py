"""Disks of chunkservers, on the wire: how each stands, out of service and back, the end of one."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.scrub import ScrubFacts
from gfs_ha.protocol.server_modes import IN_SERVICE

# How a disk is, for people: its mode (protocol/server_modes.py), unless one of these is the case.
FAILED = "failed"  # Its server took it out of service, and goes on without it.
LOST = "lost"  # Its server came back without it.
SILENT = "not reported"  # Nobody says how it is: its server is away.

DISKS_PAGE = 500  # Disks that one request lists.
PLACES_COUNTED_MAX = 1_000  # Of one disk that is not in service.


class DiskStanding(Word, frozen=True):
    """One disk of one server.

    `places` are the chunks with a place there by the tables, of a disk that is not in service; with
    PLACES_COUNTED_MAX they are at least so many, and -1 says that nobody counted.
    """

    server_id: ServerId
    server: str
    rack: str
    server_state: str  # "live", "suspect", "dead".
    disk_id: DiskId
    directory: str  # Empty: it was not told.
    state: str
    why: str = ""
    mode: str = IN_SERVICE
    job: str = ""  # That empties it or its server, or did.
    job_share: float = -1.0  # -1: no job runs.
    since_ns: int = 0  # Wall time; 0: not known.
    total_bytes: int = 0
    free_bytes: int = 0
    chunk_count: int = 0  # As its server says.
    places: int = -1
    journal_bytes: int = 0
    journal_used_bytes: int = 0
    journal_trouble: str = ""
    scrub: ScrubFacts | None = None
    serving: int = 0  # Other disks of this server that are in service.
    server_mode: str = IN_SERVICE  # Else nothing new comes to any disk of its server.


class ListDisks(Word, frozen=True, tag="list_disks"):
    """-> DisksListed: the disks of the servers above `after`. Raises: InvalidArgument."""

    after: ServerId = ServerId(0)
    rows: int = DISKS_PAGE


class DisksListed(Word, frozen=True, tag="disks_listed"):
    """One page, of whole servers: at least one of them, if there is any."""

    items: tuple[DiskStanding, ...]
    after: ServerId
    more: bool


class DrainDisk(Word, frozen=True, tag="drain_disk"):
    """-> JobStarted. A job begins that empties a disk, as was planned of it.

    Raises: NotFound; PreconditionFailed (it is empty, failed or lost); WrongState (a job empties
    it, or its server, already).
    """

    server: str
    disk_id: DiskId
    planned_bytes: int = 0
    planned_moves: int = 0
    asked_by: str = ""
    bytes_per_s: int = 0  # Of all its moves; 0: no limit of its own.


class UndrainDisk(Word, frozen=True, tag="undrain_disk"):
    """-> Done. A disk is back in service; the job that empties it is cancelled.

    Raises: NotFound, PreconditionFailed (it is in service).
    """

    server: str
    disk_id: DiskId
    asked_by: str = ""


class RemoveDisk(Word, frozen=True, tag="remove_disk"):
    """-> RemovalStep. One step of the end of a disk that is lost.

    `dry_run` looks at the places of one page; else those that nobody misses are forgotten, and the
    disk goes with the last one. Raises: NotFound; PreconditionFailed while it is not lost, or a job
    empties it; WrongState, Busy (this leader has not heard the others yet).
    """

    server: str
    disk_id: DiskId
    after: ChunkId = ChunkId(0)
    dry_run: bool = False


DiskRequest = ListDisks | DrainDisk | UndrainDisk | RemoveDisk
DiskReply = DisksListed
