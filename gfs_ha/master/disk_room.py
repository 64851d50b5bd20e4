"""The room of servers: of which disks bytes count as room, in all views and for all who plan.

Only disks in service are room. What lies on a disk that is being emptied is about to be a load of
the others, and what is free on it takes nothing: so neither is part of how full a server is. Of a
server that leaves or is empty the same is true of all its disks. Those who place and those who move
ask the same of each disk (`out_of_service`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.observed import Observed
from gfs_ha.master.state.records import Server
from gfs_ha.master.state.server_mode_records import DiskMode
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.disk_counts import DiskCounts
from gfs_ha.protocol.disks import FAILED, LOST
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE

Modes = Mapping[tuple[ServerId, DiskId], DiskMode]
_ALL_SERVE = DiskCounts()


@dataclass(frozen=True, slots=True)
class Room:
    """The bytes of the disks of a server that are in service, and how many are not.

    A server that is not in service has no room; its disks are told by what they are themselves.
    """

    total_bytes: int = 0
    free_bytes: int = 0
    disks: DiskCounts = _ALL_SERVE

    @property
    def usage(self) -> float:
        """Return the used share, 0.0-1.0; 0.0 of a server without any room."""
        return 1 - self.free_bytes / self.total_bytes if self.total_bytes else 0.0


def out_of_service(
    about: tuple[ServerId, Server], disk_id: DiskId, told: DiskFacts | None, modes: Modes
) -> str:
    """Return why a disk takes nothing: failed, lost, or its mode; empty: it is in service.

    Args: `told` is what its server says of it, None if it says nothing (now).
    """
    server_id, server = about
    if told is not None and told.failed:
        return FAILED
    if all(one.disk_id != disk_id or one.lost for one in server.disks):
        return LOST  # Or not known yet: nothing is placed there.
    mode = modes.get((server_id, disk_id))
    return mode.mode if mode is not None else ""


def room_of(
    about: tuple[ServerId, Server], observed: Observed, modes: Modes, server_mode: str
) -> Room:
    """Return the room of a server, as it said last."""
    server_id, server = about
    facts = observed.servers.get(server_id)
    told = {one.disk_id: one for one in facts.disks} if facts is not None else {}
    failed = [one.disk_id for one in told.values() if one.failed]
    # In an order that does not change: those of the tables, then others that it says failed.
    disk_ids = dict.fromkeys([*(one.disk_id for one in server.disks), *failed])
    states = {one: out_of_service(about, one, told.get(one), modes) for one in disk_ids}
    serving = [told[one] for one, why in states.items() if not why and one in told]
    serving = serving if server_mode == IN_SERVICE else []
    counts = Counter(states.values())
    return Room(
        total_bytes=sum(one.total_bytes for one in serving),
        free_bytes=sum(one.free_bytes for one in serving),
        disks=DiskCounts(
            known=len(states),
            draining=counts[DRAINING],
            drained=counts[DRAINED],
            failed=counts[FAILED],
            lost=counts[LOST],
        ),
    )
