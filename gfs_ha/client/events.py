"""The cluster's history as operators read and follow it, and findings that they mute."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import GfsError
from gfs_ha.protocol.events import (
    EVENTS_PAGE_MAX,
    FROM_NEWEST,
    EventItem,
    EventReport,
    GetEvents,
    MuteFinding,
    MuteReport,
)
from gfs_ha.runtime import Runtime

LOOK_S = 1.0  # How often it is looked for more.
GIVE_UP_S = 300.0  # Without any answer.


class Events:
    """The events of a cluster. Thread-safe. Raises: NoLeader…"""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def newest(self, wanted: GetEvents, limit: int) -> tuple[list[EventItem], int]:
        """Return so many of the newest events that are wanted, oldest first, and the last number.

        What happens from now on has a number above it, whether it is wanted or not.
        """
        found: list[EventItem] = []
        below, last = 0, -1
        while True:
            asked = msgspec.structs.replace(
                wanted,
                after=FROM_NEWEST,
                below=below,
                limit=min(limit - len(found), EVENTS_PAGE_MAX),
            )
            page = self._calls.ask(asked, EventReport)
            last = page.last if last < 0 else last
            found[:0] = page.items
            if not page.more or len(found) >= limit or not page.at:
                return found, last
            below = page.at

    def since(self, wanted: GetEvents) -> tuple[list[EventItem], int]:
        """Return all events that are kept and wanted, oldest first, and the last number."""
        first = self._calls.ask(GetEvents(limit=1), EventReport)
        found = []
        after = first.first - 1 if first.first else 0
        while True:
            items, after, more = self._page(wanted, after)
            found += items
            if not more:
                return found, after

    def follow(
        self,
        wanted: GetEvents,
        after: int,
        runtime: Runtime,
        on_trouble: Callable[[GfsError], object] = lambda error: None,
    ) -> Iterator[list[EventItem]]:
        """Yield what happens after a number, without an end; each event once, in order.

        Numbers are the same on every master, so another leader goes on where the last one was.
        While nobody answers it is tried again; `on_trouble` hears of that.
        Raises: NoLeader… when there was no answer for GIVE_UP_S; any error that a retry cannot end.
        """
        heard_s = runtime.monotonic_s()
        while True:
            try:
                items, after, more = self._page(wanted, after)
            except GfsError as error:
                if not error.retryable or runtime.monotonic_s() - heard_s >= GIVE_UP_S:
                    raise
                on_trouble(error)
                items, more = [], False
            else:
                heard_s = runtime.monotonic_s()
            yield items
            if not more:
                runtime.sleep(LOOK_S)

    def mute(self, code: str, for_ms: int, reason: str, asked_by: str) -> MuteReport:
        """Let findings of a code not count for so long (0: count again); return what is muted.

        Raises: InvalidArgument, NotFound, LimitExceeded.
        """
        return self._calls.ask(MuteFinding(code, for_ms, reason, asked_by), MuteReport)

    def _page(self, wanted: GetEvents, after: int) -> tuple[list[EventItem], int, bool]:
        asked = msgspec.structs.replace(wanted, after=after, limit=EVENTS_PAGE_MAX)
        page = self._calls.ask(asked, EventReport)
        return list(page.items), max(after, page.at), page.more
