"""How fast bytes may move: one pace for all files of an operation."""

from __future__ import annotations

from gfs_ha.client.transfers import Cancel
from gfs_ha.errors import UsageError
from gfs_ha.runtime import Runtime

BURST_S = 0.1  # What was not used for so long may be made up for.
SLICE_S = 0.2  # How soon a waiting worker hears of a cancel.
RATE_MIN = 1024


class SharedPace:
    """Lets so many bytes pass in a second, on the average of a second or so. Thread-safe."""

    def __init__(self, runtime: Runtime, bytes_per_s: int, cancel: Cancel) -> None:
        """Raises: UsageError."""
        if bytes_per_s < RATE_MIN:
            raise UsageError(f"{bytes_per_s} bytes in a second; at least {RATE_MIN} are possible")
        self._runtime = runtime
        self._rate = bytes_per_s
        self._cancel = cancel
        self._lock = runtime.lock()
        self._free_s = runtime.monotonic_s()  # When all that passed until now is paid for.

    def take(self, size: int) -> None:
        """Wait until `size` more bytes may have passed. Raises: Cancelled."""
        with self._lock:
            now_s = self._runtime.monotonic_s()
            self._free_s = max(self._free_s, now_s - BURST_S) + size / self._rate
            until_s = self._free_s
        while (left_s := until_s - self._runtime.monotonic_s()) > 0:
            self._cancel.check()
            self._runtime.sleep(min(left_s, SLICE_S))
