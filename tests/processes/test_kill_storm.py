"""One process after the other is killed under clients that write: no error, no loss, no mixture."""

from __future__ import annotations

import random
import signal
import traceback
from dataclasses import dataclass, field

import pytest
from killing import MIB, RUNTIME, check_files, content, settle

import gfs_ha
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

STORM_S = 30.0
STORM_MAX_S = 240.0  # On a machine that needs so long for a few deaths.
ENOUGH = 5  # Deaths, and puts of each writer.
SIZES = (0, 1, 4_096, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 3 * MIB + 17)
SEED = 20


@dataclass
class Writer:
    """A client that puts files under new names and over old ones, until told to stop."""

    fs: gfs_ha.Cluster
    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    count: int = 0
    slowest_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    stopping: bool = False

    def run(self) -> None:
        chance = random.Random(self.name)
        try:
            while not self.stopping:
                # Every fourth put replaces an earlier file.
                slot = self.count if self.count % 4 else chance.randrange(self.count + 1)
                data = content(chance.choice(SIZES), self.count)
                began_s = RUNTIME.monotonic_s()
                self.fs.write_bytes(f"/{self.name}/{slot}", data)
                self.slowest_s = max(self.slowest_s, RUNTIME.monotonic_s() - began_s)
                self.files[f"/{self.name}/{slot}"] = data
                self.count += 1
                RUNTIME.sleep(0.05)  # Enough bytes for the test, not for the disk's patience.
        except Exception:
            self.errors.append(traceback.format_exc())


@pytest.mark.filterwarnings("ignore:.*copies")
def test_clients_that_write_through_one_death_after_the_other_see_nothing_of_it(
    local_cluster: LocalCluster,
) -> None:
    chance = random.Random(SEED)
    with gfs_ha.connect(local_cluster.config_path) as fs:
        writers = [Writer(fs, name) for name in ("a", "b", "c")]
        for writer in writers:
            fs.mkdir(f"/{writer.name}")
        tasks = [RUNTIME.spawn(writer.name, writer.run) for writer in writers]
        began_s = RUNTIME.monotonic_s()
        kills = 0
        while not any(one.errors for one in writers):
            lasted_s = RUNTIME.monotonic_s() - began_s
            enough = kills >= ENOUGH and all(writer.count >= ENOUGH for writer in writers)
            if lasted_s > STORM_MAX_S or (enough and lasted_s > STORM_S):
                break
            RUNTIME.sleep(chance.uniform(0.0, 1.0))
            victim = chance.choice([member.name for member in local_cluster.status()])
            local_cluster.kill(victim, signal.SIGKILL)
            RUNTIME.sleep(chance.uniform(0.0, 1.5))
            local_cluster.start(victim)
            local_cluster.wait_serving()
            kills += 1
        for writer in writers:
            writer.stopping = True
        assert all(task.join(60.0) for task in tasks)
        errors = [error for writer in writers for error in writer.errors]
        assert not errors, "\n".join(errors)
        print("kills", kills, "puts", [(one.count, round(one.slowest_s, 2)) for one in writers])
        assert kills >= ENOUGH and all(writer.count >= ENOUGH for writer in writers)
        for writer in writers:
            check_files(fs, writer.files)
            names = {entry.name for entry in fs.listdir(f"/{writer.name}")}
            assert names == {path.rpartition("/")[2] for path in writer.files}
        settle(fs)
        for writer in writers:
            check_files(fs, writer.files)
