"""Pieces of a content in order, several on their way at once, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.lanes import PIECES_DEFAULT, Lanes
from gfs_ha.client.memory import MemoryPool
from gfs_ha.client.reader import Piece, PieceReader, piece_at
from gfs_ha.client.transfers import UNPACED, Cancel, Watch
from gfs_ha.errors import Cancelled, DeadlineExceeded, GfsError
from gfs_ha.runtime import Runtime

PIECES_PER_WORKER = 2  # On their way, or read and not yet taken.
IDLE_S = 10.0  # Without anybody who takes, the workers end; the next `take` starts them again.
WAIT_S = 1.0  # How soon a waiting taker hears of a cancel.
WAIT_MAX_S = 3600.0  # Reading a piece has a deadline of its own.


@dataclass(frozen=True, slots=True)
class Filled:
    """Verified bytes of a file from `offset` on; given back when they are used."""

    offset: int
    data: memoryview
    memory: memoryview

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class ReaderParts:
    """What all readers of a client share."""

    pieces: PieceReader
    memory: MemoryPool
    runtime: Runtime

    def read(self, content: PinnedContent, piece: Piece, start: int, end: int) -> Filled:
        """Return what of the piece lies from `start` to `end` of the file.

        Raises: FileChanged, CorruptData, ChunkUnavailable.
        """
        memory = self.memory.take()
        data = self.pieces.read(content, piece, memory)
        first = max(start, piece.file_offset)
        last = min(end, piece.file_end)
        return Filled(first, data[first - piece.file_offset : last - piece.file_offset], memory)

    def give_back(self, filled: Filled) -> None:
        """Take the memory back; the bytes must not be used any more."""
        self.memory.give(filled.memory)


class PieceStream:
    """Reads ahead from `start` to `end` of a content. `take` is used by one thread.

    An error is raised by `take` at its place in the order; what lies before it is delivered.
    """

    def __init__(
        self,
        parts: ReaderParts,
        content: PinnedContent,
        start: int,
        end: int,
        watch: Watch | None = None,
    ) -> None:
        """Args: `watch` is that of the operation, with the lanes that its files share."""
        self._parts = parts
        self._cancel = watch.cancel if watch else Cancel()
        self._lanes = watch.lanes if watch else Lanes(parts.runtime)
        self._pace = watch.pace if watch else UNPACED
        self._workers_max = self._lanes.of_one_file(PIECES_DEFAULT)
        self._depth = PIECES_PER_WORKER * self._workers_max
        self._content = content
        self._planning = parts.runtime.lock()
        self._state = parts.runtime.condition()
        self._next_offset = start  # Of the next piece to be read.
        self._end = end
        self._next_index = 0
        self._taken_index = 0
        self._ready: dict[int, Filled | BaseException] = {}
        self._workers = 0
        self._closed = False

    def take(self) -> Filled | None:
        """Return the next bytes in order, or None at the end. Raises: FileChanged, CorruptData…"""
        if self._next_index == 0:
            self._work_once()  # The first piece needs no thread, and small files have only one.
        with self._state:
            self._start_workers()
            deadline_s = self._parts.runtime.monotonic_s() + WAIT_MAX_S
            while self._taken_index not in self._ready:
                if self._closed:
                    raise Cancelled("the reader was closed")
                if self._taken_index == self._next_index and self._next_offset >= self._end:
                    return None
                self._cancel.check()
                self._state.wait(WAIT_S)
                if self._parts.runtime.monotonic_s() > deadline_s:
                    raise DeadlineExceeded(f"{self._content.path}: nothing was read for an hour")
            found = self._ready.pop(self._taken_index)
            self._taken_index += 1
            self._state.notify_all()
        if isinstance(found, BaseException):
            self.close()
            raise found
        return found

    def give_back(self, filled: Filled) -> None:
        """Return what was taken; its bytes must not be used any more."""
        self._parts.give_back(filled)

    def close(self) -> None:
        """Stop reading ahead. What is on its way ends by itself, in the background."""
        with self._state:
            self._closed = True
            self._next_offset = self._end
            ready = list(self._ready.values())
            self._ready.clear()
            self._state.notify_all()
        for filled in ready:
            if isinstance(filled, Filled):
                self._parts.give_back(filled)

    def _start_workers(self) -> None:
        while self._next_offset < self._end and not self._closed:
            if self._workers >= self._workers_max:
                return
            if not self._workers:
                self._lanes.enter()
            elif not self._lanes.try_enter():
                return
            self._workers += 1
            self._parts.runtime.spawn("read ahead", self._work)

    def _work(self) -> None:
        left = False
        try:
            while self._work_once():
                if left := self._leaves():
                    return
        finally:
            self._lanes.leave()
            if not left:
                with self._state:
                    self._workers -= 1

    def _leaves(self) -> bool:
        """Return True, and count it out, when other files need this worker's lane more."""
        with self._state:
            if self._workers > 1 and self._lanes.crowded:
                self._workers -= 1
                return True
            return False

    def _work_once(self) -> bool:
        """Read one piece into its place; return False when there is none to read."""
        claimed = self._claim()
        if claimed is None:
            return False
        index, offset, piece = claimed
        if self._next_index == 1 and self._next_offset < self._end:
            with self._state:
                self._start_workers()  # Beside the first piece, not after it.
        try:
            filled = self._parts.read(self._content, piece, offset, self._end)
            self._pace.take(len(filled.data))
            self._put(index, filled)
        except GfsError as error:
            self._put(index, error)
        except BaseException as error:
            self._put(index, error)
            raise
        return True

    def _claim(self) -> tuple[int, int, Piece] | None:
        """Return the next piece to read, once there is room for it."""
        with self._planning:
            with self._state:
                while self._next_index - self._taken_index >= self._depth and not self._closed:
                    if not self._state.wait(IDLE_S):
                        return None
                if self._next_offset >= self._end:
                    return None
                offset = self._next_offset
            try:
                extent = self._content.extent_at(offset)
                piece = piece_at(extent, offset, self._end)
            except GfsError as error:
                with self._state:
                    self._next_offset = self._end
                    self._next_index += 1
                self._put(self._next_index - 1, error)
                return None
            with self._state:
                index = self._next_index
                self._next_index += 1
                self._next_offset = max(self._next_offset, min(piece.file_end, self._end))
                return index, offset, piece

    def _put(self, index: int, result: Filled | BaseException) -> None:
        with self._state:
            unwanted = self._closed
            if not unwanted:
                self._ready[index] = result
            self._state.notify_all()
        if unwanted and isinstance(result, Filled):
            self._parts.give_back(result)
