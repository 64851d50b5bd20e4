"""Whoever shows a certificate: those whom a cluster's authority knows, and those it would not."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.certificates import to_pem
from gfs_ha.pki.enrolment import enrol, give_trust
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.pki.requests import key_pem, make_key
from gfs_ha.pki.signing import sign_certificate

HOSTS = ("127.0.0.1", "::1", "localhost")


class People:
    """Makes TLS directories below `root` by the authority in `ca`."""

    def __init__(self, ca: Path, cluster: str, root: Path) -> None:
        self.ca = ca
        self.cluster = cluster
        self.root = root

    def enrol(
        self,
        role: Role,
        name: str,
        hosts: Sequence[str] = HOSTS,
        now: datetime | None = None,
        days: int = 30,
    ) -> Path:
        """Return a new TLS directory."""
        out = self.root / f"{role}-{name}"
        with authorities.opened(self.ca) as authority:
            who = PeerName(self.cluster, role, name)
            enrol(authority, who, hosts, out, now or datetime.now(UTC), days)
        return out

    def forge(self, who: PeerName) -> Path:
        """Return a TLS directory of somebody whom the authority itself would never certify."""
        out = self.root / f"forged-{who.cluster}-{who.role}-{who.name}"
        now = datetime.now(UTC)
        key = make_key()
        files.make_directory(out)
        with authorities.opened(self.ca) as authority:
            give_trust(authority, out)
            certificate = sign_certificate(authority.current, key.public_key(), who, HOSTS, now, 30)
        files.write_secret(out / files.KEY, key_pem(key))
        files.write_public(out / files.CERTIFICATE, to_pem(certificate))
        return out

    def revoke(self, name: str, told: Sequence[Path]) -> None:
        """Revoke whatever has a name, and bring the news to some TLS directories."""
        now = datetime.now(UTC)
        with authorities.opened(self.ca) as authority:
            found = authority.find(name, None, now)
            authority.revoke([one.certificate for one in found], now)
            for out in told:
                give_trust(authority, out)

    def careless(
        self, directory: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLContext:
        """Return the context of a peer that shows whatever it has and believes anybody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.maximum_version = version
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if directory is not None:
            context.load_cert_chain(directory / files.CERTIFICATE, directory / files.KEY)
        return context
