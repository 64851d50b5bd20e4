"""Whether files have the copies that they want by now, and how far it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from gfs_ha.client.operations import Operations
from gfs_ha.errors import NotFound
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.reports import ChunkRow

_LOOKED_AT_MAX = 64  # Files that one look goes into, beyond those that have what they want.
_LEAVING = ("copying", "deleting")


@dataclass(slots=True)
class GoalLook:
    """How far files are. Bytes and copies are those of the files that were looked into."""

    files_left: int = 0
    lacking_copies: int = 0
    lacking_bytes: int = 0
    surplus_copies: int = 0
    changing: bool = False  # The masters still change the goals of their chunks.

    @property
    def reached(self) -> bool:
        """Return whether all files have what they want."""
        return not self.files_left


class GoalWatch:
    """Looks at files again and again until their chunks have their copies. One thread.

    A chunk that is still written to is left out: it gets its copies once it is sealed.
    """

    def __init__(self, operations: Operations, paths: Sequence[str]) -> None:
        self._operations = operations
        self._left = deque(dict.fromkeys(paths))
        self.shared: set[ChunkId] = set()  # Chunks that other files want in more copies.
        self.unsealed: set[ChunkId] = set()
        self.gone: list[str] = []  # Files that were removed meanwhile.

    def look(self) -> GoalLook:
        """Look at the files that were not ready before. Raises: NoLeader…"""
        look = GoalLook()
        waiting: list[str] = []
        while self._left and len(waiting) < _LOOKED_AT_MAX:
            path = self._left.popleft()
            try:
                if not self._ready(path, look):
                    waiting.append(path)
            except NotFound:
                self.gone.append(path)
        self._left.extendleft(reversed(waiting))
        look.files_left = len(self._left)
        return look

    def _ready(self, path: str, look: GoalLook) -> bool:
        report = self._operations.placement(path)
        ready = not report.fitting
        look.changing |= report.fitting
        for row in {item.chunk.chunk_id: item.chunk for item in report.items}.values():
            if row.state != "sealed":
                self.unsealed.add(row.chunk_id)
                continue
            self.unsealed.discard(row.chunk_id)
            ready &= _count(row, look)
            if row.goal > report.goal and not report.fitting:
                self.shared.add(row.chunk_id)
        return ready


def _count(row: ChunkRow, look: GoalLook) -> bool:
    """Count what a chunk lacks or has too much; return whether that is nothing."""
    live = sum(one.health == "live" for one in row.replicas)
    lacking, surplus = max(0, row.goal - row.copies), max(0, live - row.goal)
    look.lacking_copies += lacking
    look.lacking_bytes += lacking * row.length
    look.surplus_copies += surplus
    leaving = any(one.health in _LEAVING for one in row.replicas)
    return not lacking and not surplus and not leaving
