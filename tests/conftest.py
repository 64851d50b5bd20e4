"""What tests of several rooms share: real clusters of processes that always go away again."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import free_ports
import hypothesis
import pytest
import run_guard

from gfs_ha.local.ports import PORTS_VARIABLE

if TYPE_CHECKING:
    from gfs_ha.local.cluster import LocalCluster

MIB = 1 << 20
PROGRAMS = ("-m gfs_ha.", "bin/gfs")
LEFT_S = 5.0  # Who was killed last may need a moment.

# What tests and benchmarks share lies there.
BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))

# A run that must pass draws the same inputs always; `make properties` looks for new ones.
# How long one takes is a matter of the machine.
_slow = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("steady", derandomize=True, database=None, **_slow)
hypothesis.settings.register_profile("search", print_blob=True, **_slow)
hypothesis.settings.load_profile("steady")

# A shell starts background jobs with SIGINT ignored, and programs inherit that: the ones that the
# tests interrupt must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Whoever ends a run (`timeout`, say) ends its clusters as well.
signal.signal(signal.SIGTERM, signal.default_int_handler)

os.environ[PORTS_VARIABLE] = free_ports.OF_CLUSTERS


def pytest_configure() -> None:
    """Have whatever this process starts end with it, also when it is killed amid its teardown."""
    run_guard.watch()


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays: it would walk all modules and tests each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """Have the last test fail when a program of ours lives on after all fixtures are taken down."""
    yield
    until_s = time.monotonic() + LEFT_S
    while left := [
        words
        for words in run_guard.mine().values()
        if any(program in words for program in PROGRAMS)
    ]:
        assert time.monotonic() < until_s, left
        time.sleep(0.1)


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[[str], LocalCluster]]:
    """A cluster below tmp_path by name, not up yet; whatever becomes of it is taken down."""
    from stage import START_S

    from gfs_ha.local.cluster import LocalCluster

    made: list[LocalCluster] = []

    def make(name: str) -> LocalCluster:
        made.append(LocalCluster(tmp_path / name, timeout_s=START_S))
        return made[-1]

    try:
        yield make
    finally:
        for cluster in made:
            _show_logs(cluster.directory)
            cluster.down(wipe=True)


@pytest.fixture
def local_cluster(new_cluster: Callable[[str], LocalCluster]) -> LocalCluster:
    """Three masters and four chunkservers on two racks, with chunks of 1 MiB, up and ready."""
    cluster = new_cluster("cluster")
    cluster.up(masters=3, chunkservers=4, racks=("r1", "r2"), chunk_bytes=MIB)
    return cluster


@pytest.fixture
def small_cluster(new_cluster: Callable[[str], LocalCluster]) -> LocalCluster:
    """One master and two chunkservers, up: enough where no quorum is at stake."""
    cluster = new_cluster("small")
    cluster.up(masters=1, chunkservers=2, chunk_bytes=MIB)
    return cluster


def _show_logs(directory: Path) -> None:
    """Print the end of every log of a cluster; pytest shows it when the test failed."""
    from gfs_ha.local.processes import read_tail

    for path in sorted(directory.glob("*/*.log")):
        print(f"--- {path.name}", *read_tail(path)[-25:], sep="\n")
