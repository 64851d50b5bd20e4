"""A cluster of real members in one process: threads, LMDB, TCP on loopback, in TLS if wanted."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from free_ports import HOST, free_ports
from tls_house import TlsHouse

from gfs_ha.errors import DeadlineExceeded, GfsError, NotLeader, Overloaded, UnknownOutcome
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import Table, Writer
from gfs_ha.master.raft.contract import Outcome, RaftConfig
from gfs_ha.master.raft.identity import bootstrap
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.transport import tcp_transport
from gfs_ha.net.tls import Credentials
from gfs_ha.pki.names import Role
from gfs_ha.runtime import Future, ThreadedRuntime

STATE = Table("state", "state")
DATABASES = ("log", "meta", "state")
WAIT_S = 60.0


class Register:
    """A machine that keeps the payloads by log index."""

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        writer.put(STATE, index.to_bytes(8, "big"), payload)
        return b"done " + payload


def free_addresses(count: int) -> list[tuple[str, int]]:
    """Return what nobody has now or was given lately."""
    return [(HOST, port) for port in free_ports(count)]


def wait_until(predicate: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not predicate():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.005)


class Member:
    """One running member and what its loop raised at its end."""

    def __init__(
        self, config: RaftConfig, directory: Path, fresh: bool = False, tls: Path | None = None
    ) -> None:
        self.config = config
        self.directory = directory
        self.error: BaseException | None = None
        self.runtime = ThreadedRuntime(on_crash=self._crashed)
        credentials = None if tls is None else Credentials(tls, config.cluster_id, self.runtime)
        self.kv = LmdbKV(directory, DATABASES, 1 << 28)
        if fresh:
            bootstrap(self.kv, config)
        with ExitStack() as undo:
            undo.callback(self.kv.close)
            self.transport = tcp_transport(config, self.runtime, credentials)
            undo.callback(self.transport.close)
            self.node = RaftNode(config, self.kv, Register(), self.transport, self.runtime)
            undo.pop_all()
        self.task = self.runtime.spawn(config.member_id, self.node.run)

    def _crashed(self, name: str, error: BaseException) -> None:
        self.error = error

    def stop(self) -> None:
        self.node.stop()
        assert self.task.join(WAIT_S), "the loop does not stop"
        self.kv.close()

    def state(self) -> dict[int, bytes]:
        with self.kv.read() as reader:
            return {int.from_bytes(key, "big"): value for key, value in reader.scan(STATE)}

    def propose(self, payload: bytes, deadline_s: float = 5.0) -> Outcome:
        future: Future[Outcome] = self.runtime.future()
        self.node.propose(payload, deadline_s, future.set)
        return future.result(WAIT_S)

    def read_index(self, deadline_s: float = 5.0) -> GfsError | None:
        future: Future[GfsError | None] = self.runtime.future()
        self.node.read_index(deadline_s, future.set)
        return future.result(WAIT_S)


class Cluster:
    """Members m1, m2, … of one cluster."""

    def __init__(
        self, root: Path, count: int = 3, cluster_id: str = "test", secured: bool = False
    ) -> None:
        self.root = root
        self.tls = TlsHouse(root / "tls", cluster_id) if secured else None
        self.directories: dict[str, Path] = {}  # For TLS, by member.
        names = [f"m{number}" for number in range(1, count + 1)]
        self.addresses = dict(zip(names, free_addresses(count), strict=True))
        self.cluster_id = cluster_id
        self.members: dict[str, Member] = {}
        for name in names:
            self.start(name, fresh=True)

    def config(self, name: str) -> RaftConfig:
        return RaftConfig(self.cluster_id, 1, name, self.addresses)

    def start(self, name: str, fresh: bool = False) -> Member:
        if self.tls is not None and name not in self.directories:
            self.directories[name] = self.tls.enrol(Role.MASTER, name)
        tls = self.directories.get(name)
        member = Member(self.config(name), self.root / name, fresh, tls)
        self.members[name] = member
        return member

    def stop(self, name: str) -> None:
        self.members.pop(name).stop()

    def leader(self) -> Member:
        found: list[Member] = []

        def look() -> bool:
            found[:] = [m for m in self.members.values() if m.node.status().role == "leader"]
            return bool(found)

        wait_until(look, "a leader")
        return max(found, key=lambda member: member.node.status().term)

    def followers(self) -> list[Member]:
        leader = self.leader()
        return [member for member in self.members.values() if member is not leader]

    def goes_through(self, payload: bytes) -> Outcome:
        """Propose to whoever leads until that is acknowledged; it may be applied more than once.

        On a busy machine another member may lead before the answer, or nobody for a while.
        """
        ended: list[Outcome] = []

        def tried() -> bool:
            ended.append(self.leader().propose(payload))
            return _done(ended[-1].error)

        wait_until(tried, f"{payload[:20]!r} to go through")
        return ended[-1]

    def confirmed(self) -> Member:
        """Return who leads and knows it by a read index: it shows all that was acknowledged."""
        asked: list[Member] = []

        def tried() -> bool:
            asked.append(self.leader())
            return _done(asked[-1].read_index())

        wait_until(tried, "a leader that may be read")
        return asked[-1]

    def close(self) -> None:
        for name in list(self.members):
            self.stop(name)


def _done(error: GfsError | None) -> bool:
    """Return whether it went well; what a change of the leader cannot explain is a failure."""
    passing = NotLeader | Overloaded | UnknownOutcome | DeadlineExceeded
    assert error is None or isinstance(error, passing), error
    return error is None


@contextmanager
def running(root: Path, count: int = 3, secured: bool = False) -> Iterator[Cluster]:
    cluster = Cluster(root, count, secured=secured)
    try:
        yield cluster
    finally:
        cluster.close()


def dribble_until_dropped(address: tuple[str, int], data: bytes, count: int) -> None:
    """Send data byte by byte on many connections, until each of them was dropped."""
    ends_s = time.monotonic() + WAIT_S
    with ExitStack() as stack:
        left = {
            stack.enter_context(socket.create_connection(address, timeout=WAIT_S)): iter(data)
            for _ in range(count)
        }
        while left and time.monotonic() < ends_s:
            for sock, rest in list(left.items()):
                try:
                    sock.send(bytes((next(rest),)))
                except OSError:
                    del left[sock]
            time.sleep(0.05)
        assert not left, f"{len(left)} of {count} had more time for each byte"
