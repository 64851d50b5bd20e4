"""The replicated commands about jobs; the leader's own, for a person or a planner.

Each compares with the row before it writes: a job that was paused, or has ended, meanwhile is not
changed by what was proposed on older news, and an end is final.
"""

from __future__ import annotations

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.jobs import JobOptions


class StartJob(Word, frozen=True, tag="start_job"):
    """-> JobStarted. A job begins, with what is foreseen of it.

    Raises: WrongState while another one runs that it would disturb (a second rebalance, a second
    job that empties the same server or disk), LimitExceeded, InvalidArgument.
    """

    kind: str
    options: JobOptions
    server_id: ServerId = ServerId(0)
    disk_id: DiskId = DiskId(0)
    planned_bytes: int = 0
    planned_moves: int = 0
    asked_by: str = ""
    began_disks: int = 0  # Of a rebalance: the disks that take part as it begins,
    began_bytes: int = 0  # and what is in use on them together.


class SetJobPhase(Word, frozen=True, tag="set_job_phase"):
    """-> Done. A job goes on, pauses, or ends, and its log says why.

    Raises: NotFound, StaleCommand unless its phase is `seen`, InvalidArgument.
    """

    number: int
    seen: str
    phase: str
    text: str = ""


class NoteJob(Word, frozen=True, tag="note_job"):
    """-> Done. Something to be known of a job that runs; `error`: its newest error.

    Raises: NotFound, StaleCommand when the job has ended.
    """

    number: int
    text: str
    error: bool = False
    planned: tuple[int, int] = (-1, -1)  # (bytes, moves) as they are foreseen now; -1: as before.


JobCommand = StartJob | SetJobPhase | NoteJob
