"""What a step works on: the state as it sees it, the leader's stamp, and the rows it wants.

A step is a function from (draft, command) to the result; it refuses by raising a `Refused`. Steps
register themselves with `@step(Command)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gfs_ha.errors import NotInitialized
from gfs_ha.ids import Epoch, LogIndex, SessionId, order_index
from gfs_ha.kv.ordered import Reader
from gfs_ha.master.state.records import Counters, Settings
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import COUNTERS, ONLY, SETTINGS
from gfs_ha.master.state.view import View
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Word

StepFunction = Callable[["Draft", Any], Reply]
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

STEPS: dict[type, StepFunction] = {}
SESSION_COMMANDS: set[type] = set()  # Those that only a session may send, each one once.


class Stamp(Word, frozen=True):
    """Where a command lies in the log, whose it is, and the leader's wall time."""

    index: LogIndex
    term: int
    session_id: SessionId
    wall_ns: int


class Draft:
    """The state under one command: read through `view`, write through `rows` and `counters`."""

    __slots__ = ("_settings", "counters", "rows", "stamp", "view")

    def __init__(self, reader: Reader, stamp: Stamp) -> None:
        self.rows = Rows(reader, for_writing=True)
        self.view = View(self.rows)
        self.stamp = stamp
        self.counters = self.rows.get(COUNTERS, ONLY) or Counters()
        self._settings = self.rows.get(SETTINGS, ONLY)

    @property
    def initialized(self) -> bool:
        return self._settings is not None

    @property
    def settings(self) -> Settings:
        """Return the cluster's settings. Raises: NotInitialized."""
        if self._settings is None:
            raise NotInitialized("the cluster has no settings yet; its first leader writes them")
        return self._settings

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.settings.incarnation, self.stamp.term)

    @property
    def order_index(self) -> LogIndex:
        """Return the number of the orders that this command makes right."""
        return order_index(self.settings.incarnation, self.stamp.index)

    def adopt(self, settings: Settings) -> None:
        """Write the settings of the cluster."""
        self._settings = settings
        self.rows.put(SETTINGS, ONLY, settings)


def step(kind: type[Word], session: bool = False) -> Callable[[Decorated], Decorated]:
    """Return the decorator that makes a function the step of a command."""

    def register(function: Decorated) -> Decorated:
        assert kind not in STEPS, f"two steps for {kind.__name__}"
        STEPS[kind] = function
        if session:
            SESSION_COMMANDS.add(kind)
        return function

    return register
