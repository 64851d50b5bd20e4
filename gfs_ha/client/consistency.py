"""How old the answers to reads may be, as a client chooses it, and how old they were."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gfs_ha.errors import UsageError
from gfs_ha.protocol.calls import BOUNDED, LED, LINEARIZABLE, LOCAL, AsOf, ReadTerms
from gfs_ha.runtime import Runtime

BOUND_MS_MAX = 3_600_000
_BOUNDED = re.compile(rf"{BOUNDED}:([0-9]{{1,9}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Consistency:
    """`linearizable` reads are the leader's; `bounded` and `local` ones are any master's."""

    kind: str = LINEARIZABLE
    bound_ms: int = 0

    @property
    def led(self) -> bool:
        """Return whether only the leader is asked."""
        return self.kind == LINEARIZABLE

    def terms(self, at_least: int) -> ReadTerms:
        """Return what is sent with reads by a client that has seen this index."""
        return ReadTerms(self.kind, self.bound_ms, at_least)

    def __str__(self) -> str:
        return f"{BOUNDED}:{self.bound_ms}" if self.kind == BOUNDED else self.kind


DEFAULT = Consistency()


def consistency_of(text: str) -> Consistency:
    """Return what `linearizable`, `bounded:MS` or `local` means. Raises: UsageError."""
    if text in (LINEARIZABLE, LOCAL):
        return Consistency(text)
    match = _BOUNDED.fullmatch(text)
    if match is None or int(match[1]) > BOUND_MS_MAX:
        raise UsageError(
            f"consistency {text!r}: say linearizable, local, or bounded:MS with at most "
            f"{BOUND_MS_MAX} milliseconds (bounded:0 is linearizable at any master)"
        )
    return Consistency(BOUNDED, int(match[1]))


class Sightings:
    """What one connection has seen, so that it never goes back in time. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._index = 0
        self._oldest: AsOf | None = None

    @property
    def index(self) -> int:
        """Return the newest index of the log that an answer has shown."""
        return self._index

    @property
    def oldest(self) -> AsOf | None:
        """Return the oldest answer since the last `forget_age`; one of unknown age is older."""
        return self._oldest

    def forget_age(self) -> None:
        """Begin anew with the ages; the index stays."""
        self._oldest = None

    def note_index(self, as_of: AsOf | None) -> None:
        """Note what an answer of the leader shows, which has no age."""
        if as_of is not None:
            with self._lock:
                self._index = max(self._index, as_of.index)

    def note(self, as_of: AsOf | None) -> None:
        """Note which moment an answer shows."""
        if as_of is None or as_of == AsOf(as_of.master, 0, 0):
            return  # Nothing was shown: all of it was refused, and is asked elsewhere.
        with self._lock:
            self._index = max(self._index, as_of.index)
            if self._oldest is None or _older(as_of) > _older(self._oldest):
                self._oldest = as_of

    def led_terms(self) -> ReadTerms:
        """Return terms by which the leader answers as ever, and says which moment it shows."""
        return ReadTerms(LED, 0, self._index)


def _older(as_of: AsOf) -> tuple[bool, bool, int]:
    return as_of.degraded, as_of.age_ms < 0, as_of.age_ms
