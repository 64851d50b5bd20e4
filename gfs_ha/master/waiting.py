"""Who waits for the end of chunks: the slot of a request, or something that goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from gfs_ha.errors import GfsError, UnknownChunk, WrongState
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.codec import Word


class Waiting(Protocol):
    """What a request's slot is to those who answer it later."""

    @property
    def closed(self) -> bool:
        """Return whether nobody waits for the answer any more."""
        ...

    def left_s(self) -> float:
        """Return the seconds for which it is waited, at least 0."""
        ...

    def reply(self, word: Word) -> bool:
        """Answer; the first answer counts."""
        ...

    def fail(self, error: GfsError) -> bool:
        """Answer with an error."""
        ...


class Ends:
    """The ends of some chunks, waited for together; tells once: None when all of them have ended.

    That a chunk is dead or gone is an end, too. On the door's thread.
    """

    def __init__(
        self,
        chunk_ids: Iterable[ChunkId],
        left_s: Callable[[], float],
        on_end: Callable[[GfsError | None], object],
    ) -> None:
        self.left_s = left_s
        self.sealed: list[ChunkId] = []
        self._missing = set(chunk_ids)
        self._on_end = on_end
        self.over = False
        assert self._missing, "the end of nothing is waited for"

    def one(self, chunk_id: ChunkId) -> End:
        """Return who waits for the end of one of the chunks."""
        return End(self, partial(self._ended, chunk_id))

    def _ended(self, chunk_id: ChunkId, error: GfsError | None) -> bool:
        if self.over:
            return False
        if error is not None and not isinstance(error, WrongState | UnknownChunk):
            self.over = True
            self._on_end(error)
            return True
        if error is None:
            self.sealed.append(chunk_id)
        self._missing.discard(chunk_id)
        if not self._missing:
            self.over = True
            self._on_end(None)
        return True


class End:
    """One chunk of those that are waited for together."""

    __slots__ = ("_ends", "_told")

    def __init__(self, ends: Ends, told: Callable[[GfsError | None], bool]) -> None:
        self._ends = ends
        self._told = told

    @property
    def closed(self) -> bool:
        return self._ends.over

    def left_s(self) -> float:
        return self._ends.left_s()

    def reply(self, word: Word) -> bool:
        return self._told(None)

    def fail(self, error: GfsError) -> bool:
        return self._told(error)
