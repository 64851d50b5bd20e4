"""The log lines of simulated processes: unread, but an exception among them ends the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.trace import Trace


class Complaints(logging.Handler):
    """Listens to the product's loggers while it is entered, and keeps the others silent.

    The real processes log an exception of a handler, a callback or a planner and go on; in a
    simulation it is a mistake that was found.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._first: str | None = None
        self._logger = logging.getLogger("gfs_ha")
        self._before = (self._logger.level, self._logger.propagate)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None and self._first is None:
            error = record.exc_info[1]
            self._first = f"{record.getMessage()}: {type(error).__name__}: {error}"

    def check(self) -> None:
        """Raises: Violation when somebody complained."""
        if self._first is not None:
            raise Violation(f"logged exception: {self._first}")

    def hear(self, play: Callable[[], None], end: Callable[[], None], trace: Trace) -> str | None:
        """Play a run, end it, and return which promise was broken, if any."""
        violation = None
        try:
            with self:
                play()
        except Violation as error:
            violation = str(error)
            trace.note(f"violation {violation}")
        except Exception:
            end()
            raise
        # Not after a signal: the task that has the baton does not know of it, and runs on.
        end()
        return violation

    def __enter__(self) -> Complaints:
        self._before = (self._logger.level, self._logger.propagate)
        self._logger.setLevel(logging.ERROR)
        self._logger.propagate = False
        self._logger.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self)
        level, self._logger.propagate = self._before
        self._logger.setLevel(level)
