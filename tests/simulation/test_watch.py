"""What the watch over a simulated cluster notes of the commands that it is shown."""

from __future__ import annotations

import pytest

from gfs_ha.ids import ChunkId, LogIndex, ServerId, StartId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.master.state.commands import CommitSeal, Entry, encode_entry
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.protocol.metadata import FinishChunk
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
