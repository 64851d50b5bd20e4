"""What decides without asking anybody: pauses, windows, the choice of a replica, paths, acks."""

from __future__ import annotations

import os
import random

import msgspec
import pytest
from little_cluster import LittleCluster

from gfs_ha.checksum import block_crcs, chunk_digest
from gfs_ha.client.chunk_crcs import ChunkCrcs
from gfs_ha.client.chunk_push import read_acks
from gfs_ha.client.locations import Here, order_replicas
from gfs_ha.client.namespace import check_path
from gfs_ha.client.reader import PIECE_BYTES, piece_at
from gfs_ha.client.retry import FAILOVER_PAUSE_MAX_S, Deadline, pause_s, worth_retrying
from gfs_ha.client.small_contents import plan_runs
from gfs_ha.client.transfers import Stored
from gfs_ha.client.window import Window
from gfs_ha.errors import (
    AlreadyExists,
    Busy,
    DeadlineExceeded,
    FileChanged,
    InvalidPath,
    LimitExceeded,
    NoLeader,
    NoServers,
    NoSpace,
    NotLeader,
    Overloaded,
    TooFewCopies,
    UnknownOutcome,
    Unreachable,
)
from gfs_ha.ids import ChunkId, Epoch, ServerId
from gfs_ha.limits import BLOCK_BYTES, SESSION_WINDOW
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.metadata import ChunkAllocated, ChunkLocations, Extent, Location


def test_a_failover_is_looked_for_often_and_an_overloaded_leader_is_spared() -> None:
    for error in (NotLeader(""), NoLeader(""), Unreachable(""), UnknownOutcome("")):
        pauses = [pause_s(error, index, 1.0) for index in range(30)]
        assert pauses == sorted(pauses)
        assert sum(pauses[:7]) < 0.2
        assert max(pauses) == FAILOVER_PAUSE_MAX_S
    pauses = [pause_s(Overloaded(""), index, 1.0) for index in range(30)]
    assert pauses[3] > pauses[2] > pauses[1]
    assert max(pauses) == 1.0
    assert pause_s(Busy("", retry_ms=300), 0, 1.0) == 0.3
    assert pause_s(Busy("", retry_ms=10**9), 0, 1.0) == 1.0
    assert pause_s(Overloaded(""), 5, 0.0) == pause_s(Overloaded(""), 5, 1.0) / 2


def test_only_what_the_same_request_may_cure_is_tried_again() -> None:
    assert worth_retrying(NoServers(""))
    assert worth_retrying(DeadlineExceeded(""))
    assert not worth_retrying(AlreadyExists(""))
    assert not worth_retrying(FileChanged(""))


def test_a_deadline_bounds_each_request_and_the_last_attempt() -> None:
    deadline = Deadline(100.0)
    assert deadline.request_s(0.0) == 10.0
    assert deadline.request_s(97.0) == 3.0
    assert deadline.request_s(200.0) == 0.0
    assert deadline.allows(0.5, 99.0)
    assert not deadline.allows(1.0, 99.0)


def test_the_window_starts_at_the_lowest_unsettled_sequence() -> None:
    window = Window()
    taken = [window.take() for _ in range(5)]
    assert taken == [1, 2, 3, 4, 5]
    assert window.start == 1
    window.settle(2)
    window.settle(3)
    assert window.start == 1
    window.settle(1)
    assert window.start == 4
    window.settle(5)
    window.settle(4)
    assert window.start == 6


def test_the_window_never_lets_a_sequence_out_that_would_be_refused() -> None:
    window = Window()
    chance = random.Random(1)
    taken: list[int] = []
    for _ in range(20_000):
        if window.room and chance.random() < 0.7:
            taken.append(window.take())
            assert taken[-1] < window.start + SESSION_WINDOW
        elif taken:
            window.settle(taken.pop(chance.randrange(len(taken))))
        assert window.start == min(taken, default=window.start)
    assert window.open_count == len(taken)


