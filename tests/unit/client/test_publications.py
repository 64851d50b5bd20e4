"""Empty files of many threads share commands, and nothing else: each has its own outcome."""

from __future__ import annotations

import threading

import pytest
from little_cluster import LittleCluster, lost

from gfs_ha.client.publications import NAMES_MAX, PACE, Publications, travels_with_others
from gfs_ha.errors import AlreadyExists, GfsError, NotFound, UnknownOutcome, Unreachable
from gfs_ha.ids import ChunkId, ContentId
from gfs_ha.protocol.metadata import Extent, Mkdir, Publish, PublishedFile, PublishFile
from gfs_ha.runtime import ThreadedRuntime

WAIT_S = 10.0


class Writers:
    """Threads that each write one empty file."""

    def __init__(self, little: LittleCluster) -> None:
        self._little = little
        self._threads: list[threading.Thread] = []
        self.errors: dict[str, GfsError] = {}

    def write(self, path: str) -> None:
        def run() -> None:
            try:
                self._little.client.write_bytes(path, b"")
            except GfsError as error:
                self.errors[path] = error

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def held_up(self, paths: list[str]) -> None:
        """Write, and return when some commands are under way and all other files wait for them."""
        turns = self._little.connection.session._publications.turns
        for path in paths:
            self.write(path)
        runtime = ThreadedRuntime()
        deadline_s = runtime.monotonic_s() + WAIT_S
        while turns.waiting_count + turns.under_way < len(paths):
            assert runtime.monotonic_s() < deadline_s
            runtime.sleep(0.001)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


def test_many_threads_need_few_commands_and_each_hears_of_its_own_file(
    little: LittleCluster,
) -> None:
    little.client.mkdir("/d")
    little.client.write_bytes("/d/first", b"")
    good = [f"/d/{number}" for number in range(40)]
    bad = [f"/gone/{number}" for number in range(5)]
    writers = Writers(little)
    asked_before = len(little.masters.requests(Publish))
    with little.masters.lock:
        writers.held_up([*good[:20], *bad, *good[20:]])
    writers.join()
    assert {type(error) for error in writers.errors.values()} == {NotFound}
    assert sorted(writers.errors) == bad
    assert all(little.client.stat(path).size == 0 for path in good)
    assert len(little.masters.requests(Publish)) - asked_before <= 2 * PACE.under_way_max


def test_two_writers_of_one_new_name_in_one_command_have_one_winner(little: LittleCluster) -> None:
    published: list[tuple[PublishFile, ...]] = []
    session = little.connection.session
    plain = session._publish_all

    def publish_all(files: tuple[PublishFile, ...], timeout_s: float) -> tuple[PublishedFile, ...]:
        published.append(files)
        return plain(files, timeout_s)

    gate, results = threading.Event(), []
    held = Publications(
        lambda files, left_s: (gate.wait(WAIT_S), publish_all(files, left_s))[1], ThreadedRuntime()
    )

    def run(path: str) -> None:
        file = PublishFile(path, 0, 0o644, 1, if_absent=True)
        results.append((path, held.publish(file, WAIT_S).files[0].error))

    firsts = [f"/first-{number}" for number in range(PACE.under_way_max)]
    threads = [threading.Thread(target=run, args=(path,)) for path in [*firsts, "/same", "/same"]]
    for thread in threads:
        thread.start()
    runtime = ThreadedRuntime()
    deadline_s = runtime.monotonic_s() + WAIT_S
    while held.turns.waiting_count < 2:
        assert runtime.monotonic_s() < deadline_s
        runtime.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert max(len(files) for files in published) == 2
    assert sorted(error for path, error in results if path == "/same") == [
        "",
        AlreadyExists.__name__,
    ]


def test_a_command_whose_answer_is_lost_is_applied_once_for_all_its_files(
    little: LittleCluster,
) -> None:
    little.client.mkdir("/d")
    paths = [f"/d/{number}" for number in range(12)]
    writers = Writers(little)
    with little.masters.lock:
        writers.held_up(paths)
        for _ in range(PACE.under_way_max + 1):
            little.masters.after.append(lost)
    writers.join()
    assert not writers.errors
    assert all(little.client.stat(path).generation == 1 for path in paths)


def test_who_travelled_with_a_thread_that_was_interrupted_does_not_know_the_outcome() -> None:
    def publish_all(files: tuple[PublishFile, ...], timeout_s: float) -> tuple[PublishedFile, ...]:
        raise Unreachable("the thread that sent the request was interrupted", sent=1)

    publications = Publications(publish_all, ThreadedRuntime())
    with pytest.raises(UnknownOutcome, match="/f may or may not"):
        publications.publish(PublishFile("/f", 0, 0o644, 1), WAIT_S)


def test_only_an_empty_file_that_brings_nothing_else_shares_a_command() -> None:
    def travels(path: str = "/f", **more: object) -> bool:
        return travels_with_others(Publish((PublishFile(path, 0, 0o644, 1, **more),)))  # type: ignore[arg-type]

    file = PublishFile("/f", 0, 0o644, 1)
    assert travels()
    assert travels("/a" * NAMES_MAX)
    assert not travels("/a" * (NAMES_MAX + 1))
    assert not travels("no/path")
    assert not travels(content_id=ContentId(7))
    assert not travels(extents=(Extent(0, ChunkId(1), 0, 1, 1),))
    assert not travels_with_others(Publish((PublishFile("/f", 1, 0o644, 1),)))
    assert not travels_with_others(Publish((file, file)))
    assert not travels_with_others(Publish((file,), release=(ChunkId(1),)))
    assert not travels_with_others(Publish((file,), make_parents=True))
    assert not travels_with_others(Mkdir("/d"))
