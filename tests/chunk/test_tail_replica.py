"""Replicas of tails: records whole or absent, entries beside bytes, reads below the commit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from chunk_house import BIRTH, CHUNK
from replica_house import RUNTIME, append, digest_of, make_replica, open_store, readable
from tail_house import APPENDER, Written, append_entries, entries_of, make_tail

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.errors import ChunkUnavailable, Fenced, ProtocolError, ReplicaDamaged
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.protocol.records import RecordEntry

ORDER = LogIndex(50)
LATER = LogIndex(60)


@pytest.fixture
def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


@pytest.fixture
def written(disk: MemoryDisk) -> Written:
    return Written(make_tail(open_store(disk)))


def overwrite(disk: MemoryDisk, replica_name: str, offset: int, data: bytes) -> None:
    with opened(disk, replica_name) as file:
        file.write(offset, data)
        file.sync()


def test_a_proof_tells_crc_and_records_up_to_the_length(written: Written) -> None:
    first = written.batch([100, 200])
    second = written.batch([BLOCK_BYTES, 7])
    for end, count in ((first, 2), (second, 4), (0, 0)):
        proof = written.replica.prove(ORDER, end)
        assert proof.digest == digest_of(written.data[:end])
        assert proof.crc == crc32c(written.data[:end])
        assert proof.records == tuple(written.entries[:count])


def test_records_below_the_newest_window_within_the_length_are_left_out(written: Written) -> None:
    first = written.batch([10, 10, 10])
    second = written.batch([10], window_start=3)
    assert [one.sequence for one in written.replica.prove(ORDER, second).records] == [3, 4]
    assert [one.sequence for one in written.replica.prove(ORDER, first).records] == [1, 2, 3]


def test_records_of_several_appenders_are_sorted(disk: MemoryDisk) -> None:
    replica = make_tail(open_store(disk))
    mixed = (
        RecordEntry(APPENDER, 2, 1, 0, 5),
        RecordEntry(type(APPENDER)(3), 9, 9, 5, 5),
        RecordEntry(APPENDER, 1, 1, 10, 5),
    )
    append_entries(replica, bytes(15), mixed)
    assert replica.prove(ORDER, 15).records == tuple(sorted(mixed))


def test_a_length_inside_a_batch_is_no_end_of_records(written: Written) -> None:
    written.batch([100, 100])
    with pytest.raises(ReplicaDamaged):
        written.replica.prove(ORDER, 100)


def test_a_seal_cuts_the_entries_off(disk: MemoryDisk, written: Written) -> None:
    written.batch([100, 200])
    end = written.batch([300])
    with opened(disk, written.replica.name) as file:
        assert file.size() > DATA_OFFSET + MIB
    written.replica.finish(LATER, end, digest_of(written.data))
    with opened(disk, written.replica.name) as file:
        assert file.size() == DATA_OFFSET + end
    found = open_store(disk).get(CHUNK, BIRTH)
    assert readable(found, disk, end) == written.data
    assert found.prove(LATER, end).crc == crc32c(written.data)
    assert found.confirm(LATER, end, digest_of(written.data))


def test_a_seal_below_the_last_batch_leaves_what_is_below(
    disk: MemoryDisk, written: Written
) -> None:
    first = written.batch([100, 200])
    written.batch([300])
    written.replica.fence(ORDER)
    written.replica.finish(LATER, first, digest_of(written.data[:first]))
    found = open_store(disk).get(CHUNK, BIRTH)
    assert readable(found, disk, first) == written.data[:first]


def test_readers_get_nothing_beyond_the_commit_length(disk: MemoryDisk, written: Written) -> None:
    end = written.batch([100, 200])
    replica = written.replica
    with pytest.raises(ChunkUnavailable) as caught:
        replica.plan_read(0, 1)
    assert caught.value.details["end"] == 0
    replica.note_committed(100)
    assert readable(replica, disk, 100) == written.data[:100]
    with pytest.raises(ChunkUnavailable) as caught:
        replica.plan_read(0, end)
    assert caught.value.details["end"] == 100
    replica.note_committed(end)
    replica.note_committed(5)
    assert readable(replica, disk, end) == written.data
    replica.fence(ORDER)
    assert readable(replica, disk, end) == written.data


def test_a_commit_length_that_is_not_here_serves_nothing_that_is_not_here(
    written: Written,
) -> None:
    end = written.batch([100])
    written.replica.note_committed(end + 50)
    with pytest.raises(ChunkUnavailable):
        written.replica.plan_read(0, end + 1)


def test_after_a_restart_an_open_tail_serves_nothing_and_takes_nothing(
    disk: MemoryDisk, written: Written
) -> None:
    end = written.batch([100])
    written.replica.note_committed(end)
    found = open_store(disk).get(CHUNK, BIRTH)
    with pytest.raises(ChunkUnavailable):
        found.plan_read(0, 1)
    with pytest.raises(Fenced):
        append_entries(found, bytes(5), entries_of(end, [5], first=2))
    answer = found.fence(ORDER)
    assert answer.proof and answer.end == end


def test_records_come_to_tails_and_only_they_do(disk: MemoryDisk) -> None:
    store = open_store(disk)
    tail = make_tail(store)
    with pytest.raises(ProtocolError):
        append(tail, b"bytes")
    store.delete(CHUNK, ORDER)
    with pytest.raises(ProtocolError):
        append_entries(make_replica(store), b"bytes", entries_of(0, [5]))


Harm = Callable[[MemoryDisk, Written], None]


def harm_entries(disk: MemoryDisk, written: Written) -> None:
    at = DATA_OFFSET + MIB + sum(24 + 36 * count for count in written.counts)
    overwrite(disk, written.replica.name, at - 1, b"\xff")


def harm_data(disk: MemoryDisk, written: Written) -> None:
    overwrite(disk, written.replica.name, DATA_OFFSET + written.ends[-2] + 3, b"not that")


@pytest.mark.parametrize("harm", [harm_entries, harm_data])
@pytest.mark.parametrize("lengths", [[50, 60], [BLOCK_BYTES - 300], [2 * BLOCK_BYTES]])
def test_the_last_batch_counts_of_which_bytes_and_entries_are_there(
    disk: MemoryDisk, written: Written, harm: Harm, lengths: list[int]
) -> None:
    written.batch([100, 200])
    before = written.batch([7])
    written.batch(lengths)
    harm(disk, written)
    for _ in range(2):
        answer = open_store(disk).get(CHUNK, BIRTH).fence(ORDER)
        assert not answer.proof
        assert (answer.end, answer.promised_end) == (before, written.ends[-1])
    proof = open_store(disk).get(CHUNK, BIRTH).prove(ORDER, before)
    assert proof.records == tuple(written.entries[:3])
    assert proof.crc == crc32c(written.data[:before])


def test_every_end_of_a_batch_can_be_found_not_only_the_last_two(
    disk: MemoryDisk, written: Written
) -> None:
    for _ in range(20):
        written.batch([10, 20])
    for index in reversed(range(20)):
        overwrite(disk, written.replica.name, DATA_OFFSET + written.ends[index] + 1, b"\xee\xff")
        verified = open_store(disk).get(CHUNK, BIRTH)
        with verified._orders:
            assert verified._inspection.verify().end == written.ends[index]


def test_the_first_damaged_entries_end_the_tail(disk: MemoryDisk, written: Written) -> None:
    written.batch([10])
    written.batch([10])
    overwrite(disk, written.replica.name, DATA_OFFSET + MIB + 30, b"\xff\xff")
    answer = open_store(disk).get(CHUNK, BIRTH).fence(ORDER)
    assert (answer.end, answer.proof) == (0, False)


def test_a_record_that_comes_late_below_a_window_is_left_out(disk: MemoryDisk) -> None:
    replica = make_tail(open_store(disk))
    newer = RecordEntry(APPENDER, 9, 8, 0, 5)
    late = RecordEntry(APPENDER, 7, 7, 5, 5)
    append_entries(replica, bytes(10), (newer, late))
    assert replica.prove(ORDER, 10).records == (newer,)