def location(number: int, machine: str = "", rack: str = "", live: bool = True) -> Location:
    return Location(
        ServerId(number), f"cs{number}", "host", number, rack, machine or f"h{number}", live
    )


def chunk(*places: Location, chunk_id: int = 7) -> ChunkLocations:
    return ChunkLocations(ChunkId(chunk_id), Epoch(1, 1), True, 10, 0, places)


def test_replicas_are_asked_by_nearness_then_by_hash_and_failed_ones_last() -> None:
    places = (location(1, rack="r1"), location(2, rack="r2"), location(3, machine="me", rack="r3"))
    here = Here("me", "r2")
    assert [p.server_id for p in order_replicas(chunk(*places), here, ())] == [3, 2, 1]
    assert [p.server_id for p in order_replicas(chunk(*places), here, {3})] == [2, 1, 3]
    dead = (places[0], places[1], location(3, machine="me", live=False))
    assert [p.server_id for p in order_replicas(chunk(*dead), here, ())] == [2, 1, 3]


def test_far_replicas_share_the_chunks_and_each_chunk_has_one_favourite() -> None:
    places = [location(number) for number in range(1, 6)]
    counts: dict[int, int] = {}
    for chunk_id in range(1, 1001):
        found = chunk(*places, chunk_id=chunk_id)
        favourite = order_replicas(found, Here("x"), ())[0].server_id
        shuffled = chunk(*reversed(places), chunk_id=chunk_id)
        assert order_replicas(shuffled, Here("y"), ())[0].server_id == favourite
        counts[favourite] = counts.get(favourite, 0) + 1
    assert min(counts.values()) > 120


@pytest.mark.parametrize(
    ("path", "clean"),
    [("/", "/"), ("//", "/"), ("/a//b/", "/a/b"), ("/100%/a%41", "/100%/a%41"), ("/ü", "/ü")],
)
def test_paths_are_cleaned_and_never_decoded(path: str, clean: str) -> None:
    assert check_path(path) == clean


@pytest.mark.parametrize("path", ["", "a", "./a", "/a/../b", "/.", "/a\0b", "/caf\udce9"])
def test_paths_that_cannot_exist_are_refused_here(path: str) -> None:
    with pytest.raises(InvalidPath):
        check_path(path)


def test_names_are_counted_in_bytes() -> None:
    assert check_path("/" + "ü" * 127 + "x")
    for name in ("x" * 256, "ü" * 128):
        with pytest.raises(LimitExceeded, match="255"):
            check_path("/" + name)
    with pytest.raises(LimitExceeded, match="4096"):
        check_path("/x" * 2049)


def test_the_digest_of_many_pushes_is_that_of_one() -> None:
    chance = random.Random(2)
    data = os.urandom(5 * BLOCK_BYTES + 99)
    for _ in range(50):
        crcs = ChunkCrcs()
        at = 0
        while at < len(data):
            size = chance.choice([0, 1, 17, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 99_999])
            part = memoryview(data)[at : at + size]
            crcs.append(len(part), part_crcs(at, part))
            at += len(part)
            assert crcs.length == at
        assert crcs.digest() == chunk_digest(block_crcs(data))


def allocated(count: int = 3) -> ChunkAllocated:
    places = tuple(location(number) for number in range(1, count + 1))
    return ChunkAllocated(ChunkId(1), Epoch(1, 1), 1 << 20, places, 3, 2, "disk")


def test_holders_are_those_that_acknowledged_exactly_the_end() -> None:
    acks = (ReplicaAck(1, "", 10), ReplicaAck(2, "", 9), ReplicaAck(3, "", 10))
    outcome = read_acks(allocated(), acks, 10, None)
    assert outcome.complete == (1, 3)
    assert outcome.enough(allocated())
    assert not outcome.everywhere(allocated())


def test_a_replica_that_refuses_at_the_right_end_is_no_holder() -> None:
    acks = (ReplicaAck(1, "", 10), ReplicaAck(2, "Fenced", 10, "fenced"), ReplicaAck(3, "", 10))
    outcome = read_acks(allocated(), acks, 10, None)
    assert outcome.complete == (1, 3)
    assert outcome.failed == (2,)


