"""One side of TLS without a socket: whatever the wire does to its bytes, words come out whole."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tls_house import TlsHouse

from gfs_ha.errors import Denied, GfsError, ProtocolError
from gfs_ha.limits import TLS_HANDSHAKE_BYTES_MAX
from gfs_ha.net.tls import Credentials
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import EVERYBODY, PeerName, Role

RECORD = 16 << 10
MASTERS = frozenset({Role.MASTER})


@pytest.fixture(scope="module")
def master(tls_house: TlsHouse) -> Credentials:
    return tls_house.credentials(Role.MASTER, "m2")


@pytest.fixture(scope="module")
def client(tls_house: TlsHouse) -> Credentials:
    return tls_house.credentials(Role.CLIENT, "carl")


def pair(master: Credentials, client: Credentials) -> tuple[TlsSession, TlsSession]:
    """Return both sides, up."""
    server = TlsSession.accepted(master, EVERYBODY)
    dialled = TlsSession.dialled(client, MASTERS, "127.0.0.1")
    assert server.open(dialled.take()) == b"" and not server.up
    assert dialled.open(server.take()) == b"" and dialled.up
    assert server.open(dialled.take()) == b"" and server.up
    return server, dialled


def test_both_sides_know_each_other_after_one_round_trip(
    master: Credentials, client: Credentials
) -> None:
    server, dialled = pair(master, client)
    assert server.peer is not None and server.peer.name == client.own
    assert dialled.peer is not None and dialled.peer.name == master.own
    assert server.take() == b"", "no ticket lets a peer come back without its certificate"
    assert not server.partial and not server.held_bytes


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 3 * RECORD), min_size=1, max_size=5),
    st.lists(st.integers(1, 2 * RECORD), min_size=1, max_size=20),
)
def test_words_come_out_whole_however_the_wire_is_cut(
    master: Credentials, client: Credentials, sizes: list[int], cuts: list[int]
) -> None:
    server, dialled = pair(master, client)
    words = [bytes([index]) * size for index, size in enumerate(sizes)]
    wire = b"".join(map(dialled.seal, words))
    ends = set()
    at = 0
    while at < len(wire):  # Where records end, by their headers.
        at += 5 + int.from_bytes(wire[at + 3 : at + 5], "big")
        ends.add(at)
    heard, at, turn = b"", 0, 0
    while at < len(wire):
        part = wire[at : at + cuts[turn % len(cuts)]]
        heard += server.open(part)
        at, turn = at + len(part), turn + 1
        assert server.partial == (at not in ends), "half a record has a clock"
        assert server.held_bytes == (0 if at in ends else RECORD)
    assert heard == b"".join(words)


def test_a_word_that_follows_the_handshake_at_once_is_heard(
    master: Credentials, client: Credentials
) -> None:
    server = TlsSession.accepted(master, EVERYBODY)
    dialled = TlsSession.dialled(client, MASTERS, "127.0.0.1")
    server.open(dialled.take())
    dialled.open(server.take())
    assert server.open(dialled.take() + dialled.seal(b"hello")) == b"hello"


def test_a_peer_that_ends_the_session_is_heard_to_the_end(
    master: Credentials, client: Credentials
) -> None:
    server, dialled = pair(master, client)
    wire = dialled.seal(b"goodbye")
    with pytest.raises(ssl.SSLWantReadError):
        dialled._tls.unwrap()
    assert server.open(wire + dialled.take()) == b"goodbye"
    assert server.ended


@pytest.mark.parametrize("at", [0, 3, 5, 20, -1])
def test_a_changed_byte_of_a_record_ends_the_session(
    master: Credentials, client: Credentials, at: int
) -> None:
    server, dialled = pair(master, client)
    wire = bytearray(dialled.seal(b"x" * 100))
    wire[at] ^= 0x41
    with pytest.raises(ProtocolError):
        server.open(bytes(wire))
        server.open(bytes(RECORD))  # A longer length waits for more.


def test_a_record_twice_or_out_of_order_ends_the_session(
    master: Credentials, client: Credentials
) -> None:
    server, dialled = pair(master, client)
    first, second = dialled.seal(b"1"), dialled.seal(b"2")
    assert server.open(first) == b"1"
    with pytest.raises(ProtocolError):
        server.open(first)
    server, dialled = pair(master, client)
    first, second = dialled.seal(b"1"), dialled.seal(b"2")
    with pytest.raises(ProtocolError):
        server.open(second)


def test_a_handshake_without_an_end_is_not_kept(master: Credentials) -> None:
    server = TlsSession.accepted(master, EVERYBODY)
    record = b"\x16\x03\x01\x40\x00"
    taken = 0
    with pytest.raises(GfsError):
        for body in [b"\x01\x01\xf0\x00\x03\x03" + bytes(RECORD - 6)] + [bytes(RECORD)] * 10:
            server.open(record + body)
            taken += len(record + body)
            assert server.held_bytes >= taken - RECORD
    assert taken <= TLS_HANDSHAKE_BYTES_MAX


def test_the_refused_side_is_told_in_an_alert(tls_house: TlsHouse, master: Credentials) -> None:
    stranger = TlsSession(
        tls_house.careless(None), lambda tls: pytest.fail("it has nobody to identify"), "127.0.0.1"
    )
    stranger._identify = lambda tls: master.certificate
    stranger._shake()
    server = TlsSession.accepted(master, EVERYBODY)
    server.open(stranger.take())
    stranger.open(server.take())
    with pytest.raises(Denied, match="shows no certificate"):
        server.open(stranger.take())
    with pytest.raises(Denied, match="refuses our certificate: certificate required"):
        stranger.open(server.take())


def test_who_has_another_role_is_known_and_not_let_in(
    master: Credentials, client: Credentials
) -> None:
    server = TlsSession.accepted(master, MASTERS)
    dialled = TlsSession.dialled(client, MASTERS, "127.0.0.1")
    server.open(dialled.take())
    dialled.open(server.take())
    server.open(dialled.take())
    assert server.up and server.peer is None
    assert isinstance(server.refusal, Denied)
    assert str(PeerName(client.own.cluster, Role.CLIENT, "carl")) in server.refusal.message


@pytest.mark.parametrize("host", ["", ".example", "a\0b"])
def test_a_host_that_no_certificate_can_name_is_not_dialled(client: Credentials, host: str) -> None:
    with pytest.raises(ProtocolError, match="no certificate can name"):
        TlsSession.dialled(client, MASTERS, host)
