"""The port of a daemon for machines that watch it, before a daemon that can hang."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from door_house import PATIENCE_S

from gfs_ha.config import MetricsConfig
from gfs_ha.errors import PortTaken
from gfs_ha.metrics import port as metrics_port
from gfs_ha.metrics.exposition import Samples, gauge
from gfs_ha.metrics.port import MetricsPort, Watched
from gfs_ha.net.http_port import HttpLimits, Page
from gfs_ha.pulse import Pulse
from gfs_ha.runtime import ThreadedRuntime

HOST = "127.0.0.1"
LOOKED = gauge("gfs_test_looked", "How often it was looked.")
ANYWHERE = MetricsConfig(HOST, 0)


class Wheel:
    """A loop that turns when the test says so."""

    def __init__(self, turned_s: float) -> None:
        self.turned_s = turned_s


class Daemon:
    """Something to watch: it counts how often it is looked at, and can keep who looks waiting."""

    def __init__(self) -> None:
        self.runtime = ThreadedRuntime()
        self.pulse = Pulse(self.runtime)
        self.wheel = Wheel(self.runtime.monotonic_s() + 3600)
        self.pulse.add("raft", self.wheel)
        self.why = ""
        self.looked = 0
        self.gate = threading.Event()
        self.gate.set()

    def collect(self, samples: Samples) -> None:
        self.looked += 1
        assert self.gate.wait(PATIENCE_S)
        samples.set(LOOKED, self.looked)

    def watched(self) -> Watched:
        about = ("c-1", "master", "m1", self.pulse)
        return Watched(*about, lambda: self.why, self.collect)


@contextmanager
def watching(daemon: Daemon, **limits: float) -> Iterator[MetricsPort]:
    port = MetricsPort(daemon.runtime, ANYWHERE, HttpLimits(**limits))  # type: ignore[arg-type]
    port.start(daemon.watched())
    try:
        yield port
    finally:
        daemon.gate.set()
        assert port.stop(PATIENCE_S)


def get(port: MetricsPort, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def value(text: str, name: str) -> float:
    (line,) = [one for one in text.splitlines() if one.startswith(f"{name} ")]
    return float(line.split()[-1])


def test_a_daemon_is_alive_while_its_loops_turn_and_says_which_one_hangs() -> None:
    daemon = Daemon()
    with watching(daemon) as port:
        assert get(port, "/livez") == (200, "alive\n")
        assert get(port, "/readyz") == (200, "ready\n")
        daemon.wheel.turned_s = daemon.runtime.monotonic_s() - 100
        status, text = get(port, "/livez")
        assert status == 503 and text.startswith("raft hangs for 10")
        assert get(port, "/readyz")[0] == 503, "what hangs serves nobody"
        text = get(port, "/metrics")[1]
        assert value(text, "gfs_alive") == 0 and value(text, "gfs_ready") == 0


def test_a_daemon_that_is_not_ready_says_why_and_is_alive() -> None:
    daemon = Daemon()
    daemon.why = "no leader is known"
    with watching(daemon) as port:
        assert get(port, "/readyz") == (503, "no leader is known\n")
        assert get(port, "/livez")[0] == 200
        text = get(port, "/metrics")[1]
        assert value(text, "gfs_alive") == 1 and value(text, "gfs_ready") == 0
        assert 'role="master"' in text and 'name="m1"' in text


def test_other_paths_name_those_that_there_are() -> None:
    with watching(Daemon()) as port:
        assert get(port, "/")[0] == 200 and "/metrics" in get(port, "/")[1]
        assert get(port, "/metric")[0] == 404


def test_many_scrapers_cost_as_much_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "KEPT_S", PATIENCE_S)
    daemon = Daemon()
    daemon.gate.clear()
    with watching(daemon) as port, ExitStack() as stack:
        asked = [http.client.HTTPConnection(HOST, port.port, timeout=PATIENCE_S) for _ in range(8)]
        for one in asked:
            stack.callback(one.close)
            one.request("GET", "/metrics")
        while not daemon.looked:
            threading.Event().wait(0.001)
        daemon.gate.set()
        texts = {one.getresponse().read() for one in asked}
        assert len(texts) == 1 and daemon.looked == 1
        assert get(port, "/metrics")[1].encode() in texts, "it is kept for a while"
        monkeypatch.setattr(metrics_port, "KEPT_S", 0.0)
        assert value(get(port, "/metrics")[1], "gfs_test_looked") == 2


def test_a_look_that_hangs_keeps_no_probe_waiting_and_is_not_begun_twice() -> None:
    daemon = Daemon()
    daemon.gate.clear()
    with watching(daemon, make_s=0.2) as port:
        for _ in range(4):
            assert get(port, "/metrics")[0] == 503
            assert get(port, "/livez") == (200, "alive\n")
        assert daemon.looked == 1
        daemon.gate.set()
        while get(port, "/metrics")[0] == 503:
            threading.Event().wait(0.01)


def test_it_has_not_stopped_while_somebody_still_looks_and_nobody_looks_after_that() -> None:
    daemon = Daemon()
    for listen in (ANYWHERE, None):  # By its own port, and for who asks otherwise.
        daemon.gate.clear()
        port = MetricsPort(daemon.runtime, listen)
        port.start(daemon.watched())
        looked = daemon.looked
        coming = port.page()
        assert not port.stop(0.05), "what it looks at would be closed"
        daemon.gate.set()
        assert port.stop(PATIENCE_S) and not isinstance(coming, Page) and coming.done()
        page = port.page()
        assert isinstance(page, Page) and page.status == 503
        assert daemon.looked == looked + 1


def test_a_look_that_fails_is_told_and_the_probes_go_on() -> None:
    daemon = Daemon()
    broken = MetricsPort(daemon.runtime, ANYWHERE)
    broken.start(Watched("c", "master", "m1", daemon.pulse, lambda: "", fail))
    try:
        assert get(broken, "/metrics")[0] == 500
        assert get(broken, "/livez")[0] == 200
    finally:
        assert broken.stop(PATIENCE_S)


def fail(samples: Samples) -> None:
    raise OSError("no such disk")


def test_a_taken_port_is_named_before_anything_begins() -> None:
    with watching(Daemon()) as port, pytest.raises(PortTaken, match=str(port.port)):
        MetricsPort(ThreadedRuntime(), MetricsConfig(HOST, port.port))


def test_without_a_place_to_listen_it_is_told_to_who_asks_otherwise() -> None:
    none = MetricsPort(ThreadedRuntime(), None)
    none.start(Daemon().watched())
    found = none.page()
    page = found if isinstance(found, Page) else found.result(PATIENCE_S)
    assert value(page.body.decode(), "gfs_test_looked") == 1
    assert none.port == 0 and none.stop()
