"""The loop of the live screen: waits for a key or a look, and draws what changed.

Keys are read in one thread and the cluster is looked at in another; both put what they have into
one queue, so that the loop waits in one place, and never for long.
"""

from __future__ import annotations

from gfs_ha.cli.live import keys
from gfs_ha.cli.live.feed import Feed, Wish
from gfs_ha.cli.live.frame import COLUMNS_MIN, Frame, draw
from gfs_ha.cli.live.look import AGAIN, CHUNKS, EVENTS, MASTERS, QUIT, REDRAW, Look
from gfs_ha.cli.live.page import Page
from gfs_ha.cli.live.screen import Screen
from gfs_ha.cli.live.sight import Looked, Sight
from gfs_ha.cli.live.spans import CHOSEN, STRONG, Line
from gfs_ha.cli.output import ClosedPipe
from gfs_ha.cli.units import time_text
from gfs_ha.client.live import LiveView
from gfs_ha.errors import DeadlineExceeded, Overloaded
from gfs_ha.runtime import Queue, Runtime

_TICK_S = 0.1  # A new size, Ctrl-Z and a lone ESC are noticed within it.
_REDRAW_S = 1.0  # Ages grow also while nobody answers.
_QUEUE_MAX = 1_000
_ONCE_ROWS = 300

_Event = bytes | Looked


class LiveApp:
    """One live screen, from its first frame to `q`."""

    def __init__(self, view: LiveView, screen: Screen, look: Look, runtime: Runtime) -> None:
        self._screen = screen
        self._runtime = runtime
        self._look = look
        self._sight = Sight()
        self._events: Queue[_Event] = runtime.queue(_QUEUE_MAX)
        self._keys = keys.KeyReader()
        self._frame = Frame((), Page(), 0)
        self._feed = Feed(view, self._wish(), self._tell, runtime)

    def run(self) -> None:
        """Show the cluster until a person has seen enough. Raises: ClosedPipe."""
        self._draw()
        self._runtime.spawn("keys", self._read_keys)
        self._feed.start()
        try:
            self._loop()
        finally:
            self._feed.stop()

    def _loop(self) -> None:
        drawn_s = self._runtime.monotonic_s()
        size = self._screen.size
        while True:
            event = self._next()
            changed = self._take(event) if event is not None else self._settle()
            if changed is None:
                return
            now_s = self._runtime.monotonic_s()
            if self._screen.rest() or self._screen.size != size:
                size, changed = self._screen.size, True
            if now_s - drawn_s >= _REDRAW_S and not self._look.paused:
                changed = True
            if changed and not len(self._events):
                self._draw()
                drawn_s = now_s

    def _next(self) -> _Event | None:
        try:
            return self._events.get(_TICK_S)
        except DeadlineExceeded:
            return None

    def _take(self, event: _Event) -> bool | None:
        """Take a look or some keys; None: it is over."""
        if isinstance(event, Looked):
            if event.crash is not None:
                raise event.crash
            if not self._look.paused:
                self._sight.take(event)
            return True
        if not event:
            raise ClosedPipe  # Whoever typed has gone.
        return self._press(self._keys.feed(event))

    def _settle(self) -> bool | None:
        return self._press(self._keys.settle()) if self._keys.waiting else False

    def _press(self, pressed: list[str]) -> bool | None:
        at_once = False
        for key in pressed:
            answer = self._look.press(key, self._frame.page, self._frame.rows)
            if answer == QUIT:
                return None
            if answer == REDRAW:
                self._screen.forget()
            at_once |= answer == AGAIN
        if pressed:
            self._feed.want(self._wish(), at_once)
        return bool(pressed)

    def _wish(self) -> Wish:
        look = self._look
        return Wish(
            asked=look.request(self._frame.rows or self._screen.size[1]),
            target=look.target,
            masters=look.tab_name == MASTERS,
            troubled=look.tab_name == CHUNKS,
            events=look.tab_name == EVENTS,
            period_s=look.period_s,
            paused=look.paused,
        )

    def _draw(self) -> None:
        clock = time_text(self._runtime.wall_ns())[11:]
        now = (self._runtime.monotonic_s(), clock)
        self._frame = draw(self._look, self._sight, self._screen.size, now)
        self._screen.draw(self._frame.lines)

    def _read_keys(self) -> None:
        self._screen.read_all(self._tell)

    def _tell(self, event: _Event) -> None:
        try:
            self._events.put(event)
        except Overloaded:
            return  # Nobody drew for a thousand of them: what comes next says more.


def one_frame(view: LiveView, look: Look, columns: int, runtime: Runtime) -> list[Line]:
    """Look once, and return the lines of a screen that is as high as it has to be.

    Raises: NoLeader… when no master answers.
    """
    sight = Sight()
    wish = Wish(
        look.request(_ONCE_ROWS),
        masters=True,
        troubled=look.tab_name == CHUNKS,
        events=look.tab_name == EVENTS,
    )
    looked = Feed(view, wish, lambda looked: None, runtime).look(wish)
    if looked.failure is not None:
        raise looked.failure
    sight.take(looked)
    clock = time_text(runtime.wall_ns())[11:]
    frame = draw(look, sight, (max(COLUMNS_MIN, columns), _ONCE_ROWS), (looked.taken_s, clock))
    # Without keys nothing is chosen, and there are no keys to be told.
    lines = [
        tuple((text, STRONG if style == CHOSEN else style) for text, style in spans)
        for spans in frame.lines[:-1]
    ]
    while lines and not lines[-1]:
        lines.pop()
    return lines
