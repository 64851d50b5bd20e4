"""Doors in TLS against whoever is not let in, and channels against servers that are none."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from door_house import ECHO, GREETING, LATER, PATIENCE_S, House, Peer, Service
from hostile.packets import HALVES
from test_hostile import MIB, Victim
from tls_house import CLUSTER, TlsHouse

from gfs_ha.errors import Denied, Unreachable, error_from_wire
from gfs_ha.limits import CONNECTIONS_MAX, TLS_HANDSHAKE_BYTES_MAX, TLS_HANDSHAKES_PER_TURN
from gfs_ha.net.channel import Channel, ChannelLimits
from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
from gfs_ha.net.network import Hello
from gfs_ha.net.rpc import Reply, encode_reply, encode_request
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.net.tls import Credentials
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import PeerName, Role

PATIENT = ChannelLimits(connect_timeout_s=PATIENCE_S)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> TlsHouse:
    return TlsHouse(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def house(pki: TlsHouse) -> Iterator[House]:
    """A house in TLS only, whose client is an ordinary one."""
    with ExitStack() as stack:
        made = House(stack)
        made.server = pki.credentials(Role.MASTER, "m1", runtime=made.runtime)
        made.client = pki.credentials(Role.CLIENT, "ann", runtime=made.runtime)
        yield made
    assert not made.crashes


def accept(answer: bytes) -> None:
    """Read the answer to a hello as a client does. Raises: what the service says."""
    code, _, message = answer.decode().partition(": ")
    if message:
        raise error_from_wire(code, message, {})


def test_the_service_hears_who_calls_by_the_certificate(house: House, pki: TlsHouse) -> None:
    seen: list[PeerName | None] = []

    class Curious(Service):
        def hello(self, connection, body):  # type: ignore[no-untyped-def]
            seen.append(connection.certificate)
            return super().hello(connection, body)

    door = house.open_door(Curious())
    channel = house.dial(door.port)
    assert channel.call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
    assert seen == [PeerName(CLUSTER, Role.CLIENT, "ann")]
    assert channel.certificate == PeerName(CLUSTER, Role.MASTER, "m1")


def test_a_network_secures_both_of_its_ends(house: House) -> None:
    service = Service()
    network = TcpNetwork(house.runtime, credentials=house.server)
    door = network.listen(("127.0.0.1", 0), service.hello, service)
    task = house.runtime.spawn("door", door.run)
    try:
        channel = network.dial(("127.0.0.1", door.port), Hello(GREETING), PATIENCE_S)
        assert channel.certificate is not None
        assert channel.call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
        channel.close()
        with pytest.raises(Unreachable):
            TcpNetwork(house.runtime).dial(("127.0.0.1", door.port), Hello(GREETING), PATIENCE_S)
    finally:
        door.stop()
        assert task.join(PATIENCE_S)


# Whom a door refuses. What it shows, and a word of the reason in the log.


def expired(pki: TlsHouse) -> ssl.SSLContext:
    then = datetime.now(UTC) - timedelta(days=60)
    return pki.careless(pki.enrol(Role.CLIENT, "late", now=then, days=30))


def of_another_authority(pki: TlsHouse) -> ssl.SSLContext:
    other = TlsHouse(Path(tempfile.mkdtemp(dir=pki.root)))
    return other.careless(other.enrol(Role.ADMIN, "root"))


def of_another_cluster(pki: TlsHouse) -> ssl.SSLContext:
    return pki.careless(pki.forge(PeerName("cluster-2", Role.MASTER, "m1")))


def revoked(pki: TlsHouse) -> ssl.SSLContext:
    directory = pki.enrol(Role.CLIENT, "gone")
    pki.revoke("gone", [])
    return pki.careless(directory)


STRANGERS: dict[str, tuple[Callable[[TlsHouse], ssl.SSLContext], str]] = {
    "no certificate": (lambda pki: pki.careless(None), "shows no certificate"),
    "expired": (expired, "expired"),
    "another authority": (of_another_authority, "not good"),
    "another cluster": (of_another_cluster, "is for cluster 'cluster-2'"),
    "TLS 1.2": (
        lambda pki: pki.careless(pki.enrol(Role.CLIENT, "bob"), ssl.TLSVersion.TLSv1_2),
        "offers no TLS 1.3",
    ),
    "revoked": (revoked, "is revoked"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_door_refuses_a_stranger_and_says_so(
    house: House, pki: TlsHouse, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = STRANGERS[name]
    context = make(pki)  # Before the door's credentials, which then know of it.
    house.server = pki.credentials(Role.MASTER, "m1", runtime=house.runtime)
    service = Service()
    door = house.open_door(service)
    honest = house.dial(door.port)
    with caplog.at_level(logging.WARNING):
        heard = knock(door.port, context)
        service.wait(lambda: reason in caplog.text)
    assert b"welcome" not in heard
    assert door.stats().refused + door.stats().broke_protocol == 1
    assert honest.call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
    assert [method for method, _, _ in service.asked] == [ECHO], "nothing of it was served"
    wait_for(lambda: door.stats().connections == 1, "it to be gone")


def knock(port: int, context: ssl.SSLContext) -> bytes:
    """Shake hands, say hello and call; return what comes until the door hangs up."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    heard = b""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
        sock.sendall(encode_request(0, 0, b"", GREETING) + encode_request(1, ECHO, b"", b"me"))
        while data := sock.recv(65_536):
            heard += data
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        pass
    finally:
        sock.close()
    return heard


