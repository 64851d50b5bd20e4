"""A file system that really loses power below a tail: its acknowledged records and entries stay."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from append_house import Appending, order_tail
from chunk_house import BIRTH, BOOT_ID, CHUNK, identity, start_house, wait_for_journal
from replica_house import RUNTIME, noise
from test_real_power_cut import cut_power, image, mounted

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import PosixDisk
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import GfsError
from gfs_ha.ids import LogIndex, StartId
from gfs_ha.limits import MIB

__all__ = ["image"]  # A fixture.

pytestmark = pytest.mark.processes
ORDER = LogIndex(50)


def content(sequence: int) -> bytes:
    return noise(100 + 211 * (sequence % 300), seed=sequence)


def append_until_it_fails(place: Path, some: threading.Event, acknowledged: list[int]) -> None:
    """Append record after record, some at once, and note which were acknowledged."""
    disk = PosixDisk(place / "cs1")
    house = start_house(disk, 1, RUNTIME, start_id=StartId(100))
    stream = Appending(house)
    try:
        order_tail([house], capacity=8 * MIB)
        wait_for_journal(house)
        stream.close()
        stream = Appending(house)
        for first in range(1, 900, 5):
            sequences = range(first, first + 5)
            for sequence in sequences:
                stream.append(sequence, content(sequence))
            stream.wait_for(*sequences)
            acknowledged.extend(sequences)
            if first > 30:
                some.set()
    except GfsError:
        pass
    finally:
        stream.close()
        house.stop()
        disk.close()


def test_an_acknowledged_record_is_there_after_a_real_power_cut(
    image: Path, tmp_path: Path
) -> None:
    place = tmp_path / "mounted"
    some = threading.Event()
    acknowledged: list[int] = []
    before_the_cut: list[int] = []

    def cut() -> None:
        if some.wait(60.0):
            before_the_cut.extend(acknowledged)  # Later ones do not count: see the other test.
            cut_power(place)

    with mounted(image, place):
        cutter = threading.Thread(target=cut)
        cutter.start()
        append_until_it_fails(place, some, acknowledged)
        cutter.join(90.0)
    assert before_the_cut
    with mounted(image, place):
        disk = PosixDisk(place / "cs1")
        store = ChunkStore.on(disk, identity(1), RUNTIME, BOOT_ID + 1)
        answer = store.fence(CHUNK, BIRTH, ORDER)
        proof = store.prove(CHUNK, ORDER, answer.end)
        disk.close()
    found = [one.sequence for one in proof.records]
    assert set(before_the_cut) <= set(found)
    whole = b"".join(content(sequence) for sequence in found)
    assert (len(whole), crc32c(whole)) == (answer.end, proof.crc)
