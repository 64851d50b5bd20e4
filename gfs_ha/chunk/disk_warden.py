"""Watches a disk: one that takes nothing any more is out of service (D6).

A bad sector is no dead disk: it is damage, and healed from other servers (D3). So after an error,
and now and then of a disk that nobody uses, it is looked whether the directory is still there, and
a small file is written, synced and removed. Only a disk that fails that several times in a row, as
one that was pulled, or that the system made read-only, is given up.

A disk may also say nothing at all, neither well nor error. So another task does what may hang, and
the warden counts how long that takes. A disk that others flood takes many seconds for a sync as
well: only while it does nothing else either, of all that it was asked, it is counted as silent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.slots.identity import IDENTITY_NAME, read_identity
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.errors import (
    DeadlineExceeded,
    DiskFailed,
    DiskFull,
    NotFound,
    Overloaded,
    WrongDirectory,
)
from gfs_ha.ids import ChunkId, DiskId, format_id
from gfs_ha.runtime import Future, Queue, Runtime, Task, join_all

PROBE_NAME = "probe"
PROBES = 3
LOOK_S = 1.0
SILENT_S = 10.0  # As bad as a probe that fails. Three of them: as long as a server that is dead.
# Without an error. By chance: the disks of a machine are not to sync all in one moment.
REST_MIN_S, REST_MAX_S = 10.0, 15.0
MISSED_MAX = 1_000  # Slots that are told to be gone by one look.
# Of looks at a directory whose names seem the same since the last one: the clock of a file system
# is coarse, and what was removed amid a probe has the time of the probe.
COMPARE_EVERY = 20
_PROBE = bytes(4096)

# Says which replicas are expected on a disk and have no slot there now.
Vanished = Callable[[Shelf], set[ChunkId]]

# Says how often a disk refused what its server cannot do without, since it last took it, and why.
Refused = Callable[[Disk], tuple[int, str]]

logger = logging.getLogger(__name__)


class DiskWarden:
    """Two tasks per disk, until the disk is out of service or the server stops."""

    def __init__(
        self,
        shelf: Shelf,
        on_dead: Callable[[Shelf, str], None],
        runtime: Runtime,
        refused: Refused = lambda disk: (0, ""),
        vanished: Vanished = lambda shelf: set(),
        on_vanished: Callable[[ChunkId], None] = lambda chunk_id: None,
    ) -> None:
        """Args: `on_dead` is told once, in the warden's own task, with what the disk said;
        `on_vanished` of each replica whose slot was missed twice in a row.
        """
        self._shelf = shelf
        self._on_dead = on_dead
        self._runtime = runtime
        self._refused = refused
        self._changed = runtime.condition()
        self._stopping = False
        self._tasks: list[Task] = []
        self._hand = _Hand(shelf, runtime, vanished, on_vanished)
        self._failed = 0  # Looks in a row.
        self._told = 0  # Of what was refused.
        self._answers, self._silent_since_s = 0, 0.0

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [
            self._runtime.spawn("disk warden", self._run),
            self._runtime.spawn("disk hand", self._hand.run),
        ]

    def stop(self, timeout_s: float) -> bool:
        """End it; False when it still runs after `timeout_s`.

        A disk that is out of service and at work is not waited for: it may never answer.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._hand.stop()
        hangs = bool(self._shelf.failed) and self._hand.busy
        return join_all(self._tasks, 0.0 if hangs else timeout_s, self._runtime)

    def _run(self) -> None:
        disk = self._shelf.disk
        seen = disk.error_count
        due_s = self._next_s()
        answer: Future[str] | None = None
        while self._pause():
            if answer is None:
                quiet = not self._failed and disk.error_count == seen and not self._refused(disk)[1]
                probing = not quiet or self._runtime.monotonic_s() >= due_s
                answer = self._hand.look(probing)
                self._hear()
            why: str | None
            try:
                why = answer.result(LOOK_S)
            except DeadlineExceeded:
                why = self._silence()
            else:
                answer = None
                if not probing:
                    continue
                due_s, seen = self._next_s(), disk.error_count
                why = why or self._refusal()
            if self._judge(why):
                self._on_dead(self._shelf, self._shelf.ailing)
                self._hand.stop()
                return

    def _judge(self, why: str | None) -> bool:
        """Take note of a look, None of one that says nothing; return whether the disk is dead."""
        if why is None:
            return False
        self._failed = self._failed + 1 if why else 0
        self._shelf.ailing = why  # The masters place nothing there meanwhile.
        if why:
            about = (self._shelf.disk_id, self._failed, why)
            logger.warning("a disk fails id=%#x probe=%d why=%s", *about)
        return self._failed >= PROBES

    def _refusal(self) -> str | None:
        """Return what a disk refuses although it works; None when nobody tried since."""
        count, why = self._refused(self._shelf.disk)
        tried, self._told = count != self._told, count
        return why if tried or not why else None

    def _hear(self) -> None:
        self._answers = self._shelf.disk.answer_count
        self._silent_since_s = self._runtime.monotonic_s()

    def _silence(self) -> str | None:
        """Return what to say of a disk that does not answer; None while it may only be slow."""
        if self._shelf.disk.answer_count != self._answers:
            self._hear()
            return None
        if self._runtime.monotonic_s() - self._silent_since_s < SILENT_S:
            return None
        self._silent_since_s += SILENT_S
        silent_s = (self._failed + 1) * SILENT_S
        return f"the disk does not answer: it did nothing of what it was asked for {silent_s:.0f} s"

    def _next_s(self) -> float:
        """Return when a disk without errors is looked at next."""
        return self._runtime.monotonic_s() + self._runtime.uniform(REST_MIN_S, REST_MAX_S)

    def _pause(self) -> bool:
        """Wait for the next look; False when the server stops."""
        with self._changed:
            if not self._stopping:
                self._changed.wait(LOOK_S)
            return not self._stopping


