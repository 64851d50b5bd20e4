"""A cluster's authority for tests, and TLS directories of whoever a test wants to be."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gfs_ha.net.tls import Credentials
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.certificates import to_pem
from gfs_ha.pki.enrolment import enrol, give_trust
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.pki.requests import key_pem, make_key
from gfs_ha.pki.signing import sign_certificate
from gfs_ha.runtime import Runtime, ThreadedRuntime

CLUSTER = "cluster-1"
HOSTS = ("127.0.0.1", "::1", "localhost")


class TlsHouse:
    """One authority in `root`, for one cluster."""

    def __init__(self, root: Path, cluster: str = CLUSTER) -> None:
        self.root = root
        self.cluster = cluster
        authorities.create(root / "ca", cluster, datetime.now(UTC))

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
        with authorities.opened(self.root / "ca") as authority:
            who = PeerName(self.cluster, role, name)
            enrol(authority, who, hosts, out, now or datetime.now(UTC), days)
        return out

    def forge(self, who: PeerName) -> Path:
        """Return a TLS directory of somebody whom the authority itself would never certify."""
        out = self.root / f"forged-{who.cluster}-{who.role}-{who.name}"
        now = datetime.now(UTC)
        key = make_key()
        files.make_directory(out)
        with authorities.opened(self.root / "ca") as authority:
            give_trust(authority, out)
            certificate = sign_certificate(authority.current, key.public_key(), who, HOSTS, now, 30)
        files.write_secret(out / files.KEY, key_pem(key))
        files.write_public(out / files.CERTIFICATE, to_pem(certificate))
        return out

    def credentials(
        self,
        role: Role,
        name: str,
        hosts: Sequence[str] = HOSTS,
        runtime: Runtime | None = None,
    ) -> Credentials:
        out = self.enrol(role, name, hosts)
        return Credentials(out, self.cluster, runtime or ThreadedRuntime())

    def revoke(self, name: str, told: Sequence[Path]) -> None:
        """Revoke whatever has a name, and bring the news to some TLS directories."""
        now = datetime.now(UTC)
        with authorities.opened(self.root / "ca") as authority:
            found = authority.find(name, None, now)
            authority.revoke([one.certificate for one in found], now)
            for out in told:
                give_trust(authority, out)

    def replace_authority(self, told: Sequence[Path]) -> None:
        """Rotate at once: whatever was issued before is of nobody who is trusted."""
        now = datetime.now(UTC)
        with authorities.opened(self.root / "ca") as authority:
            authority.rotate(now)
            authority.finish(now)
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
