"""The workers that push the batches of tails, and the timer that tells the others of the last one.

A few serve all tails of a disk. When all of them are busy and none took another tail for a while,
they hang on servers that do not answer: then further ones keep the other tails going. A disk that
hangs itself keeps all of its own, and no others.
"""

from __future__ import annotations

import logging

from gfs_ha.chunk.appends.batch import Batch
from gfs_ha.chunk.appends.batch_push import push_batch
from gfs_ha.chunk.appends.tail import Tail
from gfs_ha.chunk.push import PushRoom
from gfs_ha.errors import DeadlineExceeded, GfsError
from gfs_ha.limits import COMMIT_NOTE_S, TAILS_PER_SERVER_MAX
from gfs_ha.runtime import Queue, Task, join_all

WORKERS = 4
WORKERS_MIN = 2  # Of each disk, where there are several.
WORKERS_MAX = 32  # Of each disk.
HANG_S = 0.1  # A batch that is worked on takes a few milliseconds.
_SPARE_IDLE_S = 5.0
_LOOK_S = 1.0

_Note = tuple[float, Tail | None]  # When it is due, and for which tail.

logger = logging.getLogger(__name__)


def workers_of_each(disk_count: int) -> int:
    """Return how many serve the tails of each disk of a server while none hangs."""
    return max(WORKERS_MIN, WORKERS // disk_count)


class BatchWorkers:
    """Those of one disk. Thread-safe.

    A tail is handed over once each time that it says that it needs a worker.
    """

    def __init__(self, room: PushRoom, count: int = WORKERS) -> None:
        """Args: `count` is how many there are while none hangs."""
        self._room = room
        self._count = count
        self._runtime = room.runtime
        # None ends a worker.
        self._ready: Queue[Tail | None] = room.runtime.queue(2 * TAILS_PER_SERVER_MAX)
        self._to_note: Queue[_Note] = room.runtime.queue(2 * TAILS_PER_SERVER_MAX)
        self._lock = room.runtime.lock()
        self._tasks: list[Task] = []
        self._spare_count = 0
        self._busy = 0
        self._watching = False  # Tails wait, and the timer looks whether one is taken.
        self._taken_s = 0.0  # When a worker last was free to take a tail.
        self._stopping = False

    def start(self) -> None:
        """Start them."""
        bodies = [self._work] * self._count + [self._note]
        self._tasks = [
            self._runtime.spawn(f"append {number}", body) for number, body in enumerate(bodies)
        ]

    def stop(self, timeout_s: float) -> bool:
        """End them; False when one still runs."""
        with self._lock:
            first = not self._stopping
            self._stopping = True
            tasks = list(self._tasks)
        if first:
            for _ in tasks:
                self._ready.put(None)
            self._to_note.put((0.0, None))
        return join_all(tasks, timeout_s, self._runtime)

    @property
    def busy(self) -> bool:
        """Return whether one is at work."""
        return self._busy > 0

    def hand_over(self, tail: Tail) -> None:
        """Have the batches of a tail of their disk pushed."""
        self._ready.put(tail)
        if self._busy >= self._count and not self._watching:
            self._watching = True
            self._to_note.put((0.0, None))

    def serve_once(self, tail: Tail) -> None:
        """Push one batch of a tail that was to be handed over, in the thread that asks.

        For a single record that costs less than waking a worker; what came meanwhile is theirs.
        """
        batch = tail.next_batch()
        if batch is not None:
            self._push(tail, batch)
        if tail.done():
            self.hand_over(tail)
        else:
            self._arm_note(tail)

    def _watch(self) -> float:
        """Add a worker if all hang and a tail waits; return the seconds until the next look."""
        self._watching = len(self._ready) > 0
        if not self._watching:
            return _LOOK_S
        if self._runtime.monotonic_s() - self._taken_s > HANG_S:
            self._add_spare()
        return HANG_S

    def _add_spare(self) -> None:
        with self._lock:
            workers = self._count + self._spare_count
            if self._stopping or self._busy < workers or workers >= WORKERS_MAX:
                return
            self._spare_count += 1
            self._taken_s = self._runtime.monotonic_s()  # One at a time.
            self._tasks = [task for task in self._tasks if task.running()]
            self._tasks.append(self._runtime.spawn("append spare", self._work_as_spare))

    def _work(self) -> None:
        while not self._stopping:
            self._take(_LOOK_S)

    def _work_as_spare(self) -> None:
        try:
            while not self._stopping and self._take(_SPARE_IDLE_S):
                pass
        finally:
            with self._lock:
                self._spare_count -= 1

    def _take(self, timeout_s: float) -> bool:
        """Serve the next tail that is ready; False when none was."""
        try:
            tail = self._ready.get(timeout_s)
        except DeadlineExceeded:
            return False
        if tail is None:
            return True
        with self._lock:
            self._busy += 1
            self._taken_s = self._runtime.monotonic_s()
        try:
            self._serve(tail)
        finally:
            with self._lock:
                self._busy -= 1
        return True

    def _serve(self, tail: Tail) -> None:
        """Push the batches of one tail, until none waits or another tail does."""
        more = True
        while more:
            batch = tail.next_batch()
            if batch is not None:
                self._push(tail, batch)
            more = tail.done()
            if more and len(self._ready):
                self._ready.put(tail)
                return
        self._arm_note(tail)

    def _arm_note(self, tail: Tail) -> None:
        if tail.arm_note():
            self._to_note.put((self._runtime.monotonic_s() + COMMIT_NOTE_S, tail))

    def _push(self, tail: Tail, batch: Batch) -> None:
        try:
            push_batch(self._room, tail, batch)
        except GfsError as error:
            if not batch.arrivals:
                tail.skip_note()
                return
            tail.fail(batch, error)
            logger.warning("appends end %s error=%s: %s", tail.name, error.code, error.message)
        else:
            tail.landed(batch)

    def _note(self) -> None:
        """Have the others told of the last batch of each tail (C10), and watch the workers."""
        while not self._stopping:
            try:
                due_s, tail = self._to_note.get(self._watch())
            except DeadlineExceeded:
                continue
            wait_s = due_s - self._runtime.monotonic_s()
            if wait_s > 0:
                self._runtime.sleep(wait_s)
            if tail is None:
                continue
            again_s = tail.note_in()
            if again_s == 0.0:
                self.hand_over(tail)
            elif again_s is not None:
                self._to_note.put((self._runtime.monotonic_s() + again_s, tail))
