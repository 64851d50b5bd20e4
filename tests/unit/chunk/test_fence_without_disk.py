"""A replica on a disk that is out of service is out of reach: nobody says that it is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_obey import BIRTH, EPOCH, RUNTIME, Server, primary_of

from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.obey import Obedience
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.slots.format import ChunkKind, Durability
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import ANY_DISK, ChunkId, DiskId, LogIndex, ServerId
from gfs_ha.master.seal_orders import order_of
from gfs_ha.master.sealing import Fence, Prove, SealingChunk
from gfs_ha.net.buffers import BufferPool
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.control import FenceReplica, OrderFailed, ProveReplica

HERE, OUT, ABSENT, REPLACED = DiskId(2), DiskId(3), DiskId(4), DiskId(5)
CHUNK, OTHER = ChunkId(1), ChunkId(2)
INDEX = LogIndex(5)


def serve(broken: tuple[DiskId, ...]) -> Server:
    disks = [MemoryDisk(RUNTIME), MemoryDisk(RUNTIME)]
    buffers = BufferPool(RUNTIME)
    shelves = [
        Shelf(disk, Identity("c", ServerId(1), disk_id), buffers, RUNTIME, 7)
        for disk, disk_id in zip(disks, (HERE, OUT), strict=True)
    ]
    store = ChunkStore(shelves, RUNTIME, broken)
    epochs, outbox = EpochBook([disks[0]], RUNTIME), Outbox(RUNTIME)
    pools = (StreamPool(TcpStreams(RUNTIME), RUNTIME), epochs, outbox)
    copies = Copies(store, *pools, RepairPace(RUNTIME), RUNTIME)
    obedience = Obedience(store, primary_of(store), copies, epochs, outbox, RUNTIME)
    obedience.start()
    return Server(disks[0], store, epochs, outbox, obedience)


@pytest.fixture(params=[(ABSENT,), (ANY_DISK,)], ids=["remembered", "forgotten"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a disk that it gave up, and one that was not there when it started."""
    made = serve(request.param)
    spec = ReplicaSpec(CHUNK, BIRTH, ChunkKind.TAIL, 1 << 20, Durability.DISK)
    made.store.create_replica(spec, disk_id=OUT)
    made.store.take_out(made.store.shelves[1], "it broke")
    yield made
    assert made.obedience.stop(20)


def failure(server: Server, order: FenceReplica | ProveReplica) -> str:
    server.obedience.take(EPOCH, [order])
    (answer,) = server.answers(1)
    assert isinstance(answer, OrderFailed)
    return answer.failure.error


@pytest.mark.parametrize("disk_id", [OUT, ABSENT])
@pytest.mark.parametrize("order", [FenceReplica, ProveReplica])
def test_what_lies_on_a_disk_that_is_out_of_service_is_not_said_to_be_unknown(
    server: Server, disk_id: DiskId, order: type[FenceReplica | ProveReplica]
) -> None:
    """Else a chunk whose disks are all out for a while would be sealed as empty (C2)."""
    assert failure(server, order(CHUNK, BIRTH, INDEX, 0, disk_id)) == "DiskFailed"
    assert CHUNK not in server.store.shelves[0].tombstones


def test_what_was_placed_on_a_disk_in_service_and_never_came_is_unknown(server: Server) -> None:
    assert failure(server, FenceReplica(OTHER, BIRTH, INDEX, 0, HERE)) == "UnknownReplica"


def test_a_disk_that_was_replaced_is_not_waited_for() -> None:
    server = serve(())
    assert failure(server, FenceReplica(OTHER, BIRTH, INDEX, 0, REPLACED)) == "UnknownReplica"
    assert server.obedience.stop(20)


def test_the_orders_of_a_seal_say_on_which_disk_the_replica_should_be() -> None:
    known = (CHUNK, BIRTH, INDEX, 0, frozenset({ServerId(1), ServerId(2)}))
    chunk = SealingChunk(*known, disks={ServerId(2): OUT})
    for decision in (Fence(frozenset({ServerId(2)})), Prove(7, frozenset({ServerId(2)}))):
        assert order_of(chunk, decision, ServerId(2)).disk_id == OUT
