"""What a certificate says, and whether a directory's certificates and key fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gfs_ha.errors import ConfigError, Denied
from gfs_ha.pki.names import parse_uri
from gfs_ha.pki.peers import PeerCertificate, Revocations

TRUSTED_MAX = 8  # Certificates in one ca.pem; a rotation needs two.
WARN_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Authorities:
    """The authorities that are trusted."""

    certificates: tuple[x509.Certificate, ...]

    @property
    def ids(self) -> frozenset[bytes]:
        """Return their key ids."""
        return frozenset(key_id(one) for one in self.certificates)

    @property
    def pem(self) -> str:
        return "".join(to_pem(one).decode("ascii") for one in self.certificates)

    def issuer_of(self, authority: bytes) -> x509.Certificate | None:
        """Return the one of that key id."""
        return next((one for one in self.certificates if key_id(one) == authority), None)


# What the library raises for bytes that are damaged, some of it only when a part is looked at.
UNREADABLE = (
    *(ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound),
    *(x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion),
)


_ADDRESS = re.compile(r" See https?://\S+ for more details\.")


def said(error: Exception) -> str:
    """Return what the library says, without where on the web it explains that."""
    return _ADDRESS.sub("", str(error))


@contextmanager
def readable(where: object, what: str) -> Iterator[None]:
    """Raise ConfigError naming `where` for whatever the library finds wrong meanwhile."""
    try:
        yield
    except UNREADABLE as error:
        raise ConfigError(f"{where}: {what} ({said(error)}); bring it again") from error


def to_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_id(certificate: x509.Certificate) -> bytes:
    """Return the key id of an authority. Raises: ConfigError when it has none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except UNREADABLE as error:
        raise ConfigError("an authority's certificate has no key id; it is none of ours") from error
    return found.value.digest


def describe(certificate: x509.Certificate) -> PeerCertificate:
    """Return what a certificate says. Raises: Denied when it is none of ours."""
    try:
        return _described(certificate)
    except UNREADABLE as error:
        raise Denied(f"the certificate carries no name of ours ({error})") from error


def _described(certificate: x509.Certificate) -> PeerCertificate:
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    signer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or signer.key_identifier is None:
        raise Denied(f"the certificate carries {len(uris)} names; one of ours carries exactly one")
    hosts = [*names.get_values_for_type(x509.DNSName)]
    hosts.extend(str(one) for one in names.get_values_for_type(x509.IPAddress))
    return PeerCertificate(
        name=parse_uri(uris[0]),
        serial=certificate.serial_number,
        authority=signer.key_identifier,
        begins=certificate.not_valid_before_utc,
        expires=certificate.not_valid_after_utc,
        hosts=tuple(hosts),
    )


def describe_der(data: bytes) -> PeerCertificate:
    """Return what a peer's certificate says. Raises: Denied when it is none of ours."""
    try:
        return describe(x509.load_der_x509_certificate(data))
    except UNREADABLE as error:
        raise Denied(f"the certificate cannot be read ({error})") from error


def load_certificate(data: bytes, where: object) -> x509.Certificate:
    """Return the one certificate of a PEM file. Raises: ConfigError naming `where`."""
    found = _load_all(data, where)
    if len(found) != 1:
        raise ConfigError(f"{where}: holds {len(found)} certificates; one belongs there")
    return found[0]


def load_authorities(data: bytes, where: object) -> Authorities:
    """Return the trusted authorities of a PEM file. Raises: ConfigError naming `where`."""
    found = _load_all(data, where)
    if not 1 <= len(found) <= TRUSTED_MAX:
        raise ConfigError(f"{where}: holds {len(found)} authorities; 1 to {TRUSTED_MAX} may be")
    for one in found:
        key_id(one)
        try:
            limits = one.extensions.get_extension_for_class(x509.BasicConstraints).value
        except UNREADABLE as error:
            raise ConfigError(f"{where}: a certificate in it is no authority's") from error
        if not limits.ca:
            raise ConfigError(f"{where}: a certificate in it is no authority's")
    return Authorities(tuple(found))


