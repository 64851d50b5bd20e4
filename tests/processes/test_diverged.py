"""A disk changes one bit of one master's tables: it is found, and that master takes itself out."""

from __future__ import annotations

import signal
from pathlib import Path

import lmdb
import pytest
from killing import leader_of, wait_until

import gfs_ha
from gfs_ha.errors import StateDiverged
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.member_status import STOPPED
from gfs_ha.local.processes import read_tail
from gfs_ha.master.directory import STORE_NAME
from gfs_ha.master.state.tables import INODES
from gfs_ha.protocol.state_checks import StateReport

pytestmark = pytest.mark.processes


def flip(store: Path) -> None:
    """Flip one bit of the newest inode of a master that is not running."""
    environment = lmdb.open(str(store), max_dbs=16, map_size=1 << 36)
    database = environment.open_db(INODES.table.database.encode())
    with environment.begin(write=True, db=database) as transaction, transaction.cursor() as cursor:
        assert cursor.last()
        key, data = cursor.item()
        transaction.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    environment.close()


def test_a_flipped_bit_of_a_follower_is_found_and_the_other_two_go_on(
    local_cluster: LocalCluster,
) -> None:
    with gfs_ha.connect(local_cluster.config_path) as fs:
        fs.write_bytes("/a", b"a" * 1000)
        leader = leader_of(fs)
        odd = next(name for name in ("m3", "m2") if name != leader)
        wait_until(lambda: set(_verdicts(fs).values()) == {"equal"}, "all have the file stored")
        local_cluster.kill(odd, signal.SIGTERM)
        flip(local_cluster.directory / odd / "data" / STORE_NAME)
        local_cluster.start(odd)
        wait_until(lambda: _verdicts(fs)[odd] == "equal", "the odd one answers again")
        report = deep_report(fs)
        assert report.diverged == (odd,)
        assert {row.name: row.verdict for row in report.items} == {
            name: "differs" if name == odd else "equal" for name in ("m1", "m2", "m3")
        }
        wait_until(lambda: not _runs(local_cluster, odd), "the odd one ends itself")
        output = "\n".join(read_tail(local_cluster.directory / odd / "output"))
        assert "StateDiverged: the state of this master is not that of the majority" in output

        fs.write_bytes("/b", b"b" * 1000)
        assert fs.read_bytes("/a") == b"a" * 1000 and fs.read_bytes("/b") == b"b" * 1000
        [finding] = [one for one in fs.operations.health().items if one.code == "MASTER_DIVERGED"]
        assert odd in finding.message and "keep the other masters alive" in finding.advice
        assert not fs.operations.health().healthy
        with pytest.raises(StateDiverged):
            local_cluster.start(odd)
        assert _verdicts(fs)[odd] == "silent"
        assert fs.operations.masters().check.diverged == (odd,)  # type: ignore[union-attr]


def deep_report(fs: gfs_ha.Cluster) -> StateReport:
    """Return what a deep look finds, once no silent master hides it."""
    found: list[StateReport] = []

    def compared() -> bool:
        found[:] = [fs.operations.verify_states(deep=True)]
        verdicts = {row.verdict for row in found[0].items}
        return bool(found[0].diverged) or "silent" not in verdicts

    wait_until(compared, "all are heard")
    return found[0]


def _verdicts(fs: gfs_ha.Cluster) -> dict[str, str]:
    return {row.name: row.verdict for row in fs.operations.verify_states().items}


def _runs(cluster: LocalCluster, name: str) -> bool:
    return next(one.state != STOPPED for one in cluster.status() if one.name == name)
