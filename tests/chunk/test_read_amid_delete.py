"""A read between the stamp of a deletion and its end finds no replica, and is no mistake."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chunk_house import CHUNK
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES

SEALED, DELETED = LogIndex(50), LogIndex(60)


class TalkativeFile(MemoryFile):
    """Tells whoever wants to hear it of each sync that is done."""

    def sync(self) -> None:
        super().sync()
        assert isinstance(self._disk, TalkativeDisk)
        self._disk.synced()


class TalkativeDisk(MemoryDisk):
    def __init__(self) -> None:
        super().__init__(RUNTIME)
        self.synced: Callable[[], object] = lambda: None

    def open(self, name: str) -> MemoryFile:
        return TalkativeFile(self, super().open(name)._inode)


def test_a_read_amid_a_deletion_finds_no_replica() -> None:
    disk = TalkativeDisk()
    data = noise(2 * BLOCK_BYTES)
    append(make_replica(open_store(disk)), data)
    store = open_store(disk)
    store.finish_seal(CHUNK, SEALED, len(data), digest_of(data))
    replica = store.get(CHUNK)
    heard: list[str] = []

    def read() -> None:
        with pytest.raises(UnknownReplica):
            replica.plan_read(0, len(data))
        heard.append("read")

    disk.synced = read
    store.delete(CHUNK, DELETED)
    assert len(heard) == 2, "once for each copy of the header"
