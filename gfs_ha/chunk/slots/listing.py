"""What reports and heartbeats say of the replicas on a disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.ids import ChunkId, DiskId
from gfs_ha.protocol.control import BucketListing, OpenReplica
from gfs_ha.protocol.tally import bucket_of, replica_hash

SETTLED = "sealed"
_TOMBSTONE = "tombstone"


def open_tombstone(header: Header, disk_id: DiskId) -> OpenReplica:
    """Return how a tombstone is listed."""
    return OpenReplica(header.chunk_id, header.birth, disk_id, 0, _TOMBSTONE, header.order_index)


def open_replica(replica: Replica) -> OpenReplica:
    """Return how a replica is listed that is not sealed, or not whole."""
    header = replica.header
    return OpenReplica(
        header.chunk_id,
        header.birth,
        replica.disk_id,
        header.end,
        replica.condition,
        header.order_index,
    )


def sealed_lengths(replicas: Iterable[Replica]) -> Iterator[tuple[ChunkId, int]]:
    """Yield (chunk, length) of every sealed replica that is not quarantined."""
    for replica in replicas:
        header = replica.header
        if header.state is State.SEALED and not header.flags & SlotFlag.QUARANTINED:
            yield header.chunk_id, header.end


def list_buckets(
    replicas: Iterable[Replica], buckets: Collection[int], disk_id: DiskId
) -> tuple[BucketListing, ...]:
    """Return the sealed replicas of some buckets of the tally (G7)."""
    found: dict[int, list[tuple[ChunkId, int, bool]]] = {bucket: [] for bucket in buckets}
    for replica in replicas:
        header = replica.header
        if header.state is State.SEALED:
            bucket = bucket_of(replica_hash(header.chunk_id, header.end))
            if bucket in found:
                damaged = replica.condition != SETTLED
                found[bucket].append((header.chunk_id, header.end, damaged))
    return tuple(BucketListing(disk_id, bucket, tuple(listed)) for bucket, listed in found.items())
