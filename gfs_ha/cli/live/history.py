"""What a watcher has seen lately (pure): a bounded row of numbers, and its picture in one line.

The history is the client's: a new leader begins with nothing, and nothing is lost here by it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from math import ceil

POINTS_MAX = 240
SERVERS_MAX = 1_000
SERVER_POINTS = 48

BARS = "▁▂▃▄▅▆▇"  # None fills its line: rows below each other stay apart.


def unseen(values: Sequence[float], width: int) -> int:
    """Return of how many columns of a sparkline nothing is known yet."""
    return max(0, width - len(values))


def sparkline(values: Sequence[float], width: int, top: float = 0.0) -> str:
    """Return the newest values as bars, one column each; the highest is as high as `top` is.

    Without a top the greatest value shown is the highest. What is 0 is the lowest bar.
    """
    shown = list(values)[-width:] if width > 0 else []
    highest = top or max(shown, default=0.0)
    step = (len(BARS) - 1) / highest if highest > 0 else 0.0
    bars = [BARS[min(len(BARS) - 1, ceil(max(0.0, value) * step))] for value in shown]
    return " " * (max(0, width) - len(bars)) + "".join(bars)


class History:
    """The numbers of the whole cluster, and of the servers that were on the screen lately."""

    def __init__(self) -> None:
        self._rows: dict[str, deque[float]] = {}
        self._servers: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, name: str, value: float) -> None:
        """Add a number to a row."""
        self._rows.setdefault(name, deque(maxlen=POINTS_MAX)).append(value)

    def note_server(self, name: str, value: float) -> None:
        """Add a number of a server; those that were not seen for the longest time make room."""
        row = self._servers.pop(name, None)
        self._servers[name] = row = deque(maxlen=SERVER_POINTS) if row is None else row
        row.append(value)
        while len(self._servers) > SERVERS_MAX:
            self._servers.popitem(last=False)

    def of(self, name: str) -> Sequence[float]:
        """Return a row, oldest first."""
        return self._rows.get(name, ())

    def of_server(self, name: str) -> Sequence[float]:
        """Return the row of a server, oldest first."""
        return self._servers.get(name, ())
