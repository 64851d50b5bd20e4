"""Links between members in TLS: who gets one, what strangers reach, and when trust ends."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hostile.raft_words import NO_HANDSHAKE, frame, frames_of
from raft_members import (
    WAIT_S,
    Cluster,
    dribble_until_dropped,
    free_addresses,
    running,
    wait_until,
)
from tls_house import TlsHouse

from gfs_ha.errors import GfsError
from gfs_ha.limits import PROTOCOL_VERSION, RAFT_FRAME_BYTES_MAX
from gfs_ha.master.raft import transport
from gfs_ha.master.raft.transport import _most_from_one_host
from gfs_ha.net import tcp_links
from gfs_ha.net.links import Link
from gfs_ha.net.tcp_links import TcpLinks
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import EVERYBODY, PeerName, Role
from gfs_ha.runtime import ThreadedRuntime


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path, secured=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the tests of this file do not change."""
    with running(tmp_path_factory.mktemp("steady"), secured=True) as cluster:
        yield cluster


def house(cluster: Cluster) -> TlsHouse:
    assert cluster.tls is not None
    return cluster.tls


def hello(cluster: Cluster, member: str, target: str) -> bytes:
    word = ["gfs-ha hello", PROTOCOL_VERSION, cluster.cluster_id, 1, member, target]
    return frame(msgspec.msgpack.encode([*word, [1, 7], [0, 0]]))


