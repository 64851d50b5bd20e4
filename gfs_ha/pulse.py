"""Whether a daemon is alive: each loop without which it does not serve notes when it last turned.

A process can hang and still hold its port: a deadlock, or a disk that never answers. Whoever asks
from a thread of its own (the service manager's watchdog, `/livez`) hears it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gfs_ha.runtime import Runtime

# A loop waits for its disk: one that takes seconds for a sync is slow, and a restart helps nobody.
STALL_S = 30.0


class Loop(Protocol):
    """Something that turns for as long as its daemon serves, also when there is nothing to do."""

    @property
    def turned_s(self) -> float:
        """Return when it last came round, by the runtime's clock; at first when it was made."""
        ...


@dataclass(frozen=True, slots=True)
class Stall:
    """A loop that has not come round for longer than it may."""

    loop: str
    silent_s: float


class Pulse:
    """The loops of one daemon. Thread-safe: all are added before anybody asks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loops: dict[str, tuple[Loop, float]] = {}

    def add(self, name: str, loop: Loop, limit_s: float = STALL_S) -> None:
        """Have a loop watched from now on; it may be silent for `limit_s`."""
        self._loops = {**self._loops, name: (loop, limit_s)}

    def silences(self) -> dict[str, float]:
        """Return for how many seconds each loop has not come round; waits for nothing."""
        now_s = self._runtime.monotonic_s()
        return {name: max(0.0, now_s - loop.turned_s) for name, (loop, _) in self._loops.items()}

    def stalls(self) -> tuple[Stall, ...]:
        """Return the loops that hang, in the order they were added; waits for nothing."""
        silences = self.silences().items()
        return tuple(
            Stall(one, silent_s) for one, silent_s in silences if silent_s > self._limit(one)
        )

    def alive(self) -> bool:
        """Return whether every loop turns; waits for nothing."""
        return not self.stalls()

    def _limit(self, name: str) -> float:
        return self._loops[name][1]
