"""Long work that operators ask for: what jobs there are, how far they are, what blocks them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gfs_ha.ids import ChunkId, DiskId
from gfs_ha.protocol.codec import Failure, Word

REBALANCE, DRAIN, DECOMMISSION, DISK_DRAIN = "rebalance", "drain", "decommission", "disk-drain"
LETTERS = {REBALANCE: "r", DRAIN: "d", DECOMMISSION: "o", DISK_DRAIN: "x"}

RUNNING, PAUSED, DONE, FAILED, CANCELLED = "running", "paused", "done", "failed", "cancelled"
STUCK = "nothing more can be done"  # The end of a rebalance that leaves disks outside begins so.
FINAL = (DONE, FAILED, CANCELLED)

PAUSE, RESUME, CANCEL = "pause", "resume", "cancel"
ACTIONS = (PAUSE, RESUME, CANCEL)

JOBS_PAGE_MAX = 500
_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_JOB_ID = re.compile(r"([a-z])-([1-9][0-9]{0,17})")


def job_id(kind: str, number: int) -> str:
    """Return what people call a job: `r-19`."""
    return f"{LETTERS[kind]}-{number}"


def job_number(text: str) -> int | None:
    """Return the number of a job as people write it, None when that is no id of a job."""
    found = _JOB_ID.fullmatch(text)
    if found is None or found[1] not in LETTERS.values():
        return None
    return int(found[2])


def window_minutes(text: str) -> tuple[int, int] | None:
    """Return from which minute of the day until which `22:00-06:00` lasts; None: it is none."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        return None
    begin_h, begin_m, end_h, end_m = (int(one) for one in found.groups())
    if max(begin_h, end_h) > 23 or max(begin_m, end_m) > 59:
        return None
    begin, end = 60 * begin_h + begin_m, 60 * end_h + end_m
    return (begin, end) if begin != end else None


def in_window(text: str, day_minute: int) -> bool:
    """Return whether a minute of the day lies in a window; one may go over midnight."""
    window = window_minutes(text)
    if window is None:
        return True
    begin, end = window
    if begin < end:
        return begin <= day_minute < end
    return day_minute >= begin or day_minute < end


class JobOptions(Word, frozen=True):
    """How a job is to go about its work; 0 or empty: no such limit."""

    threshold: float = 0.0  # Of a rebalance: shares of the disk that servers may differ by.
    bytes_per_s: int = 0
    moves_max: int = 0  # Under way at once.
    window: str = ""  # "22:00-06:00": new moves begin only then, by the leader's clock.


NO_FILE = "FILE"  # How a file is named in a command while it is not known which.


class Blocker(Word, frozen=True):
    """Why a chunk cannot be moved: what stands in the way, and what would let it go on."""

    chunk_id: ChunkId
    path: str  # One of the files that need it, if that is known.
    why: str
    ways: tuple[str, ...] = ()


_NAMED = 3  # Commands that are told together.


def ways_together(blockers: Sequence[Blocker]) -> tuple[str, ...]:
    """Return what would let all those go on that the same holds up as the first that has ways out.

    Of commands for single files the first few, and how many more there are.
    """
    first = next((one for one in blockers if one.ways), None)
    if first is None:
        return ()
    alike = [one for one in blockers if (one.why, *one.ways[:1]) == (first.why, first.ways[0])]
    ways = dict.fromkeys(way for one in alike for way in one.ways[1:])
    # Of which file it is, is not known of all of them yet.
    known = [way for way in ways if not way.endswith(f" {NO_FILE}")] or list(ways)
    if not known:
        return first.ways[:1]
    commands = [way.partition(": ")[2] or way for way in known[1:_NAMED]]
    more = len(known) - _NAMED
    rest = [f"and so for {more} more at least"] if more > 0 else []
    return first.ways[0], ", ".join([known[0], *commands, *rest])


BLOCKED = "blocked: "  # How the error of a job begins that says what keeps chunks where they are.


class JobRow(Word, frozen=True):
    """A job as operators see it. Bytes and times of day; -1 where something cannot be told."""

    id: str
    kind: str
    phase: str
    server: str  # Whose chunks leave; empty: of no single one.
    disk_id: DiskId
    share: float  # 0 to 1 of what is to be done; -1: nobody knows (yet).
    planned_bytes: int
    planned_moves: int
    moved_bytes: int
    moves: int
    left_bytes: int
    left_moves: int
    bytes_per_s: int
    eta_ms: int
    made_ns: int
    ended_ns: int  # 0: it has not ended.
    asked_by: str
    last_error: str
    last_error_ns: int
    options: JobOptions
    waits: str = ""  # Why nothing of it is under way now, else empty.
    blocked: int = 0  # Chunks that cannot be moved.
    blockers: tuple[Blocker, ...] = ()  # The first of them.
    end: str = ""  # How it ended, and what it came to beside what was foreseen; empty: it goes on.


def standing_error(row: JobRow) -> str:
    """Return the newest error of a job; empty once it got over that.

    It did when it has ended for another reason, and when nothing of it is blocked any more.
    """
    over = row.phase in (DONE, CANCELLED) and row.last_error not in row.end
    free = row.phase == RUNNING and not row.blocked and not row.waits
    gone = free and row.last_error.startswith(BLOCKED)
    return "" if over or gone else row.last_error


class JobReport(Word, frozen=True, tag="job_report"):
    """-> kind JobList, one page, the newest first; `more` asks for those below the last one."""

    items: tuple[JobRow, ...]
    more: bool = False


class JobEvent(Word, frozen=True):
    """Something that happened to a job."""

    number: int  # Within the job, without gaps.
    wall_ns: int
    text: str


class JobLog(Word, frozen=True, tag="job_log"):
    """-> kind JobLog: what happened to one job, oldest first."""

    items: tuple[JobEvent, ...]
    id: str


class JobStarted(Word, frozen=True, tag="job_started"):
    """The number of a job that began, and what people call it."""

    number: int
    id: str


class ListJobs(Word, frozen=True, tag="list_jobs"):
    """-> JobReport. `below` is the number of the last job that was seen; 0: from the newest."""

    below: int = 0
    limit: int = 100
    kinds: tuple[str, ...] = ()
    running: bool = False  # Only those that have not ended.


class GetJob(Word, frozen=True, tag="get_job"):
    """-> JobReport of one job, with its blockers. Raises: NotFound."""

    number: int


class GetJobLog(Word, frozen=True, tag="get_job_log"):
    """-> JobLog, what happened after event `after`. Raises: NotFound."""

    number: int
    after: int = 0


class ChangeJob(Word, frozen=True, tag="change_job"):
    """-> JobReport of the job after it. Pause and resume may be said twice; the end is final.

    Raises: NotFound, WrongState when the job has ended, InvalidArgument.
    """

    number: int
    action: str
    asked_by: str = ""


JobRequest = ListJobs | GetJob | GetJobLog | ChangeJob
JobReply = Failure | JobReport | JobLog | JobStarted