class _Hand:
    """Touches the disk for its warden, and for all who want to know how full it is."""

    def __init__(
        self,
        shelf: Shelf,
        runtime: Runtime,
        vanished: Vanished,
        on_vanished: Callable[[ChunkId], None],
    ) -> None:
        self._vanished, self._on_vanished = vanished, on_vanished
        self._missed: set[ChunkId] = set()  # By the last look.
        self._stamp: int | None = None  # Of the names, after the last probe.
        self._uncompared = COMPARE_EVERY  # Looks since the names were compared; first is at once.
        self._shelf = shelf
        self._runtime = runtime
        # None ends it. It is asked again only after it has answered.
        self._asked: Queue[tuple[bool, Future[str]] | None] = runtime.queue(2)
        self._stopping = False
        self.busy = False  # It waits for the disk.

    def look(self, probing: bool) -> Future[str]:
        """Have the disk looked at, and probed perhaps; the answer is why it fails, or ""."""
        answer: Future[str] = self._runtime.future()
        self._asked.put((probing, answer))
        return answer

    def stop(self) -> None:
        """Have it end, once the disk answers."""
        self._stopping = True
        try:
            self._asked.put(None)
        except Overloaded:
            pass  # It was told before.

    def run(self) -> None:
        while not self._stopping:
            try:
                asked = self._asked.get(LOOK_S)
            except DeadlineExceeded:
                continue
            if asked is not None:
                self.busy = True
                why = self._look(asked[0])
                self.busy = False
                asked[1].set(why)

    def _look(self, probing: bool) -> str:
        why = ""
        if probing:
            before = self._names_stamp()
            why = probe(self._shelf.disk, self._shelf.disk_id)
            same = before is not None and before == self._stamp
            self._uncompared += 1 if same else COMPARE_EVERY
            self._stamp = self._names_stamp()
        try:
            self._shelf.look_at_usage()
            if probing and not why and (self._missed or self._uncompared >= COMPARE_EVERY):
                self._miss()
                self._uncompared = 0
        except (DiskFailed, DiskFull):
            pass  # It is counted, and probed for that.
        return why

    def _names_stamp(self) -> int | None:
        """Return what tells that no name came or went; None when the disk does not say."""
        try:
            return self._shelf.disk.names_stamp()
        except DiskFailed:
            return None

    def _miss(self) -> None:
        """Tell of the slots that somebody removed. Raises: DiskFailed."""
        missing = self._vanished(self._shelf)
        for chunk_id in sorted(missing & self._missed)[:MISSED_MAX]:
            logger.error("a slot is gone disk=%#x chunk=%#x", self._shelf.disk_id, chunk_id)
            self._on_vanished(chunk_id)
        self._missed = missing


def probe(disk: Disk, disk_id: DiskId) -> str:
    """Return why a disk takes nothing, or "" when it works; a full one does."""
    try:
        disk.check_place()
        try:
            disk.open(IDENTITY_NAME).close()
        except NotFound:
            # Whoever removes all files of a directory that is in use may not get the directory.
            return f"its {IDENTITY_NAME} is gone: its files were removed"
        found = read_identity(disk)
        if found is not None and found.disk_id != disk_id:
            theirs = format_id(found.disk_id)
            return f"its {IDENTITY_NAME} is now that of disk {theirs} of server {found.name}"
        disk.unlink(PROBE_NAME)
        file = disk.create(PROBE_NAME)
        try:
            file.write(0, _PROBE)
            file.sync()
        finally:
            file.close()
        disk.unlink(PROBE_NAME)
    except DiskFull:
        return ""
    except (DiskFailed, WrongDirectory) as error:
        return error.message
    return ""
