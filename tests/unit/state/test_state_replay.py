"""Random commands keep every invariant, and a replay of the log gives the same state anywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from state_driver import Driver, apply_one, server, small_file
from state_workload import SERVERS, Workload

from gfs_ha.ids import ChunkId
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.master.state import append_results
from gfs_ha.master.state.commands import ConfirmCopy, FitGoals, PlaceCopy, decode_entry
from gfs_ha.master.state.draft import STEPS
from gfs_ha.master.state.event_commands import NotedChange, NoteEvents, StartMute
from gfs_ha.master.state.garbage_commands import BeginCompaction, NoteOrphans, PunchChunk
from gfs_ha.master.state.invariants import check_all, fingerprint
from gfs_ha.master.state.job_commands import StartJob
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.scrub_commands import AskScrub, SetScrub
from gfs_ha.master.state.tables import DATABASES, TABLES, RowTable
from gfs_ha.master.state.tail_commands import HoldInodes
from gfs_ha.master.state.view import View
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import Failure, decode
from gfs_ha.protocol.jobs import DRAIN, JobOptions
from gfs_ha.protocol.metadata import (
    CloseSession,
    Extent,
    FinishChunk,
    Mkdir,
    OpenSession,
    Publish,
    ReleaseChunks,
    Remove,
    Rename,
    StageExtents,
)
from gfs_ha.protocol.policy import SetPolicy, SetReplication
from gfs_ha.protocol.records import RecordEntry

STEPS_PER_SEED = 250


def run(seed: int, steps: int = STEPS_PER_SEED) -> Driver:
    driver = Driver(server_count=SERVERS)
    driver.open_session()
    driver.open_session()
    workload = Workload(seed, driver)
    for _ in range(steps):
        workload.step()
        driver.check()
    return driver


@pytest.mark.parametrize("seed", range(8))
def test_random_commands_keep_what_must_hold_between_the_tables(seed: int) -> None:
    run(seed)


def test_the_random_commands_reach_every_step_and_every_table() -> None:
    runs = [run(seed, steps=1_300) for seed in (100, 101)]
    log = (payload for driver in runs for _, _, payload in driver.log)
    commands = Counter(type(decode_entry(payload).command).__name__ for payload in log)
    assert set(commands) == {kind.__name__ for kind in STEPS}
    with runs[0].view() as view:
        counters = view.counters()
        assert counters.last_chunk > 20 and counters.last_content > 20


def test_a_replay_gives_an_equal_fingerprint_in_memory_and_in_lmdb(tmp_path: Path) -> None:
    driver = run(7)
    memory = MemoryKV()
    lmdb = LmdbKV(tmp_path, DATABASES, map_bytes=64 << 20)
    try:
        for store in (memory, lmdb):
            machine = Machine()
            transaction = store.begin()
            for index, term, payload in driver.log:
                machine.apply(transaction, index, term, payload)
            transaction.commit()
            with store.read() as reader:
                assert fingerprint(reader) == driver.fingerprint()
    finally:
        lmdb.close()


def test_answers_are_the_same_on_every_replica_whatever_shares_a_transaction() -> None:
    driver = run(8)
    one_by_one = MemoryKV()
    machine = Machine()
    answers = [apply_one(machine, one_by_one, logged) for logged in driver.log]
    together = MemoryKV()
    transaction = together.begin()
    assert [machine.apply(transaction, *logged) for logged in driver.log] == answers
    transaction.commit()
    assert any(isinstance(decode(Reply, answer), Failure) for answer in answers)


def test_a_master_that_crashes_between_commits_goes_on_to_the_same_state() -> None:
    driver = run(9)
    store = MemoryKV()
    machine = Machine()
    position = 0
    crashed: set[int] = set()
    while position < len(driver.log):
        transaction = store.begin()
        for logged in driver.log[position : position + 7]:
            machine.apply(transaction, *logged)
        if position % 3 == 0 and position not in crashed:
            crashed.add(position)
            store = store.crash()  # The tick was never committed: the log brings it again.
            continue
        transaction.commit()
        position += 7
    with store.read() as reader:
        assert fingerprint(reader) == driver.fingerprint()


def test_the_fingerprint_sees_every_table_and_every_byte(rich: Driver) -> None:
    for table in TABLES:
        store = rich.kv.crash()
        transaction = store.begin()
        key, value = next(transaction.scan(table.table), (b"none", b""))
        transaction.put(table.table, key, value + b"\0")
        transaction.commit()
        with store.read() as reader:
            assert fingerprint(reader) != rich.fingerprint(), table.name


# Rows that nothing else can be compared with.
ALONE = (
    *("settings", "internal_errors", "led_terms", "replies", "state_checks", "repair_budget"),
    *("reclaimed", "scrub_settings", "asked_scrubs", "server_modes", "disk_modes"),
)


def move(driver: Driver, chunk_id: ChunkId, session: int, job: int) -> None:
    """Give a chunk a copy on server 4 by a job: the one on server 1 is to leave for it."""
    driver.ok(FinishChunk(chunk_id, 5, 1, (1, 2, 3)), session)
    with driver.view() as view:
        row = view.chunk(chunk_id)
    driver.ok(PlaceCopy(chunk_id, row.sealed_index, 4, 104, 3, job=job, leaves=1))
    with driver.view() as view:
        order = view.chunk(chunk_id).copying[-1].order_index
    driver.ok(ConfirmCopy(chunk_id, row.sealed_index, 4, 104, 5, 1, order))


@pytest.fixture(scope="module")
def rich() -> Driver:
    """A state with a row in every table that other tables know of."""
    driver = run(11)
    for number in range(1, SERVERS + 1):
        driver.ok(server(number))
    session, ended = driver.open_session(), driver.open_session()
    driver.chunk(session, copies=2)
    copied = driver.chunk(session).chunk_id
    sealed = driver.ok(FinishChunk(copied, 5, 1, (1, 2)), session)
    with driver.view() as view:
        row = view.chunk(copied)
    assert row is not None and sealed.holders == (1, 2)
    driver.ok(PlaceCopy(copied, row.sealed_index, 4, 104, 2))
    chunk_id, dead = driver.chunk(session).chunk_id, driver.chunk(session).chunk_id
    driver.ok(StageExtents(0, (Extent(0, chunk_id, 0, 10, 1),)), session)
    files = tuple(small_file(path, chunk_id, 0, 10) for path in ("/rich/a", "/rich/old", "/file"))
    driver.ok(Publish(files, make_parents=True), session)
    driver.ok(ReleaseChunks((dead,)), session)
    driver.ok(Remove("/file"), session)
    driver.ok(Rename("/rich", "/kept"), session)
    driver.ok(Mkdir("/tree/below", parents=True), session)
    driver.ok(Remove("/tree", recursive=True), session)
    for path in ("/tails/old", "/tails/gone", "/tails/once", "/tails/open"):
        driver.file(session, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_results, "GONE_FILES_MAX", 1)
        for path in ("/tails/old", "/tails/gone"):
            driver.seal(driver.tail(path), 10, RecordEntry(session, 1, 1, 0, 10))
            driver.ok(Remove(path), session)
    driver.seal(driver.tail("/tails/once"), 10, RecordEntry(session, 2, 1, 0, 10))
    driver.tail("/tails/open")
    driver.ok(HoldInodes((driver.file(session, "/tails/held"),)))
    driver.place(driver.file(session, "/tails/placed"))
    driver.ok(OpenSession("keyed", "key"))
    punched = driver.chunk(session).chunk_id
    driver.ok(FinishChunk(punched, 2 * BLOCK_BYTES, 1, (1, 2)), session)
    kept = small_file("/kept/punched", punched, 0, 10)
    driver.ok(Publish((kept,), (punched,)), session)
    with driver.view() as view:
        row = view.chunk(punched)
    assert row is not None
    driver.ok(PunchChunk(punched, row.sealed_index, b"\x02"))
    driver.ok(BeginCompaction(punched, row.sealed_index, 1))
    driver.ok(NoteOrphans(((1, 101, ChunkId(5)),)))
    driver.ok(SetScrub(1 << 20, 7200, 0))
    driver.ok(AskScrub((1, 2)))
    driver.ok(StartJob(DRAIN, JobOptions(), 1))
    with driver.view() as view:
        number = view.counters().last_job
    move(driver, driver.chunk(session).chunk_id, session, number)
    driver.ok(NoteEvents((NotedChange("server/cs1", "", "dead", "server", "cs1", "is dead"),)))
    driver.ok(StartMute("SERVER_DEAD", 1000, "error"))
    driver.ok(Mkdir("/last"), ended)
    driver.ok(CloseSession(), ended)
    driver.ok(SetPolicy("/kept", goal=2), session)
    for path in ("/kept/a", "/kept/punched"):  # The first one lies in an open chunk, which waits.
        driver.ok(FitGoals(100))
        driver.ok(SetReplication(path, 1), session)
    driver.check()
    return driver


@pytest.mark.parametrize(
    "table", [table for table in TABLES if table.name not in ALONE], ids=lambda table: table.name
)
def test_the_invariants_notice_a_row_that_is_gone(rich: Driver, table: RowTable[object]) -> None:
    store = rich.kv.crash()
    transaction = store.begin()
    found = next(transaction.scan(table.table, reverse=True), None)
    assert found is not None, "the table is empty"
    transaction.delete(table.table, found[0])
    transaction.commit()
    with store.read() as reader:
        assert check_all(View(reader)) != []
