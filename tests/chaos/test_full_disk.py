"""A store on a disk that is really full: it says so, however the kernel breaks it off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.small_disk import SmallDisk

from gfs_ha.errors import DiskFull
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import Table

pytestmark = pytest.mark.processes

BIG = Table("big", "big")
PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        made = SmallDisk(tmp_path / "disk", 24 << 20)
    except OSError as error:
        pytest.skip(str(error))
    try:
        yield made
    finally:
        made.close()


def test_a_commit_that_is_cut_short_by_a_full_disk_says_that_the_disk_is_full(
    disk: SmallDisk,
) -> None:
    """LMDB calls a write that wrote less than it should an input/output error."""
    for turn in range(12):
        kv = LmdbKV(disk.outside / f"store{turn}", ["big"], 1 << 26)
        empty = disk.fill((turn + 3) * 3 * PAGE)
        with pytest.raises(DiskFull):
            for number in range(100):
                writer = kv.begin()
                for row in range(10):
                    writer.put(BIG, b"%d/%d" % (number, row), bytes(PAGE // 2))
                writer.commit()
        kv.close()
        empty()
