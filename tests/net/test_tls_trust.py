"""What decides who is trusted, where it is not whole or says less than it seems to."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from test_tls import Watch, meet, shake
from tls_house import CLUSTER, TlsHouse

from gfs_ha.errors import ConfigError, Denied
from gfs_ha.limits import TRUST_JUDGE_S, TRUST_LOOK_S
from gfs_ha.net.tls import LOOK_S, Credentials
from gfs_ha.net.trust import TrustWatch
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.certificates import to_pem
from gfs_ha.pki.enrolment import give_trust
from gfs_ha.pki.names import EVERYBODY, Role
from gfs_ha.pki.requests import key_pem, make_key

HOST = "127.0.0.1"


@pytest.fixture
def house(tmp_path: Path) -> TlsHouse:
    return TlsHouse(tmp_path)


def watched(house: TlsHouse) -> tuple[Path, Watch, Credentials]:
    """Return the directory of a master, its clock, and what it takes from there."""
    at, watch = house.enrol(Role.MASTER, "m1", [HOST]), Watch()
    return at, watch, Credentials(at, CLUSTER, watch)


def rotating(house: TlsHouse, told: Sequence[Path]) -> None:
    """Begin a new authority; both are trusted."""
    with authorities.opened(house.root / "ca") as authority:
        authority.rotate(datetime.now(UTC))
        for out in told:
            give_trust(authority, out)


def test_a_name_is_no_host_that_somebody_is_certified_for(house: TlsHouse) -> None:
    """Where a certificate names no host, other clients of TLS take its name for one."""
    m2 = house.credentials(Role.MASTER, "m1.example", ["10.0.0.2"])
    ann = house.credentials(Role.CLIENT, "ann")
    assert meet(m2, ann, "10.0.0.2").name.name == "ann"
    with pytest.raises(ssl.SSLCertVerificationError, match=r"m1\.example"):
        meet(m2, ann, "m1.example")


@pytest.mark.parametrize("name", [files.TRUSTED, files.REVOKED])
def test_a_file_that_is_cut_off_is_not_taken_for_the_whole(house: TlsHouse, name: str) -> None:
    """Amid a rotation it has two parts; without the second one others are trusted, or all are."""
    at = house.enrol(Role.MASTER, "m1", [HOST])
    eve = Credentials(house.enrol(Role.CLIENT, "eve"), CLUSTER, Watch())
    house.revoke("eve", [at])
    rotating(house, [at])
    watch = Watch()
    m1 = Credentials(at, CLUSTER, watch)
    trusted = m1.trusted
    whole = (at / name).read_bytes()
    second = whole.index(b"-----BEGIN", 1)
    for length in (*range(second + 1, second + 12), (second + len(whole)) // 2, len(whole) - 2):
        (at / name).write_bytes(whole[:length])
        watch.ahead_s += LOOK_S
        with pytest.raises(Denied, match="is revoked"):
            meet(m1, eve, HOST)
        assert m1.trusted == trusted and m1.generation == 1
        with pytest.raises(ConfigError, match=f"{name}: is cut off"):
            Credentials(at, CLUSTER, Watch())
    (at / name).write_bytes(whole + b"of the night shift\n")
    watch.ahead_s += LOOK_S
    assert m1.generation == 2


def test_a_list_of_one_authority_alone_is_no_news_of_both(
    house: TlsHouse, caplog: pytest.LogCaptureFixture
) -> None:
    at = house.enrol(Role.MASTER, "m1", [HOST])
    eve = Credentials(house.enrol(Role.CLIENT, "eve"), CLUSTER, Watch())
    house.revoke("eve", [at])
    rotating(house, [at])
    watch = Watch()
    m1 = Credentials(at, CLUSTER, watch)
    whole = (at / files.REVOKED).read_bytes()
    (at / files.REVOKED).write_bytes(whole[: whole.index(b"-----BEGIN", 1)])
    for _ in range(2):
        watch.ahead_s += LOOK_S
        with pytest.raises(Denied, match="is revoked"):
            meet(m1, eve, HOST)
    assert "crl.pem lacks the list of an authority that is trusted" in caplog.text
    # Its end is none: who is not trusted any more has no list.
    with authorities.opened(house.root / "ca") as authority:
        authority.finish(datetime.now(UTC))
        give_trust(authority, at)
    house.enrol(Role.MASTER, "m1", [HOST])
    watch.ahead_s += LOOK_S
    assert len(m1.trusted) == 1


def test_who_shook_hands_before_its_authority_was_trusted_no_more_is_refused(
    house: TlsHouse,
) -> None:
    """The handshake goes by what was trusted when it began."""
    _, watch, m1 = watched(house)
    ann = house.credentials(Role.CLIENT, "ann")
    accepted, dialled = shake(m1.server_context(), ann.client_context(), HOST)
    with accepted, dialled:
        house.replace_authority([])
        house.enrol(Role.MASTER, "m1", [HOST])
        watch.ahead_s += LOOK_S
        with pytest.raises(Denied, match="of an authority not trusted any more"):
            m1.identify(accepted, EVERYBODY)


def test_who_has_run_out_since_is_not_good_any_more(house: TlsHouse) -> None:
    watch = Watch()
    m1 = Credentials(house.enrol(Role.MASTER, "m1", [HOST]), CLUSTER, watch)
    ann = Credentials(house.enrol(Role.CLIENT, "ann", days=2), CLUSTER, Watch())
    seen = meet(m1, ann, HOST)
    assert m1.still_good(seen)
    watch.ahead_s += 2 * 86_400 + 60
    assert not m1.still_good(seen)


def test_peers_are_judged_at_once_when_there_is_news_and_else_now_and_then(
    house: TlsHouse,
) -> None:
    at, watch, m1 = watched(house)
    begun_s = now_s = watch.monotonic_s()
    trust = TrustWatch(m1, begun_s)

    def later(seconds: float) -> bool:
        nonlocal now_s
        now_s += seconds
        watch.ahead_s += seconds
        return trust.due(now_s)

    assert not later(TRUST_LOOK_S / 2) and not later(TRUST_LOOK_S)
    house.revoke("m1", [at])  # Whoever it is.
    assert later(max(LOOK_S, TRUST_LOOK_S)), "within seconds"
    judged_s = now_s
    assert not later(TRUST_LOOK_S)
    assert not later(judged_s + TRUST_JUDGE_S - now_s - TRUST_LOOK_S)
    assert later(2 * TRUST_LOOK_S), "some have run out meanwhile"
    assert not TrustWatch(None, begun_s).due(now_s + TRUST_JUDGE_S)


def test_a_new_certificate_that_has_run_out_is_not_taken(
    house: TlsHouse, caplog: pytest.LogCaptureFixture
) -> None:
    _, watch, m1 = watched(house)
    house.enrol(Role.MASTER, "m1", [HOST], datetime.now(UTC) - timedelta(days=9), days=2)
    for _ in range(2):
        watch.ahead_s += LOOK_S
        assert m1.generation == 1
    assert "the certificate has run out" in caplog.text
    house.enrol(Role.MASTER, "m1", [HOST])
    watch.ahead_s += LOOK_S
    assert m1.generation == 2


class Interrupted(Credentials):
    """Somebody writes further files while these are read."""

    meanwhile: Callable[[], object] | None = None

    def _load(self) -> Any:
        loaded = super()._load()
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
        return loaded


def test_files_that_change_while_they_are_read_are_read_again(house: TlsHouse) -> None:
    """Else certificate and list, or what OpenSSL reads by itself, may be of two times."""
    at = house.enrol(Role.MASTER, "m1", [HOST])
    eve = Credentials(house.enrol(Role.CLIENT, "eve"), CLUSTER, Watch())
    watch = Watch()
    m1 = Interrupted(at, CLUSTER, watch)
    house.enrol(Role.MASTER, "m1", [HOST])
    m1.meanwhile = lambda: house.revoke("eve", [at])
    watch.ahead_s += LOOK_S
    assert m1.generation == 1, "it was taken half"
    watch.ahead_s += LOOK_S
    assert m1.generation == 2
    with pytest.raises(Denied, match="is revoked"):
        meet(m1, eve, HOST)


def test_a_certificate_that_breaks_the_rules_of_x509_is_refused(house: TlsHouse) -> None:
    """Whoever signed it: this one has no subject, and names that may be passed over."""
    m1 = house.credentials(Role.MASTER, "m1", [HOST])
    out, key, now = house.root / "odd", make_key(), datetime.now(UTC)
    files.make_directory(out)
    with authorities.opened(house.root / "ca") as authority:
        give_trust(authority, out)
        signer = authority.current
    names = [x509.UniformResourceIdentifier(f"gfs://{CLUSTER}/client/odd")]
    for subject in ([x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd")], []):
        certificate = (
            x509.CertificateBuilder()
            .issuer_name(signer.certificate.subject)
            .subject_name(x509.Name(subject))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier(signer.id, None, None), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(signer.key, hashes.SHA256())
        )
        files.write_secret(out / files.KEY, key_pem(key))
        files.write_public(out / files.CERTIFICATE, to_pem(certificate))
        odd = Credentials(out, CLUSTER, Watch())
        if subject:
            assert meet(m1, odd, HOST).name.name == "odd"
        else:
            with pytest.raises(ssl.SSLError):
                meet(m1, odd, HOST)