def test_that_only_room_was_missing_is_said_as_such() -> None:
    full = ReplicaAck(1, "DiskFull", 0, "the disk is full"), ReplicaAck(2, "DiskFull", 0, "so")
    silent = ReplicaAck(3, "UnknownOutcome", 0, "above")
    assert isinstance(read_acks(allocated(), (*full, silent), 10, None).error, NoSpace)
    other = ReplicaAck(3, "Unreachable", 0, "refused")
    assert isinstance(read_acks(allocated(), (*full, other), 10, None).error, TooFewCopies)


def test_the_blame_goes_to_whom_the_hop_above_names() -> None:
    acks = (
        ReplicaAck(1, "", 10),
        ReplicaAck(2, "Unreachable", 0, "refused"),
        ReplicaAck(3, "UnknownOutcome", 0, "above"),
    )
    outcome = read_acks(allocated(), acks, 10, None)
    assert outcome.failed == (2,)
    assert not outcome.enough(allocated())
    assert "cs2: refused" in str(outcome.error)
    lost = read_acks(allocated(), (), 10, Unreachable("hung up"))
    assert lost.failed == (1,)
    assert lost.complete == ()


@pytest.mark.parametrize("code", ["DiskFailed", "DiskFull"])
def test_of_a_server_that_answers_for_its_disk_only_the_disk_is_to_blame(code: str) -> None:
    chunk = allocated()
    second = msgspec.structs.replace(chunk.replicas[1], disk_id=77)
    known = msgspec.structs.replace(chunk, replicas=(chunk.replicas[0], second, chunk.replicas[2]))
    acks = (ReplicaAck(1, "", 10), ReplicaAck(2, code, 0, "x"), ReplicaAck(3, "Unreachable", 0))
    outcome = read_acks(known, acks, 10, None)
    assert (outcome.failed, outcome.cut_off, outcome.failed_disks) == ((2, 3), (3,), {2: 77})
    # Masters of an earlier release do not say on which disk it was to lie.
    outcome = read_acks(chunk, acks, 10, None)
    assert (outcome.failed, outcome.cut_off, outcome.failed_disks) == ((2, 3), (2, 3), {})


def test_short_extents_are_read_whole_and_long_ones_in_pieces() -> None:
    short = Extent(1000, ChunkId(1), 50, 100, crc=7)
    assert piece_at(short, 1050, 1060).whole
    long = Extent(0, ChunkId(1), 0, 3 * PIECE_BYTES + 5, crc=7)
    first = piece_at(long, 0, long.length)
    assert (first.begin, first.end) == (0, PIECE_BYTES)
    middle = piece_at(long, PIECE_BYTES + 10, long.length)
    assert (middle.begin, middle.end) == (PIECE_BYTES + 10, 2 * PIECE_BYTES)
    last = piece_at(long, 3 * PIECE_BYTES, long.length)
    assert last.file_end == long.length
    assert piece_at(long, 10, 20).file_end == 20


def test_a_put_with_all_copies_warns_of_nothing() -> None:
    assert not Stored("/a", 0).warnings
    assert not Stored("/a", 1, 1, 3, 3).warnings
    assert "2 of 3" in Stored("/a", 1, 1, 2, 3).warnings[0]


def test_neighbours_in_a_chunk_share_a_read_and_others_do_not(little: LittleCluster) -> None:
    for number in range(20):
        little.client.write_bytes(f"/{number}", os.urandom(1000 + number))
    little.client.write_bytes("/empty", b"")
    little.client.write_bytes("/big", os.urandom(3 << 20))
    paths = [f"/{number}" for number in range(20)] + ["/empty", "/big", "/missing"]
    contents = little.connection.open_contents(paths)
    runs = plan_runs(contents)
    assert len(runs) == 1
    assert sorted(index for index, _ in runs[0].members) == list(range(20))
    assert runs[0].end - runs[0].start == sum(1000 + number for number in range(20))
