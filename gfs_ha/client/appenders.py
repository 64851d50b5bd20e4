"""The appenders of one client: one for each file that is appended to, and their ids used again."""

from __future__ import annotations

import logging
from collections import OrderedDict

from gfs_ha.client.append_grants import AppendTarget
from gfs_ha.client.append_identity import AppenderIdentity
from gfs_ha.client.append_records import Appended
from gfs_ha.client.append_rights import AppenderParts
from gfs_ha.client.appender import Appender, Data
from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import GfsError, UsageError
from gfs_ha.ids import NO_SESSION
from gfs_ha.limits import REQUESTS_PER_CALL_MAX
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.metadata import CloseSession
from gfs_ha.runtime import Future

logger = logging.getLogger(__name__)

KEPT_MAX = 64  # Files that are appended to record by record; the one longest unused is let go.
CLOSE_TIMEOUT_S = 3.0


class Appenders:
    """Makes appenders, and keeps one for each file that single records go to. Thread-safe.

    An id and the next sequence under it go from an appender that ended to the next one, so that a
    client that appends to many files needs few ids. Ids of writers with a key are never closed.
    """

    def __init__(self, parts: AppenderParts, calls: ClusterCalls) -> None:
        self._parts = parts
        self._calls = calls
        self._lock = parts.runtime.lock()
        self._kept: OrderedDict[AppendTarget, Appender] = OrderedDict()
        self._made: list[Appender] = []
        self._free: list[tuple[AppenderIdentity, int]] = []

    def make(self, target: AppendTarget) -> Appender:
        """Return an appender of the caller's own, to be closed by the caller."""
        with self._lock:
            self._reclaim()
            if target.key or not self._free:
                appender = Appender(self._parts, target)
            else:
                appender = Appender(self._parts, target, *self._free.pop())
            self._made.append(appender)
            return appender

    def append(self, target: AppendTarget, data: Data) -> Future[Appended]:
        """Append one record; all single records of this client to one file share an appender."""
        while True:
            appender = self._of(target)
            try:
                return appender.append(data)
            except UsageError:
                if not appender.ended:
                    raise  # Else it was let go of just now, because others were used more.

    def _of(self, target: AppendTarget) -> Appender:
        with self._lock:
            kept = self._kept.get(target)
            if kept is not None:
                self._kept.move_to_end(target)
                return kept
        made = self.make(target)
        with self._lock:
            kept = self._kept.setdefault(target, made)
            idle = [one for one, appender in self._kept.items() if appender.idle]
            over = idle[: max(0, len(self._kept) - KEPT_MAX)]
            unused = [self._kept.pop(one) for one in over if one != target]
        if kept is not made:
            unused.append(made)
        for appender in unused:
            appender.abandon()
        return kept

    def close(self) -> None:
        """End all appenders, and their ids. What is under way may or may not be appended."""
        with self._lock:
            appenders, self._made = self._made, []
            self._kept.clear()
            free, self._free = self._free, []
        for appender in appenders:
            appender.abandon()
        ids = {one.appender_id for one in appenders if not one.target.key}
        ids |= {identity.value for identity, _ in free}
        asked = [Asked(CloseSession(), one, 1, 1) for one in sorted(ids - {NO_SESSION})]
        try:
            for start in range(0, len(asked), REQUESTS_PER_CALL_MAX):
                some = asked[start : start + REQUESTS_PER_CALL_MAX]
                self._calls.settle(some, min(self._calls.timeout_s, CLOSE_TIMEOUT_S))
        except GfsError as error:
            # They end by themselves 24 h after their last use.
            logger.info("appenders left to expire error=%s", error.message)

    def _reclaim(self) -> None:
        """Take back the ids of appenders that were closed and have nothing under way."""
        still: list[Appender] = []
        for appender in self._made:
            if not appender.ended:
                still.append(appender)
            elif appender.appender_id != NO_SESSION and not appender.target.key:
                self._free.append((appender.identity, appender.next_sequence))
        self._made = still
