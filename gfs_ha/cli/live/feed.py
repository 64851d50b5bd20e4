"""Looks at the cluster again and again in a thread of its own, so that keys never wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.cli.live.sight import CHUNK, FILE, JOB, SERVER, Looked, Target
from gfs_ha.client.jobs import number_of
from gfs_ha.client.live import LiveView
from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.live import GetLive
from gfs_ha.runtime import Runtime

_MASTERS_S = 5.0  # Who is not on the page of masters is asked so seldom.
_TROUBLED_S = 3.0
_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Wish:
    """What the screen needs now."""

    asked: GetLive
    target: Target | None = None
    masters: bool = False  # At each look.
    troubled: bool = False
    events: bool = False
    period_s: float = 1.0
    paused: bool = False


class Feed:
    """Gives each look to `on_look`. Thread-safe."""

    def __init__(
        self, view: LiveView, wish: Wish, on_look: Callable[[Looked], None], runtime: Runtime
    ) -> None:
        self._view = view
        self._on_look = on_look
        self._runtime = runtime
        self._changed = runtime.condition()
        self._wish = wish
        self._at_once = self._stopping = False
        self._masters_s = self._troubled_s = float("-inf")

    def start(self) -> None:
        """Begin to look."""
        self._runtime.spawn("live view", self._run)

    def stop(self) -> None:
        """Look no more; a look under way is not waited for."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def want(self, wish: Wish, at_once: bool) -> None:
        """Look for something else from now on; `at_once`: not only when the time has come."""
        with self._changed:
            old = self._wish
            fresh = (wish.target, wish.troubled, wish.events) != (
                old.target,
                old.troubled,
                old.events,
            )
            self._wish = wish
            if at_once or fresh:
                self._at_once = True
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._at_once = False
                wish = self._wish
            begun_s = self._runtime.monotonic_s()
            if not wish.paused:
                looked = self._look_or_crash(wish)
                self._on_look(looked)
                if looked.crash is not None:
                    return
            if not self._wait(begun_s):
                return

    def _wait(self, begun_s: float) -> bool:
        """Wait until the next look is due; False when there is to be none."""
        with self._changed:
            while not self._stopping and not self._at_once:
                left_s = begun_s + self._wish.period_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    break
                self._changed.wait(min(left_s, _WAIT_S))
            return not self._stopping

    def _look_or_crash(self, wish: Wish) -> Looked:
        try:
            return self.look(wish)
        except Exception as error:  # The top of this thread: told where it is seen.
            return Looked(self._runtime.monotonic_s(), crash=error)

    def look(self, wish: Wish) -> Looked:
        """Look once; what fails is part of what was seen."""
        looked = Looked(
            self._runtime.monotonic_s(),
            target=wish.target,
            servers=wish.asked.limit > 0,
            first=wish.asked.offset,
        )
        try:
            looked.live = self._view.look(wish.asked)
        except GfsError as error:
            looked.failure = error
        now_s = looked.taken_s = self._runtime.monotonic_s()
        leads = looked.live is not None and looked.live.leads
        if wish.masters or not leads or now_s - self._masters_s >= _MASTERS_S:
            looked.masters = self._view.masters()
            self._masters_s = now_s
        if leads:
            self._look_closer(wish, looked, now_s)
        return looked

    def _look_closer(self, wish: Wish, looked: Looked, now_s: float) -> None:
        try:
            if wish.troubled and now_s - self._troubled_s >= _TROUBLED_S:
                looked.troubled = self._view.troubled()
                self._troubled_s = now_s
            if wish.events:
                looked.events = self._view.events()
            if wish.target is not None:
                looked.detail = self._detail(wish.target)
        except GfsError as error:
            looked.detail_failure = error

    def _detail(self, target: Target) -> object | None:
        kind, name = target
        if kind == SERVER:
            return self._view.server(str(name))
        if kind == CHUNK:
            return self._view.chunk(ChunkId(int(name)))
        if kind == FILE:
            return self._view.file(str(name))
        if kind == JOB:
            return self._view.job(number_of(str(name)))
        return None  # A master is seen in what all say.