@pytest.mark.parametrize("name", ["expired", "revoked", "another cluster"])
def test_a_client_that_is_refused_hears_that_its_certificate_is_why(
    house: House, pki: TlsHouse, name: str
) -> None:
    directories = {
        "expired": pki.root / "client-late",
        "revoked": pki.root / "client-gone",
        "another cluster": pki.root / f"forged-cluster-2-{Role.MASTER}-m1",
    }
    STRANGERS[name][0](pki)
    house.server = pki.credentials(Role.MASTER, "m1", runtime=house.runtime)
    door = house.open_door(Service())
    client = Careless(pki, directories[name], house)
    with pytest.raises(Denied) as caught:
        Channel(("127.0.0.1", door.port), Hello(GREETING, accept), house.runtime, PATIENT, client)
    said = "refuses our certificate" if name == "expired" else "certificate"
    assert said in caught.value.message


def test_a_server_that_has_not_heard_of_our_authority_is_passed_over(
    house: House, pki: TlsHouse
) -> None:
    """A rotation comes to one master after the other: what one does not know yet, others do."""
    door = house.open_door(Service())
    fresh = TlsHouse(Path(tempfile.mkdtemp(dir=pki.root))).enrol(Role.CLIENT, "ann")
    client = Careless(pki, fresh, house)
    with pytest.raises(Unreachable, match="refuses our certificate: unknown ca") as caught:
        Channel(("127.0.0.1", door.port), Hello(GREETING, accept), house.runtime, PATIENT, client)
    assert caught.value.details["sent"] == 0


class Careless(Credentials):
    """Those of a client that does not know that its own are not good."""

    def __init__(self, pki: TlsHouse, directory: Path, house: House) -> None:
        super().__init__(pki.enrol(Role.CLIENT, "ignorant"), CLUSTER, house.runtime)
        self._shown = pki.careless(directory)

    def client_context(self) -> ssl.SSLContext:
        return self._shown


# Whom a channel does not believe.


