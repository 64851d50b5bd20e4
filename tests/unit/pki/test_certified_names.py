"""What a certificate or a request must say, and who must have signed it, to be taken for ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gfs_ha.errors import ConfigError, Denied
from gfs_ha.pki.certificates import Authorities, check_own, describe, load_authorities, to_pem
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.pki.peers import PeerCertificate, Revocations
from gfs_ha.pki.requests import make_key, make_request, read_request
from gfs_ha.pki.signing import Signer, make_signer, sign_certificate

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ANN = PeerName("prod", Role.CLIENT, "ann")
CS7 = PeerName("prod", Role.CHUNKSERVER, "cs7")


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer("prod", NOW)


def named(signer: Signer, *uris: str) -> x509.Certificate:
    """Return a certificate with other names than an authority of ours would give."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(one) for one in uris])
    key = make_key().public_key()
    return (
        x509.CertificateBuilder()
        .issuer_name(signer.certificate.subject)
        .subject_name(x509.Name([]))
        .public_key(key)
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(names, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier(signer.id, None, None), critical=False)
        .sign(signer.key, hashes.SHA256())
    )


@pytest.mark.parametrize(
    "uris", [(ANN.uri, "gfs://prod/admin/root"), (ANN.uri, ANN.uri), ("https://x", ANN.uri), ()]
)
def test_a_certificate_has_one_name(signer: Signer, uris: tuple[str, ...]) -> None:
    assert describe(named(signer, ANN.uri)).name == ANN
    with pytest.raises(Denied, match=f"carries {len(uris)} names"):
        describe(named(signer, *uris))


def test_a_list_revokes_nobody_of_another_authority() -> None:
    """Amid a rotation: who has the old key cannot shut out those of the new one."""
    ours = PeerCertificate(ANN, 7, b"new", NOW, NOW)
    assert Revocations(frozenset({(b"new", 7)})).has(ours)
    assert not Revocations(frozenset({(b"old", 7)})).has(ours)


@pytest.mark.parametrize("name", [ANN, CS7])
def test_whom_an_authority_certifies_is_no_authority(signer: Signer, name: PeerName) -> None:
    issued = sign_certificate(signer, make_key().public_key(), name, ["cs7"], NOW, 30)
    limits = issued.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical and not limits.value.ca
    usage = issued.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and not usage.value.key_cert_sign and not usage.value.crl_sign
    with pytest.raises(ConfigError, match="no authority's"):
        load_authorities(to_pem(issued), "ca.pem")


def test_the_own_certificate_is_signed_by_the_authority_that_it_names(signer: Signer) -> None:
    key = make_key()
    good = sign_certificate(signer, key.public_key(), ANN, [], NOW, 30)
    assert check_own(good, key, Authorities((signer.certificate,))).name == ANN
    impostor = Signer(signer.certificate, make_key())
    forged = sign_certificate(impostor, key.public_key(), ANN, [], NOW, 30)
    with pytest.raises(ConfigError, match="not issued by an authority that is trusted"):
        check_own(forged, key, Authorities((signer.certificate,)))


def test_a_request_that_was_changed_is_refused() -> None:
    asked = make_request(make_key(), CS7, ["cs7.example"])
    assert read_request(asked, "request.pem").name == CS7
    body = x509.load_pem_x509_csr(asked).public_bytes(serialization.Encoding.DER)
    for changed in (body.replace(b"/cs7", b"/cs8"), body.replace(b"cs7.ex", b"m1..ex")):
        assert changed != body
        changed_pem = x509.load_der_x509_csr(changed).public_bytes(serialization.Encoding.PEM)
        with pytest.raises(ConfigError, match="was changed after it was signed"):
            read_request(changed_pem, "request.pem")


def test_a_request_for_a_key_of_another_kind_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(ConfigError, match="another key than P-256"):
        read_request(make_request(key, CS7, ["cs7"]), "request.pem")
