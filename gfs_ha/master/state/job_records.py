"""The rows of jobs: long work that operators asked for, how far it is, what happened to it."""

from __future__ import annotations

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.jobs import FINAL, JobOptions


class Job(Word, frozen=True):
    """A job; the key is its number. Moved bytes are counted by the command that makes them so."""

    kind: str
    phase: str
    server_id: ServerId  # Whose chunks leave; 0: of no single one.
    disk_id: DiskId  # The same of a disk.
    options: JobOptions
    planned_bytes: int
    planned_moves: int
    made_ms: int  # Cluster time.
    made_wall_ns: int
    asked_by: str
    moved_bytes: int = 0
    moves: int = 0
    ended_wall_ns: int = 0
    last_error: str = ""
    last_error_wall_ns: int = 0
    last_event: int = 0
    server_name: str = ""  # Kept for when the server is none any more.
    began_disks: int = 0  # Of a rebalance: as many took part when it began; 0: nobody knows.
    began_bytes: int = 0

    @property
    def ended(self) -> bool:
        """Return whether nothing about it changes any more."""
        return self.phase in FINAL


class JobEventRow(Word, frozen=True):
    """Something that happened to a job; the key is (job, number of the event)."""

    wall_ns: int
    text: str
