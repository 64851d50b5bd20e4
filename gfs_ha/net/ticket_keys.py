"""The keys of one chunkserver for tickets: a new one every ten minutes, the one before still good.

Never stored: tickets end with the process. A key is dropped once whatever was sealed with it has
ended, also by a master that heard of the new one late.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.limits import TICKET_KEY_LATE_S, TICKET_KEY_S, TICKET_LIFE_S
from gfs_ha.pki.seals import KEY_BYTES, Seal
from gfs_ha.protocol.tickets import TicketKey
from gfs_ha.runtime import Runtime

_KEPT_S = TICKET_LIFE_S + TICKET_KEY_LATE_S
assert _KEPT_S < TICKET_KEY_S, "two keys are enough then"


@dataclass(frozen=True, slots=True)
class _Made:
    key_id: int
    key: bytes = field(repr=False)
    seal: Seal
    made_s: float


class TicketKeys:
    """Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = runtime.lock()
        self._newest = self._make()
        self._before: _Made | None = None

    def now_ms(self) -> int:
        """Return the time by which tickets end here."""
        return self._runtime.monotonic_ns() // 1_000_000

    def newest(self) -> TicketKey:
        """Return what masters are told now."""
        with self._lock:
            self._turn()
            newest = self._newest
        return TicketKey(newest.key_id, newest.key, self.now_ms())

    def find(self, key_id: int) -> Seal | None:
        """Return the key of that number while tickets may be sealed with it; else None."""
        with self._lock:
            self._turn()
            for made in (self._newest, self._before):
                if made is not None and made.key_id == key_id:
                    return made.seal
        return None

    def _turn(self) -> None:
        now_s = self._runtime.monotonic_s()
        if now_s - self._newest.made_s >= TICKET_KEY_S:
            self._before, self._newest = self._newest, self._make()
        if self._before is not None and now_s - self._newest.made_s >= _KEPT_S:
            self._before = None

    def _make(self) -> _Made:
        key_id = int.from_bytes(self._runtime.random_bytes(8), "big")
        key = self._runtime.random_bytes(KEY_BYTES)
        return _Made(key_id, key, Seal(key), self._runtime.monotonic_s())
