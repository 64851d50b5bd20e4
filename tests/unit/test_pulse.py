"""A daemon lives while all of its loops turn."""

from __future__ import annotations

from gfs_ha.pulse import STALL_S, Pulse, Stall
from gfs_ha.runtime import ThreadedRuntime


class StoppedClock(ThreadedRuntime):
    """Time goes on when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


class Wheel:
    """A loop that turns when the test says so."""

    def __init__(self, clock: StoppedClock) -> None:
        self._clock = clock
        self.turned_s = clock.now_s

    def turn(self) -> None:
        self.turned_s = self._clock.now_s


def test_who_watches_nothing_finds_it_alive() -> None:
    assert Pulse(StoppedClock()).alive()


def test_a_loop_that_turns_is_alive_for_ever() -> None:
    clock = StoppedClock()
    pulse, wheel = Pulse(clock), Wheel(clock)
    pulse.add("raft", wheel)
    for _ in range(10):
        clock.now_s += STALL_S
        assert pulse.alive()
        wheel.turn()


def test_one_loop_that_hangs_is_named_and_the_others_are_not() -> None:
    clock = StoppedClock()
    pulse, door, raft = Pulse(clock), Wheel(clock), Wheel(clock)
    pulse.add("raft", raft)
    pulse.add("door", door)
    clock.now_s += STALL_S
    door.turn()
    assert pulse.stalls() == ()
    clock.now_s += 0.5
    assert not pulse.alive()
    assert pulse.stalls() == (Stall("raft", STALL_S + 0.5),)
    raft.turn()
    assert pulse.alive()


def test_each_loop_has_the_patience_that_it_was_added_with() -> None:
    clock = StoppedClock()
    pulse, wheel = Pulse(clock), Wheel(clock)
    pulse.add("housekeeping", wheel, limit_s=90.0)
    clock.now_s += 90.0
    assert pulse.alive()
    clock.now_s += 1.0
    assert [one.loop for one in pulse.stalls()] == ["housekeeping"]
