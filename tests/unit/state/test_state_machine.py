"""The wrapper around the steps: what is recorded, what changes nothing, what stops the process."""

from __future__ import annotations

import pytest
import state_driver
from state_driver import INIT, WALL_NS, Driver, apply_one, empty_file

from gfs_ha.errors import DiskFailed, ProtocolError
from gfs_ha.ids import split_chunk_id
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import ROWS_PER_COMMAND_MAX, SCHEMA_VERSION
from gfs_ha.master.state import draft, tables
from gfs_ha.master.state.commands import (
    Entry,
    InitCluster,
    LeaderElected,
    PlaceChunk,
    decode_entry,
    encode_entry,
    grows,
)
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.records import Session
from gfs_ha.protocol.metadata import (
    CloseSession,
    Done,
    FileStatus,
    Mkdir,
    OpenSession,
    Publish,
    PublishFile,
    ReleaseChunks,
    Remove,
    Rename,
    StageExtents,
)


def test_before_init_every_other_command_is_refused() -> None:
    driver = Driver(init=False)
    assert driver.error(Mkdir("/a"), session=1) == "NotInitialized"
    assert driver.error(OpenSession("x")) == "NotInitialized"
    assert driver.error(LeaderElected("m1", 1)) == "NotInitialized"
    assert driver.ok(INIT) == Done()
    assert driver.error(INIT) == "AlreadyInitialized"
    driver.check()


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk_bytes": 1 << 19},
        {"chunk_bytes": (1 << 20) + 1},
        {"chunk_bytes": 1 << 30},
        {"goal": 0},
        {"goal": 9},
        {"min_copies": 4},
        {"min_copies": 0},
        {"incarnation": 0},
        {"incarnation": 1 << 16},
        {"cluster_id": ""},
        {"cluster_name": "a\nb"},
    ],
)
def test_a_cluster_is_not_made_with_settings_that_cannot_work(changes: dict[str, object]) -> None:
    driver = Driver(init=False)
    fields = {name: getattr(INIT, name) for name in InitCluster.__struct_fields__}
    assert driver.error(InitCluster(**{**fields, **changes})) == "InvalidArgument"
    with driver.view() as view:
        assert view.settings() is None


def test_each_term_that_leads_is_one_row_and_the_newest_are_kept() -> None:
    driver = Driver()
    for driver.term in range(1, 1010):
        assert driver.ok(LeaderElected(f"m{driver.term % 3}", 1)) == Done()
        assert driver.ok(LeaderElected("late", 1)) == Done()
    assert driver.error(LeaderElected("m1", 0)) == "PreconditionFailed"
    with driver.view() as view:
        terms = view.led_terms(2000)
        assert [row.term for row in terms] == list(range(1009, 9, -1))
        assert terms[0].member == "m1" and terms[0].incarnation == 1
        assert len(view.led_terms(3)) == 3


def test_terms_are_counted_by_their_clocks_one_of_which_may_be_behind() -> None:
    driver, week_ago = Driver(), 7
    for driver.term, day in enumerate((1, 9, 10, 2, 11), start=1):
        driver.apply(Entry(driver.term, day, LeaderElected("m1", 1)))
    with driver.view() as view:
        assert [view.led_since(since) for since in (0, week_ago, 11, 12)] == [5, 3, 1, 0]


def test_a_newer_incarnation_begins_with_its_leader_and_gives_no_id_again() -> None:
    driver = Driver()
    before = driver.chunk(driver.open_session()).chunk_id
    session = driver.open_session()
    driver.ok(LeaderElected("m1", 3))
    later = driver.open_session()
    assert later > session + 1_000_000
    assert split_chunk_id(driver.chunk(later).chunk_id) == (3, 1)
    assert split_chunk_id(before)[0] == 1
    driver.check()
    assert driver.error(LeaderElected("m2", 2)) == "PreconditionFailed"


def test_an_entry_of_a_newer_schema_stops_the_process() -> None:
    driver = Driver()
    entry = Entry(1, 1, OpenSession("x"), schema=SCHEMA_VERSION + 1)
    with pytest.raises(ProtocolError, match="schema"):
        driver.apply(entry)


