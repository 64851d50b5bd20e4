"""Which segments of a journal are in use, and whose appends in them are not in their slots yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gfs_ha.chunk.journal.frames import PAGE_BYTES, Title


class Unsettled(Protocol):
    """A replica with appends that are safe in the journal only."""

    def settle(self) -> None:
        """Make all of it durable in its slot. Raises: DiskFailed, DiskFull."""
        ...


@dataclass(slots=True, eq=False)
class Segment:
    """One segment: free when `title` is None; `pending` have appends in it, in their order."""

    start: int
    title: Title | None = None
    at: int = PAGE_BYTES  # Where the next group goes, counted from `start`.
    pending: dict[Unsettled, None] = field(default_factory=dict)


class Segments:
    """Used under the lock of the journal."""

    def __init__(self, count: int, segment_bytes: int) -> None:
        self._all = [Segment(number * segment_bytes) for number in range(count)]
        self._segment_bytes = segment_bytes
        self.current: Segment | None = None

    def has_room(self, length: int) -> bool:
        """Return whether the segment in use takes a group of that length."""
        return self.current is not None and self.current.at + length <= self._segment_bytes

    def take_free(self) -> Segment | None:
        """Return the next segment that may be used; None while none is free."""
        free = [one for one in self._all if one.title is None]
        return free[0] if free else None

    def fits(self, length: int) -> bool:
        """Return whether any segment could take a group of that length."""
        return PAGE_BYTES + length <= self._segment_bytes

    def used(self) -> list[Segment]:
        """Return those that are not free, oldest first."""
        return sorted((one for one in self._all if one.title is not None), key=_base)

    def full(self) -> list[Segment]:
        """Return those of them that take nothing more."""
        return [one for one in self.used() if one is not self.current]

    def free(self, segment: Segment) -> None:
        """Let a segment be used again."""
        segment.title = None
        if segment is self.current:
            self.current = None

    def settled(self, owner: Unsettled) -> None:
        """All that a replica has in the journal is in its slot."""
        for one in self._all:
            one.pending.pop(owner, None)

    def used_bytes(self) -> int:
        """Return how much of the journal cannot be used again yet."""
        return sum(one.at for one in self.used())


def _base(segment: Segment) -> int:
    assert segment.title is not None
    return segment.title.base
