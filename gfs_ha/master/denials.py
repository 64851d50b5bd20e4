"""What a master denied to those who may not ask for it: counted, and seldom told."""

from __future__ import annotations

import logging

from gfs_ha.errors import Denied
from gfs_ha.logs.seldom import Seldom
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)


class Denials:
    """Of the door's thread. Requests have lines of their own, heartbeats have none."""

    def __init__(self, runtime: Runtime) -> None:
        self.count = 0
        self._logged = Seldom(runtime)

    def note(self, peer: str, error: Denied) -> None:
        """Count one; a line tells of it, at most once a second."""
        self.count += 1
        if self._logged.now():
            logger.warning("request denied peer=%s: %s", peer, error.message)
