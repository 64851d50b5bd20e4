"""A log is moved, removed and replaced under its writers: every record has a known outcome.

An appender follows the path: what comes after the `mv` goes to the file that it leads to then.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import gfs_ha
from gfs_ha.runtime import ThreadedRuntime

if TYPE_CHECKING:
    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.local.cluster import LocalCluster

pytestmark = pytest.mark.processes

RUNTIME = ThreadedRuntime()
WRITERS = 8
WAIT_S = 120.0


def record(writer: int, number: int) -> bytes:
    """Return a record that names itself and has a length of its own."""
    return f"{writer} {number:06} ".encode() + b"x" * (number * 37 % 3000) + b"\n"


class Writers:
    """Clients of their own that append to one path until they are told to stop."""

    def __init__(self, cluster: LocalCluster, path: str) -> None:
        self.told: dict[tuple[int, int], int] = {}
        self.failures: list[BaseException] = []
        self._config = cluster.config_path
        self._path = path
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(writer,)) for writer in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self) -> None:
        """Wait until each writer was told of another record that it sent later. Raises."""
        before = self._counts()
        deadline_s = RUNTIME.monotonic_s() + WAIT_S
        while any(self._counts()[one] < before[one] + 20 for one in range(WRITERS)):
            if self.failures:
                raise self.failures[0]
            assert RUNTIME.monotonic_s() < deadline_s
            RUNTIME.sleep(0.005)

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _counts(self) -> Counter[int]:
        return Counter(writer for writer, _ in list(self.told))

    def _write(self, writer: int) -> None:
        try:
            with gfs_ha.connect(self._config) as client, client.appender(self._path) as appender:
                number = 0
                while not self._stop.is_set():
                    some = [record(writer, number + one) for one in range(16)]
                    for one in appender.append_all(some):
                        self.told[writer, number] = one.result(WAIT_S).offset
                        number += 1
        except BaseException as error:
            self.failures.append(error)


@contextmanager
def writing(cluster: LocalCluster, path: str) -> Iterator[Writers]:
    writers = Writers(cluster, path)
    try:
        writers.wait_for_more()
        yield writers
    finally:
        writers.finish()
    assert not writers.failures


def records_in(content: bytes) -> dict[tuple[int, int], int]:
    """Return where each record lies; every byte belongs to one, and none is there twice."""
    found: dict[tuple[int, int], int] = {}
    at = 0
    for line in content.splitlines(keepends=True):
        writer, number = (int(word) for word in line.split()[:2])
        assert line == record(writer, number)
        assert (writer, number) not in found, "a record is there twice"
        found[writer, number] = at
        at += len(line)
    return found


def test_a_log_is_rotated_under_its_writers_and_each_record_is_once_in_all_of_them(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    """What mv has answered for grows no more, so that it can be read, packed or removed."""
    kept: list[bytes] = []
    with writing(real_cluster, "/log") as writers:
        for number in range(10):
            client.rename("/log", f"/log.{number}")
            kept.append(client.read_bytes(f"/log.{number}"))
            writers.wait_for_more()
            assert client.read_bytes(f"/log.{number}") == kept[-1], "it grew after mv"
    kept.append(client.read_bytes("/log"))
    found: dict[tuple[int, int], int] = {}
    for content in kept:
        for key, at in records_in(content).items():
            assert key not in found, "a record is in two files"
            found[key] = at
    assert found == writers.told


def remove(client: Cluster) -> None:
    client.remove("/log")


def rename_over(client: Cluster) -> None:
    client.write_bytes("/fresh", b"")
    client.rename("/fresh", "/log")


def put_over(client: Cluster) -> None:
    client.write_bytes("/log", b"")


def truncate(client: Cluster) -> None:
    client.truncate("/log", 0)


@pytest.mark.parametrize("taken_away", [remove, rename_over, put_over, truncate])
def test_a_log_that_is_taken_away_under_its_writers_leaves_no_outcome_unknown(
    real_cluster: LocalCluster, client: Cluster, taken_away: Callable[[Cluster], None]
) -> None:
    with writing(real_cluster, "/log") as writers:
        for _ in range(3):
            taken_away(client)
            writers.wait_for_more()
    left = records_in(client.read_bytes("/log"))
    assert left and left.items() <= writers.told.items()
