"""What the names were at every index of the log, and what an answer of a moment had to show."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from gfs_ha.ids import ROOT_INODE
from gfs_ha.kv.ordered import Table
from gfs_ha.limits import RAFT_TIMEOUT_MAX_S
from gfs_ha.master.state.tables import DENTRIES, INODES, dentry_name, read_id
from gfs_ha.sim.masters.history import ABSENT
from gfs_ha.sim.scheduler import Scheduler

Row = tuple[Table, bytes, bytes | None]  # None: deleted.

# Ages are of a master's own clock; these are up to 3 % wrong.
_RATE_ERROR = 1.04
_LOOK_S = 0.06  # Longer than from one look at the masters to the next.


class Timeline:
    """Names of the root directory with the tags of their contents, by the index that made them."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._values: dict[str, list[tuple[int, str | int]]] = {}
        self._inodes: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._tags: dict[int, int] = {}
        self._shown_s: list[float] = []  # When somebody was first shown …
        self._shown: list[int] = []  # … an index as high as this.
        self._led_s = float("-inf")

    def applies(self, index: int, rows: list[Row]) -> None:
        """Note the rows that a newly applied entry writes."""
        changed: dict[str, None] = {}
        for table, key, value in rows:
            if table is INODES.table:
                self._note_inode(read_id(key), value, changed)
            elif read_id(key) == ROOT_INODE:
                self._note_name(dentry_name(key), value, changed)
        for name in changed:
            tag = self._tags.get(self._inodes.get(name, 0), ABSENT)
            self._values.setdefault(name, []).append((index, tag))

    def shows(self, index: int) -> None:
        """Note that a client knows now that this index is committed."""
        if not self._shown or index > self._shown[-1]:
            self._shown_s.append(self._scheduler.now_s)
            self._shown.append(index)

    def leads(self) -> None:
        """Note that some master leads now, or did until now."""
        self._led_s = self._scheduler.now_s

    def value(self, name: str, index: int) -> str | int:
        """Return the tag of a name, or that it is absent, at an index."""
        values = self._values.get(name, [])
        at = bisect_right(values, index, key=lambda value: value[0])
        return values[at - 1][1] if at else ABSENT

    def required(self, called_s: float, age_ms: int) -> int:
        """Return the index that an answer of this age to a question of then shows at least."""
        moment_s = called_s - age_ms / 1000 * _RATE_ERROR
        at = bisect_left(self._shown_s, moment_s)
        return self._shown[at - 1] if at else 0

    def led_before(self, called_s: float) -> bool:
        """Return whether some master led within one longest timeout before, or since."""
        from_s = called_s - RAFT_TIMEOUT_MAX_S * _RATE_ERROR - _LOOK_S
        return self._led_s >= from_s

    def _note_inode(self, inode_id: int, value: bytes | None, changed: dict[str, None]) -> None:
        if value is None:
            self._tags.pop(inode_id, None)
            return
        self._tags[inode_id] = INODES.decode(value).mtime_ns
        if inode_id in self._names:
            changed[self._names[inode_id]] = None

    def _note_name(self, name: str, value: bytes | None, changed: dict[str, None]) -> None:
        changed[name] = None
        before = self._inodes.pop(name, None)
        if before is not None and self._names.get(before) == name:
            del self._names[before]
        if value is not None:
            inode_id = DENTRIES.decode(value).inode_id
            self._inodes[name] = inode_id
            self._names[inode_id] = name
