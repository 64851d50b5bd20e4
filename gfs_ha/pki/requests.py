"""Keys, and the requests by which a node asks for a certificate without showing its key."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gfs_ha.errors import ConfigError, Denied, UsageError
from gfs_ha.pki.certificates import UNREADABLE, said
from gfs_ha.pki.names import PeerName, parse_uri

HOSTS_MAX = 32
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*")


def make_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key (P-256)."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key as it goes into its file: PKCS #8, no password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_request(key: ec.EllipticCurvePrivateKey, name: PeerName, hosts: Iterable[str]) -> bytes:
    """Return a signed request (PEM) for a certificate of that name. Raises: UsageError."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(name))
    builder = builder.add_extension(alternatives(name, hosts), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    key: ec.EllipticCurvePublicKey
    name: PeerName
    hosts: tuple[str, ...]


def read_request(data: bytes, where: object) -> Asked:
    """Return what a request asks for.

    Raises: ConfigError naming `where` when it is none, was changed, or its key is not P-256.
    """
    try:
        request = x509.load_pem_x509_csr(data)
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        name = parse_uri(uris[0] if len(uris) == 1 else "")
        key, signed = request.public_key(), request.is_signature_valid
    except (*UNREADABLE, Denied) as error:
        why = said(error)
        raise ConfigError(f"{where}: is no request for a certificate of ours ({why})") from error
    if not signed:
        raise ConfigError(f"{where}: was changed after it was signed")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{where}: asks for another key than P-256")
    hosts = [*names.get_values_for_type(x509.DNSName)]
    hosts.extend(str(one) for one in names.get_values_for_type(x509.IPAddress))
    return Asked(key, name, tuple(hosts))


def subject(name: PeerName) -> x509.Name:
    """Return the subject of a certificate; who it is for is decided by its URI, not by this."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name.name)])


def alternatives(name: PeerName, hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    """Return the names of a certificate: the URI, and where it may be reached.

    Raises: UsageError for what is no host, and for more than 32.
    """
    found: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name.uri)]
    for host in dict.fromkeys(hosts):
        found.append(_host(host))
    if len(found) > HOSTS_MAX + 1:
        raise UsageError(f"{len(found) - 1} hosts; a certificate has at most {HOSTS_MAX}")
    return x509.SubjectAlternativeName(found)


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if len(text) > 253 or _HOST.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no host: a DNS name without wildcard, or an IP address")
    return x509.DNSName(text.lower())
