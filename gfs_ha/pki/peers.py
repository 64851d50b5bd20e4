"""What is kept of certificates that were verified; nothing here reads or checks one.

Apart, since everything that may show certificates knows of these, and most of it never does: the
library that reads them takes longer to import than some commands take.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gfs_ha.pki.names import PeerName


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A certificate that was verified: whose it is, and what decides whether it stays good."""

    name: PeerName
    serial: int
    authority: bytes  # Key id of the authority that signed it.
    begins: datetime
    expires: datetime
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocations:
    """What the lists of revoked certificates say. A list is for the authority that signed it.

    One that has run out still counts: what it revokes stays revoked, only news may be missing.
    """

    revoked: frozenset[tuple[bytes, int]] = frozenset()  # (authority, serial)
    expires: datetime | None = None  # The earliest end of a list; None: there is no list.
    listed: frozenset[bytes] = frozenset()  # The authorities whose lists these are.

    def has(self, certificate: PeerCertificate) -> bool:
        """Return True when the certificate is revoked."""
        return (certificate.authority, certificate.serial) in self.revoked
