"""What `-w` does at a terminal: a verb's output again and again, drawn over the one before.

The verb runs in a thread of its own: while it waits for an answer the screen says so, and `q` ends
it at any time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gfs_ha.cli import output
from gfs_ha.cli.live.screen import Screen
from gfs_ha.cli.live.spans import FAINT, WARN, Palette, cells, cut
from gfs_ha.cli.output import ClosedPipe
from gfs_ha.cli.units import count_text, duration_text
from gfs_ha.errors import DeadlineExceeded, GfsError, Overloaded
from gfs_ha.runtime import Queue, Runtime

_TICK_S = 0.1
_LATE_S = 1.0  # So long nothing is said of an answer that does not come.
_QUEUE_MAX = 100
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What one run of the verb wrote, and why it failed."""

    lines: tuple[str, ...] = ()
    error: GfsError | None = None
    crash: BaseException | None = None


class Watching:
    """Shows a verb until `q` or a signal. Raises: what ends it and no retry can help with."""

    def __init__(
        self, screen: Screen, palette: Palette, once: Callable[[], object], runtime: Runtime
    ) -> None:
        self._screen = screen
        self._palette = palette
        self._once = once
        self._runtime = runtime
        self._changed = runtime.condition()
        self._events: Queue[_Shown | bytes] = runtime.queue(_QUEUE_MAX)
        self._stopping = False
        self._lines: Sequence[str] = ()
        self._failure = ""
        self._begun_s = runtime.monotonic_s()

    def run(self, period_s: float) -> None:
        """Show it every so many seconds."""
        self._runtime.spawn("watched", lambda: self._work(period_s))
        self._runtime.spawn("keys", self._read_keys)
        try:
            while self._step():
                pass
        finally:
            with self._changed:
                self._stopping = True
                self._changed.notify_all()

    def _step(self) -> bool:
        try:
            event = self._events.get(_TICK_S)
        except DeadlineExceeded:
            event = None
        if isinstance(event, bytes):
            if not event:
                raise ClosedPipe
            if b"q" in event or b"Q" in event:
                return False
        elif event is not None:
            self._take(event)
        self._screen.rest()
        self._draw()
        return True

    def _take(self, shown: _Shown) -> None:
        if shown.crash is not None:
            raise shown.crash
        if shown.error is None:
            self._lines, self._failure = shown.lines, ""
        elif shown.error.retryable:
            self._failure = shown.error.message
        else:
            raise shown.error

    def _draw(self) -> None:
        columns, rows = self._screen.size
        late_s = self._runtime.monotonic_s() - self._begun_s if self._begun_s else 0.0
        lines = list(self._lines)
        told = self._failure
        if not told and late_s >= _LATE_S:
            told = f"no answer for {duration_text(late_s * 1000)}"
        if told:
            lines = [self._palette.text(((_ESCAPES.sub("", one), FAINT),)) for one in lines]
            lines.insert(0, self._palette.text(((cut(told, columns), WARN),)))
        if len(lines) > rows:
            hidden = count_text(len(lines) - rows + 1, "more line")
            more = f"… {hidden}: the terminal is not high enough"
            lines[rows - 1 :] = [self._palette.text(((cut(more, columns), FAINT),))]
        self._screen.show([(one, cells(_ESCAPES.sub("", one))) for one in lines])

    def _work(self, period_s: float) -> None:
        while not self._stopping:
            self._begun_s = self._runtime.monotonic_s()
            shown = self._run_once()
            self._tell(shown)
            if shown.crash is not None or (shown.error is not None and not shown.error.retryable):
                return  # It is over, and what is said of that is not to be gathered here.
            self._begun_s = 0.0
            until_s = self._runtime.monotonic_s() + period_s
            with self._changed:
                while not self._stopping:
                    left_s = until_s - self._runtime.monotonic_s()
                    if left_s <= 0:
                        break
                    self._changed.wait(left_s)

    def _run_once(self) -> _Shown:
        with output.captured() as written:
            try:
                self._once()
            except GfsError as error:
                return _Shown(error=error)
            except Exception as error:  # The top of this thread: told where it is seen.
                return _Shown(crash=error)
        text = bytes(written).decode("utf-8", "replace").rstrip("\n")
        return _Shown(tuple(text.split("\n")))

    def _read_keys(self) -> None:
        self._screen.read_all(self._tell)

    def _tell(self, event: _Shown | bytes) -> None:
        try:
            self._events.put(event)
        except Overloaded:
            return  # The next one says more.
