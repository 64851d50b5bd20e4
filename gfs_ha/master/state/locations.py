"""Where replicas lie and how to reach them, each server's row read once per question."""

from __future__ import annotations

from gfs_ha.ids import ANY_DISK, ChunkId, DiskId, ServerId
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Replica, Server
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import CHUNKS, SERVERS, id_key
from gfs_ha.protocol.metadata import ChunkLocations, Location


class LocationReader:
    """Turns replicas into locations, for one question."""

    __slots__ = ("_rows", "_servers")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._servers: dict[ServerId, Server | None] = {}

    def locate(self, chunk_id: ChunkId) -> ChunkLocations | None:
        """Return what a reader needs of a chunk; None when it is unknown or dead."""
        chunk = self._rows.get(CHUNKS, id_key(chunk_id))
        if chunk is None or chunk.state == DEAD:
            return None
        sealed = chunk.state == SEALED
        return ChunkLocations(
            chunk_id=chunk_id,
            birth=chunk.birth,
            sealed=sealed,
            length=chunk.length if sealed else chunk.published_end,
            digest=chunk.digest,
            replicas=self.replicas(chunk),
        )

    def replicas(self, chunk: Chunk) -> tuple[Location, ...]:
        """Return where the copies that count lie, in the order of the chain."""
        counted = [
            replica
            for replica in chunk.replicas
            if chunk.state != SEALED or replica.server_id in chunk.holders
        ]
        found = (self._replica(replica) for replica in counted)
        return tuple(location for location in found if location is not None)

    def location(self, server_id: ServerId) -> Location | None:
        """Return how to reach a server; None when there is no such one."""
        server = self._server(server_id)
        return None if server is None else _location(server_id, server, True)

    def _replica(self, replica: Replica) -> Location | None:
        server = self._server(replica.server_id)
        if server is None:
            return None
        # A server that came back without the disk cannot serve it, however alive it is.
        there = any(disk.disk_id == replica.disk_id and not disk.lost for disk in server.disks)
        return _location(replica.server_id, server, there, replica.disk_id)

    def _server(self, server_id: ServerId) -> Server | None:
        if server_id not in self._servers:
            self._servers[server_id] = self._rows.get(SERVERS, id_key(server_id))
        return self._servers[server_id]


def _location(
    server_id: ServerId, server: Server, live: bool, disk_id: DiskId = ANY_DISK
) -> Location:
    return Location(
        server_id=server_id,
        name=server.name,
        host=server.host,
        port=server.port,
        rack=server.rack,
        machine=server.machine,
        live=live,
        disk_id=disk_id,
    )
