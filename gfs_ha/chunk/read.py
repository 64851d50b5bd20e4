"""The serving end of a read: a range with the CRCs of its grid parts, never a block that is bad.

Big ranges go out by sendfile with the CRCs that were stored; the reader checks every block, and
asks again for a CHECKED read of one that differs, which finds out whose fault it is (D3).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import File
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.service_times import READ
from gfs_ha.chunk.slots.answers import ReadPlan
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import CorruptData, DiskFailed, NotFound, ReplicaBusy, UnknownReplica
from gfs_ha.ids import ChunkId
from gfs_ha.limits import BLOCK_BYTES, KIB
from gfs_ha.net.answers import Deadline
from gfs_ha.net.streams import Stream
from gfs_ha.protocol.data import DataRequest, RequestFlag
from gfs_ha.protocol.frames import DataEcho, FrameKind, encode_echo, encode_frame
from gfs_ha.protocol.grid import cuts
from gfs_ha.runtime import Runtime

T = TypeVar("T")

SENDFILE_BYTES_MIN = 128 * KIB  # Below it one preadv and one sendmsg are cheaper: measured.

# Told chunk and block index of a block of a sealed chunk that failed its CRC.
OnDamage = Callable[[ChunkId, int], None]


@dataclass(frozen=True, slots=True)
class ReadRoom:
    """What every read on this server needs."""

    store: ChunkStore
    runtime: Runtime
    on_damage: OnDamage
    pace: RepairPace | None = None  # Is told how long clients wait.


def serve_fetch(room: ReadRoom, request: DataRequest, stream: Stream) -> None:
    """Answer one ranged read.

    Raises: UnknownReplica, WrongBirth, ChunkUnavailable, RangeGone, ReplicaDamaged, CorruptData
    before anything was sent; Unreachable, DeadlineExceeded.
    """
    deadline = Deadline(room.runtime, request.deadline_ms / 1000)
    begun_s = room.runtime.monotonic_s()

    def begin(replica: Replica) -> tuple[Replica, ReadPlan, File]:
        plan = replica.plan_read(request.offset, request.length)
        return replica, plan, replica.disk.open(plan.name)

    replica, plan, opened = _ask(room, request, begin)
    reader = _RangeReader(room, request, replica, plan)
    doubted = replica.condition == "damaged"  # Then nothing leaves that was not looked at.
    with closing(opened) as file, room.store.buffers.borrow() as buffer:
        space = buffer.data[: len(buffer.data) - 2 * BLOCK_BYTES]
        small = request.length < SENDFILE_BYTES_MIN or request.flags & RequestFlag.CHECKED
        if small and request.length <= len(space):
            data, crcs = reader.checked(file, buffer.data)
            stream.send([reader.answer(crcs), data], deadline.hang_up)
            if room.pace is not None and not request.flags & RequestFlag.REPAIR:
                # It fits into the socket: nobody waits for who reads it.
                room.pace.served(READ, request.length, room.runtime.monotonic_s() - begun_s)
        elif file.number() >= 0 and not (request.flags & RequestFlag.CHECKED or doubted):
            crcs = reader.edges_checked(file, buffer.data)
            stream.send([reader.answer(crcs)], deadline.hang_up)
            stream.send_file(
                file.number(), DATA_OFFSET + request.offset, request.length, deadline.hang_up
            )
        else:
            reader.check_all(file, buffer.data)
            crcs = reader.edges_checked(file, buffer.data)
            stream.send([reader.answer(crcs)], deadline.hang_up)
            for start in range(0, request.length, len(space)):
                part = space[: min(len(space), request.length - start)]
                file.read(DATA_OFFSET + request.offset + start, part)
                stream.send([part], deadline.hang_up)


def serve_blocks(room: ReadRoom, request: DataRequest, stream: Stream) -> None:
    """Answer with length, digest and CRC array of a sealed chunk. Raises: as `serve_fetch`."""
    deadline = Deadline(room.runtime, request.deadline_ms / 1000)

    def plan_all(replica: Replica) -> ReadPlan:
        header = replica.header
        if header.state is not State.SEALED:
            raise ReplicaBusy(f"chunk {request.chunk_id:#x} is not sealed here yet")
        return replica.plan_read(0, header.end, data=False)

    plan = _ask(room, request, plan_all)
    echo = DataEcho(request.chunk_id, 0, plan.end, True, plan.digest, plan.crcs)
    frame = encode_frame(FrameKind.BLOCKS, request.op_id, encode_echo(echo))
    stream.send([frame], deadline.hang_up)


def _ask(room: ReadRoom, request: DataRequest, ask: Callable[[Replica], T]) -> T:
    """Return what a replica says; one that moves to another disk just then is asked there (D6)."""
    while True:
        replica = room.store.get(request.chunk_id, request.birth)
        try:
            return ask(replica)
        except (UnknownReplica, NotFound):
            if room.store.get(request.chunk_id, request.birth) is replica:
                raise


class _RangeReader:
    """The blocks under one range: read, checked against the replica's CRCs, cut to the range."""

    def __init__(
        self, room: ReadRoom, request: DataRequest, replica: Replica, plan: ReadPlan
    ) -> None:
        self._room = room
        self._request = request
        self._replica = replica
        self._plan = plan
        self._first = plan.offset // BLOCK_BYTES

    def answer(self, crcs: array[int]) -> bytes:
        """Return the frame that goes before the bytes."""
        plan = self._plan
        echo = DataEcho(
            self._request.chunk_id, plan.offset, plan.length, plan.sealed, plan.digest, crcs
        )
        return encode_frame(FrameKind.DATA, self._request.op_id, encode_echo(echo))

    def checked(self, file: File, buffer: memoryview) -> tuple[memoryview, array[int]]:
        """Return a small range and its part CRCs; every block under it was read and is right."""
        plan = self._plan
        if not plan.length:
            return buffer[:0], array("I")
        start = self._first * BLOCK_BYTES
        whole = buffer[: self._block_end(len(plan.crcs) - 1) - start]
        try:
            count = file.read(DATA_OFFSET + start, whole)
        except DiskFailed:
            self.check_all(file, buffer)  # It says which block cannot be read.
            count = file.read(DATA_OFFSET + start, whole)
        for index in range(len(plan.crcs)):
            at = index * BLOCK_BYTES
            end = self._block_end(index) - start
            if end > count or crc32c(whole[at:end]) != plan.crcs[index]:
                self._damaged(index)
        data = whole[plan.offset - start : plan.offset - start + plan.length]
        crcs = array("I", plan.crcs)
        for index, (begin, end) in self._edges():
            crcs[index] = crc32c(data[begin:end])
        return data, crcs

    def edges_checked(self, file: File, buffer: memoryview) -> array[int]:
        """Return the part CRCs of a range; only blocks that it covers in part have to be read."""
        crcs = array("I", self._plan.crcs)
        for index, (begin, end) in self._edges():
            block = self._read_block(file, index, buffer)
            skip = self._plan.offset + begin - (self._first + index) * BLOCK_BYTES
            crcs[index] = crc32c(block[skip : skip + end - begin])
        return crcs

    def check_all(self, file: File, buffer: memoryview) -> None:
        """Read every block under the range. Raises: CorruptData."""
        for index in range(len(self._plan.crcs)):
            self._read_block(file, index, buffer)

    def _read_block(self, file: File, index: int, buffer: memoryview) -> memoryview:
        start = (self._first + index) * BLOCK_BYTES
        block = buffer[: self._block_end(index) - start]
        try:
            count = file.read(DATA_OFFSET + start, block)
        except DiskFailed:
            count = 0  # What cannot be read is as bad as what is another one.
        if count < len(block) or crc32c(block) != self._plan.crcs[index]:
            self._damaged(index)
        return block

    def _block_end(self, index: int) -> int:
        return min((self._first + index + 1) * BLOCK_BYTES, self._plan.end)

    def _edges(self) -> list[tuple[int, tuple[int, int]]]:
        """Return index and cut of the first and last part where it is less than its block."""
        plan = self._plan
        parts = list(enumerate(cuts(plan.offset, plan.length)))
        found = []
        for index, (begin, end) in dict.fromkeys([*parts[:1], *parts[-1:]]):
            block_start = (self._first + index) * BLOCK_BYTES
            if end - begin < self._block_end(index) - block_start:
                found.append((index, (begin, end)))
        return found

    def _damaged(self, index: int) -> None:
        block = self._first + index
        # Given back while it was read, it is no damage: it lacks a mark in the plan only.
        there = self._room.store.get(self._request.chunk_id)
        there.plan_read(block * BLOCK_BYTES, 1)
        if self._plan.sealed and there is self._replica:  # Else a copy took its place meanwhile.
            self._room.on_damage(self._request.chunk_id, block)
        raise CorruptData(
            f"block {block} of chunk {self._request.chunk_id:#x} is damaged on this server; "
            "read another replica",
            block=block,
        )
