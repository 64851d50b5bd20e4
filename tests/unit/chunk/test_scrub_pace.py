"""The scrub goes as its plan says, and gives way when clients suffer, whatever the disk bears."""

from __future__ import annotations

from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.scrub_pace import ScrubPace
from gfs_ha.chunk.service_times import READ
from gfs_ha.limits import MIB
from gfs_ha.runtime import ThreadedRuntime

PLANNED = 32 * MIB


class Fares:
    """How clients fare, as a test says."""

    def __init__(self) -> None:
        self.bad = False
        self.told = 0

    def suffering(self) -> bool:
        return self.bad

    def disturbed(self) -> None:
        self.told += 1


def scrubbed(pace: ScrubPace, begin_s: float, seconds: float, planned: int = PLANNED) -> int:
    """Return how many bytes are read in some seconds, one piece of 1 MiB after the other."""
    now_s, count, rates = begin_s, 0, planned
    pace.take(MIB, now_s)
    while True:
        wait_s = pace.wait_s(planned, rates, now_s)
        if wait_s > 0:
            now_s += min(wait_s, 0.5)
            if now_s >= begin_s + seconds:
                return count
            continue
        pace.reading()
        count += MIB
        rates = int(count / max(0.1, now_s - begin_s)) or planned
        pace.take(MIB, now_s)


def test_it_goes_as_planned_while_clients_are_well() -> None:
    fares = Fares()
    pace = ScrubPace(fares, 0.0)
    read = scrubbed(pace, 0.0, 10.0)
    assert 0.95 < read / (10 * PLANNED) < 1.1 and not pace.backing_off
    assert fares.told == read // MIB, "who knows how clients fare is told of each piece"


def test_it_gives_way_while_clients_suffer_and_never_stops() -> None:
    fares = Fares()
    pace = ScrubPace(fares, 0.0)
    scrubbed(pace, 0.0, 5.0)
    fares.bad = True
    scrubbed(pace, 5.0, 15.0)
    assert pace.backing_off
    read = scrubbed(pace, 20.0, 10.0)
    assert 0 < read <= 10 * PLANNED / 4
    fares.bad = False
    scrubbed(pace, 30.0, 25.0)
    assert not pace.backing_off
    read = scrubbed(pace, 55.0, 10.0)
    assert read > 0.9 * 10 * PLANNED


def test_a_round_without_a_limit_gives_way_too() -> None:
    fares = Fares()
    pace = ScrubPace(fares, 0.0)
    assert pace.wait_s(0, 500 * MIB, 1.5) == 0
    fares.bad = True
    pace.take(MIB, 2.5)
    for second in range(3, 30):
        pace.wait_s(0, 500 * MIB, float(second))
        pace.take(MIB, float(second))
    pace.take(100 * MIB, 30.0)
    assert pace.backing_off and pace.wait_s(0, 500 * MIB, 30.1) > 0
    pace.begin(0, 30.2)
    pace.take(1, 30.2)
    assert pace.wait_s(0, 500 * MIB, 30.3) > 0, "the next replica begins with what is owed"


def test_without_anybody_who_knows_of_clients_only_the_plan_counts() -> None:
    pace = ScrubPace(None, 0.0)
    pace.reading()
    assert 0.95 < scrubbed(pace, 0.0, 10.0) / (10 * PLANNED) < 1.1


def test_clients_suffer_by_the_same_measure_as_repair_goes_by() -> None:
    pace = RepairPace(ThreadedRuntime())
    for _ in range(60):
        pace.served(READ, 65_536, 0.001)
    assert not pace.suffering()
    for _ in range(40):
        pace.disturbed()
        pace.served(READ, 65_536, 0.050)
    assert pace.suffering()