def load_revocations(data: bytes, authorities: Authorities, where: object) -> Revocations:
    """Return what the lists in a PEM file revoke; lists of authorities not trusted say nothing.

    Raises: ConfigError naming `where`, also when a list was not signed by whom it names.
    """
    revoked: set[tuple[bytes, int]] = set()
    listed: set[bytes] = set()
    ends: list[datetime] = []
    for one in load_lists(data, where):
        with readable(where, "is a list of revoked certificates that is damaged"):
            issuer = _issuer(one, authorities, where)
            if issuer is None:
                continue
            authority = key_id(issuer)
            listed.add(authority)
            revoked.update((authority, entry.serial_number) for entry in one)
            if one.next_update_utc is not None:
                ends.append(one.next_update_utc)
    return Revocations(frozenset(revoked), min(ends, default=None), frozenset(listed))


def load_lists(data: bytes, where: object) -> list[x509.CertificateRevocationList]:
    """Return the lists of a PEM file. Raises: ConfigError naming `where`."""
    end = b"-----END X509 CRL-----"
    _check_whole(data, end, where)
    parts = [part + end for part in data.split(end)[:-1]]
    if not parts or len(parts) > TRUSTED_MAX:
        raise ConfigError(f"{where}: holds {len(parts)} lists; 1 to {TRUSTED_MAX} may be")
    with readable(where, "is no list of revoked certificates"):
        return [x509.load_pem_x509_crl(part) for part in parts]


def load_key(data: bytes, where: object) -> ec.EllipticCurvePrivateKey:
    """Return the private key of a PEM file. Raises: ConfigError naming `where`."""
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except UNREADABLE as error:
        raise ConfigError(f"{where}: is no private key without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{where}: is no elliptic-curve key; those of a cluster are P-256")
    return key


def check_own(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, authorities: Authorities
) -> PeerCertificate:
    """Return what our own certificate says. Raises: ConfigError: key or authority do not fit."""
    try:
        fits = certificate.public_key() == key.public_key()
    except UNREADABLE as error:
        raise ConfigError(f"the certificate is damaged ({said(error)}); bring it again") from error
    if not fits:
        raise ConfigError("the key is not that of the certificate")
    try:
        own = describe(certificate)
    except Denied as error:
        raise ConfigError(error.message) from error
    issuer = authorities.issuer_of(own.authority)
    if issuer is None or not signed_by(certificate, issuer):
        raise ConfigError("the certificate was not issued by an authority that is trusted here")
    return own


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return True when the signature is that of the issuer."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def days_left(expires: datetime, now: datetime) -> int:
    """Return the whole days until then, negative when it has passed."""
    return int((expires - now) // timedelta(days=1))


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate in hex, as other tools show it."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _issuer(
    one: x509.CertificateRevocationList, authorities: Authorities, where: object
) -> x509.Certificate | None:
    same: Sequence[x509.Certificate] = [
        issuer for issuer in authorities.certificates if issuer.subject == one.issuer
    ]
    for issuer in same:
        public = issuer.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey) and one.is_signature_valid(public):
            return issuer
    if same:
        raise ConfigError(f"{where}: a list in it was not signed by the authority that it names")
    return None


def _check_whole(data: bytes, end: bytes, where: object) -> None:
    """Raise ConfigError when another part began and did not end: what reads PEM passes it over."""
    rest = data.rpartition(end)[2]
    if any(line.startswith(b"-") for line in rest.splitlines()):
        raise ConfigError(f"{where}: is cut off: its last part has no end; bring it again")


def _load_all(data: bytes, where: object) -> list[x509.Certificate]:
    _check_whole(data, b"-----END CERTIFICATE-----", where)
    with readable(where, "holds no certificate"):
        return x509.load_pem_x509_certificates(data)
