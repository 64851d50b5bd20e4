"""The newest epoch that a leader told this server, kept durably: no order of an older one counts.

A server that forgot it would obey a leader that was deposed long ago. The file has two self-checked
copies, each synced before the other is touched: a power cut costs at most the one being written,
and the epoch in it was not obeyed yet. Each disk of the server has such a file: the newest counts.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import Disk, File, opened
from gfs_ha.errors import DiskFailed, DiskFull, NotFound
from gfs_ha.ids import Epoch, unpack_epoch
from gfs_ha.runtime import Runtime

EPOCH_NAME = "epoch"
NO_EPOCH = Epoch(0, 0)

_FIELDS = struct.Struct("<8sQ")  # magic, packed epoch; a CRC-32C of both follows.
_CRC = struct.Struct("<I")
_COPY_BYTES = _FIELDS.size + _CRC.size
_MAGIC = b"GFS-EPO1"
_COPY_OFFSETS = (0, 4096)  # Never in one sector.

TOLD_S = 2.0  # A heartbeat does not wait for longer: masters are to hear of the server meanwhile.
STALL_S = 10.0  # So long a disk may take for it, although it takes other things.

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Keeper:
    """A disk in service, and what it keeps.

    Fields:
        failures: how often it failed to keep the newest one, in a row.
        writing_since_s: when a task began to write there that has not ended; it may never end.
    """

    disk: Disk
    kept: Epoch
    failures: int = 0
    error: BaseException | None = None
    writing_since_s: float | None = None


class EpochBook:
    """Thread-safe. Each disk is written to in a task of its own: one that hangs holds up nobody."""

    def __init__(self, disks: Sequence[Disk], runtime: Runtime) -> None:
        """Read what was kept. Raises: DiskFailed when a file is there and cannot be trusted."""
        self._runtime = runtime
        self._changed = runtime.condition()
        # A new one, or one that was away, is behind: alone it would have a deposed leader obeyed.
        self._keepers = [_Keeper(disk, read_epoch(disk)) for disk in disks]
        self._newest = self._wanted = max(one.kept for one in self._keepers)

    @property
    def newest(self) -> Epoch:
        return self._newest

    def drop(self, disk: Disk) -> None:
        """Ask a disk no more that is out of service; the others know the same, or will soon."""
        with self._changed:
            self._keepers = [one for one in self._keepers if one.disk is not disk]
            self._changed.notify_all()

    def told(self, epoch: Epoch, timeout_s: float = TOLD_S) -> bool:
        """Note an epoch that a leader told; it is durable on return. False: it is an older one.

        Raises: DiskFailed, DiskFull: then the epoch does not count, and nothing of it is obeyed.
        What takes longer than `timeout_s` goes on; whoever tells of it again finds it done.
        """
        if epoch == self._newest and all(one.kept == epoch for one in self._keepers):
            return True
        until_s = self._runtime.monotonic_s() + timeout_s
        with self._changed:
            if epoch < self._wanted:
                return False
            self._wanted = epoch
            before = {one: one.failures for one in self._keepers}
            for keeper in self._keepers:
                self._begin(keeper)
            while behind := [one for one in self._keepers if one.kept < epoch]:
                left_s = until_s - self._runtime.monotonic_s()
                if left_s <= 0 or all(one.writing_since_s is None for one in behind):
                    self._check(behind, before)  # The others have it by now, if they can.
                if left_s <= 0:
                    raise DiskFailed(f"a disk did not keep the new epoch within {timeout_s:.0f} s")
                self._changed.wait(left_s)
            if epoch < self._wanted:
                return False  # A newer leader was heard meanwhile.
            if not self._keepers:
                raise DiskFailed("no disk of this server is in service")
            known, self._newest = epoch == self._newest, epoch
        if not known:
            logger.info("a new leader is obeyed epoch=%s", epoch)
        return True

    def _check(self, behind: Sequence[_Keeper], before: Mapping[_Keeper, int]) -> None:
        """Raise what one of them said to this try."""
        for keeper in behind:
            if keeper.error is not None and keeper.failures > before.get(keeper, 0):
                raise keeper.error.with_traceback(None)

    def _begin(self, keeper: _Keeper) -> None:
        """Have a disk keep what is wanted, unless it does, or is at it. Needs the lock."""
        if keeper.kept < self._wanted and keeper.writing_since_s is None:
            keeper.writing_since_s = self._runtime.monotonic_s()
            self._runtime.spawn("epoch", lambda: self._keep(keeper))

    def _keep(self, keeper: _Keeper) -> None:
        while True:
            with self._changed:
                wanted = self._wanted
                if keeper.kept == wanted or keeper not in self._keepers:
                    keeper.writing_since_s = None
                    return
            error: BaseException | None = None
            try:
                _write(keeper.disk, _encode(wanted))
            except BaseException as caught:  # For whoever tells of it: nobody hears this task.
                error = caught
            with self._changed:
                keeper.error = error
                keeper.failures = keeper.failures + 1 if error else 0
                if error is None:
                    keeper.kept = wanted
                else:
                    keeper.writing_since_s = None
                self._changed.notify_all()
            if error is not None:
                return

    def refused(self, disk: Disk) -> tuple[int, str]:
        """Return how often in a row a disk did not keep the newest epoch, and why; or 0 and "".

        While it does not, no order is obeyed, of whatever leader. That another disk takes it tells
        a disk that is full from a server that has no room at all.
        """
        with self._changed:
            keeper = next((one for one in self._keepers if one.disk is disk), None)
            if keeper is None or keeper.kept == self._wanted:
                return 0, ""
            others = any(one.kept == self._wanted for one in self._keepers)
            error, since_s = keeper.error, keeper.writing_since_s
            count = keeper.failures
        why = ""
        if isinstance(error, DiskFailed) or (isinstance(error, DiskFull) and others):
            why = error.message
        if since_s is not None:
            slow = int((self._runtime.monotonic_s() - since_s) / STALL_S)
            count += slow
            why = why or (f"the file {EPOCH_NAME!r} cannot be written to an end" if slow else "")
        return (count, why) if why else (0, "")


def _write(disk: Disk, copy: bytes) -> None:
    file = _open(disk)
    try:
        for offset in _COPY_OFFSETS:
            file.write(offset, copy)
            file.sync()
    finally:
        file.close()


def _open(disk: Disk) -> File:
    try:
        return disk.open(EPOCH_NAME)
    except NotFound:
        file = disk.create(EPOCH_NAME)
        disk.sync_names()
        return file


def _encode(epoch: Epoch) -> bytes:
    fields = _FIELDS.pack(_MAGIC, epoch.pack())
    return fields + _CRC.pack(crc32c(fields))


def read_epoch(disk: Disk) -> Epoch:
    """Return the epoch that a disk keeps. Raises: DiskFailed when it cannot be trusted."""
    blank_count = 0
    whole: list[Epoch] = []
    try:
        with opened(disk, EPOCH_NAME) as file:
            for offset in _COPY_OFFSETS:
                buffer = bytearray(_COPY_BYTES)
                try:
                    file.read(offset, memoryview(buffer))
                except DiskFailed as error:
                    logger.error("a copy of the epoch cannot be read: %s", error)
                    continue
                _, packed = _FIELDS.unpack_from(buffer)
                if buffer == _encode(unpack_epoch(packed)):
                    whole.append(unpack_epoch(packed))
                elif not any(buffer):
                    blank_count += 1
    except NotFound:
        return NO_EPOCH
    if not whole and not blank_count:
        raise DiskFailed(f"both copies in the file {EPOCH_NAME!r} are damaged; this disk is unfit")
    return max(whole, default=NO_EPOCH)