SERVERS: dict[str, tuple[Callable[[TlsHouse], Path], str]] = {
    "another authority": (
        lambda pki: TlsHouse(Path(tempfile.mkdtemp(dir=pki.root))).enrol(Role.MASTER, "m1"),
        "not good",
    ),
    "expired": (
        lambda pki: pki.enrol(
            Role.MASTER, "m8", now=datetime.now(UTC) - timedelta(days=60), days=30
        ),
        "expired",
    ),
    "another host": (lambda pki: pki.enrol(Role.MASTER, "m7", ["other.example"]), "not good"),
    "no host at all": (lambda pki: pki.enrol(Role.MASTER, "m6", ["::1"]), "not good"),
    "a client": (lambda pki: pki.enrol(Role.CLIENT, "ann2"), "not good"),
    "a chunkserver": (
        lambda pki: pki.enrol(Role.CHUNKSERVER, "cs1"),
        "it must be that of a master",
    ),
    "another cluster": (
        lambda pki: pki.forge(PeerName("cluster-2", Role.MASTER, "m1")),
        "is for cluster 'cluster-2'",
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_channel_believes_no_server_but_a_master_at_that_host(
    house: House, pki: TlsHouse, name: str
) -> None:
    make, reason = SERVERS[name]
    directory = make(pki)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    heard: list[bytes] = []

    def script(sock: socket.socket) -> None:
        try:
            with context.wrap_socket(sock, server_side=True) as secured:
                heard.append(secured.recv(65_536))
        except (ssl.SSLError, ConnectionResetError):
            pass

    house.server = None  # The script does it.
    with pytest.raises(Unreachable, match=reason) as caught:
        house.dial(house.serve_bytes(script))
    assert caught.value.details["sent"] == 0
    assert heard in ([], [b""]), "nothing was said to it, not even hello"


def test_a_side_that_wants_tls_alone_is_pointed_to_it(house: House) -> None:
    secured = house.open_door(Service())
    client, house.client = house.client, None
    with pytest.raises(Unreachable, match=r"hello.*without it are reset"):
        house.dial(secured.port)
    house.client, house.server = client, None
    with pytest.raises(Unreachable, match=r"TLS handshake.*without TLS"):
        house.dial(house.open_door(Service()).port)


@pytest.mark.parametrize(
    "banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100)]
)
def test_a_server_without_tls_is_unreachable(house: House, banner: bytes) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(banner)

    house.server = None
    with pytest.raises(Unreachable) as caught:
        house.dial(house.serve_bytes(script))
    assert caught.value.details["sent"] == 0


def test_a_server_that_stops_amid_the_handshake_costs_no_more_than_the_deadline(
    house: House,
) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(b"\x16\x03\x03\x00\x7a\x02\x00\x00")
        sock.recv(65_536)

    house.server = None
    with pytest.raises(Unreachable, match="TLS handshake"):
        house.dial(house.serve_bytes(script), ChannelLimits(connect_timeout_s=0.15))


def test_a_server_that_sends_a_record_by_halves_is_dropped_at_the_frame_deadline(
    house: House,
) -> None:
    assert house.server is not None
    tls = house.server.server_context()
    house.server = None

    def script(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.wrap_bio(incoming, outgoing, server_side=True)

        def step(action: Callable[[], object]) -> object:
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65_536))

        step(session.do_handshake)
        step(lambda: session.read(65_536))
        session.write(encode_reply(0, b"welcome"))
        sock.sendall(outgoing.read())
        step(lambda: session.read(65_536))
        session.write(encode_reply(1, b"x" * 1000))
        sock.sendall(outgoing.read()[:500])
        sock.recv(65_536)

    limits = ChannelLimits(connect_timeout_s=PATIENCE_S, frame_deadline_s=0.15)
    channel = house.dial(house.serve_bytes(script), limits)
    with pytest.raises(Unreachable, match="finish a frame") as caught:
        channel.call(ECHO, b"", b"", PATIENCE_S)
    assert caught.value.details["sent"] == 1


# Trust that ends.


def test_a_revoked_client_loses_its_connection_and_the_others_do_not(
    house: House, pki: TlsHouse
) -> None:
    service = Service()
    door = house.open_door(service)
    bob = pki.credentials(Role.CLIENT, "bob2", runtime=house.runtime)
    doomed = Channel(("127.0.0.1", door.port), Hello(GREETING), house.runtime, PATIENT, bob)
    honest = house.dial(door.port)
    waiting = doomed.call_async(LATER, b"", b"a", PATIENCE_S)
    kept = honest.call_async(LATER, b"", b"b", PATIENCE_S)
    service.take(b"a")
    pki.revoke("bob2", [pki.root / "master-m1"])
    with pytest.raises(Unreachable):
        waiting.result(PATIENCE_S)
    assert doomed.join(PATIENCE_S)
    assert service.take(b"b").reply(b"still here")
    assert kept.result(PATIENCE_S) == b"still here"
    with pytest.raises(Denied, match="revoked"):
        Channel(("127.0.0.1", door.port), Hello(GREETING, accept), house.runtime, PATIENT, bob)


def test_a_channel_drops_a_server_that_is_revoked(house: House, pki: TlsHouse) -> None:
    house.server = pki.credentials(Role.MASTER, "m5", runtime=house.runtime)
    door = house.open_door(Service())
    channel = house.dial(door.port)
    future = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    pki.revoke("m5", [pki.root / "client-ann"])
    with pytest.raises(Unreachable, match="revoked") as caught:
        future.result(PATIENCE_S)
    assert caught.value.details["sent"] == 1
    with pytest.raises(Unreachable, match=r"not to be trusted.*revoked"):
        house.dial(door.port)


# What strangers cost.


@pytest.fixture
def victim(pki: TlsHouse) -> Iterator[Victim]:
    directory = pki.enrol(Role.MASTER, "victim")
    made = Victim("--tls", str(directory))
    yield made
    made.close()


def test_handshakes_that_never_end_hold_neither_memory_nor_descriptors(
    house: House, victim: Victim
) -> None:
    assert victim.serves_honest(house)
    before = victim.descriptors()
    peers = [(house.stranger(victim.port), data) for data in HALVES.values() for _ in range(100)]
    for peer, data in peers:
        peer.send(data)
    assert victim.serves_honest(house)
    assert all(peer.dropped() for peer, _ in peers)
    assert victim.serves_honest(house)
    wait_for(lambda: victim.descriptors() <= before + 1, "the descriptors")
    assert victim.memory_growth() < 64 * MIB


def test_a_handshake_that_dribbles_in_has_the_clock_of_the_hello(
    house: House, victim: Victim
) -> None:
    assert house.client is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = house.client.client_context().wrap_bio(
        incoming, outgoing, server_hostname="127.0.0.1"
    )
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    data = outgoing.read()
    peer = house.stranger(victim.port)
    peer.sock.settimeout(0.02)
    sent = 0
    while True:
        try:
            if not peer.send(data[sent : sent + 1]) or not peer.sock.recv(1):
                break
        except TimeoutError:
            sent += 1
            assert sent < len(data), "the door waited for the whole of it"
        except ConnectionResetError:
            break
    assert victim.serves_honest(house)


def test_half_a_record_has_the_clock_of_a_frame(house: House, victim: Victim) -> None:
    assert house.client is not None
    session = TlsSession.dialled(house.client, frozenset({Role.MASTER}), "127.0.0.1")
    peer = house.stranger(victim.port)
    peer.send(session.take())
    while not session.up:
        session.open(peer.sock.recv(65_536))
    peer.send(session.take() + session.seal(encode_request(0, 0, b"", GREETING)))
    heard = b""
    while not heard:
        heard = session.open(peer.sock.recv(65_536))
    peer.send(session.seal(encode_request(1, ECHO, b"", b"x" * 1000))[:500])
    assert peer.dropped(), "it would have been idle for ten minutes"
    assert victim.serves_honest(house)


def test_few_handshakes_have_their_turn_before_those_inside(house: House) -> None:
    assert house.client is not None
    service = Service()
    door = Door(house.runtime, ("127.0.0.1", 0), service.hello, service, credentials=house.server)
    roles = frozenset({Role.MASTER})
    for _ in range(4 * TLS_HANDSHAKES_PER_TURN):
        session = TlsSession.dialled(house.client, roles, "127.0.0.1")
        assert house.stranger(door.port).send(session.take())
    door._turn()  # Accepts them all.
    begun = []
    for _ in range(4):
        door._turn()
        begun.append(sum(bool(one.held_bytes) for one in door._connections.values()))
    assert begun == [TLS_HANDSHAKES_PER_TURN * turn for turn in (1, 2, 3, 4)]
    door.stop()
    door.run()


def test_a_first_word_that_is_too_long_is_not_kept(house: House, victim: Victim) -> None:
    peer = house.stranger(victim.port)
    record = b"\x16\x03\x01\x40\x00"
    data = record + b"\x01\x01\xf0\x00\x03\x03" + bytes(16_378) + (record + bytes(16_384)) * 100
    sent = 0
    while sent < len(data) and peer.send(data[sent : sent + 16_384]):
        sent += 16_384
    assert peer.dropped()
    assert victim.memory_growth() < 16 * MIB + TLS_HANDSHAKE_BYTES_MAX


def test_a_storm_of_handshakes_leaves_time_for_those_inside(house: House, victim: Victim) -> None:
    channel = house.dial(victim.port)
    storm = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("shaker.py")), str(victim.port), "300"],
        stdout=subprocess.PIPE,
    )
    try:
        served = 0
        while storm.poll() is None:
            assert channel.call(ECHO, b"", b"x", PATIENCE_S) == b"/x"
            served += 1
        assert storm.returncode == 0
        assert served, "those inside were served meanwhile"
    finally:
        storm.kill()
        storm.communicate()
    assert victim.serves_honest(house)
    assert victim.memory_growth() < 64 * MIB


