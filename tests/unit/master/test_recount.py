"""A master counts its rows again: what it finds is put right once, and never twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gfs_ha.errors import GfsError, StateDiverged
from gfs_ha.ids import LogIndex
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import MIB
from gfs_ha.master.recount import VISIBLE_S, Recounter, ensure_hash
from gfs_ha.master.state import digest
from gfs_ha.master.state.commands import (
    AttestState,
    Command,
    Entry,
    InitCluster,
    LeaderElected,
    VerifyState,
    encode_entry,
)
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tables import INODES
from gfs_ha.runtime import Task, ThreadedRuntime


class HandTask:
    """A task that runs when it is told to."""

    def __init__(self, body: Callable[[], None]) -> None:
        self.name = "hand"
        self.body: Callable[[], None] | None = body

    def join(self, timeout_s: float) -> bool:
        return self.body is None

    def running(self) -> bool:
        return self.body is not None


class HandRuntime(ThreadedRuntime):
    """Time passes only by sleeping; `asleep` is called each time, tasks run by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[HandTask] = []
        self.now = 0.0
        self.asleep: Callable[[], object] = lambda: None

    def monotonic_s(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)
        self.asleep()

    def spawn(self, name: str, body: Callable[[], None]) -> Task:
        self.tasks.append(HandTask(body))
        return self.tasks[-1]

    def run(self) -> None:
        for task in self.tasks:
            if task.body is not None:
                task.body()
                task.body = None


class House:
    """One master's store, machine and recounter."""

    def __init__(self) -> None:
        self.kv = MemoryKV()
        self.runtime = HandRuntime()
        self.stopped: list[GfsError] = []
        self.recounter = Recounter(self.kv, self.runtime, self.stopped.append)
        self.machine = Machine(watcher=self.recounter)
        self.index = 0
        self.term = 1
        self.do(InitCluster("c1", "test", 1, MIB))
        for self.term in range(2, 305):  # Each is a row and an event.
            self.do(LeaderElected("m1", 1))

    def do(self, command: Command, commit: bool = True) -> Callable[[], None]:
        self.index += 1
        transaction = self.kv.begin()
        self.machine.apply(transaction, self.index, self.term, encode_entry(Entry(0, 1, command)))
        if commit:
            transaction.commit()
        return transaction.commit

    def flip(self) -> None:
        """Flip one bit of the root's inode."""
        transaction = self.kv.begin()
        key, data = next(transaction.scan(INODES.table))
        transaction.put(INODES.table, key, data[:-1] + bytes([data[-1] ^ 1]))
        transaction.commit()

    def right(self) -> bool:
        with self.kv.read() as reader:
            kept = digest.kept(reader)
            return kept is not None and kept.value == digest.count_all(reader)


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.runtime.run()
    assert made.recounter.stop(1)


def test_rows_that_are_what_was_written_are_counted_in_parts(house: House) -> None:
    told: list[int] = []
    house.runtime.asleep = lambda: told.append(house.recounter.newest.row_count)  # type: ignore[union-attr]
    assert house.recounter.newest is None
    house.do(VerifyState(deep=True))
    house.runtime.run()
    newest = house.recounter.newest
    assert newest is not None and newest.done and newest.counted == newest.kept
    assert newest.asked_index == newest.index == house.index
    assert newest.row_count > 600 and told == [256, 512]


