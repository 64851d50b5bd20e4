"""The rows that say how servers and disks stand: in service, on their way out, in maintenance."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.server_modes import IN_SERVICE


class ServerMode(Word, frozen=True):
    """How a server stands; the key is its id. One without a row is in service."""

    mode: str = IN_SERVICE
    job: int = 0  # That empties it, or did; 0: none.
    since_wall_ns: int = 0
    maintenance_until_ms: int = 0  # Cluster time; 0: none.
    labels: tuple[tuple[str, str], ...] = ()  # By key.

    def in_maintenance(self, cluster_ms: int) -> bool:
        """Return whether its time of maintenance is not over."""
        return cluster_ms < self.maintenance_until_ms


class DiskMode(Word, frozen=True):
    """How a disk stands; the key is (server, disk). One without a row is in service."""

    mode: str
    job: int
    since_wall_ns: int


IN_SERVICE_ROW = ServerMode()
