"""Three real masters in one process, and peers that speak the real protocol to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from free_ports import free_ports

from gfs_ha.config import (
    ClientConfig,
    ClusterConfig,
    Config,
    MasterAddress,
    MasterConfig,
    MetricsConfig,
    SettingsConfig,
)
from gfs_ha.errors import Denied, GfsError
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.limits import DEAD_S, MIB, PROTOCOL_VERSION
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.server import MasterServer, build_master
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure, Hello
from gfs_ha.protocol.metadata import OpenSession, SessionOpened
from gfs_ha.runtime import ThreadedRuntime

WAIT_S = 60.0
CALL_S = 10.0
CLUSTER = "test-cluster"
NAMES = ("m1", "m2", "m3")
PASSING = ("NotLeader", "NotInitialized", "UnknownOutcome", "Overloaded")  # While a leader comes.
YOUNG = "this leader is new and still hears its servers"


def wait_until(predicate: Callable[[], Any], what: str) -> Any:
    """Return the first true value of `predicate`; fail after a long while."""
    deadline = time.monotonic() + WAIT_S
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.01)


class Trio:
    """The masters of one cluster; each can be stopped and started again on its directory."""

    def __init__(self, directory: Path, settings: SettingsConfig | None = None) -> None:
        ports = free_ports(2 * len(NAMES))
        self.directory = directory
        self.settings = settings or SettingsConfig(chunk_bytes=MIB)
        self.dead_after_s = DEAD_S
        self.watched: dict[str, MetricsConfig] = {}  # Where they answer who watches them.
        self.masters = tuple(
            MasterAddress(name, "127.0.0.1", ports[2 * position], ports[2 * position + 1])
            for position, name in enumerate(NAMES)
        )
        self.crashes: list[tuple[str, BaseException]] = []
        self.runtime = ThreadedRuntime(lambda task, error: self.crashes.append((task, error)))
        self.servers: dict[str, MasterServer] = {}
        self._closers: list[Callable[[], object]] = []

    def config(self, name: str) -> Config:
        """Return the configuration of one master."""
        return Config(
            path=self.directory / "gfs.toml",
            cluster=ClusterConfig(CLUSTER, "test", self.masters),
            master=MasterConfig(name, self.directory / name, 1 << 28, self.dead_after_s),
            chunkserver=None,
            client=ClientConfig("here", "r1"),
            settings=self.settings,
            security="loopback",
            metrics=self.watched.get(name),
        )

    def start(self, *names: str, bootstrap: bool = False) -> None:
        """Start masters; all of them by default."""
        for name in names or NAMES:
            self.servers[name] = build_master(self.config(name), self.runtime, bootstrap)
            self.servers[name].start()

    def stop(self, name: str) -> None:
        """Stop one master cleanly."""
        assert self.servers.pop(name).stop(WAIT_S), f"{name} does not stop"

    def leader(self) -> str:
        """Return who leads, waiting for it."""

        def look() -> str:
            for name, server in self.servers.items():
                if server.raft.status().role == "leader":
                    return name
            return ""

        return str(wait_until(look, "a leader"))

    def term(self) -> int:
        """Return the leader's term."""
        return self.servers[self.leader()].raft.status().term

    def network(self, role: str, name: str) -> TcpNetwork:
        """Return what one links to masters with."""
        return TcpNetwork(self.runtime)

    def link(self, role: str = "client", name: str = "tester") -> LeaderLink:
        """Return a link to the leader that is closed with the trio."""
        hello = Hello(CLUSTER, PROTOCOL_VERSION, role, name)
        link = LeaderLink(self.masters, self.network(role, name), hello, self.runtime)
        self._closers.append(link.close)
        return link

    def refusal(self, asked: Asked, timeout_s: float) -> Failure:
        """Return what a call is refused with that waits in vain, whole calls of ours being late."""

        def ask() -> Failure | None:
            try:
                answer = link.call((asked,), timeout_s)[0]
            except GfsError:
                return None
            assert isinstance(answer, Failure), answer
            return None if answer.error in (*PASSING, "DeadlineExceeded") else answer

        link = self.link()
        return cast(Failure, wait_until(ask, "a refusal in time"))

    def silence_claims_after(self, seconds: float) -> None:
        """Have claims of silent sessions end much earlier than they do in earnest."""
        for server in self.servers.values():
            server.housekeeper.limits = PlanLimits(claim_silence_s=seconds)

    def at_close(self, closer: Callable[[], object]) -> None:
        """Call `closer` before the masters stop."""
        self._closers.append(closer)

    def close(self) -> None:
        """Stop everything."""
        for closer in reversed(self._closers):
            closer()
        for server in self.servers.values():
            server.stop(WAIT_S)
        assert not self.crashes, self.crashes


Masters = TypeVar("Masters", bound="Trio")


@contextmanager
def started(cluster: Masters) -> Iterator[Masters]:
    """Start the masters of a fresh cluster, and stop everything at the end."""
    try:
        cluster.start(bootstrap=True)
        yield cluster
    finally:
        cluster.close()


def answer(link: LeaderLink, asked: Asked, passing: Sequence[str] = PASSING) -> Any:
    """Return the reply to a request, whoever leads by then."""

    def reply() -> Any:
        try:
            told = link.call((asked,), CALL_S)[0]
        except Denied:
            raise
        except GfsError:
            return None
        return None if isinstance(told, Failure) and told.error in passing else told

    return wait_until(reply, "an answer")


class Client:
    """A client with a session, as the real one: same request again until it is answered."""

    def __init__(self, trio: Trio, name: str = "tester") -> None:
        self._runtime = trio.runtime
        self._link = trio.link("client", name)
        self.session_id: SessionId = NO_SESSION
        self.sequence = 0
        opened = self.ask(OpenSession("tester"))
        assert isinstance(opened, SessionOpened), opened
        self.session_id = opened.session_id

    def ask(self, request: Any) -> Any:
        """Return the reply to a request, whoever leads by then."""
        return self.send(self.asked(request))[0]

    def asked(self, request: Any) -> Asked:
        """Return a request with the next sequence of the session."""
        self.sequence += 1
        return Asked(request, self.session_id, self.sequence, max(1, self.sequence - 100))

    def post(self, *asked: Asked) -> None:
        """Send a call and forget about its answer."""
        task = partial(self._forget, asked)
        self._runtime.spawn("call", task)

    def _forget(self, asked: tuple[Asked, ...]) -> None:
        with suppress(GfsError):
            self._link.call(asked, CALL_S)

    def send(self, *asked: Asked) -> tuple[Any, ...]:
        """Return the replies to one call; asks again while a retry can help."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                replies = self._link.call(asked, CALL_S)
            except GfsError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
                continue
            again = [
                reply
                for reply in replies
                if isinstance(reply, Failure)
                and reply.raised().retryable
                and (reply.error in PASSING or reply.message == YOUNG)
            ]
            if not again or time.monotonic() > deadline:
                return replies
            time.sleep(0.02)