class Stranger:
    """A raw connection to a member, in TLS if there is a context for it."""

    def __init__(
        self, cluster: Cluster, tls: ssl.SSLContext | None, host: str = "127.0.0.1"
    ) -> None:
        """Args: `host` is where it comes from: the log tells the same of one host only once."""
        to = cluster.addresses["m1"]
        self.sock = socket.create_connection(to, timeout=WAIT_S, source_address=(host, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.error = ""
        if tls is not None:
            try:
                self.sock = tls.wrap_socket(self.sock, server_hostname="127.0.0.1")
            except (ssl.SSLError, ConnectionError) as error:
                self.error = str(error)

    def says(self, data: bytes) -> list[bytes]:
        """Say something; return the frames that come before the member hangs up."""
        received = b""
        try:
            self.sock.sendall(data)
            while chunk := self.sock.recv(65_536):
                received += chunk
        except TimeoutError:
            raise AssertionError("the member did not hang up") from None
        except OSError as error:
            self.error = self.error or str(error)
        finally:
            self.sock.close()
        return frames_of(received)


def refusal(frames: list[bytes]) -> tuple[str, str]:
    """Return the code and the message of a refusal."""
    for word in map(msgspec.msgpack.decode, frames):
        if word[0] == "refusal":
            return str(word[1]), str(word[2])
    return "", ""


def test_members_elect_and_replicate_through_tls(cluster: Cluster) -> None:
    for size in (10, 20_000, 900_000):  # Within one record, within one sealing, beyond it.
        cluster.goes_through(b"x" * size)
    for member in cluster.members.values():
        wait_until(lambda m=member: max(map(len, m.state().values()), default=0) == 900_000, "it")
    name = cluster.confirmed().config.member_id
    cluster.stop(name)
    cluster.goes_through(b"without it")
    cluster.start(name)
    wait_until(lambda: b"without it" in cluster.members[name].state().values(), "its return")


def expired(house: TlsHouse) -> ssl.SSLContext:
    return house.careless(
        house.enrol(Role.MASTER, "old", now=datetime.now(UTC) - timedelta(days=60), days=30)
    )


def revoked(house: TlsHouse) -> ssl.SSLContext:
    directory = house.enrol(Role.MASTER, "gone")
    house.revoke("gone", [house.root / f"master-{name}" for name in ("m1", "m2", "m3")])
    return house.careless(directory)


def of_another_authority(house: TlsHouse) -> ssl.SSLContext:
    other = TlsHouse(Path(tempfile.mkdtemp(dir=house.root)), house.cluster)
    return other.careless(other.enrol(Role.MASTER, "m3"))


def of_another_cluster(house: TlsHouse) -> ssl.SSLContext:
    return house.careless(house.forge(PeerName("other", Role.MASTER, "m3")))


# Who it is, what it shows, and a word of the reason in the log.
ATTACKS: dict[str, tuple[Callable[[TlsHouse], ssl.SSLContext | None], str]] = {
    "no certificate": (lambda house: house.careless(None), "shows no certificate"),
    "expired": (expired, "expired"),
    "another authority": (of_another_authority, "not good"),
    "another cluster": (of_another_cluster, "is for cluster 'other'"),
    "a client": (
        lambda house: house.careless(house.enrol(Role.CLIENT, "ann")),
        "must be that of a master",
    ),
    "a chunkserver": (
        lambda house: house.careless(house.enrol(Role.CHUNKSERVER, "cs1")),
        "must be that of a master",
    ),
    "an operator": (
        lambda house: house.careless(house.enrol(Role.ADMIN, "root")),
        "must be that of a master",
    ),
    "TLS 1.2": (
        lambda house: house.careless(house.enrol(Role.MASTER, "m9"), ssl.TLSVersion.TLSv1_2),
        "TLS 1.3",
    ),
    "in the clear": (lambda house: None, "does not speak TLS"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_whoever_is_no_master_of_ours_is_refused_and_named(
    steady: Cluster, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    steady.leader()
    make, reason = ATTACKS[name]
    host = f"127.0.1.{1 + list(ATTACKS).index(name)}"
    context = make(house(steady))

    def named() -> bool:
        """One attempt: on a busy machine it may take too long, and that is the reason then."""
        frames = Stranger(steady, context, host).says(hello(steady, "m3", "m1"))
        # Nothing of the handshake of members is said to it but why not.
        assert all(msgspec.msgpack.decode(one)[0] == "refusal" for one in frames)
        return any(f"{host}:" in line and reason in line for line in caplog.messages)

    with caplog.at_level(logging.WARNING):
        wait_until(named, f"{reason!r} in the log")
    steady.goes_through(b"fine")


def test_a_revoked_master_is_refused_and_told_why(cluster: Cluster) -> None:
    cluster.leader()
    context = revoked(house(cluster))

    def refused() -> bool:
        frames = Stranger(cluster, context).says(hello(cluster, "gone", "m1"))
        return "revoked" in refusal(frames)[1]

    wait_until(refused, "the list to be read")


def test_a_master_that_says_it_is_another_one_is_refused(steady: Cluster) -> None:
    steady.leader()
    context = house(steady).careless(house(steady).enrol(Role.MASTER, "m4"))
    told: list[tuple[str, str]] = []

    def answered() -> bool:
        told.append(refusal(Stranger(steady, context).says(hello(steady, "m3", "m1"))))
        return told[-1] != ("", "")  # Else it took too long for its handshake.

    wait_until(answered, "a refusal")
    code, message = told[-1]
    assert code == "Denied" and "its certificate that it is 'm4'" in message


@pytest.mark.parametrize(
    "data",
    [
        *NO_HANDSHAKE,
        struct.pack("!II", RAFT_FRAME_BYTES_MAX, 0) + b"x" * 100_000,
        b"\0\0",
    ],
    ids=lambda data: f"{len(data)}-{data[:12].hex()}",
)
def test_what_a_master_says_that_is_no_handshake_is_dropped(steady: Cluster, data: bytes) -> None:
    context = house(steady).careless(house(steady).root / "master-m2")
    Stranger(steady, context).says(data)
    steady.goes_through(b"fine")


def test_of_too_many_strangers_the_oldest_of_the_busiest_host_goes() -> None:
    remotes = ["10.0.0.9:1", "10.0.0.7:5", "10.0.0.7:6", "10.0.0.8:1", "10.0.0.7:7"]
    strangers = [SimpleNamespace(remote=remote) for remote in remotes]
    assert _most_from_one_host(strangers).remote == "10.0.0.7:5"  # type: ignore[arg-type]
    assert _most_from_one_host(strangers[:1]).remote == "10.0.0.9:1"  # type: ignore[arg-type]


HALVES = {
    "nothing": b"",
    "half a record": b"\x16\x03\x01\x02\x00" + b"\x01\x00\x01\xfc\x03\x03" + b"r" * 100,
    "no TLS": b"\x15\x03\x01\xff\xff" + b"x" * 100,
    "endless hello": b"\x16\x03\x01\x40\x00\x01\x01\xf0\x00\x03\x03" + bytes(16_378),
}


@pytest.mark.parametrize("name", HALVES)
def test_a_flood_of_half_handshakes_does_no_harm(steady: Cluster, name: str) -> None:
    steady.leader()
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as stack:
        strangers = []
        for _ in range(100):
            stranger = Stranger(steady, None)
            stack.callback(stranger.sock.close)
            strangers.append(stranger)
            stranger.sock.sendall(HALVES[name])
        steady.goes_through(b"fine")
        for stranger in strangers:  # All are dropped in time: none finishes.
            try:
                while stranger.sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "the descriptors to be free")


def test_a_handshake_that_dribbles_in_has_no_more_time_than_others(
    steady: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "RAFT_HANDSHAKE_S", 0.4)
    dribble_until_dropped(steady.addresses["m1"], HALVES["endless hello"], 40)
    steady.goes_through(b"fine")


class Nobody:
    """Owns a link and wants nothing."""

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, frame: bytes) -> None: ...

    def refused(self, link: Link, error: GfsError) -> None: ...

    def closed(self, link: Link, reason: str) -> None: ...


def test_a_connection_that_cannot_be_tuned_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a peer that has gone before its turn."""
    tune, failures = tcp_links.tune_link, [OSError(errno.EINVAL, "Invalid argument")]

    def tuned(sock: socket.socket) -> None:
        if failures:
            raise failures.pop()
        tune(sock)

    monkeypatch.setattr(tcp_links, "tune_link", tuned)
    taken: list[Link] = []
    links = TcpLinks(ThreadedRuntime(), ("127.0.0.1", 0), 4096, 1 << 20)
    links.listen(lambda link: taken.append(link) or Nobody())
    with ExitStack() as stack:
        stack.callback(links.close)
        gone, _ = [
            stack.enter_context(socket.create_connection(links.address, timeout=WAIT_S))
            for _ in range(2)
        ]
        links.poll(WAIT_S, lambda: False)
        assert len(taken) == 1
        assert gone.recv(1) == b"", "it was hung up on"


def test_one_handshake_has_its_turn_before_the_loop_goes_on(tmp_path: Path) -> None:
    made = TlsHouse(tmp_path)
    credentials = made.credentials(Role.MASTER, "m1")
    links = TcpLinks(ThreadedRuntime(), ("127.0.0.1", 0), 4096, 1 << 20, credentials)
    links.listen(lambda link: Nobody())
    with ExitStack() as stack:
        stack.callback(links.close)
        for _ in range(6):
            sock = stack.enter_context(socket.create_connection(links.address, timeout=WAIT_S))
            sock.sendall(TlsSession.dialled(credentials, EVERYBODY, "127.0.0.1").take())
        links.poll(WAIT_S, lambda: False)  # Accepts them all.
        begun = []
        for _ in range(4):
            links.poll(WAIT_S, lambda: False)
            begun.append(sum(bool(one.tls and one.tls.held_bytes) for one in links._links.values()))
    assert begun == [1, 2, 3, 4]


def test_a_member_at_another_host_than_its_certificate_names_gets_no_link(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, count=0, secured=True)
    try:
        names = ("m1", "m2")
        cluster.addresses = dict(zip(names, free_addresses(2), strict=True))
        for name in names:
            hosts = ["127.0.0.1"] if name == "m2" else ["elsewhere.example"]
            cluster.directories[name] = house(cluster).enrol(Role.MASTER, name, hosts)
            cluster.start(name, fresh=True)
        told = cluster.members["m2"]  # The greater id dials.
        wait_until(lambda: told.node.status().peers[0].refusal, "the refusal")
        assert "not good" in told.node.status().peers[0].refusal
        assert not any(peer.connected for peer in told.node.status().peers)
    finally:
        cluster.close()


def test_a_revoked_member_loses_the_links_it_has(cluster: Cluster) -> None:
    victim = cluster.followers()[0].config.member_id
    others = {name: path for name, path in cluster.directories.items() if name != victim}
    house(cluster).revoke(victim, list(others.values()))
    for name in others:
        wait_until(lambda n=name: not linked(cluster, n, victim), f"{name} to drop {victim}")
    cluster.goes_through(b"without it")
    # It comes back with a new certificate, without a restart.
    house(cluster).enrol(Role.MASTER, victim)
    wait_until(lambda: b"without it" in cluster.members[victim].state().values(), "its return")


def linked(cluster: Cluster, name: str, other: str) -> bool:
    peers = cluster.members[name].node.status().peers
    return any(peer.connected for peer in peers if peer.member_id == other)


def test_new_certificates_of_a_new_authority_are_taken_without_a_restart(cluster: Cluster) -> None:
    cluster.leader()
    old = house(cluster).careless(house(cluster).enrol(Role.MASTER, "m4"))

    def distrusted() -> bool:
        return not Stranger(cluster, old).says(hello(cluster, "m4", "m1"))

    wait_until(lambda: not distrusted(), "its handshake to be in time")
    house(cluster).replace_authority([])
    for name in cluster.members:
        house(cluster).enrol(Role.MASTER, name)
    wait_until(distrusted, "the end of the old authority")
    # All links are new then: on a busy machine another member may lead meanwhile.
    cluster.goes_through(b"under the new one")
    for member in cluster.members.values():
        wait_until(lambda m=member: b"under the new one" in m.state().values(), "the entry")
