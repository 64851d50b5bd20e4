"""The task that makes the journal of a disk when it is first wanted, and keeps room in it."""

from __future__ import annotations

import logging

from gfs_ha.chunk.journal.journal import Journal
from gfs_ha.errors import GfsError
from gfs_ha.runtime import Runtime, Task

_LOOK_S = 30.0  # It is woken when there is something to do.
_REST_S = 1.0

logger = logging.getLogger(__name__)


class JournalKeeper:
    """Runs beside a data port; without it appends go to their slots once the journal is full."""

    def __init__(self, journal: Journal, runtime: Runtime) -> None:
        self._journal = journal
        self._runtime = runtime
        self._stopping = False
        self._task: Task | None = None

    def start(self) -> None:
        """Begin."""
        self._task = self._runtime.spawn("journal", self._run)

    def stop(self, timeout_s: float) -> bool:
        """End it, once nothing is appended any more: all is brought into the slots then.

        False when it still runs after `timeout_s`.
        """
        self._stopping = True
        self._journal.wake()
        return self._task is None or self._task.join(timeout_s)

    def _run(self) -> None:
        failed = ""
        while not self._stopping:
            self._journal.wait_for_work(_LOOK_S)
            if self._stopping:
                break
            try:
                if not self._journal.keep():
                    self._journal.rest(_REST_S)
            except GfsError as error:
                if str(error) != failed:
                    logger.error("the journal of the disk is not kept: %s", error)
                failed = str(error)
                self._journal.rest(_REST_S)
        try:
            self._journal.end()
        except GfsError as error:
            logger.error("the journal of the disk is left as it is: %s", error)
