"""The attackers of a local cluster: certificates made by its own authority, and by another one."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gfs_ha.pki import authority as authorities
from gfs_ha.pki.names import PeerName, Role
from hostile.attack import OTHER_CLUSTER, Gang
from hostile.people import People

OUTSIDER = "m9"  # A genuine master, which is no member.
GUEST = "eve"
STRANGE_SERVER = "cs9"
_EXPIRED_DAYS = 30


def assemble(ca: Path, cluster: str, root: Path, told: list[Path]) -> Gang:
    """Return the gang. Args: `told` are the TLS directories that hear of who is revoked."""
    root.mkdir()
    people = People(ca, cluster, root)
    other = People(root / "other-ca", cluster, root / "other")
    authorities.create(other.ca, cluster, datetime.now(UTC))
    then = datetime.now(UTC) - timedelta(days=2 * _EXPIRED_DAYS)
    gone = people.enrol(Role.MASTER, "gone")
    outsider = people.enrol(Role.MASTER, OUTSIDER)
    people.revoke("gone", told)
    return Gang(
        cluster,
        {
            Role.MASTER: people.careless(outsider),
            Role.CLIENT: people.careless(people.enrol(Role.CLIENT, GUEST)),
            Role.CHUNKSERVER: people.careless(people.enrol(Role.CHUNKSERVER, STRANGE_SERVER)),
        },
        {
            "no certificate": people.careless(None),
            "expired": people.careless(
                people.enrol(Role.MASTER, "late", now=then, days=_EXPIRED_DAYS)
            ),
            "revoked": people.careless(gone),
            "another authority": other.careless(other.enrol(Role.MASTER, "m1")),
            "another cluster": people.careless(
                people.forge(PeerName(OTHER_CLUSTER, Role.MASTER, "m1"))
            ),
            "TLS 1.2": people.careless(outsider, ssl.TLSVersion.TLSv1_2),
        },
    )
