"""What the watch over a simulated cluster notes of the commands that it is shown."""

from __future__ import annotations

import msgspec
import pytest

from gfs_ha.checksum import chunk_digest, crc32c
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import Birth, ChunkId, DiskId, LogIndex, ServerId, StartId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import MIB
from gfs_ha.master.rules import SPREAD
from gfs_ha.master.state.commands import CommitSeal, Entry, PlaceCopy, encode_entry
from gfs_ha.master.state.records import SEALED, Chunk, Replica, Server
from gfs_ha.master.state.server_mode_records import ServerMode
from gfs_ha.master.state.tables import CHUNKS, SERVER_MODES, SERVERS, id_key
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.protocol.data import ChunkKind, Durability
from gfs_ha.protocol.metadata import DISK, PUT, FinishChunk
from gfs_ha.protocol.server_modes import DRAINING
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.run import ClusterRun

CHUNK = ChunkId(7)


@pytest.mark.parametrize(
    "seal",
    [
        FinishChunk(CHUNK, 1000, 5, ()),
        CommitSeal(CHUNK, LogIndex(30), 1000, 5, ()),
        FinishTail(CHUNK, ServerId(1), StartId(1), 1000, 5, 7, ()),
    ],
)
def test_from_whichever_seal_on_a_copy_that_came_back_is_to_be_adopted(
    seal: FinishChunk | CommitSeal | FinishTail,
) -> None:
    run = ClusterRun(1)
    scheduler, on_command = run.world.scheduler, run.world.ledger.on_command
    assert on_command is not None
    with MemoryKV().read() as reader:
        on_command(1, encode_entry(Entry(0, 1, seal)), reader)
    assert run.watch.sealed_s == {CHUNK: scheduler.now_s}
    scheduler.close()


@pytest.mark.parametrize(("racks", "moved"), [(("r0", "r0"), 1000), (("r0", "r1"), 0)])
def test_a_copy_for_the_rule_is_one_although_a_holder_lost_its_disk_just_now(
    racks: tuple[str, str], moved: int
) -> None:
    """The simulated disks are empty, and nobody can know it yet."""
    run = ClusterRun(1)
    on_command, now_s = run.world.ledger.on_command, run.world.scheduler.now_s
    assert on_command is not None
    kv = MemoryKV()
    transaction = kv.begin()
    for number, rack in enumerate(racks, 1):
        server = Server(f"s{number}", "h", 1, rack, "", StartId(1), 1, ())
        transaction.put(SERVERS.table, id_key(number), SERVERS.encode(server))
        run.watch.contacts[server.name].heard_s = now_s
    holders = (ServerId(1), ServerId(2))
    replicas = tuple(Replica(one, DiskId(one)) for one in holders)
    chunk = Chunk(SEALED, PUT, DISK, MIB, 2, 2, replicas, Birth(1, 1), LogIndex(20), rule=SPREAD)
    row = msgspec.structs.replace(chunk, length=1000, holders=holders, sealed_index=LogIndex(40))
    transaction.put(CHUNKS.table, id_key(CHUNK), CHUNKS.encode(row))
    transaction.commit()
    place = PlaceCopy(CHUNK, LogIndex(40), ServerId(3), DiskId(3), 2)
    with kv.read() as reader:
        on_command(1, encode_entry(Entry(0, 1, place)), reader)
    assert run.watch.economy.least == moved
    run.world.scheduler.close()


@pytest.mark.parametrize(("there", "goal"), [(True, 2), (False, 2), (True, 0)])
def test_a_server_that_leaves_may_count_with_what_it_has_and_gets_nothing_new(
    there: bool, goal: int
) -> None:
    """With a goal of 0 that is one too many, as when another planner sees to the chunk, too."""
    run = ClusterRun(1)
    on_command, now_s, server = run.world.ledger.on_command, run.world.scheduler.now_s, ServerId(1)
    assert on_command is not None
    birth, digest, disk = Birth(1, 1), chunk_digest((crc32c(b"it"),)), run.servers[0].disks[0]
    if there:
        spec = ReplicaSpec(CHUNK, birth, ChunkKind.PUT, MIB, Durability.DISK)
        store = ChunkStore.on(disk, Identity("c", server, DiskId(1)), run.servers[0]._clock, 1)
        with store.create_replica(spec).begin_push(0, 2) as push:
            push.append(memoryview(b"it"), (crc32c(b"it"),))
            push.commit()
        store.finish_seal(CHUNK, LogIndex(40), 2, digest)
    kv = MemoryKV()
    transaction = kv.begin()
    row = Server(run.servers[0].name, "h", 1, "r0", "", StartId(1), 1, ())
    transaction.put(SERVERS.table, id_key(server), SERVERS.encode(row))
    mode = ServerMode(DRAINING, 1, 5)
    transaction.put(SERVER_MODES.table, id_key(server), SERVER_MODES.encode(mode))
    chunk = Chunk(SEALED, PUT, DISK, MIB, goal, goal, (), birth, LogIndex(20), rule=SPREAD)
    chunk = msgspec.structs.replace(chunk, length=2, digest=digest, sealed_index=LogIndex(40))
    transaction.put(CHUNKS.table, id_key(CHUNK), CHUNKS.encode(chunk))
    transaction.commit()
    run.watch._leaving_s[server] = (mode.since_wall_ns, now_s - 10.0)
    place = encode_entry(Entry(0, 1, PlaceCopy(CHUNK, LogIndex(40), server, DiskId(1), 0)))
    with kv.read() as reader:
        if there:
            on_command(1, place, reader)
        else:
            with pytest.raises(Violation, match="out of service"):
                on_command(1, place, reader)
    run.world.scheduler.close()
