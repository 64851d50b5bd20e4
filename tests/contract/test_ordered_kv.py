"""One contract over the real store and its twin in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gfs_ha.errors import DiskFull
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.kv.ordered import MemoryKV, OrderedKV, Table, next_prefix
from gfs_ha.kv.places import staged

BIG = Table("big", "big")
SMALL = Table("small", "shared", b"s")
OTHER = Table("other", "shared", b"t")


@pytest.fixture(params=["lmdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OrderedKV]:
    kv: OrderedKV
    kv = MemoryKV() if request.param == "memory" else LmdbKV(tmp_path, ["big", "shared"], 1 << 26)
    yield kv
    kv.close()


def test_a_writer_sees_its_own_writes_and_readers_see_them_after_the_commit(
    store: OrderedKV,
) -> None:
    writer = store.begin()
    writer.put(BIG, b"k", b"v")
    assert writer.get(BIG, b"k") == b"v"
    with store.read() as reader:
        assert reader.get(BIG, b"k") is None
    writer.commit()
    with store.read() as reader:
        assert reader.get(BIG, b"k") == b"v"


def test_a_reader_keeps_its_moment(store: OrderedKV) -> None:
    with store.read() as before:
        writer = store.begin()
        writer.put(SMALL, b"k", b"v")
        writer.commit()
        assert before.get(SMALL, b"k") is None
        assert list(before.scan(SMALL)) == []


def test_an_aborted_transaction_leaves_nothing(store: OrderedKV) -> None:
    writer = store.begin()
    writer.put(BIG, b"k", b"v")
    writer.abort()
    with store.read() as reader:
        assert reader.get(BIG, b"k") is None
    store.begin().abort()


def test_tables_that_share_a_database_do_not_see_each_other(store: OrderedKV) -> None:
    writer = store.begin()
    writer.put(SMALL, b"", b"one")
    writer.put(SMALL, b"\xff\xff", b"two")
    writer.put(OTHER, b"a", b"three")
    writer.commit()
    with store.read() as reader:
        assert list(reader.scan(SMALL)) == [(b"", b"one"), (b"\xff\xff", b"two")]
        assert list(reader.scan(SMALL, reverse=True)) == [(b"\xff\xff", b"two"), (b"", b"one")]
        assert list(reader.scan(OTHER)) == [(b"a", b"three")]


def test_delete_says_whether_the_key_was_there(store: OrderedKV) -> None:
    writer = store.begin()
    writer.put(BIG, b"k", b"v")
    assert writer.delete(BIG, b"k") is True
    assert writer.delete(BIG, b"k") is False
    writer.commit()


@pytest.mark.parametrize("make", ["lmdb", "memory"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    keys=st.sets(st.binary(min_size=1, max_size=4), max_size=30),
    low=st.binary(max_size=3),
    high=st.none() | st.binary(min_size=1, max_size=3),
    reverse=st.booleans(),
)
def test_a_scan_is_the_sorted_range(
    make: str,
    tmp_path_factory: pytest.TempPathFactory,
    keys: set[bytes],
    low: bytes,
    high: bytes | None,
    reverse: bool,
) -> None:
    opened: Callable[[], OrderedKV] = (
        MemoryKV
        if make == "memory"
        else lambda: LmdbKV(tmp_path_factory.mktemp("kv"), ["big", "shared"], 1 << 24)
    )
    kv = opened()
    try:
        writer = kv.begin()
        for key in keys:
            writer.put(SMALL, key, b"v" + key)
            writer.put(OTHER, key, b"w")
        wanted = sorted(
            (key, b"v" + key) for key in keys if key >= low and (high is None or key < high)
        )
        if reverse:
            wanted.reverse()
        assert list(writer.scan(SMALL, low, high, reverse)) == wanted
        writer.commit()
        with kv.read() as reader:
            assert list(reader.scan(SMALL, low, high, reverse)) == wanted
    finally:
        kv.close()


def _fill(store: OrderedKV, table: Table, value: bytes) -> None:
    writer = store.begin()
    for number in range(50):
        writer.put(table, b"%d" % number, value)
    writer.commit()


def test_a_cleared_database_has_no_rows_of_any_table(store: OrderedKV) -> None:
    for table in (BIG, SMALL, OTHER):
        _fill(store, table, b"v")
    writer = store.begin()
    writer.clear("shared")
    assert list(writer.scan(SMALL)) == []
    writer.put(OTHER, b"new", b"1")
    writer.commit()
    with store.read() as reader:
        assert list(reader.scan(SMALL)) == []
        assert list(reader.scan(OTHER)) == [(b"new", b"1")]
        assert len(list(reader.scan(BIG))) == 50


def test_staged_rows_are_seen_by_nobody_until_they_change_places_with_the_others(
    store: OrderedKV,
) -> None:
    aside = Table("big", staged("big"))
    _fill(store, BIG, b"old")
    _fill(store, aside, b"new")
    with store.read() as before:
        assert before.get(BIG, b"7") == b"old"
        writer = store.begin()
        writer.switch(("big", "shared"))
        assert (writer.get(BIG, b"7"), writer.get(aside, b"7")) == (b"new", b"old")
        writer.put(BIG, b"7", b"newer")
        writer.abort()
        writer = store.begin()
        writer.switch(("big", "shared"))
        writer.clear(staged("big"))
        writer.put(BIG, b"8", b"newer")
        writer.put(SMALL, b"k", b"v")
        writer.commit()
        assert before.get(BIG, b"8") == b"old"
        assert before.get(SMALL, b"k") is None
    frozen = store.freeze()
    for each in (store, frozen):
        with each.read() as reader:
            assert [reader.get(BIG, key) for key in (b"7", b"8")] == [b"new", b"newer"]
            assert list(reader.scan(aside)) == []
            assert reader.get(SMALL, b"k") == b"v"
    frozen.close()
    # And back again, over what was there.
    writer = store.begin()
    writer.put(aside, b"8", b"newest")
    writer.switch(("big",))
    writer.commit()
    with store.read() as reader:
        assert list(reader.scan(BIG)) == [(b"8", b"newest")]
        assert reader.get(SMALL, b"k") == b"v"


def test_who_has_changed_places_is_known_after_a_restart(tmp_path: Path) -> None:
    kv = LmdbKV(tmp_path, ["big", "shared"], 1 << 24)
    _fill(kv, BIG, b"old")
    _fill(kv, Table("big", staged("big")), b"new")
    writer = kv.begin()
    writer.switch(["big"])
    writer.commit()
    kv.close()
    kv = LmdbKV(tmp_path, ["big", "shared"], 1 << 24)
    with kv.read() as reader:
        assert reader.get(BIG, b"7") == b"new"
    kv.close()


def test_what_was_not_committed_is_forgotten_by_a_crash() -> None:
    kv = MemoryKV()
    writer = kv.begin()
    writer.put(BIG, b"kept", b"1")
    writer.commit()
    kv.begin().put(BIG, b"lost", b"2")
    with kv.crash().read() as reader:
        assert reader.get(BIG, b"kept") == b"1"
        assert reader.get(BIG, b"lost") is None


def test_a_full_map_is_a_full_disk(tmp_path: Path) -> None:
    kv = LmdbKV(tmp_path, ["big"], 1 << 17)
    writer = kv.begin()
    with pytest.raises(DiskFull, match="map") as full:
        for number in range(1000):
            writer.put(BIG, number.to_bytes(8, "big"), bytes(1000))
    assert str(tmp_path) in full.value.message
    writer.abort()
    kv.close()


def test_the_prefix_above_a_prefix() -> None:
    assert next_prefix(b"a") == b"b"
    assert next_prefix(b"a\xff") == b"b"
