"""Several segments of one big file in flight: in order, bounded, whole or not at all."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from little_cluster import LittleCluster

from gfs_ha.client import writer
from gfs_ha.client.lanes import LANES_MAX, Lanes
from gfs_ha.client.local_files import LocalSource
from gfs_ha.client.shipment import Safe, Shipment
from gfs_ha.client.transfers import Cancel, Silent
from gfs_ha.errors import Cancelled, GfsError, NoSpace, PartlyDone
from gfs_ha.limits import CLAIMS_PER_SESSION_MAX, MIB
from gfs_ha.master.state import claims
from gfs_ha.protocol.calls import CallBody
from gfs_ha.protocol.metadata import AllocateChunk, StageExtents
from gfs_ha.runtime import ThreadedRuntime


class Told(Silent):
    """Adds up what it is told."""

    def __init__(self, cancel_at: int = 0) -> None:
        self.cancel = Cancel()
        self.size = 0
        self.most = 0
        self._cancel_at = cancel_at

    def moved(self, size: int) -> None:
        self.size += size
        self.most = max(self.most, self.size)
        if self._cancel_at and self.size >= self._cancel_at:
            self.cancel.set()


def state_counts(little: LittleCluster) -> Counter[str]:
    return Counter(chunk.state for _, chunk in little.masters.view().chunks_after(0, 1000))


@pytest.mark.parametrize("jobs", [2, 4, 64])
def test_a_file_of_many_chunks_is_the_same_with_any_number_of_jobs(
    little: LittleCluster, tmp_path: Path, jobs: int
) -> None:
    data = os.urandom(35 * MIB + 1)
    (tmp_path / "f").write_bytes(data)
    told = Told()
    stored = little.client.put(tmp_path / "f", "/f", jobs=jobs, progress=told)
    assert (stored.size, stored.chunk_count, stored.copies) == (len(data), 36, 3)
    assert told.size == told.most == len(data)
    assert little.client.read_bytes("/f") == data
    little.client.close()
    found = state_counts(little)
    assert found["sealed"] == 36 and set(found) <= {"sealed", "dead"}, "an unused chunk was kept"


def test_all_jobs_together_never_want_too_many_claims(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = 8
    scale = LANES_MAX // jobs
    monkeypatch.setattr(claims, "CLAIMS_PER_SESSION_MAX", CLAIMS_PER_SESSION_MAX // scale)
    monkeypatch.setattr(writer, "CROWDED_CLAIMS", writer.CROWDED_CLAIMS // scale)
    data = os.urandom(70 * MIB)
    (tmp_path / "f").write_bytes(data)
    little.client.put(tmp_path / "f", "/f", jobs=jobs)
    assert little.client.read_bytes("/f") == data
    assert little.masters.requests(StageExtents)


def test_a_server_that_dies_under_several_segments_costs_no_byte(
    little: LittleCluster, tmp_path: Path
) -> None:
    data = os.urandom(12 * MIB + 5)
    (tmp_path / "f").write_bytes(data)
    victim = little.masters.locations()[1].server_id
    little.plane.dies_in_push[victim] = MIB // 2
    told = Told()
    little.client.put(tmp_path / "f", "/f", jobs=4, progress=told)
    assert told.size == told.most == len(data), "bytes that were sent again were counted again"
    assert little.client.read_bytes("/f") == data


def test_one_segment_that_finds_no_chunk_ends_all_of_them(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(bytes(40 * MIB))
    allocate = little.masters._allocate
    count = 0

    def full(asked: CallBody, request: AllocateChunk) -> object:
        nonlocal count
        count += 1
        if count > 9:
            raise NoSpace("full")
        return allocate(asked, request)  # type: ignore[arg-type]

    monkeypatch.setattr(little.masters, "_allocate", full)
    told = Told()
    with pytest.raises(NoSpace):
        little.client.put(tmp_path / "f", "/f", jobs=4, progress=told)
    assert told.most and not told.size
    assert not little.client.exists("/f")
    little.client.close()
    assert set(state_counts(little)) == {"dead"}


def test_a_cancel_in_the_middle_takes_everything_back(
    little: LittleCluster, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(bytes(40 * MIB))
    told = Told(cancel_at=9 * MIB)
    with pytest.raises(Cancelled):
        little.client.put(tmp_path / "f", "/f", jobs=4, progress=told, cancel=told.cancel)
    assert told.most < 40 * MIB and not told.size
    assert not little.client.exists("/f")
    little.client.close()
    assert set(state_counts(little)) == {"dead"}


@pytest.mark.parametrize("how", ["shrinks", "grows", "is written to"])
def test_a_file_that_changes_in_any_segment_is_not_published(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    local = tmp_path / "f"
    local.write_bytes(bytes(8 * MIB))
    reading = LocalSource.read_into

    def change(self: LocalSource, memory: memoryview, offset: int) -> int:
        if offset == 5 * MIB:
            with local.open("r+b") as file:
                if how == "shrinks":
                    file.truncate(5 * MIB)
                else:
                    file.seek(0, os.SEEK_END if how == "grows" else os.SEEK_SET)
                    file.write(b"new")
        return reading(self, memory, offset)

    monkeypatch.setattr(LocalSource, "read_into", change)
    with pytest.raises(PartlyDone, match="changed while it was read"):
        little.client.put(local, "/f", jobs=4)
    assert not little.client.exists("/f")


def test_files_that_share_lanes_have_one_each_and_leave_what_is_too_much() -> None:
    lanes = Lanes(ThreadedRuntime(), 2)
    lanes.enter()
    assert lanes.try_enter() and not lanes.try_enter() and not lanes.crowded
    lanes.enter()  # A second file does not wait for the first.
    assert lanes.crowded
    lanes.leave()
    assert not lanes.crowded and not lanes.try_enter()
    lanes.leave()
    assert lanes.try_enter()


def test_files_under_way_together_share_their_lanes(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    most = under_way = 0
    lock = threading.Lock()
    take, give = little.connection.store._memory.take, little.connection.store._memory.give

    def counted_take() -> memoryview:
        nonlocal most, under_way
        with lock:
            under_way += 1
            most = max(most, under_way)
        return take()

    def counted_give(memory: memoryview) -> None:
        nonlocal under_way
        with lock:
            under_way -= 1
        give(memory)

    monkeypatch.setattr(little.connection.store._memory, "take", counted_take)
    monkeypatch.setattr(little.connection.store._memory, "give", counted_give)
    lanes = Lanes(ThreadedRuntime(), 3)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * (9 * MIB))
    errors: list[GfsError] = []

    def put(name: str) -> None:
        try:
            little.client.put(tmp_path / name, f"/{name}", jobs=lanes)
        except GfsError as error:
            errors.append(error)

    threads = [threading.Thread(target=put, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert under_way == 0 and most <= 2 * lanes.count - 1
    for name in "abc":
        assert little.client.read_bytes(f"/{name}") == name.encode() * (9 * MIB)


def test_one_lane_goes_on_when_all_of_them_are_wanted_elsewhere(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = os.urandom(20 * MIB)
    (tmp_path / "f").write_bytes(data)
    lanes = Lanes(ThreadedRuntime(), 4)
    together = threading.Barrier(4)  # The first four segments end at the same moment.
    count = itertools.count()
    complete = Shipment.complete

    def complete_together(self: Shipment) -> Safe:
        safe = complete(self)
        if next(count) < 4:
            together.wait(30)
            lanes.enter()
        return safe

    monkeypatch.setattr(Shipment, "complete", complete_together)
    little.client.put(tmp_path / "f", "/f", jobs=lanes)
    assert little.client.read_bytes("/f") == data
    little.client.get("/f", tmp_path / "back", jobs=lanes)
    assert (tmp_path / "back").read_bytes() == data
