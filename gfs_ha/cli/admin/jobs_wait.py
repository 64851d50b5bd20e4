"""Waiting for a job: a bar on standard error, and an exit status that says how it ended."""

from __future__ import annotations

import shutil

from gfs_ha.cli import output
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.client.jobs import number_of
from gfs_ha.errors import GfsError, PartlyDone, Unhealthy
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DONE,
    FAILED,
    FINAL,
    PAUSED,
    JobRow,
    standing_error,
    ways_together,
)
from gfs_ha.runtime import ThreadedRuntime

_BAR = 24
_LEAST_BAR = 8
_LASTS_S = 2.0  # A wait that is over by then is not worth a warning.


class WaitWords:
    """Why a job waits: said once, and only if it has been so for a while, or needs a person."""

    def __init__(self) -> None:
        self._known, self._since_s, self._said = "", 0.0, False

    def new(self, why: str, urgent: bool, now_s: float) -> bool:
        """Return whether that is to be said now."""
        if why != self._known:
            self._known, self._since_s, self._said = why, now_s, False
        if not why or self._said:
            return False
        self._said = urgent or now_s - self._since_s >= _LASTS_S
        return self._said


def wait_for_job(session: Session, job: str) -> JobRow:
    """Return a job once it has ended. Whoever stops waiting is told how to attach again.

    Raises: NotFound; PartlyDone when it was cancelled, Unhealthy when it failed; NoLeader…
    """
    shown = output.stderr_is_terminal() and not session.options.quiet
    runtime = ThreadedRuntime()
    words = WaitWords()

    def look(row: JobRow) -> None:
        told = wait_text(row, shown)
        if words.new(told, bool(row.blocked), runtime.monotonic_s()) and row.phase not in FINAL:
            if shown:
                output.overwrite("")
            session.warn(f"{row.id} waits: {told}")
        if shown:
            columns = shutil.get_terminal_size().columns
            output.overwrite(bar_text(row, columns - 1))

    try:
        row = session.operations.jobs.wait(number_of(job), runtime, look)
    except KeyboardInterrupt as stopped:
        if shown:
            output.overwrite("")
        stopped.args = (f"{str(stopped) or 'SIGINT'}; {_attach_text(job)}",)
        raise
    except GfsError as error:
        if error.retryable:  # Nobody answers; that is no end of the job.
            output.say(_attach_text(job))
        raise
    finally:
        if shown:
            output.overwrite("")
    check_ended(row)
    if not session.options.quiet:
        output.say(ended_text(row))
    return row


def wait_text(row: JobRow, shown: bool) -> str:
    """Return what a job waits for, or which error it has not got over; empty: nothing.

    Args: `shown`: there is a bar, which says the rest.
    """
    # What changes, once; in a file or a log nothing that only moves on.
    return blocked_text(row) if shown or row.blocked else row.waits or standing_error(row)


def blocked_text(row: JobRow) -> str:
    """Return what keeps chunks where they are, and the ways out; empty: nothing does.

    It stays the same while the reason does, whatever is said of how long it has been so.
    """
    if not row.blocked:
        return ""
    why = row.last_error or f"{count_text(row.blocked, 'chunk')} blocked"
    ways = ways_together(row.blockers)
    return "; ".join((why, "; or ".join(ways))) if ways else why


def _attach_text(job: str) -> str:
    return f"{job} goes on; to attach again: gfsctl admin jobs wait {job}"


def check_ended(row: JobRow) -> None:
    """Raises: PartlyDone when the job was cancelled, Unhealthy when it failed."""
    if row.phase == CANCELLED:
        raise PartlyDone(ended_text(row))
    if row.phase == FAILED:
        raise Unhealthy(ended_text(row))


def ended_text(row: JobRow) -> str:
    """Return what a job came to, for its last line."""
    moved = f"{count_text(row.moves, 'move')}, {size_text(row.moved_bytes)}"
    took_s = max(0.0, (row.ended_ns - row.made_ns) / 1e9)
    if row.phase == DONE:
        rate = f" ({size_text(row.moved_bytes / took_s)}/s)" if took_s >= 1 and row.moves else ""
        how = row.end.removeprefix("is done: ") if row.disk_id and ": " in row.end else ""
        said = f"; {printable(how)}" if how else ""
        return f"{row.id} is done: {moved} in {duration_text(took_s * 1000)}{rate}{said}"
    if row.phase == CANCELLED:
        return f"{row.id} was cancelled after {moved}; what was moved stays where it is"
    said = row.last_error or f"gfsctl admin jobs logs {row.id} says why"
    return f"{row.id} has failed after {moved}: {said}"


def bar_text(row: JobRow, columns: int) -> str:
    """Return how far a job is on one line of so many columns; the bar gives way."""
    parts = [share_text(row.share), progress_text(row)]
    if row.phase == PAUSED:
        parts.append("paused")
    elif row.waits:
        parts.append(f"waits: {row.waits}")
    elif row.bytes_per_s:
        parts.append(f"{size_text(row.bytes_per_s)}/s")
    if row.eta_ms >= 0 and not row.waits and row.phase not in (PAUSED, *FINAL):
        parts.append(f"ETA {duration_text(row.eta_ms)}")
    if row.blocked:
        parts.append(f"{count_text(row.blocked, 'chunk')} blocked")
    words = "  ".join(parts)
    room = min(_BAR, columns - len(row.id) - len(words) - 5)
    if room < _LEAST_BAR:
        return f"{row.id} {words}"[:columns]
    full = int(room * min(1.0, max(0.0, row.share)))
    return f"{row.id} [{'=' * full}{' ' * (room - full)}] {words}"


def progress_text(row: JobRow) -> str:
    """Return `3.1 GiB of 7.4 GiB`, or what was moved where nobody knows the whole."""
    if row.left_bytes < 0:
        return f"{size_text(row.moved_bytes)} moved"
    return f"{size_text(row.moved_bytes)} of {size_text(row.moved_bytes + row.left_bytes)}"
