"""Requests of several threads on their way to the leader, several in one call.

One call may hold many requests, and most of what a call costs is the same for one as for sixty.
"""

from __future__ import annotations

from collections.abc import Callable

from gfs_ha.client.turns import Pace, Turns
from gfs_ha.protocol.calls import Asked, CallBody, CallReply, Reply
from gfs_ha.protocol.metadata import (
    FinishChunk,
    Locate,
    Mkdir,
    Publish,
    ReleaseChunks,
    Remove,
    Rename,
    SetAttributes,
    Stat,
)
from gfs_ha.runtime import Runtime

CALLS_UNDER_WAY = 8  # From so many on, requests wait for each other: few wait in vain, many share.
COMBINED_MAX = 64  # Requests in one call; each is at most about 16 KiB.
FILES_MAX = 2
EXTENTS_MAX = 64
HURRIED_S = 1.0  # Who has less time than this goes alone: the shortest time is that of the call.

# They are answered at the pace of the log: none makes the others wait for a server or a seal.
_QUICK = (FinishChunk, Locate, Mkdir, ReleaseChunks, Remove, Rename, SetAttributes, Stat)

PACE = Pace(CALLS_UNDER_WAY, COMBINED_MAX)

Call = Callable[[CallBody, float], CallReply]


class Combiner:
    """Sends requests to the leader by `call`, which blocks. Thread-safe."""

    def __init__(self, call: Call, runtime: Runtime) -> None:
        self._call = call
        self.turns: Turns[Asked, Reply] = Turns(call, runtime, PACE)

    def call(self, asked: CallBody, timeout_s: float) -> CallReply:
        """Return the replies to the requests, in order. Raises: what `call` raises."""
        if timeout_s < HURRIED_S or not _combines(asked):
            return self._call(asked, timeout_s)
        return self.turns.call(asked, timeout_s)


def _combines(asked: CallBody) -> bool:
    return len(asked) <= COMBINED_MAX // 4 and all(_quick(one) for one in asked)


def _quick(asked: Asked) -> bool:
    request = asked.request
    if isinstance(request, Publish):
        return len(request.files) <= FILES_MAX and all(
            len(file.extents) <= EXTENTS_MAX for file in request.files
        )
    return isinstance(request, _QUICK)