@pytest.mark.parametrize("payload", [b"", b"\x02\x90", b"\x01\xc1", b"\x01\x93\x01\x02\x91\xa3new"])
def test_an_entry_that_does_not_decode_stops_the_process(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        Driver().apply_payload(payload)


def test_an_entry_survives_the_way_through_bytes() -> None:
    entry = Entry(5, 6, PlaceChunk(((1, 2), (3, 4)), remarks=("why",)), 7, 8, 8)
    assert decode_entry(encode_entry(entry)) == entry


def test_a_row_that_does_not_decode_stops_the_process() -> None:
    whole = tables.SESSIONS.encode(Session("test", 1, 1))
    for damaged in (b"", b"\x07", b"\x01\xc1", b"\x02" + whole[1:]):
        driver = Driver()
        session = driver.open_session()
        transaction = driver.kv.begin()
        transaction.put(tables.SESSIONS.table, tables.id_key(session), damaged)
        transaction.commit()
        with pytest.raises(DiskFailed, match="sessions"):
            driver.do(Mkdir("/a"), session)


@pytest.mark.parametrize("error", [OSError, MemoryError, RecursionError, DiskFailed])
def test_what_the_store_raises_stops_the_process(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("the disk")

    driver = Driver()
    session = driver.open_session()
    before = driver.fingerprint()
    monkeypatch.setitem(draft.STEPS, Mkdir, fail)
    with pytest.raises(error):
        driver.do(Mkdir("/a"), session)
    assert driver.fingerprint() == before


def test_a_mistake_of_ours_is_recorded_without_the_rows_of_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = draft.STEPS[Mkdir]

    def fail_at_the_end(one: draft.Draft, command: Mkdir) -> FileStatus:
        real(one, command)
        raise KeyError("ours")

    driver = Driver()
    session = driver.open_session()
    with monkeypatch.context() as patch:
        patch.setitem(draft.STEPS, Mkdir, fail_at_the_end)
        assert driver.error(Mkdir("/a"), session) == "InternalError"
        assert driver.error(Mkdir("/b"), session) == "InternalError"
    with driver.view() as view:
        assert view.list_page("/", "", 10).entries == ()
        errors = view.internal_errors()
        assert errors is not None
        assert (errors.count, errors.last_command, errors.last_message) == (2, "Mkdir", "KeyError")
    assert [(index, name) for index, name, _ in driver.mistakes] == [
        (driver.index - 1, "Mkdir"),
        (driver.index, "Mkdir"),
    ]
    driver.mistakes.clear()
    assert driver.ok(Mkdir("/a"), session).kind == "directory"
    driver.check()


def test_mistakes_are_counted_anew_after_an_hour_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(one: draft.Draft, command: Mkdir) -> FileStatus:
        raise KeyError("ours")

    driver = Driver()
    session = driver.open_session()
    monkeypatch.setitem(draft.STEPS, Mkdir, fail)
    minute_ns = 60 * 10**9
    found = []
    for minute in (1000, 1059, 1118, 1179):
        monkeypatch.setattr(state_driver, "WALL_NS", minute * minute_ns)
        assert driver.error(Mkdir("/a"), session) == "InternalError"
        with driver.view() as view:
            row = view.internal_errors()
        assert row is not None
        found.append((row.count, row.first_wall_ns // minute_ns, row.last_wall_ns // minute_ns))
    assert found == [(1, 1000, 1000), (2, 1000, 1059), (3, 1000, 1118), (1, 1179, 1179)]
    driver.mistakes.clear()


def test_a_command_of_too_many_rows_is_refused_and_writes_none() -> None:
    driver = Driver()
    session = driver.open_session()
    deep = "/d" * (ROWS_PER_COMMAND_MAX // 2)
    assert driver.error(Mkdir(deep, parents=True), session) == "LimitExceeded"
    files = tuple(empty_file(f"/{n}{deep}") for n in range(20))
    assert driver.error(Publish(files, make_parents=True), session) == "LimitExceeded"
    deepest = tuple(empty_file("/d" * 2040) for _ in range(13))
    assert driver.error(Publish(deepest), session) == "LimitExceeded"
    with driver.view() as view:
        assert view.counters().directories == 1
    driver.check()


def test_only_a_session_may_send_what_belongs_to_one_and_nothing_else() -> None:
    driver = Driver()
    session = driver.open_session()
    assert driver.error(Mkdir("/a")) == "InvalidArgument"
    assert driver.error(OpenSession("x"), session) == "InvalidArgument"
    assert driver.error(LeaderElected("m", 1), session) == "InvalidArgument"


def test_cluster_time_follows_the_leaders_elapsed_time_and_never_its_wall_clock() -> None:
    driver = Driver()

    def at(term: int, elapsed_ms: int, wall_ns: int = WALL_NS) -> int:
        driver.term = term
        driver.apply(Entry(elapsed_ms, wall_ns, OpenSession("x")))
        with driver.view() as view:
            return view.counters().cluster_ms

    start = at(1, 1000)
    assert start == 1000
    assert at(1, 900) == 1000, "it never goes back"
    assert at(1, 1500, wall_ns=WALL_NS + 10**15) == 1500, "the wall clock does not move it"
    assert at(2, 0) == 1500, "it stands still without a leader"
    assert at(2, 200) == 1700
    assert at(3, -5) == 1700


def test_time_that_was_stamped_in_an_earlier_term_does_not_count_again() -> None:
    driver = Driver()
    hours_ms = 3 * 3_600_000

    def at(term: int, stamp_term: int, elapsed_ms: int) -> int:
        driver.term = term
        driver.apply(Entry(elapsed_ms, WALL_NS, OpenSession("x"), stamp_term=stamp_term))
        with driver.view() as view:
            return view.counters().cluster_ms

    assert at(1, 1, hours_ms) == hours_ms
    assert at(3, 1, hours_ms) == hours_ms, "sent late, by a leader that lost and won again"
    assert at(3, 3, 500) == hours_ms + 500


def test_growth_is_told_apart_for_full_disks() -> None:
    file = PublishFile("/a", 0, 0o644, 1)
    staged = PublishFile("/a", 5, 0o644, 1, content_id=3)
    growing = (
        Mkdir("/a"),
        Publish((file,)),
        Publish((staged, file)),
        PlaceChunk(()),
        StageExtents(0, ()),
    )
    going_on = (
        Publish((staged,)),
        Remove("/a"),
        Rename("/a", "/b"),
        CloseSession(),
        ReleaseChunks((1,)),
        OpenSession("x"),
    )
    assert all(grows(command) for command in growing)
    assert not any(grows(command) for command in going_on)


def test_the_plan_of_an_entry_writes_nothing() -> None:
    driver = Driver()
    session = driver.open_session()
    before = driver.fingerprint()
    entry = Entry(1, 1, Publish((empty_file("/a"),)), session, 1, 1)
    with driver.kv.read() as reader:
        change = Machine().plan(reader, 99, 1, entry)
    assert driver.fingerprint() == before
    assert change.rows.change_count() > 3


def test_an_aborted_transaction_leaves_nothing() -> None:
    kv = MemoryKV()
    driver = Driver(kv)
    before = driver.fingerprint()
    transaction = kv.begin()
    driver.machine.apply(transaction, 99, 1, encode_entry(Entry(1, 1, OpenSession("x"))))
    transaction.abort()
    assert driver.fingerprint() == before
    apply_one(driver.machine, kv, (99, 1, encode_entry(Entry(1, 1, OpenSession("x")))))
    assert driver.fingerprint() != before


def test_every_term_that_led_is_counted_and_not_only_those_that_are_shown() -> None:
    driver = Driver()
    with driver.view() as view:
        before = view.led_term_count()
    for _ in range(30):
        driver.term += 1
        driver.ok(LeaderElected("m1", 1))
    with driver.view() as view:
        assert view.led_term_count() == before + 30
        assert len(view.led_terms(10)) == 10
