"""Whom the chunkservers serve, as each told the leader last (no clock)."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.ids import ServerId
from gfs_ha.protocol.usage import KINDS, UsageFacts, UsageSketch, heard_sketch
from gfs_ha.sketch import Sketch
from gfs_ha.sketch_windows import WINDOWS

STALE_S = 30.0  # Who is silent for so long serves nobody that is known.

_SKETCHES_MAX = len(KINDS) * len(WINDOWS)


class UsageHeard:
    """What the servers told one leader. Used by one thread at a time.

    A telling is whole, so the last one is enough, and a new leader knows all within seconds.
    """

    def __init__(self) -> None:
        self._told: dict[ServerId, tuple[float, tuple[UsageSketch, ...]]] = {}

    def heard(self, server_id: ServerId, facts: UsageFacts, now_s: float) -> None:
        """Keep what a run of a server tells, unless it is more than one of ours would tell."""
        if len(facts.sketches) <= _SKETCHES_MAX:
            self._told[server_id] = now_s, facts.sketches

    def forget(self, server_id: ServerId) -> None:
        """Forget an earlier run of a server."""
        self._told.pop(server_id, None)

    def count(self, now_s: float) -> int:
        """Return how many servers have told lately."""
        return sum(now_s - told_s <= STALE_S for told_s, _ in self._told.values())

    def sketches(self, by: str, window: str, now_s: float) -> Iterator[tuple[Sketch, float]]:
        """Yield what each server told of a window lately, and over how many seconds."""
        for told_s, sketches in self._told.values():
            if now_s - told_s > STALE_S:
                continue
            for told in sketches:
                if (told.by, told.window) == (by, window):
                    sketch = heard_sketch(told)
                    if sketch is not None:
                        yield sketch, told.over_ms / 1000
