"""Repair gives way while clients wait longer than usual, never below its floor, and comes back."""

from __future__ import annotations

import pytest

from gfs_ha.chunk.back_off import STEP_S, BackOff
from gfs_ha.chunk.service_times import PUSH, READ, WINDOW_S, ServiceTimes
from gfs_ha.limits import MIB, REPAIR_FLOOR_PARTS, REPAIR_SERVER_BYTES_PER_S

USUAL_S = 0.010


def calm() -> ServiceTimes:
    """Return what knows how long reads and pushes of 4 KiB take here."""
    times = ServiceTimes()
    for number in range(200):
        took_s = USUAL_S * (0.5 + number % 10 / 20)
        times.note(READ, 4096, took_s, (number / 100, False))
        times.note(PUSH, 4096, took_s * 10, (number / 100, False))
    return times


def serve(times: ServiceTimes, took_s: float, now_s: float, count: int = 20) -> None:
    for _ in range(count):
        times.note(READ, 4096, took_s, (now_s, True))


def test_clients_suffer_when_many_wait_much_longer_than_usual() -> None:
    times = calm()
    assert not times.judge(2.0).suffering
    serve(times, USUAL_S, 100.0)
    assert not times.judge(100.0).suffering
    serve(times, 5 * USUAL_S, 110.0)
    judged = times.judge(110.0)
    assert judged.suffering and (judged.slow_count, judged.count) == (20, 20)
    assert not times.judge(110.0 + WINDOW_S + 0.1).suffering, "it is over"


def test_a_few_slow_ones_and_big_operations_are_no_sign() -> None:
    times = calm()
    serve(times, USUAL_S, 100.0, 17)
    serve(times, 5 * USUAL_S, 100.0, 3)
    assert not times.judge(100.0).suffering
    for _ in range(30):  # Of another size: nobody knows yet how long these take.
        times.note(READ, 64 * 1024, 5 * USUAL_S, (200.0, True))
        times.note(PUSH, 4096, 9 * USUAL_S, (200.0, True))
    assert not times.judge(200.0).suffering
    serve(calm(), 5 * USUAL_S, 300.0, 5)
    assert not times.judge(300.0).suffering, "too few to tell"


def test_what_is_usual_is_hardly_learned_while_copies_run() -> None:
    times = calm()
    for second in range(60):
        serve(times, 5 * USUAL_S, 100.0 + second)
    assert times.judge(159.0).suffering, "a minute of it is not what is usual"
    for second in range(120):
        for _ in range(20):
            times.note(READ, 4096, 5 * USUAL_S, (200.0 + second, False))
    assert not times.judge(319.0).suffering, "without copies it is what clients have"


def test_repair_gives_way_at_once_but_never_below_its_floor_and_comes_back() -> None:
    budget, now_s = 80 * MIB, 0.0
    back_off = BackOff(now_s)
    assert back_off.limit(budget) == budget and not back_off.backing_off
    limits = []
    for _ in range(12):
        now_s += STEP_S
        back_off.step(True, 40.0 * MIB, now_s)
        limits.append(back_off.limit(budget))
    assert limits[0] < 40 * MIB, "from what it takes, not from what it might"
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == budget // REPAIR_FLOOR_PARTS and back_off.backing_off
    steps = 0
    while back_off.backing_off:
        now_s += STEP_S
        back_off.step(False, 10.0 * MIB, now_s)
        steps += 1
        assert back_off.limit(budget) <= budget
    assert 10 <= steps <= 20 and back_off.limit(budget) == budget


def test_it_steps_once_a_second_and_not_for_what_repair_does_not_do() -> None:
    back_off = BackOff(0.0)
    for number in range(100):
        back_off.step(True, 50.0 * MIB, 1.0 + number / 101)
    assert back_off.limit(100 * MIB) == pytest.approx(0.7 * 50 * MIB, rel=0.01)
    idle = BackOff(0.0)
    idle.step(True, 0.0, 5.0)
    assert not idle.backing_off


def test_a_budget_without_a_limit_is_the_usual_one_while_it_backs_off() -> None:
    back_off = BackOff(0.0)
    assert back_off.limit(0) == 0
    for second in range(1, 30):
        back_off.step(True, 300.0 * MIB, float(second))
    assert back_off.limit(0) == REPAIR_SERVER_BYTES_PER_S // REPAIR_FLOOR_PARTS
    back_off.step(False, 0.0, 100.0)
    assert back_off.limit(0) == 0


def test_a_smaller_budget_holds_at_once_also_amid_backing_off() -> None:
    back_off = BackOff(0.0)
    back_off.limit(100 * MIB)
    back_off.step(True, 90.0 * MIB, 1.0)
    assert back_off.limit(10 * MIB) <= 10 * MIB
