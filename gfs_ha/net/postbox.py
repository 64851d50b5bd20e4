"""What other threads want done on the door's thread."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from gfs_ha.errors import NotReady, Overloaded
from gfs_ha.net.wakeup import Wakeup

logger = logging.getLogger(__name__)

_POSTED_MAX = 65_536


class Postbox:
    """Actions in the order in which they came. `put` is thread-safe; `run` is the door's."""

    def __init__(self, wakeup: Wakeup, where: str) -> None:
        self._wakeup = wakeup
        self._where = where
        self._posted: deque[Callable[[], None]] = deque()

    def put(self, action: Callable[[], None]) -> None:
        """Have an action run soon. Raises: Overloaded, NotReady once the door is closed."""
        if self._wakeup.closed:
            raise NotReady(f"the door on {self._where} is closed")
        if len(self._posted) >= _POSTED_MAX:
            raise Overloaded(f"{_POSTED_MAX} actions wait for the door; try again later")
        self._posted.append(action)
        self._wakeup.set()

    def run(self) -> None:
        """Run what was there when this was called; none of it can hurt the door."""
        for _ in range(len(self._posted)):
            action = self._posted.popleft()
            try:
                action()
            except Exception:
                logger.exception("posted action failed")
