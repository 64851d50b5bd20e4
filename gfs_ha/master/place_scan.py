"""Looks at what every server has by its own table, page by page: each place is one of its chunk.

The way back of chunk_scan.py, which asks whether each place of a chunk is in that table. Of the
same nature as file_scan.py: one page is one moment of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.ids import ServerId
from gfs_ha.master.state import tables
from gfs_ha.master.state.view import View
from gfs_ha.protocol.fsck import (
    BROKEN,
    NO_PLACE,
    SEVERITIES,
    FsckFinding,
    Place,
    PlacesScanned,
    ScanPlaces,
)


@dataclass(slots=True)
class PlaceScan:
    """One page under way."""

    view: View
    request: ScanPlaces
    findings: list[FsckFinding] = field(default_factory=list)
    _names: dict[ServerId, str] = field(default_factory=dict)

    def page(self) -> PlacesScanned:
        """Return what one page of places is like."""
        after, count = self.request.after, 0
        start = b"" if after == NO_PLACE else tables.replica_key(*after) + b"\0"
        for key, _ in self.view.rows.scan(tables.REPLICAS_BY_SERVER, start):
            if count >= self.request.rows:
                return PlacesScanned(tuple(self.findings), count, after, more=True)
            after, count = tables.read_replica_key(key), count + 1
            self._look(after)
        return PlacesScanned(tuple(self.findings), count, after, more=False)

    def _look(self, place: Place) -> None:
        server_id, disk_id, chunk_id = place
        name = self._name(server_id)
        chunk = self.view.chunk(chunk_id)
        there = f"the table of {name or f'server {server_id}'}"
        if chunk is None:
            self._add(place, f"{there} names it, and there is no such chunk")
        elif all((one.server_id, one.disk_id) != (server_id, disk_id) for one in chunk.replicas):
            self._add(place, f"{there} names it, and the chunk has no place on that disk")
        elif not name:
            self._add(place, f"it has a place on server {server_id}, which is not registered")

    def _name(self, server_id: ServerId) -> str:
        if server_id not in self._names:
            server = self.view.server(server_id)
            self._names[server_id] = "" if server is None else server.name
        return self._names[server_id]

    def _add(self, place: Place, why: str) -> None:
        server_id, disk_id, chunk_id = place
        servers = (self._names[server_id] or f"#{server_id}",)
        facts = ("", 0, 0, chunk_id, servers, why, server_id, disk_id)
        self.findings.append(FsckFinding(BROKEN, SEVERITIES[BROKEN], *facts))
