"""The journal of one disk: small durable appends of all its tails share its syncs (D4).

An append that is in the journal is safe: its bytes and entries lie in its slot too, but only in the
page cache, and the header of the slot knows nothing of it yet. A segment is used again only after
all its appends are in their slots, durably, with headers that count them. While there is no room
here, or after anything failed, appends go to their slots at once, as big ones always do.

Group commit: who comes while nobody writes is the leader and writes for all that wait by then; the
others wait for it, and the first of those who came meanwhile leads next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from gfs_ha.chunk.disk import Disk, File
from gfs_ha.chunk.journal.frames import (
    PAGE_BYTES,
    Append,
    SegmentState,
    Title,
    encode_frame,
    encode_title,
    frame_bytes,
    padded,
)
from gfs_ha.chunk.journal.reading import JOURNAL_NAME, JournalFound
from gfs_ha.chunk.journal.segments import Segment, Segments, Unsettled
from gfs_ha.errors import DeadlineExceeded, DiskFailed, GfsError, NotFound
from gfs_ha.ids import DiskId
from gfs_ha.limits import KIB, MIB, OPERATION_TIMEOUT_S, WRITE_BACK_BYTES
from gfs_ha.runtime import Future, Runtime

GROUP_BYTES_MAX = 1 * MIB
_LOOK_S = 0.5
_FREE_BYTES_MIN = 16 * MIB  # On a disk that is nearly full the room is for replicas.

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JournalShape:
    """How big a journal is; that of a disk never changes.

    Fields:
        append_bytes_max: longer appends go to their slots at once.
    """

    segments: int = 4
    segment_bytes: int = 4 * MIB
    append_bytes_max: int = 32 * KIB

    @property
    def file_bytes(self) -> int:
        return self.segments * self.segment_bytes


JOURNAL_SHAPE = JournalShape()


class _Outcome(Enum):
    SAFE = "safe"
    NO_ROOM = "no room"
    LEAD = "lead"


@dataclass(slots=True, eq=False)
class _Waiter:
    owner: Unsettled
    append: Append
    outcome: Future[_Outcome]


class Journal:
    """Thread-safe. A replica's lock may be held by who calls; its own lock is the inner one."""

    def __init__(
        self, disk: Disk, ids: tuple[DiskId, int], runtime: Runtime, shape: JournalShape
    ) -> None:
        """Args: `ids` are those of the disk and of this boot of the machine."""
        self.shape = shape
        self.last_lsn = 0
        self._disk = disk
        self.disk_id, self._boot_id = ids
        self._run = runtime.random_u64()
        self._runtime = runtime
        self._changed = runtime.condition()
        self._segments = Segments(shape.segments, shape.segment_bytes)
        self._waiting: list[_Waiter] = []
        self._writing = False
        self._file: File | None = None
        self._wanted = False
        self._broken = ""
        self._ending = False
        self._woken = False
        self._stuck: set[Unsettled] = set()  # Replicas whose slots failed.

    # What a start does ----------------------------------------------------------------------------

    def begin(self, found: JournalFound, newest_lsn: int) -> None:
        """Go on after what was found, which is in the slots by now, durably.

        Raises: DiskFailed, DiskFull.
        """
        self.last_lsn = max(found.newest_lsn, newest_lsn)
        if found.used or found.damage:
            file = self._disk.open(JOURNAL_NAME)
            try:
                for start in range(0, found.size, self.shape.segment_bytes):
                    file.write(start, self._free_title())
                file.sync()
            finally:
                file.close()

    def _free_title(self) -> bytes:
        title = Title(SegmentState.FREE, self._boot_id, self.disk_id, self._run, self.last_lsn)
        return encode_title(title)

    # Appends --------------------------------------------------------------------------------------

    @property
    def broken(self) -> str:
        """Return why it takes nothing any more, else empty."""
        return self._broken

    def takes(self, length: int) -> bool:
        """Return whether an append of that many bytes is one for the journal."""
        if length > self.shape.append_bytes_max or self._broken:
            return False
        if self._file is None and not self._wanted:
            with self._changed:
                self._wanted = True  # Whoever keeps it makes it, out of the way of appends.
                self._changed.notify_all()
        return self._file is not None

    def add(self, owner: Unsettled, append: Append) -> bool:
        """Return once an append is safe; False when there is no room for it now.

        Raises: DiskFailed, DiskFull: whether it is safe is not known, and will not be.
        """
        waiter = _Waiter(owner, append, self._runtime.future())
        with self._changed:
            if self._broken or self._ending or self._file is None:
                return False
            self._waiting.append(waiter)
            leads = not self._writing
            self._writing = True
        if not leads:
            try:
                outcome = waiter.outcome.result(OPERATION_TIMEOUT_S)
            except DeadlineExceeded as error:
                failure = DiskFailed(f"the journal of the disk hangs: {error}")
                self._break(failure)
                raise failure from error
            if outcome is not _Outcome.LEAD:
                return outcome is _Outcome.SAFE
        return self._lead(waiter)

    def _lead(self, leader: _Waiter) -> bool:
        """Write what waits, the leader's own append first; return whether there was room."""
        with self._changed:
            group = self._take_group()
        if not group:  # Another one that waited gave the journal up, just when this one was told.
            raise DiskFailed(f"the journal of the disk failed: {self._broken}")
        assert group[0] is leader, "whoever waited longest leads"
        try:
            safe = self._write(group)
        except BaseException as error:
            self._break(error)
            for one in group:
                one.outcome.fail(_failure(error))
            raise
        with self._changed:
            following = self._waiting[0] if self._waiting else None
            self._writing = following is not None
            if self._ending:
                self._changed.notify_all()
        outcome = _Outcome.SAFE if safe else _Outcome.NO_ROOM
        for one in group[1:]:
            one.outcome.set(outcome)
        if following is not None:
            following.outcome.set(_Outcome.LEAD)
        return safe

    def _take_group(self) -> list[_Waiter]:
        length = count = 0
        for one in self._waiting:
            length += frame_bytes(one.append)
            if count and padded(length) > GROUP_BYTES_MAX:
                break
            if count and not self._segments.fits(padded(length)):
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _break(self, error: BaseException) -> None:
        """Take nothing any more: after a failed sync nobody knows what of it is on the disk."""
        with self._changed:
            first = not self._broken
            self._broken = self._broken or str(error) or type(error).__name__
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.outcome.fail(_failure(error))
        if first:
            logger.error("the journal of the disk takes no appends any more: %s", error)

    def _write(self, group: Sequence[_Waiter]) -> bool:
        """Make a group safe with one sync; False when no segment has room."""
        file = self._file
        assert file is not None
        length = padded(sum(frame_bytes(one.append) for one in group))
        with self._changed:
            segment = self._segments.current
            opened_now = not self._segments.has_room(length)
            if opened_now:
                segment = self._open_segment() if self._segments.fits(length) else None
            if segment is None:
                return False
            assert segment.title is not None
            title, at = segment.title, segment.start + segment.at
            segment.at += length
            segment.pending.update((one.owner, None) for one in group)
            first = self.last_lsn + 1
            self.last_lsn += len(group)
        frames = [
            encode_frame(title, first + number, first, one.append)
            for number, one in enumerate(group)
        ]
        if opened_now:
            file.write(segment.start, encode_title(title))
        file.write(at, b"".join(frames).ljust(length, b"\0"))
        file.sync()
        return True

    def _open_segment(self) -> Segment | None:
        """Leave the segment in use for a free one; what it held is settled by who keeps it."""
        segments = self._segments
        segment = segments.take_free()
        if segment is None:
            return None
        before = segments.current.title if segments.current else None
        segment.title = Title(
            SegmentState.USED,
            self._boot_id,
            self.disk_id,
            self._run,
            self.last_lsn + 1,
            before.base if before else 0,
        )
        segment.at = PAGE_BYTES
        segments.current = segment
        self._changed.notify_all()
        return segment

    def settled(self, owner: Unsettled) -> None:
        """Know that all appends of a replica are in its slot, durably, or that it is no more.

        The lock of the replica is held by who calls, so that it adds none meanwhile.
        """
        with self._changed:
            self._segments.settled(owner)

    # Keeping it -----------------------------------------------------------------------------------

    @property
    def used_bytes(self) -> int:
        """Return how much of it cannot be used again yet."""
        with self._changed:
            return self._segments.used_bytes()

    @property
    def file_bytes(self) -> int:
        """Return how big its file is; 0 while there is none."""
        return self.shape.file_bytes if self._file is not None else 0

    def wait_for_work(self, timeout_s: float) -> None:
        """Return when `keep` may have something to do, or after a while."""
        with self._changed:
            if not self._has_work() and not self._woken:
                self._changed.wait(timeout_s)

    def rest(self, timeout_s: float) -> None:
        """Return after a while, or when something changed."""
        with self._changed:
            if not self._woken:
                self._changed.wait(timeout_s)

    def wake(self) -> None:
        """Let nobody wait for work any more."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _has_work(self) -> bool:
        return (self._wanted and self._file is None) or bool(self._segments.full())

    def keep(self) -> bool:
        """Make it if it is wanted; free the segments that were left. False: nothing could be done.

        One thread at a time. Raises: DiskFailed, DiskFull.
        """
        with self._changed:
            full = self._segments.full()
            wanted = self._wanted and self._file is None and not self._broken
        done = wanted and self._make()
        for segment in full:
            self._settle(segment.pending)
            done = self._free(segment) or done
        return done

    def end(self) -> None:
        """Have all appends in their slots, durably, and take none any more.

        Who cannot be settled stays in it for the next start. Raises: DiskFailed, DiskFull.
        """
        until_s = self._runtime.monotonic_s() + OPERATION_TIMEOUT_S
        with self._changed:
            self._ending = True  # First: the segment in use is freed too.
            while self._writing and not self._broken and self._runtime.monotonic_s() < until_s:
                self._changed.wait(_LOOK_S)
            used = [] if self._writing else self._segments.used()
        try:
            for segment in used:
                self._settle(segment.pending)
                self._free(segment)
        finally:
            self.close()

    def _settle(self, pending: Mapping[Unsettled, None]) -> None:
        with self._changed:
            owners = [one for one in pending if one not in self._stuck]
        for owner in owners:
            try:
                owner.settle()
            except NotFound:
                pass  # It was deleted in this very moment, and says so itself.
            except GfsError as error:
                # It cannot be settled any more: nobody knows what of it the disk lost.
                self._stuck.add(owner)
                logger.error("appends stay in the journal until the next start: %s", error)

    def _free(self, segment: Segment) -> bool:
        """Say that a segment may be used again, before it is; False when it may not."""
        with self._changed:
            file = self._file
            if segment.pending or file is None or self._broken:
                return False
        file.write(segment.start, self._free_title())
        file.sync()
        with self._changed:
            self._segments.free(segment)
        return True

    def _make(self) -> bool:
        """Open the file, if there is room for it; it is of zeros, so that a sync finds no holes."""
        try:
            file = self._disk.open(JOURNAL_NAME)
        except NotFound:
            if self._disk.usage().free < self.shape.file_bytes + _FREE_BYTES_MIN:
                return False
            file = self._disk.create(JOURNAL_NAME)
        try:
            if file.size() != self.shape.file_bytes:
                for start in range(0, self.shape.file_bytes, WRITE_BACK_BYTES):
                    length = min(WRITE_BACK_BYTES, self.shape.file_bytes - start)
                    file.write(start, bytes(length))
                    file.write_back(start, length)
                file.sync()
            self._disk.sync_names()
        except BaseException:
            file.close()
            raise
        with self._changed:
            self._file = file
        return True

    def close(self) -> None:
        """Take nothing any more; what is in it stays for the next start."""
        with self._changed:
            self._broken = self._broken or "it is closed"
            file, self._file = self._file, None
        if file is not None:
            file.close()


def _failure(error: BaseException) -> BaseException:
    return error if isinstance(error, GfsError) else DiskFailed(f"the journal failed: {error!r}")
