"""The port of a daemon for machines that watch it: `/metrics`, `/livez`, `/readyz`.

What is measured is looked at only when somebody asks, at most once a second, by a thread of its
own: where that hangs, on a disk or a loop that does not answer, no second one is started, and the
other pages go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.config import MetricsConfig
from gfs_ha.metrics.exposition import (
    CONTENT_TYPE,
    Collect,
    Process,
    Samples,
    counter,
    gauge,
    render,
)
from gfs_ha.net.http_port import HttpLimits, HttpPort, Page, text_page
from gfs_ha.pulse import Pulse
from gfs_ha.runtime import Future, Runtime, Task, join_all
from gfs_ha.version import VERSION

KEPT_S = 1.0
_STOP_S = 2.0

BUILD = gauge(
    *("gfs_build_info", "Always 1; what runs here, as labels."),
    *("cluster_id", "role", "name", "version"),
)
ALIVE = gauge("gfs_alive", "1 while all loops of the daemon turn, else 0; as /livez says.")
READY = gauge("gfs_ready", "1 while the daemon serves what it is for, else 0; as /readyz says.")
SILENCE = gauge(
    "gfs_loop_silence_seconds", "Since a loop of the daemon last came round, by loop.", "loop"
)
LOOK = gauge(
    "gfs_metrics_collection_seconds", "How long it took to look at all that stands here, but this."
)
REFUSED = counter(
    "gfs_metrics_requests_refused_total", "Requests to this port that got no page.", "reason"
)
METRICS = (BUILD, ALIVE, READY, SILENCE, LOOK, REFUSED)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Watched:
    """A daemon as it is watched.

    `unready` returns why it does not serve now, or nothing when it does; it waits for nothing.
    `collect` adds its metrics; it may wait, for less than a second.
    """

    cluster: str
    role: str
    name: str
    pulse: Pulse
    unready: Callable[[], str]
    collect: Collect


class MetricsPort:
    """Holds its port from the start; without a place to listen there is none, and nothing to do.

    Raises: PortTaken, ConfigError.
    """

    _watched: Watched

    def __init__(
        self,
        runtime: Runtime,
        listen: MetricsConfig | None,
        limits: HttpLimits | None = None,
    ) -> None:
        self._runtime = runtime
        self._limits = limits or HttpLimits()
        self._process = Process()
        self._lock = runtime.lock()
        self._http: HttpPort | None = None
        if listen is not None:
            self._http = HttpPort(runtime, (listen.host, listen.port), self._route, self._limits)
        self._task: Task | None = None
        self._coming: Future[Page] | None = None  # The page that is being made, or was last.
        self._maker: Task | None = None  # Who makes it.
        self._stopping = False
        self._began_s = 0.0

    @property
    def port(self) -> int:
        """Return the port that it listens on; 0 for none."""
        return 0 if self._http is None else self._http.port

    def start(self, watched: Watched) -> None:
        """Begin to answer, for this daemon."""
        self._watched = watched
        if self._http is not None:
            self._task = self._runtime.spawn("metrics", self._http.run)

    def close(self) -> None:
        """Give back the port of one that was not started."""
        if self._http is not None:
            self._http.stop()
            self._http.run()

    def stop(self, timeout_s: float = _STOP_S) -> bool:
        """Hang up and give the port back; False when it still runs after `timeout_s`.

        So it does while somebody looks at what is measured: the store must not go from under it.
        """
        with self._lock:
            self._stopping = True
            tasks = [one for one in (self._task, self._maker) if one is not None]
        if self._http is not None and self._task is not None:
            self._http.stop()
        else:
            self.close()
        return join_all(tasks, timeout_s, self._runtime)

    def _route(self, path: str) -> Page | Future[Page]:
        if path == "/metrics":
            return self.page()
        if path == "/livez":
            return self._livez()
        if path == "/readyz":
            return self._readyz()
        if path == "/":
            return text_page(f"{self._watched.role} {self._watched.name}: /metrics /livez /readyz")
        return text_page("there are /metrics, /livez and /readyz", 404)

    def _livez(self) -> Page:
        stalls = self._watched.pulse.stalls()
        if not stalls:
            return text_page("alive")
        hung = ", ".join(f"{one.loop} hangs for {one.silent_s:.0f} s" for one in stalls)
        return text_page(hung, 503)

    def _readyz(self) -> Page:
        why = self._unready()
        return text_page(why, 503) if why else text_page("ready")

    def _unready(self) -> str:
        if not self._watched.pulse.alive():
            return "a loop hangs, see /livez"
        return self._watched.unready()

    def page(self) -> Page | Future[Page]:
        """Return the page `/metrics`, made now or within a second. Thread-safe, once it is started.

        It waits for nothing: a look that hangs is a page that says so.
        """
        with self._lock:
            return self._page()

    def _page(self) -> Page | Future[Page]:
        if self._stopping:
            return text_page("it stops", 503)
        now_s = self._runtime.monotonic_s()
        coming = self._coming
        if coming is not None:
            age_s = now_s - self._began_s
            if not coming.done() and age_s > self._limits.make_s:
                return text_page("what is measured could not be looked at yet; see /livez", 503)
            if not coming.done() or age_s < KEPT_S:
                return coming
        made: Future[Page] = self._runtime.future()
        self._coming, self._began_s = made, now_s
        self._maker = self._runtime.spawn("metrics page", lambda: self._make(made))
        return made

    def _make(self, made: Future[Page]) -> None:
        try:
            made.set(Page(self._exposition(), content_type=CONTENT_TYPE))
        except Exception as error:
            # The top of this thread; who asked hears of it, and asks again.
            logger.exception("what is measured could not be looked at")
            made.fail(error)

    def _exposition(self) -> bytes:
        watched, samples = self._watched, Samples()
        began_s = self._runtime.monotonic_s()
        samples.set(BUILD, 1, watched.cluster, watched.role, watched.name, VERSION)
        samples.set(ALIVE, watched.pulse.alive())
        samples.set(READY, not self._unready())
        for loop, silent_s in watched.pulse.silences().items():
            samples.set(SILENCE, silent_s, loop)
        if self._http is not None:
            for reason, count in self._http.refused.items():
                samples.set(REFUSED, count, reason)
        watched.collect(samples)
        samples.set(LOOK, self._runtime.monotonic_s() - began_s)
        return render(samples, self._process)
