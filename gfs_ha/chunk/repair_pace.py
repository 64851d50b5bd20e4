"""What repair may take on this server: the leader's allowance, and less while clients suffer.

Two rates hold for all copies together, whichever threads make them: that of the copies to this
server is its share in the cluster's budget, that of the server counts what is copied from it, too.
An allowance that nobody renews lapses: a server that is cut off from the leader holds no share of
the budget which others may have been given meanwhile.
"""

from __future__ import annotations

from collections import deque

from gfs_ha.chunk.back_off import BackOff
from gfs_ha.chunk.pace import NONE, Pace
from gfs_ha.chunk.service_times import ServiceTimes
from gfs_ha.limits import BLOCK_BYTES, REPAIR_ALLOWANCE_S
from gfs_ha.net.answers import Deadline
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.runtime import Runtime

_PIECE_S = 0.25  # What one take is worth at most, so that many who wait at a slow rate get turns.
_USED_S = 2.0  # What is taken now is what was in the last so many seconds.
_LOOK_S = 0.2
_DISTURBED_S = 0.5


class RepairPace:
    """The paces of one server, and how its clients fare. Thread-safe."""

    def __init__(self, runtime: Runtime, allowance_s: float = REPAIR_ALLOWANCE_S) -> None:
        now_s = runtime.monotonic_s()
        self._runtime = runtime
        self._allowance_s = allowance_s
        self._lock = runtime.lock()
        self._allowed = RepairAllowance()
        self._until_s = now_s
        self._copies = Pace(NONE, now_s)
        self._server = Pace(0, now_s)
        self._times = ServiceTimes()
        self._back_off = BackOff(now_s)
        self._disturbed_until_s = now_s
        self._taken: deque[tuple[float, int]] = deque()

    def allow(self, allowance: RepairAllowance) -> None:
        """Take the leader's word of what may be taken from now on."""
        with self._lock:
            now_s = self._runtime.monotonic_s()
            self._allowed = allowance
            self._until_s = now_s + self._allowance_s
            self._look(now_s)

    def take_copy(self, wanted: int) -> tuple[int, float]:
        """Take some of the bytes that a copy wants next: how many, or how long to wait first."""
        with self._lock:
            now_s = self._runtime.monotonic_s()
            self._look(now_s)
            count = min(wanted, self._piece(self._copies), self._piece(self._server))
            wait_s = max(pace.wait_s(now_s, count) for pace in (self._copies, self._server))
            if wait_s > 0:
                # Nobody wakes who waits here when clients suffer no more.
                return 0, min(wait_s, _LOOK_S)
            self._copies.take(count, now_s)
            self._take_server(count, now_s)
            return count, 0.0

    def wait_to_serve(self, count: int, deadline: Deadline) -> None:
        """Wait until others may copy so many bytes from here. Raises: DeadlineExceeded."""
        while True:
            with self._lock:
                now_s = self._runtime.monotonic_s()
                self._look(now_s)
                wait_s = self._server.wait_s(now_s, count)
                if wait_s <= 0:
                    self._take_server(count, now_s)
                    return
            deadline.check()
            self._runtime.sleep(min(wait_s, _LOOK_S))

    def served(self, kind: str, length: int, took_s: float) -> None:
        """Note how long something took that a client asked for."""
        with self._lock:
            now_s = self._runtime.monotonic_s()
            beside = self._used(now_s) > 0 or now_s < self._disturbed_until_s
            self._times.note(kind, length, took_s, (now_s, beside))

    def suffering(self) -> bool:
        """Return whether clients wait longer than usual."""
        with self._lock:
            return self._times.judge(self._runtime.monotonic_s()).suffering

    def disturbed(self) -> None:
        """Know that the disk is read by others for a moment: what is served then is not usual."""
        with self._lock:
            self._disturbed_until_s = self._runtime.monotonic_s() + _DISTURBED_S

    def facts(self) -> RepairFacts:
        """Return what holds now, as the leader is told it."""
        with self._lock:
            now_s = self._runtime.monotonic_s()
            self._look(now_s)
            judged = self._times.judge(now_s)
            return RepairFacts(
                copies_bytes_per_s=self._copies.bytes_per_s,
                server_bytes_per_s=self._server.bytes_per_s,
                backing_off=self._back_off.backing_off,
                slow_count=judged.slow_count,
                judged_count=judged.count,
            )

    def _look(self, now_s: float) -> None:
        """Set the paces to what is allowed and left now."""
        suffering = self._times.judge(now_s).suffering
        self._back_off.step(suffering, self._used(now_s), now_s)
        server = self._back_off.limit(self._allowed.server_bytes_per_s)
        allowed = self._allowed.copies_bytes_per_s if now_s < self._until_s else NONE
        for pace, rate in ((self._server, server), (self._copies, allowed)):
            if pace.bytes_per_s != rate:
                pace.change(rate, now_s)

    def _take_server(self, count: int, now_s: float) -> None:
        self._server.take(count, now_s)
        self._taken.append((now_s, count))

    def _used(self, now_s: float) -> float:
        """Return the bytes per second that repair took here lately."""
        while self._taken and now_s - self._taken[0][0] > _USED_S:
            self._taken.popleft()
        return sum(count for _, count in self._taken) / _USED_S

    @staticmethod
    def _piece(pace: Pace) -> int:
        """Return how many bytes may be taken at once: whole blocks."""
        if not pace.bytes_per_s:
            return 1 << 62
        blocks = int(pace.bytes_per_s * _PIECE_S) // BLOCK_BYTES
        return max(1, blocks) * BLOCK_BYTES
