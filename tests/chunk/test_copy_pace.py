"""Copies keep to what a server may give to repair, on both of their ends, and clients do not."""

from __future__ import annotations

from pathlib import Path

from chunk_house import CHUNK, CLUSTER, street
from copy_house import DATA, EPOCH, order, seal, source, working_copies
from replica_house import RUNTIME, open_store, readable

from gfs_ha.chunk.dataport import DataPort, ServerRun
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import DiskId, ServerId, StartId
from gfs_ha.limits import MIB, SILENCE_S
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.control import CopyReplica, CopySource, OrderDone
from gfs_ha.protocol.repair import RepairAllowance
from gfs_ha.runtime import ThreadedRuntime


def test_a_source_that_makes_copies_wait_is_not_taken_for_silent() -> None:
    runtime = ThreadedRuntime()
    pace = RepairPace(runtime, allowance_s=float("inf"))
    # The second of three pieces waits for it longer than a peer may be silent.
    pace.allow(RepairAllowance(-1, int(MIB / (1.3 * SILENCE_S))))
    store = ChunkStore.on(
        MemoryDisk(runtime), Identity(CLUSTER, ServerId(1), DiskId(1)), runtime, 5
    )
    seal(store)
    port = DataPort(
        *(("127.0.0.1", 0), store, TcpStreams(runtime), runtime, lambda chunk_id, block: None),
        server_run=ServerRun(StartId(0), pace=pace),
    )
    task = runtime.spawn("data port", port.run)
    disk = MemoryDisk(RUNTIME)
    try:
        with working_copies(open_store(disk)) as target:
            wanted = order([CopySource(ServerId(1), "127.0.0.1", port.port)])
            target.copies.take(EPOCH, wanted)
            assert target.answer() == OrderDone(CHUNK, wanted.order_index, "copy")
            assert readable(target.store.get(CHUNK), disk, len(DATA)) == DATA
    finally:
        port.stop()
        assert task.join(60.0)
    assert pace.facts().judged_count == 0, "no client was served"


def test_a_server_that_was_allowed_nothing_begins_with_the_leaders_word(tmp_path: Path) -> None:
    with street(tmp_path, 1) as (house,), working_copies(open_store(MemoryDisk(RUNTIME))) as target:
        seal(house.store)
        target.copies.allow(RepairAllowance(copies_bytes_per_s=-1))
        wanted: CopyReplica = order([source(house)])
        target.copies.take(EPOCH, wanted)
        while not target.copies.progress():
            RUNTIME.sleep(0.002)
        assert target.copies.progress()[0].bytes_done == 0
        target.copies.allow(RepairAllowance(copies_bytes_per_s=0))
        assert target.answer() == OrderDone(CHUNK, wanted.order_index, "copy")
