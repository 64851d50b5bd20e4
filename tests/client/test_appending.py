"""Records appended by many while servers and leaders die: each once, whole, in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import gfs_ha
from gfs_ha.errors import InvalidArgument, LimitExceeded
from gfs_ha.ids import ServerId
from gfs_ha.limits import KIB, MIB
from gfs_ha.runtime import ThreadedRuntime

if TYPE_CHECKING:
    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.local.cluster import LocalCluster
    from gfs_ha.protocol.append import LeaseRow

pytestmark = pytest.mark.processes

RUNTIME = ThreadedRuntime()
NOBODY = ServerId(0)
WRITERS = 4
RECORDS = 300
WAIT_S = 120.0


def record(writer: int, number: int) -> bytes:
    """Return a record that names itself and has a length of its own."""
    return f"{writer} {number:06} ".encode() + b"x" * (number * 37 % 4000) + b"\n"


@dataclass
class Writers:
    """Clients of their own, each with an appender, that append until all records are out."""

    cluster: LocalCluster
    path: str
    count: int = RECORDS
    written: int = 0
    offsets: dict[tuple[int, int], int] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def wait_written(self, count: int) -> None:
        """Wait until so many records are acknowledged."""
        deadline_s = RUNTIME.monotonic_s() + WAIT_S
        while len(self.offsets) < count and not self.failures:
            assert RUNTIME.monotonic_s() < deadline_s, f"{len(self.offsets)} of {count}"
            RUNTIME.sleep(0.01)

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        if self.failures:
            raise self.failures[0]

    def _write(self, writer: int) -> None:
        try:
            with (
                gfs_ha.connect(self.cluster.config_path) as client,
                client.appender(self.path) as appender,
            ):
                for number in range(self.count):
                    done = appender.append(record(writer, number))
                    done.when_done(
                        lambda done=done, number=number: self._note(writer, number, done)
                    )
                    if number % 20 == 0:
                        appender.flush()
        except BaseException as error:
            self.failures.append(error)

    def _note(self, writer, number, done) -> None:
        offset = done.result(0.0).offset
        with self._lock:
            self.offsets[writer, number] = offset


def check(client: Cluster, writers: Writers) -> None:
    """Look at the file with nothing but its bytes: every record once, whole, in its order."""
    content = client.read_bytes(writers.path)
    seen: dict[int, list[int]] = {}
    at = 0
    for line in content.splitlines(keepends=True):
        writer, number = (int(word) for word in line.split()[:2])
        assert line == record(writer, number)
        assert writers.offsets[writer, number] == at
        seen.setdefault(writer, []).append(number)
        at += len(line)
    assert seen == {writer: list(range(writers.count)) for writer in range(WRITERS)}
    assert client.stat(writers.path, exact=True).size == len(content)


def lease(client: Cluster, path: str) -> LeaseRow:
    """Return the row of a file's open tail, once there is one."""
    deadline_s = RUNTIME.monotonic_s() + WAIT_S
    while True:
        for row in client.operations.leases():
            if row.path == path:
                return row
        assert RUNTIME.monotonic_s() < deadline_s
        RUNTIME.sleep(0.01)


