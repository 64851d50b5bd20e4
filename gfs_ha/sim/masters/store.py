"""The twin of a master's disk: it takes time, loses what was not synced, fills up and fails."""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.errors import DiskFailed, DiskFull
from gfs_ha.kv.ordered import KvStats, MemoryKV, WriteTransaction
from gfs_ha.kv.places import is_staged
from gfs_ha.sim.store import SimStore

_MAP_BYTES = 1 << 30
_DISK_BYTES = 1 << 34
_ROW_BYTES = 128
_ALMOST_FULL_BYTES = 1 << 20


class Disk:
    """What outlives the processes of a machine: the committed tables, and the room for more."""

    def __init__(self) -> None:
        self.held = MemoryKV(_MAP_BYTES)
        self.fails = False
        self._rows_most = 0  # As LMDB's file, it never shrinks.
        self._rows_limit: int | None = None

    def room(self) -> tuple[int, int]:
        """Return (free, total) bytes."""
        free = _DISK_BYTES if self._rows_limit is None else _ALMOST_FULL_BYTES
        return free, _DISK_BYTES

    def fill(self, rows: int, counted: int) -> None:
        """Leave room for so many more rows than `counted`; somebody else took the rest.

        Who is far behind must get what the others have: that is no growth that could be refused.
        """
        self._rows_most = max(self._rows_most, self.rows(), counted)
        self._rows_limit = self._rows_most + rows

    def repair(self) -> None:
        """Give the room back, and let the disk work."""
        self._rows_limit = None
        self.fails = False

    def rows(self) -> int:
        return sum(
            len(database.keys)
            for name, database in self.held.databases.items()
            if not is_staged(name)
        )

    def check(self) -> None:
        """Judge a commit before it takes effect. Raises: DiskFailed, DiskFull."""
        if self.fails:
            raise DiskFailed("the simulated disk fails")
        self._rows_most = max(self._rows_most, self.rows())
        if self._rows_limit is not None and self._rows_most >= self._rows_limit:
            raise DiskFull("the simulated disk is full")


class ProcessStore(SimStore):
    """The store of one process. `on_commit(half)` is called before and after a commit takes effect:
    it lets the commit's time pass, or raises PowerCut. Until it has passed, readers see the state
    before it, and whether a crash finds it is open.
    """

    def __init__(self, disk: Disk, on_commit: Callable[[int], None]) -> None:
        super().__init__(self._committing, disk.held)
        self.under_way = False
        self._disk = disk
        self._pass_time = on_commit
        self._newest: WriteTransaction | None = None
        self._finishing = False

    def begin(self) -> WriteTransaction:
        self._newest = super().begin()
        return self._newest

    def finish(self) -> None:
        """Have the commit that is under way reach the disk, although nobody hears of it."""
        assert self._newest is not None and self.under_way
        self._finishing = True
        self._newest.commit()

    def stats(self) -> KvStats:
        rows = self._disk.rows()
        return KvStats(used_bytes=_ROW_BYTES * rows, map_bytes=_MAP_BYTES, entries=rows)

    def _committing(self, half: int) -> None:
        if self._finishing:
            return
        self.under_way = half == 0
        if half == 0:
            self._disk.check()
        self._pass_time(half)
