"""This server's replica in one push, whoever pushes: a stream from above, or its own primary."""

from __future__ import annotations

from array import array

from gfs_ha.chunk.progress import DiskWatch
from gfs_ha.chunk.slots.appending import OpenPush
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import AlreadyExists, GfsError, ProtocolError
from gfs_ha.protocol.data import ChunkKind, DataRequest
from gfs_ha.protocol.frames import ReplicaAck, failed_ack


class LocalEnd:
    """Remembers the first thing that went wrong; used by one thread."""

    def __init__(self, store: ChunkStore, request: DataRequest, entries: bytes = b"") -> None:
        """Args: `entries` are those of the records that the push consists of, packed."""
        self._store = store
        self._request = request
        self._entries = entries
        self._replica: Replica | None = None
        self._push: OpenPush | None = None
        self._disk: DiskWatch
        self._error: GfsError | None = None
        self._end = 0

    @property
    def failed(self) -> bool:
        return self._error is not None

    def begin(self, disk: DiskWatch) -> None:
        """Find or make the replica, and begin the push there."""
        self._disk = disk
        request = self._request
        try:
            with disk.at_disk():
                replica = self._replica = self._find()
                if request.brings_records:
                    replica.note_committed(request.committed)
                    if not request.length:
                        self._end = replica.header.end
                        return  # A note of the commit length, and nothing else.
                self._push = replica.begin_push(request.offset, request.length, self._entries)
        except GfsError as error:
            self.fail(error)

    def _find(self) -> Replica:
        request = self._request
        if request.creates and request.offset == 0:
            if request.kind is not ChunkKind.PUT:
                raise ProtocolError("replicas of tails are made by order only")
            spec = ReplicaSpec(
                request.chunk_id,
                request.birth,
                request.kind,
                request.capacity,
                request.durability,
            )
            try:
                return self._store.create_replica(spec, disk_id=request.disk_id)
            except AlreadyExists:
                pass  # Then it has to be the same one, and empty: begin_push looks.
        return self._store.get(request.chunk_id, request.birth)

    def append(self, data: memoryview, crcs: array[int]) -> None:
        if self._error is None and self._push is not None:
            try:
                with self._disk.at_disk():
                    self._push.append(data, crcs)
            except GfsError as error:
                self.fail(error)

    def commit(self) -> None:
        if self._error is None and self._push is not None:
            try:
                with self._disk.at_disk():
                    self._end = self._push.commit()
            except GfsError as error:
                self.fail(error)

    def fail(self, error: GfsError) -> None:
        if self._error is None:
            self._error = error

    def ack(self) -> ReplicaAck:
        """Return what is answered for this server, after a last look at the fence (C2)."""
        if self._error is None and self._replica is not None:
            try:
                self._replica.look_before_ack()
            except GfsError as error:
                self.fail(error)
        if self._error is not None:
            return failed_ack(self._store.server_id, self._error)
        return ReplicaAck(self._store.server_id, "", self._end)

    def close(self) -> None:
        push, self._push = self._push, None
        if push is not None:
            push.close()
