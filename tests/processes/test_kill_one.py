"""One process is killed or stops in the middle of a put: the put succeeds, nothing is wrong."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
from killing import MIB, Feed, check_files, content, leader_of, open_chain, settle

import gfs_ha
from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

SIZE = 6 * MIB + 12_345
DATA = content(SIZE)


@pytest.fixture
def fs(local_cluster: LocalCluster) -> Iterator[gfs_ha.Cluster]:
    with gfs_ha.connect(local_cluster.config_path) as connected:
        yield connected


@pytest.mark.parametrize("place", [0, 1, 2], ids=["head", "middle", "tail"])
def test_a_put_survives_the_death_of_any_server_of_its_chain(
    local_cluster: LocalCluster, fs: gfs_ha.Cluster, place: int
) -> None:
    killed: list[str] = []

    def kill() -> None:
        chain = open_chain(fs)  # Shorter, if a server was silent.
        killed.append(chain[min(place, len(chain) - 1)])
        local_cluster.kill(killed[0], signal.SIGKILL)

    stored = fs.put(Feed(DATA, {2 * MIB + 300_000: kill}), "/big")
    assert killed and stored.copies >= 2
    check_files(fs, {"/big": DATA})
    local_cluster.start(killed[0])
    local_cluster.wait_serving()
    check_files(fs, {"/big": DATA})
    settle(fs)


def test_a_put_survives_a_server_that_hangs(
    local_cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    stopped: list[str] = []

    def stop() -> None:
        stopped.append(open_chain(fs)[1])
        local_cluster.kill(stopped[0], signal.SIGSTOP)

    fs.put(Feed(DATA, {2 * MIB + 300_000: stop}), "/big")
    check_files(fs, {"/big": DATA})
    local_cluster.kill(stopped[0], signal.SIGCONT)
    check_files(fs, {"/big": DATA})
    settle(fs)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_put_survives_the_leader(
    local_cluster: LocalCluster, fs: gfs_ha.Cluster, number: signal.Signals
) -> None:
    lost: list[str] = []

    def lose() -> None:
        lost.append(leader_of(fs))
        local_cluster.kill(lost[-1], number)

    fs.put(Feed(DATA, {2 * MIB + 300_000: lose}), "/big")
    assert leader_of(fs) != lost[0]
    check_files(fs, {"/big": DATA})
    if number == signal.SIGSTOP:
        local_cluster.kill(lost[0], signal.SIGCONT)
    else:
        local_cluster.start(lost[0])
    local_cluster.wait_serving()
    check_files(fs, {"/big": DATA})
    settle(fs)


def test_a_put_survives_two_deaths_one_after_the_other(
    local_cluster: LocalCluster, fs: gfs_ha.Cluster
) -> None:
    """The second one takes the put's next chain, after the first server is back."""
    killed: list[str] = []

    def kill(place: int) -> Callable[[], None]:
        def now() -> None:
            for name in killed:
                local_cluster.start(name)
            chain = open_chain(fs)
            killed[:] = [chain[min(place, len(chain) - 1)]]
            local_cluster.kill(killed[0], signal.SIGKILL)

        return now

    # In the middle of a chunk: between two of them there may be none that is open.
    fs.put(Feed(DATA, {MIB + 300_000: kill(0), 4 * MIB + 300_000: kill(2)}), "/big")
    check_files(fs, {"/big": DATA})
    local_cluster.start(killed[0])
    local_cluster.wait_serving()
    check_files(fs, {"/big": DATA})
    settle(fs)
