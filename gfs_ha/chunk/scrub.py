"""The scrub of one disk: reads every sealed replica in rounds, and tells what is damaged (D3).

One task, one replica at a time, at a pace that follows the schedule and gives way to everybody
else. The finder never deletes: a damaged replica is listed as that from now on, its damaged blocks
are not served, and the leader has another copy made.
"""

from __future__ import annotations

import logging
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

import msgspec

from gfs_ha.chunk import scrub_plan
from gfs_ha.chunk.disk import File
from gfs_ha.chunk.scrub_check import Checked, check_replica
from gfs_ha.chunk.scrub_pace import Clients, ScrubPace
from gfs_ha.chunk.scrub_plan import BEGIN, END, IDLE, PAUSED, READ, SUSPECTS_MAX, Find, Sight, Step
from gfs_ha.chunk.scrub_state import ScrubBook
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import Cancelled, GfsError
from gfs_ha.ids import ChunkId
from gfs_ha.limits import SCRUB_BYTES_PER_S, SCRUB_PERIOD_S
from gfs_ha.protocol.scrub import ScrubFacts, ScrubFinding, ScrubWanted
from gfs_ha.runtime import Runtime, Task

KEEP_S = 30.0  # How often the position is kept: so much is read again after a restart.
TWINS_S = 120.0  # One that was open or fenced may be sealed by then.
RATE_S = 10.0
USUAL = ScrubWanted(SCRUB_BYTES_PER_S, SCRUB_PERIOD_S)
_FAILED_REST_S = 30.0
GIVES_WAY = "reading less: clients wait longer than usual"

# Told chunk and block index of damage, as a read tells it.
OnDamage = Callable[[ChunkId, int], None]

logger = logging.getLogger(__name__)


