"""Why handshakes failed, by peer; each reason is logged once, then once a minute with a count."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gfs_ha.errors import GfsError, OldCopy

logger = logging.getLogger(__name__)

REPEAT_S = 60.0
_PEERS_MAX = 64
_LINES_MAX = 30  # Within REPEAT_S, of all peers: a stranger may give any number of names.


@dataclass(slots=True)
class _Told:
    message: str
    at_s: float
    count: int = 0  # Since it was logged.


class Refusals:
    """The newest reason of each peer."""

    def __init__(self) -> None:
        self.count = 0  # Of all that were noted.
        self._told: dict[str, _Told] = {}
        self._reasons: dict[str, GfsError] = {}
        self._lines = 0
        self._lines_since_s = float("-inf")

    def note(self, peer: str, remote: str, error: GfsError, now: float) -> None:
        """Note that a handshake failed. A peer without a name is known by its host."""
        self.count += 1
        if peer:
            self._reasons[peer] = error
            while len(self._reasons) > _PEERS_MAX:
                del self._reasons[next(iter(self._reasons))]
        who = peer or remote.rpartition(":")[0]
        told = self._told.get(who)
        if told is not None and told.message == error.message and now - told.at_s < REPEAT_S:
            told.count += 1
            return
        if now - self._lines_since_s >= REPEAT_S:
            self._lines, self._lines_since_s = 0, now
        self._lines += 1
        if self._lines > _LINES_MAX:
            return
        logger.warning(
            "handshake failed peer=%s remote=%s code=%s error=%s repeated=%d",
            peer or "?",
            remote,
            error.code,
            error.message,
            0 if told is None else told.count,
        )
        self._told.pop(who, None)
        self._told[who] = _Told(error.message, now)
        while len(self._told) > _PEERS_MAX:
            del self._told[next(iter(self._told))]

    def reason(self, peer: str) -> str:
        """Return why the newest handshake with a peer failed, or ""."""
        error = self._reasons.get(peer)
        return "" if error is None else error.message

    def ended(self, peer: str) -> bool:
        """Return whether that is for good: the peer stopped, and will never start again."""
        return isinstance(self._reasons.get(peer), OldCopy)

    def forget(self, peer: str) -> None:
        """Hear that a handshake succeeded."""
        self._reasons.pop(peer, None)
        self._told.pop(peer, None)
