"""How many bytes of records may wait for a disk: whoever brings more is not read on."""

from __future__ import annotations

from gfs_ha.errors import Overloaded
from gfs_ha.limits import MIB, OPERATION_TIMEOUT_S
from gfs_ha.runtime import Runtime

SERVER_BYTES_MAX = 256 * MIB  # Each of its disks has its share.
RECORD_COST_BYTES = 512  # What is kept of a record beside its bytes.
_LOOK_S = 1.0


def cost_of(count: int, length: int) -> int:
    """Return how much room so many records take that are so long together."""
    return count * RECORD_COST_BYTES + length


class WaitingRoom:
    """Thread-safe."""

    def __init__(self, runtime: Runtime, bytes_max: int = SERVER_BYTES_MAX) -> None:
        self._runtime = runtime
        self._bytes_max = bytes_max
        self._changed = runtime.condition()
        self._held = 0
        self._waiters = 0

    def enter(self, length: int) -> None:
        """Take room, once there is some. Raises: Overloaded after 30 s without any."""
        with self._changed:
            if self._held + length > self._bytes_max:
                self._wait(length)
            self._held += length

    def _wait(self, length: int) -> None:
        until_s = self._runtime.monotonic_s() + OPERATION_TIMEOUT_S
        self._waiters += 1
        try:
            while self._held and self._held + length > self._bytes_max:
                if self._runtime.monotonic_s() >= until_s:
                    raise Overloaded(f"{self._held} bytes of records wait here already")
                self._changed.wait(_LOOK_S)
        finally:
            self._waiters -= 1

    def leave(self, length: int) -> None:
        """Give room back."""
        with self._changed:
            self._held -= length
            if self._waiters:
                self._changed.notify_all()
