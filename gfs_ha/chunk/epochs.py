"""The newest epoch that a leader told this server, kept durably: no order of an older one counts.

A server that forgot it would obey a leader that was deposed long ago. The file has two self-checked
copies, each synced before the other is touched: a power cut costs at most the one being written,
and the epoch in it was not obeyed yet. Each disk of the server has such a file: the newest counts.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import Disk, File, opened
from gfs_ha.errors import DiskFailed, NotFound
from gfs_ha.ids import Epoch, unpack_epoch
from gfs_ha.runtime import Runtime

EPOCH_NAME = "epoch"
NO_EPOCH = Epoch(0, 0)

_FIELDS = struct.Struct("<8sQ")  # magic, packed epoch; a CRC-32C of both follows.
_CRC = struct.Struct("<I")
_COPY_BYTES = _FIELDS.size + _CRC.size
_MAGIC = b"GFS-EPO1"
_COPY_OFFSETS = (0, 4096)  # Never in one sector.

logger = logging.getLogger(__name__)


class EpochBook:
    """Thread-safe."""

    def __init__(self, disks: Sequence[Disk], runtime: Runtime) -> None:
        """Read what was kept. Raises: DiskFailed when a file is there and cannot be trusted."""
        self._disks = tuple(disks)
        self._lock = runtime.lock()
        kept = [(disk, read_epoch(disk)) for disk in disks]
        self._newest = max(epoch for _, epoch in kept)
        # A new one, or one that was away: alone it would have a deposed leader obeyed.
        self._behind = [disk for disk, epoch in kept if epoch != self._newest]

    @property
    def newest(self) -> Epoch:
        return self._newest

    def drop(self, disk: Disk) -> None:
        """Ask a disk no more that is out of service; the others know the same."""
        self._disks = tuple(one for one in self._disks if one is not disk)
        self._behind = [one for one in self._behind if one is not disk]

    def told(self, epoch: Epoch) -> bool:
        """Note an epoch that a leader told; it is durable on return. False: it is an older one.

        Raises: DiskFailed, DiskFull: then the epoch does not count, and nothing of it is obeyed.
        """
        if epoch == self._newest and not self._behind:
            return True
        with self._lock:
            if epoch < self._newest:
                return False
            known = epoch == self._newest
            for disk in self._behind if known else self._disks:
                _write(disk, _encode(epoch))
            self._behind = []
            self._newest = epoch
        if not known:
            logger.info("a new leader is obeyed epoch=%s", epoch)
        return True


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
