"""What a server counts of what it serves, and the rates that are made of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from append_house import appending, order_tail
from chunk_house import CHUNK, client_room, fetch, push, street, target
from hypothesis import given
from hypothesis import strategies as st
from replica_house import RUNTIME, noise

from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import ChunkId
from gfs_ha.limits import KIB, MIB
from gfs_ha.net.served import ServedCounter
from gfs_ha.protocol.rates import (
    TIME_CLASSES,
    LoadFacts,
    Served,
    class_begins_us,
    quantile_us,
    rate_of,
    time_class,
    times_between,
)

PUT = ChunkId(CHUNK + 1)


@given(st.integers(2, 1 << 40))
def test_a_time_is_counted_in_the_class_that_holds_it(microseconds: int) -> None:
    number = time_class(microseconds)
    assert class_begins_us(number) <= microseconds
    assert number == TIME_CLASSES - 1 or microseconds < class_begins_us(number + 1)


@given(st.lists(st.integers(2, 1 << 26), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_share_of_times_is_right_within_its_class(took: list[int], share: float) -> None:
    times = [0] * TIME_CLASSES
    for one in took:
        times[time_class(one)] += 1
    found = quantile_us(times, share)
    assert found is not None
    true = sorted(took)[max(0, math.ceil(len(took) * share) - 1)]
    assert abs(time_class(found) - time_class(true)) <= 1


def test_nothing_served_has_no_times() -> None:
    assert rate_of(0, 0, [], 1.0).p50_us is None and quantile_us([0, 0], 0.5) is None


def test_only_what_came_since_is_between_two_tellings() -> None:
    assert times_between((1, 2), (1, 5, 3)) == [0, 3, 3]


def test_a_counter_tells_all_that_it_served() -> None:
    counter = ServedCounter(RUNTIME)
    counter.begin()
    counter.note(100, 0.000_003)
    counter.note(50, 0.000_003, count=2)
    assert counter.facts() == Served(3, 150, (0, 0, 0, 3)) and counter.under_way == 1
    counter.end()
    assert counter.under_way == 0


def test_servers_count_puts_appends_and_reads_and_each_byte_of_a_client_once(
    tmp_path: Path,
) -> None:
    with street(tmp_path) as houses, client_room() as room:
        push(room, target(houses, PUT), noise(MIB))
        assert fetch(room, houses[1], 0, 300 * KIB, PUT)[0] == noise(MIB)[: 300 * KIB]
        order_tail(houses)
        with appending(houses[0]) as stream:
            stream.append(1, b"a" * 100)
            stream.append(2, b"b" * 50)
            stream.wait_for(1, 2)
    # Once they have stopped: what was answered a moment ago is counted by then.
    loads = [house.port.load() for house in houses]
    assert [load.write.length for load in loads] == [MIB] * 3
    assert sum(load.put_bytes for load in loads) == loads[2].put_bytes == MIB
    assert [load.read.length for load in loads] == [0, 300 * KIB, 0]
    assert [(load.append.count, load.append.length) for load in loads] == [(2, 150), (0, 0), (0, 0)]
    assert [sum(load.append.times) for load in loads] == [2, 0, 0]
    assert [load.queue for load in loads] == [0, 0, 0]


def test_what_fails_is_neither_served_nor_under_way(tmp_path: Path) -> None:
    with street(tmp_path, 1) as (house,), client_room() as room, pytest.raises(UnknownReplica):
        fetch(room, house, 0, KIB)
    assert house.port.load() == LoadFacts()
