"""Remote files as Python file objects: verified seekable reads, writes that publish at close."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.piece_stream import Filled, PieceStream, ReaderParts
from gfs_ha.client.reader import Piece, piece_at
from gfs_ha.errors import UsageError
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.metadata import FileStatus

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

RANDOM_READ_BYTES = 4 * BLOCK_BYTES  # What a read after a jump asks for at least.


class RemoteReader(io.RawIOBase):
    """One content of a file, as it was at open, whatever becomes of the name meanwhile.

    Every byte is verified before it is returned. Reading on in order reads ahead; a jump does not.
    Thread-safe as far as a file object is: calls are taken one after the other.
    Raises (on read): FileChanged when the content is gone, CorruptData, ChunkUnavailable.
    """

    def __init__(self, parts: ReaderParts, content: PinnedContent) -> None:
        super().__init__()
        self._parts = parts
        self._content = content
        self._lock = parts.runtime.lock()
        self._position = 0
        self._piece: Filled | None = None
        self._stream: PieceStream | None = None
        self.name = content.path
        self.mode = "rb"

    @property
    def size(self) -> int:
        """Return the length in bytes."""
        return self._content.size

    @property
    def status(self) -> FileStatus:
        """Return the file's facts, as they were at open."""
        return self._content.status

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._lock:
            self._check_open()
            bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
            if whence not in bases or bases[whence] + offset < 0:
                raise ValueError(f"no such position: {offset} from {whence}")
            self._position = bases[whence] + offset
            return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        with self._lock:
            data = self._available(len(target))
            target[: len(data)] = data
            self._position += len(data)
            return len(data)

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end; all that is left without a size."""
        with self._lock:
            self._check_open()
            left = max(0, self.size - self._position)
            wanted = left if size is None or size < 0 else min(size, left)
            parts: list[bytes] = []
            while wanted:
                data = self._available(wanted)
                parts.append(bytes(data))
                self._position += len(data)
                wanted -= len(data)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        return self.read(-1)

    def copy_to(self, write: Callable[[memoryview], object]) -> int:
        """Hand everything from the position on to `write`, in order, without copying.

        The memory is used again once `write` returns. Returns the number of bytes.
        """
        copied = 0
        with self._lock:
            while data := self._available(self.size):
                write(data)
                self._position += len(data)
                copied += len(data)
        return copied

    def close(self) -> None:
        if self.closed:
            return
        with self._lock:
            self._drop_piece()
            if self._stream is not None:
                self._stream.close()
                self._stream = None
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")

    def _available(self, wanted: int) -> memoryview:
        """Return verified bytes at the position, at least one unless it is the end."""
        self._check_open()
        if self._position >= self.size or not wanted:
            return memoryview(b"")
        piece = self._piece
        if piece is None or not piece.offset <= self._position < piece.end:
            piece = self._next_piece(wanted)
        start = self._position - piece.offset
        return piece.data[start : start + wanted]

    def _next_piece(self, wanted: int) -> Filled:
        """Read on in order, or jump."""
        in_order = self._position == (0 if self._piece is None else self._piece.end)
        self._drop_piece()
        if in_order:
            if self._stream is None:
                self._stream = PieceStream(self._parts, self._content, self._position, self.size)
            stream, self._stream = self._stream, None
            piece = stream.take()
            assert piece is not None, "the stream ended before the file"
            self._stream = stream  # After an error the next read asks anew.
        else:
            if self._stream is not None:
                self._stream.close()
                self._stream = None
            piece = self._read_around(self._position, wanted)
        self._piece = piece
        return piece

    def _read_around(self, position: int, wanted: int) -> Filled:
        content = self._content
        start = position - position % BLOCK_BYTES
        extent = content.extent_at(position)
        start = max(start, extent.file_offset)
        end = min(self.size, max(start + RANDOM_READ_BYTES, position + wanted))
        piece: Piece = piece_at(extent, start, end)
        return self._parts.read(content, piece, piece.file_offset, piece.file_end)

    def _drop_piece(self) -> None:
        if self._piece is not None:
            self._parts.give_back(self._piece)
            self._piece = None


class Sink(Protocol):
    """Where the bytes of a new content go."""

    def write(self, data: memoryview) -> None: ...

    def publish(self) -> object: ...

    def abandon(self) -> None: ...


class RemoteWriter(io.RawIOBase):
    """New content of a file: seen as a whole once `close` returns, never before, or not at all.

    Nothing is sent before there is enough for a push. Leaving a `with` block by an exception, and
    `abandon`, discard what was written; so does forgetting to close. Not thread-safe, like files.
    """

    def __init__(self, path: str, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self._abandoned = False
        self._written = 0
        self.name = path
        self.mode = "wb"

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: ReadableBuffer) -> int:
        """Take all of the bytes. Raises: NoServers, NoSpace… when they cannot be made safe."""
        if self.closed:
            raise ValueError("the file is closed")
        if self._abandoned:
            raise UsageError(f"{self.name}: an earlier write failed; what was written is discarded")
        view = memoryview(data).cast("B")
        try:
            self._sink.write(view)
        except BaseException:
            self.abandon()
            raise
        self._written += len(view)
        return len(view)

    def close(self) -> None:
        """Publish. Raises: NotFound for a missing parent, AlreadyExists, UnknownOutcome…"""
        if self.closed:
            return
        try:
            if not self._abandoned:
                self._abandoned = True  # A publication that failed is not tried again.
                self._sink.publish()
        finally:
            super().close()

    def abandon(self) -> None:
        """Discard what was written; the file stays as it was."""
        if not self._abandoned:
            self._abandoned = True
            self._sink.abandon()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abandon()
        self.close()

    def __del__(self) -> None:
        # IOBase would close, and so publish half a file.
        if not self.closed and not self._abandoned:
            warnings.warn(
                f"{self.name} was never closed: what was written is discarded",
                ResourceWarning,
                stacklevel=2,
            )
            self.abandon()
        if not self.closed:
            super().close()
