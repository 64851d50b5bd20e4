"""Content reaches enough servers whatever fails on the way, and is seen whole or not at all."""

from __future__ import annotations

import io
import os
import threading
import warnings
from pathlib import Path

import pytest
from little_cluster import LittleCluster, lost

from gfs_ha.client import packer, writer
from gfs_ha.client.transfers import Silent
from gfs_ha.errors import (
    AlreadyExists,
    GfsError,
    IsADirectory,
    NoServers,
    NotFound,
    PartlyDone,
    UsageError,
)
from gfs_ha.limits import BLOCK_BYTES, MIB, PACKET_BYTES_DEFAULT
from gfs_ha.protocol.metadata import AllocateChunk, FinishChunk, Publish, ReleaseChunks

SMALL = packer.SMALL_FILE_BYTES_MAX


@pytest.mark.parametrize(
    "size",
    [0, 1, *(at + by for at in (BLOCK_BYTES, SMALL, MIB, 3 * MIB) for by in (-1, 0, 1))],
)
def test_every_size_comes_back_byte_for_byte(
    little: LittleCluster, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    local = tmp_path / "local"
    local.write_bytes(data)
    stored = little.client.put(local, "/file")
    little.client.put(io.BytesIO(data), "/stream")
    little.client.write_bytes("/bytes", data)
    assert stored.size == size
    assert stored.chunk_count == -(-size // MIB)
    for path in ("/file", "/stream", "/bytes"):
        assert little.client.stat(path).size == size
        assert little.client.read_bytes(path) == data
        little.client.get(path, tmp_path / "back", verify=True)
        assert (tmp_path / "back").read_bytes() == data


def test_an_empty_file_is_one_command(little: LittleCluster) -> None:
    little.client.open("/empty", "wb").close()
    assert len(little.masters.requests(Publish)) == 1
    assert not little.masters.requests(AllocateChunk)
    assert little.plane.push_count == 0


def test_nothing_is_sent_before_there_is_enough_to_push(little: LittleCluster) -> None:
    file = little.client.open("/a", "wb")
    file.write(b"x" * SMALL)
    assert not little.masters.asked
    file.abandon()
    file.close()
    assert not little.client.exists("/a")


def test_a_file_larger_than_its_inline_extents_is_staged(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "INLINE_EXTENTS_MAX", 2)
    monkeypatch.setattr(writer, "STAGED_PER_COMMAND", 3)
    data = os.urandom(8 * MIB + 5)
    little.client.put(io.BytesIO(data), "/a")
    assert little.client.read_bytes("/a") == data


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("after", [0, MIB // 2, MIB])
def test_a_server_that_dies_in_a_push_costs_neither_the_put_nor_a_byte(
    little: LittleCluster, position: int, after: int
) -> None:
    data = os.urandom(5 * MIB + 17)
    little.client.put(io.BytesIO(b"x" * MIB), "/before")
    chunk = little.masters.view().chunks_after(0, 10)[-1][1]
    victim = chunk.replicas[position].server_id
    little.plane.dies_in_push[victim] = after
    stored = little.client.put(io.BytesIO(data), "/a")
    assert stored.copies >= 2
    # The leader is told whom the client saw failing, and gives it chunks without that server.
    told = [asked.request.failed for asked in little.masters.requests(AllocateChunk)]
    assert any(victim in failed for failed in told)
    assert little.client.read_bytes("/a") == data
    little.plane.dead.clear()  # What it has of the broken push is never served as content.
    assert little.client.read_bytes("/a") == data


@pytest.mark.parametrize("part", [1, PACKET_BYTES_DEFAULT])
def test_a_push_that_outlives_its_tickets_is_several_in_one_chunk(
    little: LittleCluster, part: int
) -> None:
    data = os.urandom(2 * MIB + 12_345)
    little.plane.stale_after = part
    stored = little.client.put(io.BytesIO(data), "/a")
    assert (stored.chunk_count, stored.copies) == (3, 3)
    assert little.plane.push_count >= 5
    assert little.client.read_bytes("/a") == data


def test_fewer_copies_than_wanted_are_said() -> None:
    little = LittleCluster(server_count=3)
    little.plane.dead.add(little.masters.locations()[2].server_id)
    data = os.urandom(2 * MIB)
    stored = little.client.put(io.BytesIO(data), "/a")
    assert (stored.copies, stored.goal) == (2, 3)
    assert "stored with 2 of 3 copies" in stored.warnings[0]
    small = little.client.put(io.BytesIO(b"small"), "/b")
    assert "stored with 2 of 3 copies" in small.warnings[0]
    assert little.client.read_bytes("/b") == b"small"
    little.close()


def test_with_too_few_servers_the_put_fails_in_time_and_leaves_nothing() -> None:
    little = LittleCluster(server_count=3, timeout_s=0.5)
    for place in little.masters.locations()[:2]:
        little.plane.dead.add(place.server_id)
    for size in (10, 2 * MIB):
        with pytest.raises(GfsError) as failed:
            little.client.put(io.BytesIO(b"x" * size), "/a")
        assert failed.value.exit_status == 5, failed.value
    assert not little.client.exists("/a")
    little.client.close()
    view = little.masters.view()
    assert all(chunk.state in ("dead", "open") for _, chunk in view.chunks_after(0, 100))
    assert not view.chunks_after(0, 100) or not view.counters().files


def test_no_server_at_all_is_temporary() -> None:
    little = LittleCluster(server_count=1, timeout_s=0.3)
    with pytest.raises(NoServers):
        little.client.write_bytes("/a", b"x")
    little.close()


def test_small_files_share_pushes_chunks_and_commands(
    little: LittleCluster, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(400):
        (tree / f"f{number:03}").write_bytes(os.urandom(100))
    result = little.client.put_tree(tree, "/tree")
    assert result.file_count == 400
    assert result.complete
    assert len(little.masters.requests(AllocateChunk)) == 1
    assert little.plane.push_count < 200
    for number in range(400):
        name = f"f{number:03}"
        assert little.client.read_bytes(f"/tree/{name}") == (tree / name).read_bytes()


def test_small_files_survive_the_loss_of_each_server_of_their_open_chunk(
    little: LittleCluster,
) -> None:
    contents: dict[str, bytes] = {}
    for number in range(30):
        if number in (5, 15):
            chunks = [c for _, c in little.masters.view().chunks_after(0, 50) if c.state == "open"]
            victim = chunks[-1].replicas[number % 3].server_id
            little.plane.dead.clear()
            little.plane.dead.add(victim)
        path = f"/f{number}"
        contents[path] = os.urandom(5000)
        little.client.write_bytes(path, contents[path])
    for path, data in contents.items():
        assert little.client.read_bytes(path) == data
    little.client.close()
    view = little.masters.view()
    states = {chunk.state for _, chunk in view.chunks_after(0, 50)}
    assert states <= {"sealed", "dead"}, states
    for chunk_id, chunk in view.chunks_after(0, 50):
        for holder in chunk.holders:
            assert len(little.plane.chunks[holder, chunk_id]) >= chunk.length, holder


def test_an_unused_spare_chunk_is_given_back(little: LittleCluster) -> None:
    little.client.put(io.BytesIO(os.urandom(MIB * 3 // 4)), "/a")  # More than half a chunk.
    little.client.close()
    states = [chunk.state for _, chunk in little.masters.view().chunks_after(0, 50)]
    assert sorted(states)[-1] == "sealed"
    assert states.count("sealed") == 1
    assert "open" not in states


def test_a_lost_answer_to_any_command_of_a_put_changes_nothing(little: LittleCluster) -> None:
    data = os.urandom(3 * MIB)
    for skipped in range(8):
        for _ in range(skipped):
            little.masters.after.append(lambda name, asked: None)
        little.masters.after.append(lost)
        little.client.put(io.BytesIO(data), "/a")
        little.masters.after.clear()
        assert little.client.read_bytes("/a") == data


def test_leaving_by_an_exception_discards(little: LittleCluster) -> None:
    little.client.write_bytes("/a", b"old")
    with pytest.raises(ZeroDivisionError), little.client.open("/a", "wb") as file:
        file.write(b"n" * 2 * MIB)
        raise ZeroDivisionError
    assert little.client.read_bytes("/a") == b"old"
    little.client.close()
    referenced = little.masters.view()
    chunks = referenced.chunks_after(0, 50)
    assert all(chunk.state == "dead" or referenced.referenced(key) for key, chunk in chunks)


def test_a_forgotten_writer_publishes_nothing(little: LittleCluster) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = little.client.open("/a", "wb")
        file.write(b"half")
        del file
    assert any("never closed" in str(one.message) for one in caught)
    assert not little.client.exists("/a")


def test_if_absent_is_decided_at_the_commit(little: LittleCluster, tmp_path: Path) -> None:
    first = little.client.open("/a", "wb", if_absent=True)
    second = little.client.open("/a", "wb", if_absent=True)
    first.write(b"first")
    second.write(b"second" * MIB)
    first.close()
    with pytest.raises(AlreadyExists):
        second.close()
    assert little.client.read_bytes("/a") == b"first"
    with pytest.raises(AlreadyExists):
        little.client.put(io.BytesIO(b"x"), "/a", if_absent=True)


def test_a_missing_parent_is_found_before_anything_is_sent(little: LittleCluster) -> None:
    with pytest.raises(NotFound):
        little.client.put(io.BytesIO(b"x" * 4 * MIB), "/no/such/file")
    assert little.plane.push_count == 0


def test_targets_are_those_of_cp(little: LittleCluster, tmp_path: Path) -> None:
    local = tmp_path / "name"
    local.write_bytes(b"1")
    little.client.mkdir("/d")
    little.client.put(local, "/d")
    little.client.put(local, "/d/")
    assert little.client.read_bytes("/d/name") == b"1"
    little.client.mkdir("/d/sub")
    (tmp_path / "sub").write_bytes(b"2")
    with pytest.raises(IsADirectory):
        little.client.put(tmp_path / "sub", "/d")
    with pytest.raises(IsADirectory):
        little.client.put(io.BytesIO(b"3"), "/d")
    with pytest.raises(NotFound):
        little.client.put(local, "/new/")
    with pytest.raises(IsADirectory):
        little.client.put(tmp_path, "/x")
    with pytest.raises(NotFound):
        little.client.put(tmp_path / "missing", "/x")
    with pytest.raises(UsageError):
        little.client.put(local, "/x", durability="paper")


def test_a_file_that_changes_while_it_is_read_is_not_published(
    little: LittleCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gfs_ha.client.local_files import LocalSource

    local = tmp_path / "log"
    local.write_bytes(b"a" * 3 * MIB)
    little.client.put(local, "/log")
    reading = LocalSource.read_into

    def grow(self: LocalSource, memory: memoryview, offset: int) -> int:
        with open(local, "ab") as file:
            file.write(b"b")
        return reading(self, memory, offset)

    monkeypatch.setattr(LocalSource, "read_into", grow)
    with pytest.raises(PartlyDone, match="log changed while it was read"):
        little.client.put(local, "/log")
    assert little.client.stat("/log").size == 3 * MIB


def test_a_signal_takes_back_no_more_progress_than_was_told(
    little: LittleCluster, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(bytes(3 * MIB))
    told: list[int] = []

    class Stopped(Silent):
        def moved(self, size: int) -> None:
            if len(told) == 1:
                told.append(0)
                raise KeyboardInterrupt  # As a signal between the write and the telling.
            told.append(size)

    with pytest.raises(KeyboardInterrupt):
        little.client.put(tmp_path / "f", "/f", jobs=1, progress=Stopped())
    assert told[0] > 0 and sum(told) == 0


def test_releases_never_outnumber_claims(little: LittleCluster) -> None:
    for number in range(3):
        little.client.put(io.BytesIO(os.urandom(2 * MIB + number)), f"/a{number}")
    little.client.close()
    finished = [one.request.chunk_id for one in little.masters.requests(FinishChunk)]
    assert len(finished) == len(set(finished))
    released = [c for one in little.masters.requests(ReleaseChunks) for c in one.request.chunk_ids]
    assert len(released) == len(set(released))


def test_a_pipe_by_name_is_a_stream_both_ways(little: LittleCluster, tmp_path: Path) -> None:
    data = os.urandom(2 * MIB)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed() -> None:
        pipe.write_bytes(data)

    thread = threading.Thread(target=feed)
    thread.start()
    little.client.put(pipe, "/a")
    thread.join()
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    thread.start()
    little.client.get("/a", pipe)
    thread.join()
    assert found == [data]
    assert pipe.is_fifo(), "a special file is written to, not replaced"


def test_a_link_is_written_through(little: LittleCluster, tmp_path: Path) -> None:
    little.client.write_bytes("/a", b"new")
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    little.client.get("/a", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    little.client.put(tmp_path / "link", "/b")
    assert little.client.read_bytes("/b") == b"new"


def test_an_error_of_the_source_leaves_the_old_file_and_no_chunk(little: LittleCluster) -> None:
    little.client.put(io.BytesIO(b"old"), "/a")

    class Breaking(io.RawIOBase):
        def __init__(self) -> None:
            super().__init__()
            self.left = 4

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return b"x" * MIB

    with pytest.raises(KeyboardInterrupt):
        little.client.put(Breaking(), "/a")
    assert little.client.read_bytes("/a") == b"old"
    little.client.close()
    view = little.masters.view()
    states = [chunk.state for _, chunk in view.chunks_after(0, 50)]
    assert states.count("dead") == len(states) - 1, "only the old file's chunk is left"
