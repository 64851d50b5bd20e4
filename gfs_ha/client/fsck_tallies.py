"""Waits until the leader has compared the tally of every disk, and tells which ones differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.fsck import (
    AGREES,
    CHANGING,
    DIFFERS,
    NOT_COUNTED,
    NOT_TOLD,
    SEVERITIES,
    TALLY,
    UNCOUNTED,
    FsckFinding,
    ScanTallies,
    TalliesScanned,
    TallyRow,
)

LONGEST_S = 3600.0  # Disks of ten million chunks each are counted in that time, 8,000 in a second.
_PAUSE_S = 1.0


class TallyLook:
    """One look at all disks.

    A leader that is new has counted none of them; it counts one after the other. It is waited for
    while it goes on, and for as long as the timeout when it does not.
    """

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def look(self, states: Counter[str], on_progress: Callable[[], None]) -> Iterator[FsckFinding]:
        """Yield what differs, and which disks were not counted; `states` counts all of them."""
        clock = self._calls.runtime.monotonic_s
        began_s = moved_s = clock()
        known = -1
        while True:
            asked_s = clock()
            rows, counted = self._rows()
            states.clear()
            for row in rows:
                # Every part of it agreed at some count since this look began.
                over = row.state == CHANGING and row.differs_ms < (asked_s - began_s) * 1000
                states[AGREES if over else row.state] += 1
            on_progress()
            now_s = clock()
            if counted != known:
                known, moved_s = counted, now_s
            stands = now_s - moved_s >= self._calls.timeout_s or now_s - began_s >= LONGEST_S
            patient = now_s - began_s < self._calls.timeout_s
            soon = states[CHANGING] + states[NOT_TOLD]
            if not (states[NOT_COUNTED] and not stands) and not (soon and patient):
                break
            self._calls.runtime.sleep(_PAUSE_S)
        for row in rows:
            if row.state in (DIFFERS, NOT_COUNTED, NOT_TOLD):
                yield _finding(row)

    def _rows(self) -> tuple[list[TallyRow], int]:
        rows: list[TallyRow] = []
        request = ScanTallies()
        while True:
            page = self._calls.ask(request, TalliesScanned)
            rows += page.items
            if not page.more or not page.items:
                return rows, page.counted
            last = page.items[-1]
            request = ScanTallies((last.server_id, last.disk_id))


def _finding(row: TallyRow) -> FsckFinding:
    disk = f"disk {row.disk_id:#x} of {row.name}"
    if row.state == DIFFERS:
        why = f"{disk} says to hold other sealed replicas: {row.differing} of 256 parts differ"
        kind = TALLY
    elif row.state == NOT_TOLD:
        why, kind = f"{disk} has not said what it holds", UNCOUNTED
    else:
        why, kind = f"the leader has not counted what {disk} should hold", UNCOUNTED
    return FsckFinding(kind, SEVERITIES[kind], "", 0, 0, ChunkId(0), (row.name,), why)
