"""In which order a slot is written: never both copies of a header on their way at once (D1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chunk_house import BIRTH, CHUNK
from replica_house import RUNTIME, append, digest_of, make_replica, noise, open_store

from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile
from gfs_ha.chunk.slots.format import COPY_BYTES, HEADER_BYTES
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import LogIndex

DATA = noise(70_000)
ORDER = LogIndex(9)


def finish(store: ChunkStore) -> None:
    store.finish_seal(CHUNK, ORDER, len(DATA), digest_of(DATA))


ACTIONS: dict[str, tuple[Callable[[ChunkStore], object], int]] = {
    # What is done, and how many copies it has to write before it is answered.
    "fence": (lambda store: store.fence(CHUNK, BIRTH, ORDER), 2),
    "free": (lambda store: store.delete(CHUNK, ORDER), 2),
    "quarantine": (lambda store: store.quarantine(CHUNK), 2),
    "seal": (finish, 1),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_copy_is_safe_before_the_other_one_is_touched(
    action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(MemoryDisk(RUNTIME))
    append(make_replica(store), DATA)
    steps: list[str] = []
    write, sync = MemoryFile.write, MemoryFile.sync

    def noted_write(self: MemoryFile, offset: int, data: bytes) -> None:
        if offset < HEADER_BYTES:
            steps.append("AB"[offset // COPY_BYTES])
        write(self, offset, data)

    def noted_sync(self: MemoryFile) -> None:
        steps.append("sync")
        sync(self)

    monkeypatch.setattr(MemoryFile, "write", noted_write)
    monkeypatch.setattr(MemoryFile, "sync", noted_sync)
    act, copies = ACTIONS[action]
    act(store)
    # The push before it wrote B, so A comes first.
    assert steps == ["A", "sync", "B", "sync"][: 2 * copies]
