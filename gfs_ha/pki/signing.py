"""The signatures of an authority: its own certificate, those of others, and its lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gfs_ha.pki.certificates import key_id
from gfs_ha.pki.names import SERVING, PeerName
from gfs_ha.pki.requests import alternatives, make_key, subject

AUTHORITY_LIFE = timedelta(days=3652)
CERTIFICATE_DAYS_DEFAULT = 365
CERTIFICATE_DAYS_MAX = 398
LIST_LIFE = timedelta(days=30)
# A node whose clock is a little behind must not refuse what was just issued.
_BACKDATED = timedelta(hours=1)

_CLUSTER_URI = "gfs://{}/ca"


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority's certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def id(self) -> bytes:
        """Return the key id that everything it signs carries."""
        return key_id(self.certificate)


def make_signer(cluster: str, now: datetime) -> Signer:
    """Return a new authority of a cluster, good for ten years, signed by itself."""
    key = make_key()
    mine = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Two authorities of one cluster must differ in name: lists and certificates find theirs by it.
    called = f"gfs-ha authority {mine.digest.hex()[:16]}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
    builder = _begin(name, key.public_key(), now, now + AUTHORITY_LIFE).subject_name(name)
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(_CLUSTER_URI.format(cluster))]
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(mine, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(mine.digest, None, None), critical=False)
        .add_extension(names, critical=False)
    )
    return Signer(builder.sign(key, hashes.SHA256()), key)


def cluster_of(authority: x509.Certificate) -> str:
    """Return the id of the cluster whose authority this is, empty when it does not say."""
    try:
        names = authority.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ""
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        middle = uri.removeprefix("gfs://").removesuffix("/ca")
        if uri == _CLUSTER_URI.format(middle):
            return middle
    return ""


def sign_certificate(
    signer: Signer,
    key: ec.EllipticCurvePublicKey,
    name: PeerName,
    hosts: Iterable[str],
    now: datetime,
    days: int,
) -> x509.Certificate:
    """Return a certificate of that name; it never outlives the authority. Raises: UsageError."""
    ends = min(now + timedelta(days=days), signer.certificate.not_valid_after_utc)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if name.role in SERVING:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = _begin(signer.certificate.subject, key, now, ends).subject_name(subject(name))
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(signer.id, None, None), critical=False)
        .add_extension(alternatives(name, hosts), critical=False)
    )
    return builder.sign(signer.key, hashes.SHA256())


def sign_list(
    signer: Signer, revoked: Mapping[int, datetime], now: datetime, number: int
) -> x509.CertificateRevocationList:
    """Return a list of the revoked serials, each with the time of it; good for 30 days."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(now - _BACKDATED)
        .next_update(now + LIST_LIFE)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(signer.id, None, None), critical=False)
    )
    for serial, when in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer.key, hashes.SHA256())


def _begin(
    issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(ends)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
