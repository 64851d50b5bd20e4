"""Credentials: who gets through a real handshake, what is refused, and files that change."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gfs_ha.errors import ConfigError, Denied, WrongCluster
from gfs_ha.net.tls import LOOK_S, Credentials
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.authority import Authority
from gfs_ha.pki.enrolment import enrol, give_trust
from gfs_ha.pki.names import EVERYBODY, PeerName, Role
from gfs_ha.pki.peers import PeerCertificate
from gfs_ha.runtime import ThreadedRuntime

NOW = datetime.now(UTC)
HOST = "m1.example"
PATIENCE_S = 60.0  # Only a broken test waits so long.


class Watch(ThreadedRuntime):
    """The real machine with a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0
        self._began_s = super().monotonic_s()

    def monotonic_s(self) -> float:
        return self._began_s + self.ahead_s

    def wall_ns(self) -> int:
        return super().wall_ns() + int(self.ahead_s * 1e9)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    authorities.create(tmp_path / "ca", "prod", NOW)
    with authorities.opened(tmp_path / "ca") as opened:
        yield opened


def node(
    authority: Authority, role: Role, name: str, out: Path, now: datetime = NOW, days: int = 365
) -> Path:
    enrol(authority, PeerName(authority.cluster, role, name), [HOST], out, now, days)
    return out


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = HOST
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Return both ends after a real handshake. Raises: ssl.SSLError of the side that refused."""
    here, there = socket.socketpair()
    with ExitStack() as stack:
        stack.enter_context(here)
        stack.enter_context(there)
        for end in (here, there):
            end.settimeout(PATIENCE_S)
        accepted = server.wrap_socket(here, server_side=True, do_handshake_on_connect=False)
        dialled = client.wrap_socket(there, server_hostname=host, do_handshake_on_connect=False)
        runtime = ThreadedRuntime()
        answer = runtime.future()

        def serve() -> None:
            try:
                accepted.do_handshake()
            except (OSError, ssl.SSLError) as error:
                accepted.close()
                answer.fail(error)
            else:
                answer.set(None)

        runtime.spawn("serve", serve)
        try:
            dialled.do_handshake()
        except ssl.SSLCertVerificationError:
            dialled.close()
            raise
        except (OSError, ssl.SSLError):
            dialled.close()
            answer.result(PATIENCE_S)  # The other side knows why.
            raise
        try:
            answer.result(PATIENCE_S)
        except BaseException:
            dialled.close()
            raise
        stack.pop_all()
    return accepted, dialled


def meet(server: Credentials, client: Credentials, host: str = HOST) -> PeerCertificate:
    """Return whom the server sees; the client has accepted the server. Raises what refuses."""
    accepted, dialled = shake(server.server_context(), client.client_context(), host)
    with accepted, dialled:
        client.identify(dialled, frozenset({Role.MASTER}))
        return server.identify(accepted, EVERYBODY)


def test_two_of_a_cluster_meet_and_know_each_other(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    cs1 = Credentials(node(authority, Role.CHUNKSERVER, "cs1", tmp_path / "cs1"), "prod", watch)
    accepted, dialled = shake(m1.server_context(), cs1.client_context())
    with accepted, dialled:
        assert accepted.version() == "TLSv1.3"
        assert m1.identify(accepted, EVERYBODY).name == PeerName("prod", Role.CHUNKSERVER, "cs1")
        seen = cs1.identify(dialled, frozenset({Role.MASTER}))
    assert seen.name == m1.own
    assert m1.own == PeerName("prod", Role.MASTER, "m1")
    assert cs1.still_good(seen)


def test_a_certificate_of_another_authority_is_refused_by_both_sides(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    other = authorities.create(tmp_path / "other-ca", "prod", NOW)
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    stranger = Credentials(node(other, Role.MASTER, "m1", tmp_path / "x"), "prod", watch)
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(stranger, m1)
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(m1, stranger)
    # The server's own check too: the client would take it.
    trusting = tmp_path / "trusting"
    node(other, Role.CLIENT, "eve", trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.trusted_pem.decode())
    context.load_cert_chain(trusting / files.CERTIFICATE, trusting / files.KEY)
    with pytest.raises(ssl.SSLError, match=r"verify failed"):
        shake(m1.server_context(), context)


def test_a_peer_without_a_certificate_is_refused(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.trusted_pem.decode())
    with pytest.raises(ssl.SSLError, match=r"(?i)did not return a certificate"):
        shake(m1.server_context(), context)


def test_an_older_tls_is_refused(authority: Authority, tmp_path: Path, watch: Watch) -> None:
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    at = node(authority, Role.CLIENT, "ann", tmp_path / "ann")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.trusted_pem.decode())
    context.load_cert_chain(at / files.CERTIFICATE, at / files.KEY)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)unsupported.protocol|version"):
        shake(m1.server_context(), context)


def test_an_expired_certificate_is_refused(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    old = node(authority, Role.CLIENT, "ann", tmp_path / "ann", NOW - timedelta(days=11), days=10)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.trusted_pem.decode())
    context.load_cert_chain(old / files.CERTIFICATE, old / files.KEY)
    with pytest.raises(ssl.SSLError, match="expired"):
        shake(m1.server_context(), context)
    with pytest.raises(ConfigError, match=r"has run out on .*tls issue"):
        Credentials(old, "prod", watch)


def test_another_host_than_the_certificate_names_is_refused(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    ann = Credentials(node(authority, Role.CLIENT, "ann", tmp_path / "ann"), "prod", watch)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)hostname"):
        meet(m1, ann, host="m2.example")


def test_a_clients_certificate_does_not_serve(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    ann = Credentials(node(authority, Role.CLIENT, "ann", tmp_path / "ann"), "prod", watch)
    bob = Credentials(node(authority, Role.CLIENT, "bob", tmp_path / "bob"), "prod", watch)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        meet(ann, bob)


def test_a_peer_of_another_role_or_cluster_is_refused(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    m1 = Credentials(node(authority, Role.MASTER, "m1", tmp_path / "m1"), "prod", watch)
    cs1 = Credentials(node(authority, Role.CHUNKSERVER, "cs1", tmp_path / "cs1"), "prod", watch)
    with pytest.raises(Denied, match="that of chunkserver cs1; here it must be that of a master"):
        meet(cs1, m1)  # The one who dials wants a master.
    accepted, dialled = shake(m1.server_context(), cs1.client_context())
    with accepted, dialled:
        with pytest.raises(Denied, match="must be that of a admin or client"):
            m1.identify(accepted, frozenset({Role.ADMIN, Role.CLIENT}))
        # An authority that serves two clusters by mistake does not make them one.
        m1._cluster = "test"
        with pytest.raises(WrongCluster, match="'prod', this is 'test'"):
            m1.identify(accepted, EVERYBODY)


def test_a_revoked_peer_is_refused_without_a_restart(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    m1 = Credentials(at, "prod", watch)
    ann = Credentials(node(authority, Role.CLIENT, "ann", tmp_path / "ann"), "prod", watch)
    seen = meet(m1, ann)
    assert m1.still_good(seen) and m1.generation == 1
    authority.revoke([seen], NOW)
    give_trust(authority, at)
    assert m1.still_good(seen), "it looks again after a while, not at every question"
    watch.ahead_s += LOOK_S
    assert m1.generation == 2
    assert not m1.still_good(seen)
    with pytest.raises(Denied, match=r"client ann \(serial [0-9a-f]+\) is revoked"):
        meet(m1, ann)


def test_a_list_that_has_run_out_still_revokes_and_locks_nobody_out(
    authority: Authority, tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    ann = Credentials(node(authority, Role.CLIENT, "ann", tmp_path / "ann"), "prod", watch)
    bob = Credentials(node(authority, Role.CLIENT, "bob", tmp_path / "bob"), "prod", watch)
    authority.revoke([ann.certificate], NOW - timedelta(days=31))
    give_trust(authority, at)
    m1 = Credentials(at, "prod", watch)
    assert "has run out" in caplog.text
    assert meet(m1, bob).name.name == "bob"
    with pytest.raises(Denied, match="is revoked"):
        meet(m1, ann)


def test_a_rotation_goes_through_without_a_restart(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    places = {
        name: node(authority, role, name, tmp_path / name)
        for name, role in (("m1", Role.MASTER), ("m2", Role.MASTER), ("ann", Role.CLIENT))
    }
    m1, m2, ann = (Credentials(places[name], "prod", watch) for name in ("m1", "m2", "ann"))
    before = meet(m1, ann)

    def later() -> None:
        watch.ahead_s += LOOK_S

    authority.rotate(NOW)
    for place in places.values():
        give_trust(authority, place)
    later()
    assert meet(m1, ann) == before
    node(authority, Role.MASTER, "m1", places["m1"])
    later()
    assert meet(m1, ann).name == before.name  # New authority and old one, both ways.
    assert meet(m2, m1).authority == authority.current.id
    node(authority, Role.MASTER, "m2", places["m2"])
    authority.finish(NOW)
    give_trust(authority, places["m1"])
    give_trust(authority, places["m2"])
    later()
    assert m1.generation == 4 and not m1.still_good(before)
    assert meet(m1, m2).name.name == "m2"
    with pytest.raises(ssl.SSLError):
        meet(m1, ann)  # Nobody gave it a new one.


def test_bad_new_files_are_said_once_and_the_ones_before_stay(
    authority: Authority, tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    ann = Credentials(node(authority, Role.CLIENT, "ann", tmp_path / "ann"), "prod", watch)
    m1 = Credentials(at, "prod", watch)
    good = (at / files.KEY).read_bytes()
    files.write_secret(at / files.KEY, (tmp_path / "ann" / files.KEY).read_bytes())
    watch.ahead_s += LOOK_S
    assert m1.generation == 1
    assert "not taken" not in caplog.text, "the certificate may be written a moment later"
    for _ in range(3):
        watch.ahead_s += LOOK_S
        assert m1.generation == 1
    assert caplog.text.count("new credentials not taken") == 1
    assert "not that of the certificate" in caplog.text
    assert meet(m1, ann).name.name == "ann"
    (at / files.REVOKED).unlink()
    files.write_secret(at / files.KEY, good)
    for _ in range(2):
        watch.ahead_s += LOOK_S
        assert m1.generation == 1, "a list that is gone revokes nothing any more"
    assert "crl.pem is gone" in caplog.text


@pytest.mark.parametrize("name", [files.TRUSTED, files.CERTIFICATE, files.KEY])
def test_missing_and_broken_files_are_named(
    authority: Authority, tmp_path: Path, watch: Watch, name: str
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    (at / name).write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=name):
        Credentials(at, "prod", watch)
    (at / name).unlink()
    with pytest.raises(ConfigError, match=f"{name}: cannot be read"):
        Credentials(at, "prod", watch)


def test_a_key_that_others_may_read_is_refused(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    assert (at / files.KEY).stat().st_mode & 0o777 == 0o600
    os.chmod(at / files.KEY, 0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Credentials(at, "prod", watch)


def test_a_key_whose_mode_is_mended_is_taken_over(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    m1 = Credentials(at, "prod", watch)
    node(authority, Role.MASTER, "m1", at)
    os.chmod(at / files.KEY, 0o644)
    for _ in range(3):
        watch.ahead_s += LOOK_S
        assert m1.generation == 1
    os.chmod(at / files.KEY, 0o600)
    watch.ahead_s += LOOK_S
    assert m1.generation == 2


def test_credentials_of_another_cluster_are_refused(
    authority: Authority, tmp_path: Path, watch: Watch
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    with pytest.raises(ConfigError, match="for cluster 'prod', the configuration says 'test'"):
        Credentials(at, "test", watch)


def test_credentials_become_nobody_else_while_they_run(
    authority: Authority, tmp_path: Path, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    at = node(authority, Role.MASTER, "m1", tmp_path / "m1")
    m1 = Credentials(at, "prod", watch)
    node(authority, Role.MASTER, "m2", at)
    for _ in range(2):
        watch.ahead_s += LOOK_S
        assert m1.generation == 1 and m1.own.name == "m1"
    assert "is that of master m2, not of master m1" in caplog.text


def test_who_shows_no_certificates_does_not_wait_for_the_library_that_reads_them() -> None:
    code = (
        "import sys, gfs_ha.client.filesystem, gfs_ha.chunk.server;"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
