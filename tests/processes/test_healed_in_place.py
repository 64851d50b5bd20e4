"""Damage where every server has a copy already: no other may take one, so it is healed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killing import MIB, content, settle_whole, wait_until
from stage import START_S
from test_corrupt import stamped
from test_real_damage import all_slots, cut, fail_reads, flip, slot_of, whole

import gfs_ha
from gfs_ha.chunk.slots.format import COPY_BYTES, DATA_OFFSET, decode_copy
from gfs_ha.ids import ChunkId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.damage import INTACT

pytestmark = pytest.mark.processes

DATA = content(MIB // 2, seed=3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    made = LocalCluster(tmp_path_factory.mktemp("in-place") / "cluster", timeout_s=START_S)
    try:
        made.up(masters=1, chunkservers=3, racks=("r1", "r2"), chunk_bytes=MIB)
        with gfs_ha.connect(made.config_path) as fs:
            fs.write_bytes("/x", DATA)
        with gfs_ha.connect(made.config_path) as fs:
            settle_whole(fs)
        wait_until(lambda: all(map(stamped, all_slots(made))), "all are stamped")
        yield made
    finally:
        made.down(wipe=True)


def byte_of_data(slot: Path) -> None:
    flip(slot, DATA_OFFSET + 200_000)


def one_header(slot: Path) -> None:
    flip(slot, 40)


def both_headers(slot: Path) -> None:
    flip(slot, 40)
    flip(slot, COPY_BYTES + 40)


def vanished(slot: Path) -> None:
    slot.unlink()


@pytest.mark.parametrize(
    "damage", [byte_of_data, one_header, both_headers, cut, fail_reads, vanished]
)
def test_damage_is_healed_in_place_where_no_other_server_may_take_a_copy(
    cluster: LocalCluster, damage: Callable[[Path], None]
) -> None:
    with gfs_ha.connect(cluster.config_path) as fs:
        (extent,) = fs.operations.placement("/x").items
        chunk_id = extent.chunk.chunk_id
        assert {one.name for one in extent.chunk.replicas} == {"cs1", "cs2", "cs3"}
        damage(slot_of(cluster, "cs2", chunk_id))
        (cs2,) = [one.server_id for one in fs.operations.servers().items if one.name == "cs2"]
        fs.operations.start_scrub([cs2])

        def healed() -> bool:
            # Each reads its copy from the disk: three times ok is three good copies.
            found = fs.operations.verify_chunk(chunk_id).replicas
            good = len(found) == 3 and all(one.verdict == INTACT for one in found)
            return good and headers_whole(cluster, chunk_id) and whole(fs)

        wait_until(healed, "the copy of cs2 is good again")
        assert fs.read_bytes("/x") == DATA


def headers_whole(cluster: LocalCluster, chunk_id: ChunkId) -> bool:
    """Return whether cs2 has the chunk in a slot of which both header copies are good."""
    for path in Path(cluster.directory).glob("cs2/data/*.slot"):
        if path.is_symlink():
            continue  # Reads of it fail.
        try:
            data = memoryview(path.read_bytes()[: 2 * COPY_BYTES])
        except FileNotFoundError:
            continue  # It was replaced in this moment.
        if len(data) < 2 * COPY_BYTES:
            continue
        headers = [decode_copy(data[at : at + COPY_BYTES]).header for at in (0, COPY_BYTES)]
        if all(one is not None and one.chunk_id == chunk_id for one in headers):
            return True
    return False
