"""What repair may take on a server: for all copies together, until it lapses, less for clients."""

from __future__ import annotations

import pytest

from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.service_times import READ
from gfs_ha.errors import DeadlineExceeded
from gfs_ha.limits import MIB, REPAIR_ALLOWANCE_S, REPAIR_FLOOR_PARTS
from gfs_ha.net.answers import Deadline
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.runtime import ThreadedRuntime


class HandClock(ThreadedRuntime):
    """Time goes on only when somebody sleeps."""

    now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def copy(pace: RepairPace, clock: HandClock, until_s: float, server: int | None = None) -> int:
    """Copy all that goes until then, told anew each second; return the bytes."""
    done = 0
    told_s = 0.0
    while clock.now_s < until_s:
        if server is not None and clock.now_s - told_s >= 1.0:
            told_s = clock.now_s
            pace.allow(RepairAllowance(0, server))
        count, wait_s = pace.take_copy(MIB)
        done += count
        clock.sleep(wait_s)
    return done


def test_nothing_is_copied_before_a_leader_allows_it_nor_after_it_fell_silent() -> None:
    clock = HandClock()
    pace = RepairPace(clock)
    assert copy(pace, clock, clock.now_s + 5.0) == 0
    pace.allow(RepairAllowance(4 * MIB, 0))
    done = copy(pace, clock, clock.now_s + 20.0)
    assert 0 < done <= (4 * REPAIR_ALLOWANCE_S + 1) * MIB
    assert pace.facts().copies_bytes_per_s == -1
    pace.allow(RepairAllowance(4 * MIB, 0))
    assert pace.facts() == RepairFacts(4 * MIB, 0) and pace.take_copy(MIB)[0]


def test_what_others_copy_from_here_counts_for_the_server_and_waits_its_turn() -> None:
    clock = HandClock()
    pace = RepairPace(clock)
    pace.allow(RepairAllowance(0, MIB))
    begun_s = clock.now_s
    for _ in range(5):
        pace.wait_to_serve(MIB, Deadline(clock, 60.0))
    assert clock.now_s - begun_s == pytest.approx(4.0, abs=0.01), "one burst is free"
    assert pace.take_copy(MIB)[0] == 0
    with pytest.raises(DeadlineExceeded):
        for _ in range(5):
            pace.wait_to_serve(MIB, Deadline(clock, 0.5))


def test_at_a_slow_rate_pieces_are_small_so_that_all_get_turns() -> None:
    clock = HandClock()
    pace = RepairPace(clock)
    pace.allow(RepairAllowance(MIB, 0))
    assert pace.take_copy(8 * MIB)[0] == MIB // 4
    pace.allow(RepairAllowance(1000, 0))
    assert pace.take_copy(8 * MIB)[0] == 64 * 1024, "a block at least"


def test_it_gives_way_while_clients_wait_says_so_and_takes_all_again_later() -> None:
    clock = HandClock()
    pace = RepairPace(clock)
    for _ in range(100):
        pace.served(READ, 4096, 0.005)
    budget = 64 * MIB
    free = copy(pace, clock, clock.now_s + 10.0, budget)
    assert free >= 9 * budget
    for _ in range(12):
        for _ in range(20):
            pace.served(READ, 4096, 0.100)
        copy(pace, clock, clock.now_s + 1.0, budget)
    facts = pace.facts()
    floor = budget // REPAIR_FLOOR_PARTS
    assert facts.backing_off and facts.server_bytes_per_s == floor
    assert facts.slow_count >= 20 and facts.judged_count >= facts.slow_count
    copy(pace, clock, clock.now_s + 30.0, budget)
    assert not pace.facts().backing_off
    assert copy(pace, clock, clock.now_s + 10.0, budget) >= 9 * budget
