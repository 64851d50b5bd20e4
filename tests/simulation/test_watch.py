"""What the watch over a simulated cluster notes of the commands that it is shown."""

from __future__ import annotations

import msgspec
import pytest

from gfs_ha.ids import Birth, ChunkId, DiskId, LogIndex, ServerId, StartId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import MIB
from gfs_ha.master.rules import SPREAD
from gfs_ha.master.state.commands import CommitSeal, Entry, PlaceCopy, encode_entry
from gfs_ha.master.state.records import SEALED, Chunk, Replica, Server
from gfs_ha.master.state.tables import CHUNKS, SERVERS, id_key
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.protocol.metadata import DISK, PUT, FinishChunk
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
