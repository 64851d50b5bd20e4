"""Waiting for rounds of the scrub that were started: how far they are, and what they found."""

from __future__ import annotations

from gfs_ha.cli import output
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text
from gfs_ha.errors import CorruptData, DeadlineExceeded, PreconditionFailed, Unreachable
from gfs_ha.ids import ServerId
from gfs_ha.protocol.scrub import ScrubFacts, ScrubRow
from gfs_ha.runtime import ThreadedRuntime

_LOOK_S = 0.5
GONE_S = 30.0  # A server that is not live for so long is waited for no more.
STILL_S = 600.0  # A slow round takes long for one chunk.


def wait_for_rounds(session: Session, servers: frozenset[ServerId], number: int) -> list[ScrubRow]:
    """Return the servers once their rounds are over.

    Raises: Unreachable when one does not come back; PreconditionFailed when an operator pauses the
    scrub; DeadlineExceeded when nothing moves for very long. The rounds go on in any case.
    """
    runtime = ThreadedRuntime()
    before: list[int] = []
    moved_s = runtime.monotonic_s()
    shown = output.stderr_is_terminal() and not session.options.quiet
    away_since: dict[ServerId, float] = {}
    try:
        while True:
            report = session.operations.scrub()
            if report.budget.paused:
                raise PreconditionFailed("the scrub is paused; gfsctl admin scrub resume")
            rows = [row for row in report.items if row.server_id in servers]
            waiting = [row for row in rows if not over(row, number)]
            if not waiting:
                return rows
            now_s = runtime.monotonic_s()
            read = [disk.bytes_done for row in rows for disk in row.disks]
            if read != before:
                before, moved_s = read, now_s
            if now_s - moved_s > STILL_S:
                raise DeadlineExceeded(
                    f"nothing was read for {STILL_S:.0f} s; gfsctl admin scrub status says why"
                )
            for row in waiting:
                if row.state == "live":
                    away_since.pop(row.server_id, None)
                elif now_s - away_since.setdefault(row.server_id, now_s) > GONE_S:
                    raise Unreachable(
                        f"{row.name} is {row.state}; its round goes on when it is back: gfsctl"
                        " admin scrub status"
                    )
            if shown:
                output.overwrite(progress_text(rows, number))
            runtime.sleep(_LOOK_S)
    finally:
        if shown:
            output.overwrite("")


def over(row: ScrubRow, number: int) -> bool:
    """Return whether the round of that number is at its end on all disks of a server."""
    return bool(row.disks) and all(
        disk.begun > number or (disk.begun == number and disk.state == "idle") for disk in row.disks
    )


def progress_text(rows: list[ScrubRow], number: int) -> str:
    """Return how far all of it is, on one line."""
    disks = [disk for row in rows for disk in row.disks if disk.begun >= number]
    total = sum(disk.bytes_total for disk in disks)
    done = sum(disk.bytes_done for disk in disks)
    rate = sum(disk.bytes_per_s for disk in disks if disk.state != "idle")
    eta = max((disk.eta_ms for disk in disks), default=-1)
    text = f"scrub {share_text(done / total if total else 0.0)} of {size_text(total)}"
    text += f", {size_text(rate)}/s"
    if eta >= 0:
        text += f", {duration_text(eta)} to go"
    left = [row.name for row in rows if not over(row, number)]
    return f"{text} ({', '.join(left[:5])}{', …' if len(left) > 5 else ''})"


def check_found(rows: list[ScrubRow]) -> None:
    """Raise CorruptData if rounds that are over found damage."""
    found = [(row.name, _found(row.disks)) for row in rows if _found(row.disks)]
    if found:
        total = sum(count for _, count in found)
        where = ", ".join(f"{count} on {name}" for name, count in found[:5])
        raise CorruptData(
            f"{count_text(total, 'damaged replica')} found ({where}); made anew by itself: gfsctl"
            " admin repair status"
        )


def _found(disks: tuple[ScrubFacts, ...]) -> int:
    return sum(disk.last_found for disk in disks)
