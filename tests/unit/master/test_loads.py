"""What a leader makes of the counters that servers tell it."""

from __future__ import annotations

import pytest

from gfs_ha.ids import ServerId
from gfs_ha.master.live_board import Kept
from gfs_ha.master.loads import SLICE, STALE_S, Loads
from gfs_ha.protocol.codec import encode
from gfs_ha.protocol.rates import AMOUNT_MAX, TIME_CLASSES, LoadFacts, Served, time_class

ONE, TWO = ServerId(1), ServerId(2)


def told(count: int, queue: int = 0, took_us: int = 1000) -> LoadFacts:
    times = [0] * (time_class(took_us) + 1)
    times[-1] = count
    served = Served(count, count * 4096, tuple(times))
    return LoadFacts(read=served, put_bytes=count, queue=queue)


def test_rates_are_what_was_done_within_the_last_seconds() -> None:
    loads = Loads()
    for second in range(20):
        loads.heard(ONE, told(1_000_000 + 50 * second, queue=3), 100.0 + second)
    rates = loads.rates(ONE, 119.5)
    assert rates is not None and rates.over_ms == 3000
    assert rates.read.per_s == 50 and rates.read.bytes_per_s == 50 * 4096
    assert rates.read.p50_us is not None and 700 < rates.read.p50_us < 1500
    assert (rates.put_bytes_per_s, rates.queue, rates.write.p99_us) == (50, 3, None)


def test_times_are_those_of_the_last_seconds_and_not_of_the_whole_run() -> None:
    loads = Loads()
    slow, fast = time_class(2_000_000), time_class(1_000)
    for second in range(10):
        times = [0] * (slow + 1)
        times[slow], times[fast] = 1_000_000, 100 * second  # All that was slow was long ago.
        served = Served(sum(times), 0, tuple(times))
        loads.heard(ONE, LoadFacts(read=served), 100.0 + second)
    rates = loads.rates(ONE, 109.0)
    assert rates is not None and rates.read.per_s == 100
    assert rates.read.p99_us is not None and rates.read.p99_us < 2_000


def test_one_telling_is_no_rate_and_a_silent_server_has_none() -> None:
    loads = Loads()
    loads.heard(ONE, told(5), 10.0)
    assert loads.rates(ONE, 10.0) is None and loads.rates(TWO, 10.0) is None
    loads.heard(ONE, told(9), 11.0)
    assert loads.rates(ONE, 11.0) is not None
    assert loads.rates(ONE, 11.0 + STALE_S + 0.1) is None
    assert loads.amounts(ONE, 20.0) == (-1.0, -1.0, -1.0, -1)


def test_a_new_start_of_a_server_counts_from_nothing() -> None:
    loads = Loads()
    loads.heard(ONE, told(1000), 10.0)
    loads.heard(ONE, told(1100), 11.0)
    loads.forget(ONE)
    loads.heard(ONE, told(3), 12.0)
    assert loads.rates(ONE, 12.0) is None
    loads.heard(ONE, told(5), 13.0)
    rates = loads.rates(ONE, 13.0)
    assert rates is not None and rates.read.per_s == 2


def test_many_beats_in_a_second_are_kept_as_few() -> None:
    loads = Loads()
    for beat in range(2000):
        loads.heard(ONE, told(beat), 10.0 + beat / 200)
    assert len(loads._told[ONE]) <= 8
    rates = loads.rates(ONE, 20.0)
    assert rates is not None and rates.read.per_s == pytest.approx(200, rel=0.01)


def test_servers_together_are_the_sum_of_those_that_are_known() -> None:
    loads = Loads()
    for second in range(3):
        loads.heard(ONE, told(10 * second, queue=1), 10.0 + second)
        loads.heard(TWO, told(30 * second, queue=4, took_us=64_000), 10.0 + second)
    rates, known = loads.together([ONE, TWO, ServerId(3)], 12.0)
    assert (known, rates.read.per_s, rates.queue) == (2, 40, 5)
    assert rates.read.p50_us is not None and rates.read.p50_us > 50_000
    assert loads.together([], 12.0)[1] == 0


def test_counters_of_no_server_of_ours_are_not_kept() -> None:
    loads = Loads()
    for strange in (
        LoadFacts(read=Served(1, 1, (0,) * (TIME_CLASSES + 1))),
        LoadFacts(write=Served(-1, 1)),
        LoadFacts(append=Served(1, 1, (-1,))),
        LoadFacts(read=Served(1, 1 << 63)),  # Two of them are more than an answer can hold.
        LoadFacts(queue=1 << 63),
        LoadFacts(put_bytes=-1),
    ):
        loads.heard(ONE, strange, 10.0)
    assert ONE not in loads._told
    most = LoadFacts(Served(AMOUNT_MAX, AMOUNT_MAX), put_bytes=AMOUNT_MAX, queue=AMOUNT_MAX)
    for server in range(1, 200):
        loads.heard(ServerId(server), LoadFacts(queue=AMOUNT_MAX), 10.0)
        loads.heard(ServerId(server), most, 12.0)
    assert encode(loads.together(map(ServerId, range(1, 200)), 12.0)[0])


def test_an_answer_is_kept_for_as_long_as_it_is_dear() -> None:
    clock = [0.0]
    made: list[float] = []

    def make() -> int:
        clock[0] += 0.1
        made.append(clock[0])
        return len(made)

    kept: Kept[int] = Kept(fresh_s=0.4, share=0.05)
    assert kept.get(lambda: clock[0], make) == 1
    for later_s, expected in ((1.9, 1), (2.05, 2), (4.0, 2), (4.2, 3)):
        clock[0] = later_s
        assert kept.get(lambda: clock[0], make) == expected


def test_of_very_many_servers_some_are_reckoned_with_each_question_and_none_is_forgotten() -> None:
    everybody = [ServerId(number) for number in range(1, 2 * SLICE + 200)]
    loads = Loads()
    for second in range(4):
        for number in everybody:
            loads.heard(number, told(number % 7 * second, queue=1), 10.0 + second)
    plain = sum(number % 7 for number in everybody)
    rates, known = loads.together(everybody, 13.0)  # The first question reckons all of them.
    assert (known, rates.read.per_s, rates.queue) == (len(everybody), plain, len(everybody))
    for second in range(4, 9):
        for number in everybody:
            loads.heard(number, told(500 + number % 7 * 2 * second, queue=2), 10.0 + second)
    before = rates.read.per_s
    for _ in range(3):
        rates, _ = loads.together(everybody, 18.0)
        assert rates.read.per_s > before
        before = rates.read.per_s
    assert rates == fresh_copy(loads).together(everybody, 18.0)[0]
    few = everybody[: SLICE + 5]
    rates, known = loads.together(few, 18.0)
    assert known == len(few) and rates == fresh_copy(loads).together(few, 18.0)[0]
    for _ in range(3):
        rates, known = loads.together(everybody, 18.0 + STALE_S + 0.1)
    assert (known, rates.queue, rates.read.per_s) == (0, 0, 0)


def fresh_copy(loads: Loads) -> Loads:
    """Return what knows the same and has not been asked yet."""
    fresh = Loads()
    fresh._told = loads._told
    return fresh
