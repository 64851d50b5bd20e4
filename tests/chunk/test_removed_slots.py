"""Slot files that somebody removes below a server that runs (D3)."""

from __future__ import annotations

import pytest
from disks_house import A, B, slots
from replica_house import RUNTIME
from server_house import PATIENCE_S, hurry, sealed_alone, serving

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.listing import SETTLED
from gfs_ha.ids import ChunkId, DiskId

ON_A, ON_B = ChunkId(1), ChunkId(2)


def test_a_server_tells_of_a_slot_that_was_removed_below_it_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch)
    disks: dict[DiskId, MemoryDisk] = {A: MemoryDisk(RUNTIME), B: MemoryDisk(RUNTIME)}
    for chunk_id, disk_id in ((ON_A, A), (ON_B, B)):
        sealed_alone(disks[disk_id], disk_id, chunk_id, b"whatever lies on it")
    with serving(disks) as house:
        assert house.store.list_open() == ()
        (slot,) = slots(disks[A])
        disks[A].unlink(slot)
        until_s = RUNTIME.monotonic_s() + PATIENCE_S
        while not house.store.list_open():
            assert RUNTIME.monotonic_s() < until_s, "nobody missed it"
            RUNTIME.sleep(0.01)
        (told,) = house.store.list_open()
        assert (told.chunk_id, told.disk_id) == (ON_A, A) and told.state != SETTLED
        assert not any(shelf.failed for shelf in house.store.shelves)
