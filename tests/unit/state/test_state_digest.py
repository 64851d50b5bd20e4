"""The state hash: what is kept with each change is what counting every row gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from state_driver import Driver, apply_one, empty_file
from state_workload import SERVERS, Workload

from gfs_ha.errors import DiskFailed
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV, OrderedKV
from gfs_ha.master.state import digest
from gfs_ha.master.state.commands import AttestState, LeaderElected, VerifyState
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tables import DATABASES, INODES, TABLES
from gfs_ha.protocol.metadata import Mkdir, Publish, Remove


class Watcher:
    """What a master hears of its own state hash, written down."""

    def __init__(self) -> None:
        self.corrections: list[int] = []
        self.counts: list[int] = []
        self.heard: list[tuple[int, bytes, bytes]] = []

    def take_correction(self, index: int) -> int:
        return self.corrections.pop() if self.corrections else 0

    def count_wanted(self, index: int) -> None:
        self.counts.append(index)

    def diverged(self, index: int, own: bytes, attested: bytes) -> None:
        self.heard.append((index, own, attested))


def watched(driver: Driver) -> Watcher:
    watcher = Watcher()
    driver.machine = Machine(watcher=watcher)
    return watcher


def kept(kv: OrderedKV) -> bytes:
    with kv.read() as reader:
        found = digest.kept(reader)
    assert found is not None
    return found.value


def counted(kv: OrderedKV) -> bytes:
    with kv.read() as reader:
        return digest.count_all(reader)


def change(kv: OrderedKV, action: Callable[..., object]) -> None:
    """Change the store behind the back of the machine."""
    transaction = kv.begin()
    action(transaction)
    transaction.commit()


def flip(kv: OrderedKV) -> None:
    """Flip one bit of the first inode."""

    def act(transaction) -> None:
        key, data = next(transaction.scan(INODES.table))
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        transaction.put(INODES.table, key, flipped)

    change(kv, act)


@pytest.mark.parametrize("seed", range(6))
def test_the_kept_hash_is_the_counted_one_after_every_random_command(seed: int) -> None:
    driver = Driver(server_count=SERVERS)
    driver.open_session()
    driver.open_session()
    workload = Workload(1000 + seed, driver)
    for _ in range(250):
        workload.step()
        assert kept(driver.kv) == counted(driver.kv)
        with driver.kv.read() as reader:
            found = digest.kept(reader)
            assert found is not None and found.index == driver.index


def test_a_replay_gives_the_same_hash_in_memory_and_in_lmdb(tmp_path: Path) -> None:
    driver = Driver(server_count=SERVERS)
    driver.open_session()
    workload = Workload(7, driver)
    for _ in range(300):
        workload.step()
    lmdb = LmdbKV(tmp_path, DATABASES, map_bytes=64 << 20)
    try:
        machine = Machine()
        transaction = lmdb.begin()
        for logged in driver.log:
            machine.apply(transaction, *logged)
        transaction.commit()
        assert kept(lmdb) == counted(lmdb) == kept(driver.kv)
    finally:
        lmdb.close()


def test_the_order_in_which_rows_came_does_not_matter() -> None:
    driver = filled()
    with driver.kv.read() as reader:
        rows = [(table.table, *row) for table in TABLES for row in reader.scan(table.table)]
    assert len(rows) > 90
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        twin = MemoryKV()
        change(twin, lambda writer: [writer.put(*row) for row in rows])
        assert counted(twin) == kept(driver.kv)


def test_every_table_every_key_and_every_byte_counts() -> None:
    driver = filled()
    for table in TABLES:
        twin = driver.kv.crash()
        transaction = twin.begin()
        key, data = next(transaction.scan(table.table), (b"none", b""))
        transaction.put(table.table, key, data + b"\0")
        transaction.commit()
        assert counted(twin) != counted(driver.kv), table.name


def test_the_same_bytes_in_another_table_or_cut_elsewhere_are_another_row() -> None:
    found = set()
    for table in TABLES:
        for key, data in ((b"key", b"row"), (b"keyr", b"ow"), (b"ke", b"yrow")):
            store = MemoryKV()
            change(store, lambda w, t=table, k=key, d=data: w.put(t.table, k, d))
            found.add(counted(store))
    assert len(found) == 3 * len(TABLES)


def test_what_is_made_and_removed_leaves_no_trace_in_the_sum() -> None:
    store = MemoryKV()
    nothing = counted(store)
    change(store, lambda writer: writer.put(INODES.table, b"k", b"v"))
    change(store, lambda writer: writer.delete(INODES.table, b"k"))
    assert counted(store) == nothing == bytes(16)


def test_a_store_of_before_counts_once_and_differs_from_no_other() -> None:
    driver = filled()
    old = driver.kv.crash()
    forget(old)
    change(old, lambda writer: digest.ensure(writer, driver.index))
    assert kept(old) == kept(driver.kv)
    change(old, lambda writer: pytest.fail("twice") if digest.ensure(writer, 1) else None)


def test_a_store_of_before_also_counts_with_its_first_command() -> None:
    driver = filled()
    old = driver.kv.crash()
    forget(old)
    driver.ok(LeaderElected("m1", 1))
    apply_one(Machine(), old, driver.log[-1])
    assert kept(old) == kept(driver.kv) == counted(old)


def test_a_flipped_bit_shows_in_a_count_at_once_and_in_the_kept_hash_when_it_is_overwritten() -> (
    None
):
    driver = filled()
    before = kept(driver.kv)
    flip(driver.kv)
    assert kept(driver.kv) == before != counted(driver.kv)
    session = driver.open_session()
    driver.ok(Mkdir("/touches-the-root"), session)
    assert counted(driver.kv) != kept(driver.kv), "what was wrong stays in the sum"


def test_a_correction_found_earlier_puts_the_kept_hash_right_after_any_commands() -> None:
    driver = filled()
    watcher = watched(driver)
    flip(driver.kv)
    late = digest.difference(counted(driver.kv), kept(driver.kv))
    session = driver.open_session()
    driver.ok(Mkdir("/touches-the-root"), session)
    watcher.corrections.append(late)
    driver.ok(LeaderElected("m2", 1))
    assert kept(driver.kv) == counted(driver.kv)
    assert not watcher.corrections


def test_a_count_in_parts_is_the_whole() -> None:
    driver = filled()
    with driver.kv.read() as reader:
        count = digest.Count(reader)
        parts = 1
        while count.step(7):
            parts += 1
    assert count.value == counted(driver.kv) and parts == count.row_count // 7 + 1


def test_a_check_is_noted_as_the_command_left_the_state_and_eight_are_remembered() -> None:
    driver = filled()
    watcher = watched(driver)
    taken = []
    for number in range(10):
        driver.ok(VerifyState(deep=number == 3))
        taken.append((driver.index, kept(driver.kv)))
    with driver.kv.read() as reader:
        found = [(one.index, one.value) for one in digest.notes(reader)]
        assert digest.noted(reader, taken[0][0]) is None
        assert digest.noted(reader, taken[-1][0]) == taken[-1][1]
    assert found == taken[:1:-1]
    assert watcher.counts == [taken[3][0]]


def test_only_a_master_whose_note_differs_from_the_attested_hash_is_told_to_stop() -> None:
    driver = filled()
    watcher = watched(driver)
    driver.ok(VerifyState())
    index, own = driver.index, kept(driver.kv)
    driver.ok(AttestState(index, own, ("m1", "m2"), ("m3",)))
    assert watcher.heard == []
    driver.ok(VerifyState())
    index, own = driver.index, kept(driver.kv)
    driver.ok(AttestState(index, b"x" * 16, ("m1", "m2"), ("m3",)))
    assert watcher.heard == [(index, own, b"x" * 16)]


def test_nobody_stops_without_a_majority_without_a_note_or_by_a_refused_word() -> None:
    driver = filled()
    watcher = watched(driver)
    driver.ok(VerifyState())
    index = driver.index
    driver.ok(AttestState(index, b"", (), ("m1", "m2"), ("m3",)))
    assert driver.error(AttestState(index, b"x" * 16, ())) == "StaleCommand"
    driver.ok(VerifyState())
    assert driver.error(AttestState(driver.index, b"short", ())) == "InvalidArgument"
    assert driver.error(AttestState(driver.index + 9, b"x" * 16, ())) == "InvalidArgument"
    assert driver.error(AttestState(0, b"x" * 16, ())) == "InvalidArgument"
    assert driver.error(AttestState(1, b"", ("m",) * 17)) == "LimitExceeded"
    driver.ok(LeaderElected("m1", 1))
    driver.ok(AttestState(driver.index, b"x" * 16, ()))
    assert watcher.heard == []


def test_a_master_that_differed_is_named_until_it_is_seen_equal() -> None:
    driver = filled()

    def attest(agreed: tuple[str, ...], differing: tuple[str, ...] = ()) -> tuple[str, ...]:
        driver.ok(VerifyState())
        driver.ok(AttestState(driver.index, kept(driver.kv), agreed, differing))
        with driver.view() as view:
            check = view.state_check()
        assert check is not None and check.index == driver.index - 1
        return check.diverged

    assert attest(("m1", "m2", "m3")) == ()
    assert attest(("m1", "m2"), ("m3",)) == ("m3",)
    assert attest(("m1", "m2")) == ("m3",), "it has stopped and does not answer any more"
    assert attest(("m1", "m3"), ("m2",)) == ("m2",)


@pytest.mark.parametrize("row", [b"", b"\x02" + bytes(24), b"\x01" + bytes(23)])
def test_a_kept_hash_that_is_none_stops_the_process(row: bytes) -> None:
    driver = filled()
    change(driver.kv, lambda writer: writer.put(digest._TABLE, b"kept", row))
    with pytest.raises(DiskFailed, match="state hash"):
        driver.ok(LeaderElected("m1", 1))


@pytest.mark.parametrize("row", [b"", b"\x02", b"\x01\xc1"])
def test_notes_that_do_not_decode_stop_the_process(row: bytes) -> None:
    driver = filled()
    change(driver.kv, lambda writer: writer.put(digest._TABLE, b"notes", row))
    with pytest.raises(DiskFailed, match="notes"):
        driver.ok(VerifyState())


def filled() -> Driver:
    driver = Driver(server_count=SERVERS)
    session = driver.open_session()
    for number in range(40):
        driver.ok(Publish((empty_file(f"/f{number}"),)), session)
    driver.ok(Remove("/f3"), session)
    return driver


def forget(kv: OrderedKV) -> None:
    change(kv, lambda writer: writer.delete(digest._TABLE, b"kept"))
