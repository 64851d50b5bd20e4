"""The registered servers and how they stand, as of one moment: who may get new chunks at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.state.records import Server
from gfs_ha.master.state.server_mode_records import IN_SERVICE_ROW, DiskMode, ServerMode
from gfs_ha.master.state.server_modes import disk_modes, server_modes
from gfs_ha.master.state.view import View
from gfs_ha.protocol.server_modes import EMPTY, IN_SERVICE, LEAVING

_TEXTS = {
    "draining": "is being drained",
    "drained": "is drained",
    "decommissioning": "is being decommissioned",
    "decommissioned": "is decommissioned",
}


@dataclass(frozen=True, slots=True)
class Roster:
    """Servers with their modes; `cluster_ms` is the cluster's time."""

    servers: list[tuple[ServerId, Server]]
    modes: Mapping[ServerId, ServerMode] = field(default_factory=dict)
    disk_modes: Mapping[tuple[ServerId, DiskId], DiskMode] = field(default_factory=dict)
    cluster_ms: int = 0

    def mode(self, server_id: ServerId) -> ServerMode:
        """Return how a server stands."""
        return self.modes.get(server_id, IN_SERVICE_ROW)

    def trouble(self, server_id: ServerId) -> str:
        """Return why a server takes nothing new, as its mode says; empty: it does."""
        mode = self.mode(server_id)
        if mode.mode != IN_SERVICE:
            return _TEXTS[mode.mode]
        if mode.in_maintenance(self.cluster_ms):
            minutes = -(-(mode.maintenance_until_ms - self.cluster_ms) // 60_000)
            return f"is in maintenance ({minutes} min more)"
        return ""

    def serves(self, server_id: ServerId, disk_id: DiskId) -> bool:
        """Return whether a disk takes anything new."""
        return (server_id, disk_id) not in self.disk_modes

    def leaving(self, server_id: ServerId) -> bool:
        """Return whether a server is to be emptied, or was."""
        return self.mode(server_id).mode in (*LEAVING, *EMPTY)

    def in_maintenance(self) -> frozenset[ServerId]:
        """Return the servers whose time of maintenance is not over."""
        return frozenset(
            one for one, mode in self.modes.items() if mode.in_maintenance(self.cluster_ms)
        )

    def expected(self) -> list[ServerId]:
        """Return the servers that may take new chunks once they are heard."""
        return [one for one, _ in self.servers if not self.trouble(one)]


def roster(view: View, led_s: float) -> Roster:
    """Return the servers of a view, as a leader sees them that has led for so long (M6)."""
    now_ms = cluster_ms(view.counters(), led_s)
    return Roster(view.servers(), server_modes(view), disk_modes(view), now_ms)
