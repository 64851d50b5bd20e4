"""One master and its own state hash: counted again from all rows, put right, or the end of it.

A count reads every row of one moment beside the other work and compares with the hash that was
kept step by step. Where they differ the disk changed a row, or we miscounted; which of the two,
this master cannot know. So it does not judge itself: it puts its kept hash right (a sum may be put
right at any later time), and the next check compares what it really has with the others.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from gfs_ha.errors import GfsError, StateDiverged
from gfs_ha.ids import LogIndex
from gfs_ha.kv.ordered import OrderedKV, Reader
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.state import digest
from gfs_ha.protocol.state_checks import RowCount
from gfs_ha.runtime import Runtime, Task

logger = logging.getLogger(__name__)

VISIBLE_S = 10.0  # How long the command that asks for a count may take to be in the store.
_PAUSE_S = 0.005


class Recounter:
    """Counts in a task of its own, one at a time; the consensus loop's thread asks for it."""

    def __init__(
        self, kv: OrderedKV, runtime: Runtime, stop_for_good: Callable[[GfsError], None]
    ) -> None:
        self._kv = kv
        self._runtime = runtime
        self._stop_for_good = stop_for_good
        self._lock = runtime.lock()
        self._corrections: deque[int] = deque()
        self._corrected_index = LogIndex(0)
        self._wanted = LogIndex(0)
        self._running = False
        self._task: Task | None = None
        self._stopping = False
        self._newest: RowCount | None = None

    @property
    def newest(self) -> RowCount | None:
        """Return the newest count, finished or not; None when there was none in this run."""
        return self._newest

    # Watcher of the machine.

    def take_correction(self, index: LogIndex) -> int:
        """Return what the command at `index` has to add to the kept hash."""
        if not self._corrections:
            return 0
        self._corrected_index = index  # First: a count looks for an empty queue, then at this.
        return self._corrections.popleft()

    def count_wanted(self, index: LogIndex) -> None:
        """Count all rows as of the command at `index` or later; a running count goes first."""
        with self._lock:
            self._wanted = index
            if self._running or self._stopping:
                return
            self._running = True
            self._newest = RowCount(asked_index=index)
            self._task = self._runtime.spawn("recount", self._run)

    def diverged(self, index: LogIndex, own: bytes, attested: bytes) -> None:
        """Take this master out: a majority has another state."""
        self._stop_for_good(
            StateDiverged(
                f"the state of this master is not that of the majority at log index {index} (hash"
                f" {own.hex()}, theirs {attested.hex()}): it takes itself out for good; keep the"
                " other masters alive, keep this directory for the search, and look at its disk",
                index=index,
            )
        )

    # The count.

    def stop(self, timeout_s: float) -> bool:
        """Break off; return whether nothing reads the store any more."""
        with self._lock:
            self._stopping = True
            task = self._task
        return task is None or task.join(timeout_s)

    def _run(self) -> None:
        while True:
            index = self._wanted
            self._count(index)
            with self._lock:
                if self._wanted == index or self._stopping:
                    self._running = False
                    return

    def _count(self, index: LogIndex) -> None:
        began_s = self._runtime.monotonic_s()
        self._newest = RowCount(asked_index=index)
        while not self._stopping:
            with self._kv.read() as reader:
                kept = digest.kept(reader)
                if kept is not None and self._settled(kept.index, index):
                    self._compare(reader, index, kept, began_s)
                    return
            if self._runtime.monotonic_s() - began_s >= VISIBLE_S:
                logger.warning("rows not counted index=%d because=it did not become visible", index)
                self._newest = RowCount(asked_index=index, done=True)
                return
            self._runtime.sleep(_PAUSE_S)

    def _settled(self, kept_index: LogIndex, asked_index: LogIndex) -> bool:
        """Return whether all earlier corrections are in this moment: none is to be made twice."""
        return not self._corrections and kept_index >= max(asked_index, self._corrected_index)

    def _compare(
        self, reader: Reader, index: LogIndex, kept: digest.StateHash, began_s: float
    ) -> None:
        count = digest.Count(reader)
        tell = partial(RowCount, asked_index=index, index=kept.index, kept=kept.value.hex())
        while True:
            step_s = self._runtime.monotonic_s()
            more = count.step()
            if not more:
                break
            if self._stopping:
                return
            self._newest = tell(row_count=count.row_count)
            # Half of the time is everybody else's: a step holds the interpreter.
            self._runtime.sleep(self._runtime.monotonic_s() - step_s)
        if count.value != kept.value:
            self._corrections.append(digest.difference(count.value, kept.value))
            logger.error(
                "the rows are not what was written index=%d rows=%d kept=%s counted=%s",
                *(kept.index, count.row_count, kept.value.hex(), count.value.hex()),
            )
        took_ms = int((self._runtime.monotonic_s() - began_s) * 1000)
        logger.info("rows counted index=%d rows=%d ms=%d", kept.index, count.row_count, took_ms)
        self._newest = tell(
            row_count=count.row_count, done=True, counted=count.value.hex(), took_ms=took_ms
        )


def ensure_hash(kv: OrderedKV, runtime: Runtime) -> None:
    """Count the rows of a store that was written before hashes were kept; before it is used."""
    with kv.read() as reader:
        if digest.kept(reader) is not None:
            return
        index = LogIndex(stored_applied(reader))
    began_s = runtime.monotonic_s()
    writer = kv.begin()
    try:
        digest.ensure(writer, index)
    except BaseException:
        writer.abort()
        raise
    writer.commit()
    logger.info("state hash counted index=%d s=%.1f", index, runtime.monotonic_s() - began_s)
