"""The real data plane of a client: pushes to the data ports of a chain, reads from one."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from gfs_ha.client.append_stream import AppendStream, ask_tail_length
from gfs_ha.client.data_plane import ChunkBlocks, PushStream, ReadRange, RecordStream
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.client.passes import FRESH_SHARE, Passes
from gfs_ha.client.push import Push, PushTarget
from gfs_ha.errors import UnknownOutcome
from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.limits import OPERATION_TIMEOUT_S
from gfs_ha.net.streams import StreamNetwork
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.data import DEADLINE_MS_MAX, Durability, Hop
from gfs_ha.protocol.frames import ReplicaAck
from gfs_ha.protocol.metadata import (
    MEMORY,
    ChunkAllocated,
    ChunkLocations,
    FileTail,
    Location,
)
from gfs_ha.protocol.records import TailLength
from gfs_ha.protocol.tickets import OperationPass, Right
from gfs_ha.runtime import Runtime

# A push waits for its source, which may be a person: silence of a server ends it, not the clock.
PUSH_DEADLINE_S = DEADLINE_MS_MAX / 1000

_STALE_SHARE = FRESH_SHARE / 2  # Of the life of its tickets: then a push is settled, and goes on.

TAIL_LENGTH_S = 3.0  # It is a look into memory: a server that needs longer is no use now.


def hop_of(one: Location) -> Hop:
    """Return how the data port of a replica is reached."""
    return Hop(one.server_id, one.host, one.port, one.disk_id, one.ticket)


class _SentPush:
    """A Push as the writer uses it: its errors are raised, and it is over after `finish`."""

    def __init__(self, push: Push, given: OperationPass | None, runtime: Runtime) -> None:
        self._push = push
        self._given = given
        self._runtime = runtime
        self._since_s = runtime.monotonic_s()
        self.crcs: Sequence[int] = ()

    @property
    def stale(self) -> bool:
        return self._older_than(_STALE_SHARE)

    @property
    def lapsed(self) -> bool:
        return self._older_than(FRESH_SHARE)

    def _older_than(self, share: float) -> bool:
        if self._given is None:
            return False
        age_s = self._runtime.monotonic_s() - self._since_s
        return age_s * 1000 > self._given.life_ms * share

    def send(self, data: memoryview) -> None:
        self._push.write(data)
        if self._push.error is not None:
            raise self._push.error

    def finish(self) -> tuple[ReplicaAck, ...]:
        try:
            result = self._push.finish()
            self.crcs = result.crcs
            # Those behind a lost server are silent, not at fault.
            return tuple(ack for ack in result.acks if ack.code != UnknownOutcome.__name__)
        finally:
            self._push.close()

    def abandon(self) -> None:
        self._push.close()


class DataPorts:
    """Moves bytes between this client and chunkservers; never retries. Thread-safe."""

    def __init__(
        self,
        cluster_id: str,
        network: StreamNetwork,
        runtime: Runtime,
        read_deadline_s: float = OPERATION_TIMEOUT_S,
        label: str = "",
        trace_id: TraceId = NO_TRACE,
        passes: Passes | None = None,
    ) -> None:
        """Args: `passes` renews tickets, where they are shown."""
        self._room = DataRoom(cluster_id, network, runtime, label, trace_id)
        self._read_deadline_s = read_deadline_s
        self._passes = passes

    def push(self, chunk: ChunkAllocated, offset: int, length_max: int) -> PushStream:
        """Start a push at the exact end of a chunk; the head is dialled with the first packet."""
        if self._passes is not None:
            chunk = self._passes.allocated(chunk)
        target = PushTarget(
            chunk.chunk_id,
            chunk.birth,
            chunk.capacity,
            Durability.MEMORY if chunk.durability == MEMORY else Durability.DISK,
            tuple(hop_of(one) for one in chunk.replicas),
            given=chunk.pass_,
        )
        push = Push(self._room, target, offset, length_max, PUSH_DEADLINE_S)
        return _SentPush(push, chunk.pass_, self._room.runtime)

    def read(
        self, location: Location, chunk: ChunkLocations, offset: int, into: memoryview
    ) -> ReadRange:
        """Fill `into` from one replica. Raises: as Fetch.read."""
        fetched = self._fetch(location, chunk).read(offset, into)
        return ReadRange(fetched.crcs, fetched.sealed)

    def blocks(self, location: Location, chunk: ChunkLocations) -> ChunkBlocks:
        """Return the CRC array of a sealed chunk. Raises: as Fetch.read_blocks."""
        found = self._fetch(location, chunk).read_blocks()
        return ChunkBlocks(found.length, found.crcs)

    def append(self, grant: AppendGrant) -> RecordStream:
        """Dial the primary of a tail; the request leaves with the first records."""
        if self._passes is not None:
            grant = replace(grant, tail=self._passes.tail(grant.tail, Right.APPEND))
        return AppendStream(self._room, grant)

    def tail_length(self, location: Location, tail: FileTail) -> TailLength:
        """Return how much of a tail counts, as one of its replicas knows it."""
        if self._passes is not None:
            tail = self._passes.tail(tail, Right.READ)
            location = next(
                (one for one in tail.replicas if one.server_id == location.server_id), location
            )
        return ask_tail_length(self._room, tail, hop_of(location), TAIL_LENGTH_S)

    def _fetch(self, location: Location, chunk: ChunkLocations) -> Fetch:
        target = FetchTarget(hop_of(location), chunk.chunk_id, chunk.birth, chunk.pass_)
        return Fetch(self._room, target, self._read_deadline_s)

    def close(self) -> None:
        """Hang up on all idle streams."""
        self._room.close()