def test_many_clients_append_to_one_file_across_chunks(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    writers = Writers(real_cluster, "/log")
    writers.finish()
    check(client, writers)
    placement = client.operations.placement("/log")
    assert len(placement.items) >= 2, "2 MiB do not fit a chunk of 1 MiB"


def kill_primary(cluster: LocalCluster, client: Cluster, path: str) -> None:
    cluster.kill(lease(client, path).holder, signal.SIGKILL)


def freeze_primary(cluster: LocalCluster, client: Cluster, path: str) -> None:
    cluster.kill(lease(client, path).holder, signal.SIGSTOP)


def kill_middle(cluster: LocalCluster, client: Cluster, path: str) -> None:
    chunk_id = lease(client, path).chunk_id
    rows = {row.chunk_id: row for row in client.operations.chunks()}
    cluster.kill(rows[chunk_id].replicas[1].name, signal.SIGKILL)


def kill_leader(cluster: LocalCluster, client: Cluster, path: str) -> None:
    cluster.kill(client.operations.status().leader, signal.SIGKILL)


@pytest.mark.parametrize("fault", [kill_primary, freeze_primary, kill_middle, kill_leader])
def test_a_death_amid_appends_loses_and_doubles_nothing(
    real_cluster: LocalCluster,
    client: Cluster,
    fault: Callable[[LocalCluster, Cluster, str], None],
) -> None:
    writers = Writers(real_cluster, "/log")
    writers.wait_written(WRITERS * RECORDS // 4)
    fault(real_cluster, client, "/log")
    writers.finish()
    check(client, writers)


def test_single_records_and_their_limits(client: Cluster) -> None:
    assert client.append("/one", b"first\n") == 0
    assert client.append("/one", b"second\n") == 6
    assert client.append("/one", bytes(256 * KIB), durability="memory") == 13
    with pytest.raises(LimitExceeded):
        client.append("/one", bytes(256 * KIB + 1))
    with pytest.raises(InvalidArgument):
        client.append("/one", b"")
    assert client.stat("/one").growing
    assert client.stat("/one", exact=True).size == 13 + 256 * KIB


def test_appends_go_behind_what_was_put(client: Cluster) -> None:
    client.write_bytes("/file", b"put\n")
    assert client.append("/file", b"appended\n") == 4
    assert client.read_bytes("/file") == b"put\nappended\n"


def test_threads_of_one_client_share_an_appender(client: Cluster) -> None:
    offsets: list[int] = []

    def append() -> None:
        for _ in range(50):
            offsets.append(client.append("/shared", b"0123456789"))

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(offsets) == list(range(0, 4000, 10))
    assert client.read_bytes("/shared") == b"0123456789" * 400


def test_a_file_object_appends_and_others_see_it(client: Cluster) -> None:
    with client.open("/log", "ab") as file:
        file.write(b"a\n")
        file.flush()
        assert client.read_bytes("/log") == b"a\n"
        file.writelines([b"b\n", b"c\n"])
        assert file.tell() == 6
    with client.open("/log", "ab") as file:
        assert file.tell() == 6
        file.write(bytes(MIB))
    assert client.stat("/log", exact=True).size == 6 + MIB


def test_changes_over_a_growing_file_take_all_that_was_acknowledged(client: Cluster) -> None:
    client.append("/log", b"0123456789")
    client.copy("/log", "/copy")
    assert client.read_bytes("/copy") == b"0123456789"
    client.append("/log", b"abcdef")
    client.truncate("/log", 12)
    assert client.read_bytes("/log") == b"0123456789ab"
    client.append("/log", b"!")
    client.concat(["/log", "/copy"], "/joined")
    assert client.read_bytes("/joined") == b"0123456789ab!0123456789"
    client.append("/log", b"?")
    client.pwrite("/log", 1, b"--")
    assert client.read_bytes("/log") == b"0--3456789ab!?"
    client.append("/log", b"end")
    client.rename("/copy", "/log")
    assert client.read_bytes("/log") == b"0123456789"
    client.append("/log", b"x")
    client.write_bytes("/log", b"new")
    assert client.append("/log", b"er") == 3
    assert client.read_bytes("/log") == b"newer"
    client.remove("/log")
    assert client.append("/log", b"again") == 0


def test_a_directory_with_growing_files_is_moved_and_removed(client: Cluster) -> None:
    client.mkdir("/d/e", parents=True)
    client.append("/d/e/log", b"one")
    client.rename("/d", "/moved")
    assert client.append("/moved/e/log", b"two") == 3
    client.remove("/moved", recursive=True)
    assert not client.exists("/moved")


def test_pwrite_beside_appends_loses_none_of_either(client: Cluster) -> None:
    client.append("/log", b"-" * 100)
    stop = threading.Event()
    appended: list[int] = []

    def append() -> None:
        while not stop.is_set():
            appended.append(client.append("/log", b"0123456789"))

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for number in range(10):
            client.pwrite("/log", number, b"w")
    finally:
        stop.set()
        thread.join(WAIT_S)
    content = client.read_bytes("/log")
    assert content[:100] == b"w" * 10 + b"-" * 90
    assert content[100:] == b"0123456789" * len(appended)


def test_a_writer_with_a_key_may_be_started_again(real_cluster: LocalCluster) -> None:
    lines = [f"{n}\n".encode() for n in range(2000)]
    with (
        gfs_ha.connect(real_cluster.config_path) as client,
        client.appender("/job", key="import-7") as appender,
    ):
        appender.append_all(lines[:1200])
    with gfs_ha.connect(real_cluster.config_path) as client:
        row = lease(client, "/job")
        client.operations.revoke_lease(row.chunk_id, NOBODY)
        with client.appender("/job", key="import-7") as appender:
            results = [one.result(WAIT_S) for one in appender.append_all(lines)]
        assert [one.before for one in results] == [True] * 1200 + [False] * 800
        assert client.read_bytes("/job") == b"".join(lines)


def test_an_open_reader_keeps_its_prefix_through_seals_and_deaths(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    prefix = bytes(range(256)) * 900
    client.append("/log", prefix[:200_000])
    client.append("/log", prefix[200_000:])
    with client.open("/log") as before_seal, client.open("/log") as before_death:
        row = lease(client, "/log")
        assert before_seal.read(1000) == prefix[:1000]
        client.operations.revoke_lease(row.chunk_id, NOBODY)
        client.append("/log", b"behind")
        assert before_seal.read() == prefix[1000:]
        with client.open("/log") as longer:
            kill_primary(real_cluster, client, "/log")
            assert before_death.read() == prefix
            assert longer.read() == prefix + b"behind"
    assert client.read_bytes("/log") == prefix + b"behind"


def wait_for_content(other: Cluster, content: bytes) -> None:
    """Wait until a master that lags behind has heard of the tail."""
    deadline_s = RUNTIME.monotonic_s() + WAIT_S
    while not other.exists("/log") or other.read_bytes("/log") != content:
        assert RUNTIME.monotonic_s() < deadline_s
        RUNTIME.sleep(0.01)


@pytest.mark.parametrize("consistency", ["local", "bounded:0", "bounded:500"])
def test_any_master_opens_a_growing_file_at_the_length_that_its_primary_tells(
    real_cluster: LocalCluster, client: Cluster, consistency: str
) -> None:
    client.append("/log", b"0123456789")
    with gfs_ha.connect(real_cluster.config_path, consistency=consistency) as other:
        wait_for_content(other, b"0123456789")
        client.append("/log", b"more")
        assert other.read_bytes("/log") == b"0123456789more"


def test_local_reads_show_what_other_replicas_know_when_the_primary_is_gone(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    client.append("/log", b"0123456789")
    with gfs_ha.connect(real_cluster.config_path, consistency="local") as local:
        wait_for_content(local, b"0123456789")
        kill_primary(real_cluster, client, "/log")
        # The others were told within 10 ms, unless it was killed before.
        assert local.read_bytes("/log") in (b"0123456789", b"")
    assert client.read_bytes("/log") == b"0123456789"


def test_a_follower_sees_every_record_once_and_hears_of_other_files(
    real_cluster: LocalCluster, client: Cluster
) -> None:
    writers = Writers(real_cluster, "/log", count=150)
    writers.wait_written(1)
    got = bytearray()
    follower = client.follow("/log")
    follower.begin(client.stat("/log"), 0)
    done = threading.Event()

    def follow() -> None:
        while not (done.is_set() and len(got) >= size[0]):
            follower.step(got.extend)
            follower.wait()

    size = [0]
    thread = threading.Thread(target=follow)
    thread.start()
    kill_primary(real_cluster, client, "/log")
    writers.finish()
    size[0] = client.stat("/log", exact=True).size
    done.set()
    thread.join(WAIT_S)
    assert bytes(got) == client.read_bytes("/log")