class Scrubber:
    """Thread-safe, but for what its own task does."""

    def __init__(
        self,
        store: ChunkStore,
        on_damage: OnDamage,
        runtime: Runtime,
        clients: Clients | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        """Go on where the last run stood, on one disk of the store: without one the first."""
        self._store = store
        self._shelf = shelf = shelf or store.shelves[0]
        self._on_damage = on_damage
        self._runtime = runtime
        self._book = ScrubBook(shelf.disk)
        self._changed = runtime.condition()
        self._wanted = USUAL
        self._state = self._book.state
        self._suspects: OrderedDict[ChunkId, None] = OrderedDict(
            (ChunkId(one), None) for one in self._state.suspects
        )
        self._stopping = False
        self._task: Task | None = None
        self._ids: array[int] = array("Q")  # What the round still has to read, by id.
        self._left_bytes = 0
        self._left_count = 0
        self._note = "it looks at what it found before"
        self._share = 1.0
        self._stuck = False
        self._breakable = False  # What is being read is part of a round.
        self._pace = ScrubPace(clients, runtime.monotonic_s())
        self._kept_s = self._twins_due_s = runtime.monotonic_s()
        self._read: deque[tuple[float, int]] = deque()  # Lately: when, and how many bytes.
        self._read_bytes = 0  # Of all these.

    def start(self) -> None:
        """Begin to scrub."""
        self._task = self._runtime.spawn("scrub", self._run)

    def stop(self, timeout_s: float) -> bool:
        """Break off; False when it still runs after `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        return self._task is None or self._task.join(timeout_s)

    def take(self, wanted: ScrubWanted) -> None:
        """Go by what the leader says from now on."""
        with self._changed:
            if wanted != self._wanted:
                self._wanted = wanted
                self._changed.notify_all()

    def suspect(self, chunk_id: ChunkId, why: str) -> None:
        """Remember a replica that somebody found damaged, beyond the end of this process."""
        found_ms = self._runtime.wall_ns() // 1_000_000
        with self._changed:
            if chunk_id not in self._suspects:
                find = Find(found_ms, chunk_id, why)
                self._state = scrub_plan.with_find(self._state, find)
            self._suspects[chunk_id] = None
            while len(self._suspects) > SUSPECTS_MAX:
                self._suspects.popitem(last=False)
            self._kept_s = -KEEP_S  # At the next opportunity.
            self._changed.notify_all()

    def listed(self, chunk_ids: Iterable[ChunkId]) -> None:
        """Remember the replicas that are told to be damaged, whoever found that."""
        for chunk_id in chunk_ids:
            if chunk_id not in self._suspects:
                self.suspect(chunk_id, "it is damaged, as an order found")

    def facts(self) -> ScrubFacts:
        """Return how far it is."""
        with self._changed:
            state, wanted, note = self._state, self._wanted, self._note
            left, count = self._left_bytes, self._left_count
            rate = self._rate(self._runtime.monotonic_s())
        running = state.running
        if note == PAUSED:
            shown = PAUSED
        elif note in ("", IDLE):
            shown = "reading" if running else IDLE
        else:
            shown = "waiting"
        eta_ms = int(left / rate * 1000) if running and rate else -1
        return ScrubFacts(
            disk_id=self._shelf.disk_id,
            wanted=wanted,
            state=shown,
            note=self._told(shown, note),
            number=state.number,
            began_ms=state.began_ms,
            asked=state.by_person,
            bytes_done=state.bytes_done,
            bytes_total=state.bytes_done + left,
            replicas_done=state.replicas_done,
            replicas_total=state.replicas_done + count,
            found=state.found,
            mended=state.mended,
            bytes_per_s=rate,
            eta_ms=eta_ms,
            next_ms=0 if running else scrub_plan.next_ms(state, wanted),
            ended_ms=state.ended_ms,
            took_ms=state.took_ms,
            last_found=state.last_found,
            found_ever=state.found_ever,
            begun=state.asked,
            finds=tuple(
                ScrubFinding(one.found_ms, ChunkId(one.chunk_id), one.why) for one in state.finds
            ),
            unidentified=len(self._shelf.unidentified),
            second=self._store.twins_on(self._shelf),
        )

    def _told(self, shown: str, note: str) -> str:
        """Return what is to be said about a state."""
        if shown == "reading" and self._pace.backing_off:
            return GIVES_WAY
        return note if shown == "waiting" else ""

    # The task ------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._line_up()
        recheck = True
        while not self._stopping:
            try:
                if recheck:
                    self._check_suspects()
                    recheck = False
                if self._runtime.monotonic_s() >= self._twins_due_s:
                    self._check_twins()
                    self._twins_due_s = self._runtime.monotonic_s() + TWINS_S
                self._store.drop_outlived(self._shelf)
                self._step()
            except Cancelled:
                continue  # Stopped, or another round is asked for.
            except GfsError as error:
                logger.warning("the scrub rests error=%s reason=%s", error.code, error.message)
                self._wait(_FAILED_REST_S, error.message)
        try:
            self._keep()
        except GfsError as error:
            logger.warning("the scrub's position is lost error=%s", error.message)

    def _step(self) -> None:
        step = scrub_plan.plan_scrub(self._state, self._wanted, self._sight())
        self._stuck = False
        if step.action == BEGIN:
            self._begin()
        elif step.action == READ:
            self._check_next(step)
        elif step.action == END:
            self._end()
        else:
            self._keep_if_due()
            self._wait(step.wait_s, step.why)

    def _sight(self) -> Sight:
        now_ms = self._runtime.wall_ns() // 1_000_000
        upcoming = ChunkId(self._ids[-1]) if self._ids else None
        return Sight(now_ms, upcoming, self._left_bytes, self._share, self._stuck)

    def _begin(self) -> None:
        now_ms = self._runtime.wall_ns() // 1_000_000
        with self._changed:
            self._state = scrub_plan.begun(self._state, self._wanted, now_ms)
        self._line_up()
        self._keep()
        logger.info(
            "scrub begun round=%d replicas=%d bytes=%d asked=%s",
            self._state.number,
            self._left_count,
            self._left_bytes,
            self._state.by_person,
        )

    def _end(self) -> None:
        now_ms = self._runtime.wall_ns() // 1_000_000
        with self._changed:
            state = self._state = scrub_plan.ended(self._state, now_ms)
        self._keep()
        logger.info(
            "scrub ended round=%d replicas=%d bytes=%d found=%d mended=%d took_ms=%d",
            state.number,
            state.replicas_done,
            state.bytes_done,
            state.found,
            state.mended,
            state.took_ms,
        )

    def _line_up(self) -> None:
        """List what the round has to read: the sealed replicas of now, from where it stands."""
        ids = array("Q")
        left = 0
        if self._state.running:
            for chunk_id, length in self._store.each_sealed(self._shelf):
                if chunk_id > self._state.after:
                    ids.append(chunk_id)
                    left += length
        # The last one is taken first: that costs nothing to remove.
        ids = array("Q", sorted(ids, reverse=True))
        with self._changed:
            self._ids, self._left_bytes, self._left_count = ids, left, len(ids)

    def _check_next(self, step: Step) -> None:
        assert step.chunk_id is not None, "there is a replica to be read"
        chunk_id = step.chunk_id
        self._note = ""
        self._pace.begin(step.bytes_per_s, self._runtime.monotonic_s())
        length = self._length(chunk_id)
        self._breakable = True
        try:
            checked = check_replica(self._store, chunk_id, self._read_piece)
        finally:
            self._breakable = False
        damaged = self._judge(chunk_id, checked)
        with self._changed:
            self._ids.pop()
            self._left_count = len(self._ids)
            self._left_bytes = max(0, self._left_bytes - length) if self._ids else 0
            state = self._state
            self._state = msgspec.structs.replace(
                state,
                after=chunk_id,
                bytes_done=state.bytes_done + length,
                replicas_done=state.replicas_done + 1,
                found=state.found + damaged,
                mended=state.mended + (checked is not None and checked.mended),
            )
        self._keep_if_due()

    def _length(self, chunk_id: ChunkId) -> int:
        try:
            return self._store.get(chunk_id).header.end
        except GfsError:
            return 0

    def _judge(self, chunk_id: ChunkId, checked: Checked | None) -> bool:
        """Tell what was found; return whether the replica is damaged."""
        if checked is None:
            return False
        if checked.mended:
            logger.warning("a copy of a header was damaged and is written anew chunk=%#x", chunk_id)
        if not checked.trouble:
            self._store.note_whole(chunk_id)
            return False
        logger.error("a replica is damaged chunk=%#x because=%s", chunk_id, checked.trouble)
        self.suspect(chunk_id, checked.trouble)  # It says more than a block does.
        for block in checked.bad_blocks or [0]:
            self._on_damage(chunk_id, block)
        return True

    def _check_suspects(self) -> None:
        """Look at what was damaged when the last run ended: its server knows nothing of it now."""
        with self._changed:
            suspects = list(self._suspects)
        for chunk_id in suspects:
            self._judge(chunk_id, check_replica(self._store, chunk_id, self._read_piece))
        self._drop_healed()

    def _check_twins(self) -> None:
        """Look at replicas beside which a disk brought back older ones: these are to go soon."""
        for chunk_id in self._store.twins_of(self._shelf):
            self._judge(chunk_id, check_replica(self._store, chunk_id, self._read_piece))

    def _drop_healed(self) -> None:
        with self._changed:
            for chunk_id in list(self._suspects):
                if self._condition(chunk_id) != "damaged":
                    del self._suspects[chunk_id]

    def _condition(self, chunk_id: ChunkId) -> str:
        try:
            return self._store.get(chunk_id).condition
        except GfsError:
            return ""

    # Pace ----------------------------------------------------------------------------------------

    def _read_piece(self, file: File, offset: int, into: memoryview) -> int:
        """Read when it is time to. Raises: Cancelled, DiskFailed."""
        self._pace.take(len(into), self._runtime.monotonic_s())
        self._hold()
        self._pace.reading()
        began_s = self._runtime.monotonic_s()
        try:
            return file.read(offset, into)
        finally:
            now_s = self._runtime.monotonic_s()
            self._share = scrub_plan.next_share(self._share, now_s - began_s)
            self._stuck = now_s - began_s > scrub_plan.STUCK_S
            with self._changed:
                self._read.append((now_s, len(into)))
                self._read_bytes += len(into)
                self._forget_old(now_s)

    def _hold(self) -> None:
        """Wait until the next piece may be read."""
        while True:
            wanted = self._wanted
            another = self._breakable and wanted.asked > self._state.asked
            if self._stopping or another:
                raise Cancelled("the scrub of a replica is broken off")
            if wanted.paused:
                self._wait(scrub_plan.LOOK_S, PAUSED)
                continue
            planned = scrub_plan.pace(self._state, wanted, self._sight(), self._breakable)
            now_s = self._runtime.monotonic_s()
            with self._changed:
                used = self._rate(now_s)
            left_s = self._pace.wait_s(planned, used, now_s)
            if left_s <= 0:
                self._note = ""
                return
            self._wait(min(left_s, scrub_plan.LOOK_S), "")

    def _wait(self, seconds: float, note: str) -> None:
        """Wait, unless something changes."""
        with self._changed:
            if not self._stopping:
                self._note = note
                self._changed.wait(seconds)

    def _rate(self, now_s: float) -> int:
        """Return the bytes per second of the last seconds. Needs the lock."""
        self._forget_old(now_s)
        if not self._read:
            return 0
        return int(self._read_bytes / max(now_s - self._read[0][0], 0.1))

    def _forget_old(self, now_s: float) -> None:
        while self._read and now_s - self._read[0][0] > RATE_S:
            self._read_bytes -= self._read.popleft()[1]

    # Memory --------------------------------------------------------------------------------------

    def _keep_if_due(self) -> None:
        if self._runtime.monotonic_s() - self._kept_s >= KEEP_S and self._worth_keeping():
            self._drop_healed()
            self._keep()

    def _worth_keeping(self) -> bool:
        with self._changed:
            state = msgspec.structs.replace(self._state, suspects=tuple(self._suspects))
        return state != self._book.state

    def _keep(self) -> None:
        with self._changed:
            state = msgspec.structs.replace(self._state, suspects=tuple(self._suspects))
            self._kept_s = self._runtime.monotonic_s()
        if state != self._book.state:
            self._book.keep(state)
