"""A cluster's authority for tests, and TLS directories of whoever a test wants to be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hostile.people import HOSTS, People

from gfs_ha.net.tls import Credentials
from gfs_ha.pki import authority as authorities
from gfs_ha.pki.enrolment import give_trust
from gfs_ha.pki.names import Role
from gfs_ha.runtime import Runtime, ThreadedRuntime

CLUSTER = "cluster-1"


class TlsHouse(People):
    """One authority in `root`, for one cluster."""

    def __init__(self, root: Path, cluster: str = CLUSTER) -> None:
        super().__init__(root / "ca", cluster, root)
        authorities.create(self.ca, cluster, datetime.now(UTC))

    def credentials(
        self,
        role: Role,
        name: str,
        hosts: Sequence[str] = HOSTS,
        runtime: Runtime | None = None,
    ) -> Credentials:
        out = self.enrol(role, name, hosts)
        return Credentials(out, self.cluster, runtime or ThreadedRuntime())

    def replace_authority(self, told: Sequence[Path]) -> None:
        """Rotate at once: whatever was issued before is of nobody who is trusted."""
        now = datetime.now(UTC)
        with authorities.opened(self.ca) as authority:
            authority.rotate(now)
            authority.finish(now)
            for out in told:
                give_trust(authority, out)