def test_a_flipped_bit_is_found_and_the_kept_hash_put_right_with_the_next_command(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.flip()
    house.do(VerifyState(deep=True))
    house.runtime.run()
    newest = house.recounter.newest
    assert newest is not None and newest.done and newest.counted != newest.kept
    assert "the rows are not what was written" in caplog.text
    assert not house.right()
    house.do(VerifyState())
    assert house.right()
    assert not house.stopped, "it does not judge itself"


def test_commands_during_a_count_change_nothing_of_what_it_finds(house: House) -> None:
    house.flip()
    house.do(VerifyState(deep=True))

    def write() -> None:
        house.term += 1
        house.do(LeaderElected("m2", 1))

    house.runtime.asleep = write
    house.runtime.run()
    house.runtime.asleep = lambda: None
    house.do(LeaderElected("m2", 1))
    assert house.right()


def test_a_second_count_waits_until_the_first_ones_finding_is_in_the_store(house: House) -> None:
    house.flip()
    house.do(VerifyState(deep=True))
    asked_again: list[int] = []

    def ask_again() -> None:
        if not asked_again:
            asked_again.append(house.index + 1)
            house.do(VerifyState(deep=True))
        elif house.recounter.newest is not None and house.recounter.newest.row_count == 0:
            house.do(LeaderElected("m1", 1))  # Takes the correction that is under way.

    house.runtime.asleep = ask_again
    house.runtime.run()
    newest = house.recounter.newest
    assert newest is not None and newest.asked_index == asked_again[0]
    assert newest.counted == newest.kept, "it would be put right a second time"
    house.do(LeaderElected("m1", 1))
    assert house.right()
    assert len(house.runtime.tasks) == 1


def test_a_finding_that_is_taken_and_not_stored_yet_is_waited_for(house: House) -> None:
    house.flip()
    house.do(VerifyState(deep=True))
    sleeps: list[Callable[[], None]] = []

    def sleep() -> None:
        if not sleeps:
            house.do(VerifyState(deep=True))
            sleeps.append(lambda: None)
        elif house.recounter.newest is not None and house.recounter.newest.row_count == 0:
            if len(sleeps) == 1:
                sleeps.append(house.do(LeaderElected("m1", 1), commit=False))
            elif len(sleeps) < 5:
                sleeps.append(sleeps[-1])
            elif len(sleeps) == 5:
                sleeps[-1]()
                sleeps.append(lambda: None)

    house.runtime.asleep = sleep
    house.runtime.run()
    assert len(sleeps) == 6, "the second count began before the first finding was stored"
    house.do(LeaderElected("m1", 1))
    assert house.right()


def test_a_count_does_not_begin_before_its_command_is_in_the_store(house: House) -> None:
    house.flip()
    commit = house.do(VerifyState(deep=True), commit=False)
    waited: list[int] = []

    def sleep() -> None:
        waited.append(1)
        if len(waited) == 3:
            commit()

    house.runtime.asleep = sleep
    house.runtime.run()
    newest = house.recounter.newest
    assert len(waited) >= 3
    assert newest is not None and newest.index == house.index and newest.counted


def test_a_command_that_never_becomes_visible_is_given_up(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.recounter.count_wanted(LogIndex(house.index + 5))
    house.runtime.run()
    newest = house.recounter.newest
    assert newest is not None and newest.done and newest.counted == ""
    assert house.runtime.now >= VISIBLE_S and "rows not counted" in caplog.text


def test_a_master_that_stops_breaks_its_count_off(house: House) -> None:
    house.do(VerifyState(deep=True))
    house.runtime.asleep = lambda: house.recounter.stop(0)
    house.runtime.run()
    newest = house.recounter.newest
    assert newest is not None and not newest.done
    house.do(VerifyState(deep=True))
    assert not any(task.running() for task in house.runtime.tasks)


def test_a_master_that_differs_is_stopped_for_good_with_both_hashes(house: House) -> None:
    house.do(VerifyState())
    house.do(AttestState(LogIndex(house.index), b"x" * 16, ("m1", "m2"), ("m3",)))
    [error] = house.stopped
    assert isinstance(error, StateDiverged) and error.exit_status == 9
    assert (b"x" * 16).hex() in error.message and f"log index {house.index - 1}" in error.message


def test_a_store_of_before_is_counted_when_it_is_opened(house: House) -> None:
    transaction = house.kv.begin()
    transaction.delete(digest._TABLE, b"kept")
    transaction.commit()
    ensure_hash(house.kv, house.runtime)
    assert house.right()
    commits = house.kv.commits
    ensure_hash(house.kv, house.runtime)
    assert house.kv.commits == commits, "a store that has one is only looked at"


def test_an_empty_store_begins_with_the_hash_of_nothing() -> None:
    kv = MemoryKV()
    ensure_hash(kv, ThreadedRuntime())
    with kv.read() as reader:
        kept = digest.kept(reader)
    assert kept is not None and kept.value == bytes(16) and kept.index == 1