def test_refused_certificates_leave_nothing_behind(
    house: House, victim: Victim, pki: TlsHouse
) -> None:
    assert victim.serves_honest(house)
    contexts = [STRANGERS[name][0](pki) for name in ("no certificate", "expired", "TLS 1.2")]
    for context in contexts:  # What OpenSSL takes once and for all.
        knock(victim.port, context)
    before, memory = victim.descriptors(), victim.memory_peak()
    for _ in range(60):
        for context in contexts:
            assert b"welcome" not in knock(victim.port, context)
    assert victim.serves_honest(house)
    wait_for(lambda: victim.descriptors() <= before + 1, "the descriptors")
    assert victim.memory_peak() - memory < 8 * MIB


def test_a_full_door_prefers_peers_inside_to_half_handshakes(house: House) -> None:
    door = house.open_door(Service(), DoorLimits(connections_max=3))
    half = house.stranger(door.port)
    half.send(HALVES["half a hello"])
    peers = [house.peer(door.port).greet() for _ in range(3)]
    assert half.dropped()
    for peer in peers:
        peer.send(encode_request(1, ECHO, b"", b"x"))
        assert peer.reply() == Reply(1, b"/x")


def test_a_full_door_in_tls_stays_within_its_memory(house: House, victim: Victim) -> None:
    peers: list[Peer] = []
    for _ in range(CONNECTIONS_MAX // 8):
        peers.append(house.peer(victim.port).greet())
    for peer in peers:  # Each has had a big frame through its buffers.
        peer.send(encode_request(1, ECHO, b"", b"x" * 200_000))
        assert len(peer.reply().body) == 200_001
    assert victim.serves_honest(house)
    assert victim.memory_growth() < len(peers) * 128 * 1024 + 16 * MIB


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_a_peer_that_asks_for_new_keys_is_dropped(
    house: House, pki: TlsHouse, caplog: pytest.LogCaptureFixture
) -> None:
    door = house.open_door(Service())
    directory = pki.root / "client-ann"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", "-tls1_3"]
    command += ["-cert", str(directory / "cert.pem"), "-key", str(directory / "key.pem")]
    with caplog.at_level(logging.WARNING):
        client = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert client.stdin is not None
        deadline_s = time.monotonic() + PATIENCE_S
        try:
            while client.poll() is None and time.monotonic() < deadline_s:
                client.stdin.write(b"K\n")
                client.stdin.flush()
                time.sleep(0.1)
        except BrokenPipeError:
            pass
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
    assert "asks for new keys" in caplog.text


def test_a_reset_amid_a_handshake_costs_nothing(house: House, victim: Victim) -> None:
    before = victim.descriptors()
    for data in HALVES.values():
        for _ in range(25):
            peer = house.stranger(victim.port)
            peer.send(data)
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
    assert victim.serves_honest(house)
    wait_for(lambda: victim.descriptors() <= before + 1, "the descriptors")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.02)
