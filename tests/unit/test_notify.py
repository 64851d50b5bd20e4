"""What the service manager is told, heard on a real socket."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gfs_ha.notify import STATUS_CHARACTERS_MAX, Notifier, ServiceNotes
from gfs_ha.pulse import STALL_S, Pulse
from gfs_ha.runtime import ThreadedRuntime

PID = 4711


class StoppedClock(ThreadedRuntime):
    """Time goes on when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s


class Wheel:
    """A loop that turns when the test says so."""

    turned_s = 1000.0


class Manager:
    """A service manager that hears what is said to it."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(address)

    def heard(self) -> list[str]:
        """Return the datagrams since the last look; they are there once they are sent."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(path: str) -> Iterator[Manager]:
    manager = Manager(path)
    yield manager
    manager.close()


@pytest.fixture
def notifier(path: str, manager: Manager) -> Iterator[Notifier]:
    """One that a unit with a watchdog of 30 s started."""
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}
    notifier = Notifier(environ, PID)
    yield notifier
    notifier.close()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def wheel() -> Wheel:
    return Wheel()


@pytest.fixture
def notes(notifier: Notifier, clock: StoppedClock, wheel: Wheel) -> ServiceNotes:
    pulse = Pulse(clock)
    pulse.add("raft", wheel)
    return ServiceNotes(notifier, pulse, clock)


def test_lines_arrive_as_one_datagram(notifier: Notifier, manager: Manager) -> None:
    assert notifier.say(READY="1", STATUS="leads term 4")
    assert manager.heard() == ["READY=1\nSTATUS=leads term 4"]


def test_an_abstract_socket_is_told_too() -> None:
    name = f"gfs-notify-{os.getpid()}"
    manager = Manager("\0" + name)
    notifier = Notifier({"NOTIFY_SOCKET": "@" + name}, PID)
    try:
        assert notifier.say(READY="1")
        assert manager.heard() == ["READY=1"]
    finally:
        notifier.close()
        manager.close()


def test_a_value_cannot_begin_a_line_of_its_own(notifier: Notifier, manager: Manager) -> None:
    notifier.say(STATUS="a name with\nREADY=1\r\nMAINPID=1")
    assert manager.heard() == ["STATUS=a name with READY=1 MAINPID=1"]


@pytest.mark.parametrize("named", ["", "vsock:2:1234", "relative/path"])
def test_where_nobody_listens_nothing_is_said_and_no_descriptor_taken(named: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    notifier = Notifier({"NOTIFY_SOCKET": named, "WATCHDOG_USEC": "30000000"}, PID)
    assert not notifier.listening
    assert notifier.watchdog_s is None
    assert notifier.say(READY="1") is False
    assert len(os.listdir("/proc/self/fd")) == before
    assert not Notifier({}, PID).listening


def test_a_manager_that_went_away_is_said_once_and_harms_nobody(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path}, PID)
    with caplog.at_level(logging.WARNING):
        assert not any(notifier.say(WATCHDOG="1") for _ in range(3))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    notifier.close()
    assert notifier.say(WATCHDOG="1") is False


def test_a_manager_that_does_not_read_holds_nobody_up(notifier: Notifier, manager: Manager) -> None:
    said = [notifier.say(STATUS="x" * 100) for _ in range(5000)]
    assert said[0] and not said[-1], "the queue of a socket ends somewhere"
    assert len(manager.heard()) == sum(said)


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_a_watchdog_counts_that_is_meant_for_this_process(
    path: str, environ: dict[str, str], watchdog_s: float | None
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path, **environ}, PID)
    assert notifier.watchdog_s == watchdog_s
    notifier.close()


def test_one_run_from_start_to_end(
    notes: ServiceNotes, manager: Manager, clock: StoppedClock, wheel: Wheel
) -> None:
    notes.starting("waits for a leader")
    notes.starting("waits for a leader")
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=waits for a leader"]
    clock.now_s += 10.0
    notes.starting("opens its disks")
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=opens its disks"]
    notes.ready("serves")
    assert manager.heard() == ["READY=1\nSTATUS=serves", "WATCHDOG=1"]
    notes.look("serves")
    assert manager.heard() == []
    clock.now_s += 10.0
    wheel.turned_s = clock.now_s
    notes.look("serves")
    notes.look("serves")
    assert manager.heard() == ["WATCHDOG=1"]
    notes.look("leads term 4")
    assert manager.heard() == ["STATUS=leads term 4"]
    notes.stopping("hands over")
    assert manager.heard() == ["STOPPING=1\nSTATUS=hands over\nEXTEND_TIMEOUT_USEC=30000000"]


def test_a_daemon_is_ready_once_and_is_so_until_the_manager_has_room_to_hear_it(
    notes: ServiceNotes, notifier: Notifier, manager: Manager
) -> None:
    while notifier.say(STATUS="x" * 1_000):
        pass  # Its queue is full.
    notes.ready("serves")
    notes.look("serves")
    assert not any("READY" in line for line in manager.heard())
    notes.look("serves")
    notes.look("serves")
    notes.ready("serves")
    assert sum("READY=1" in line for line in manager.heard()) == 1


def test_what_a_daemon_does_is_told_until_the_manager_has_room_to_hear_it(
    notes: ServiceNotes, notifier: Notifier, manager: Manager
) -> None:
    notes.ready("follows m2")
    while notifier.say(STATUS="x" * 1_000):
        pass  # Its queue is full.
    notes.look("leads term 4")
    assert not any("term 4" in line for line in manager.heard())
    notes.look("leads term 4")
    notes.look("leads term 4")
    assert manager.heard() == ["STATUS=leads term 4"]


def test_a_start_that_the_unit_limits_asks_for_no_more_time(
    notes: ServiceNotes, manager: Manager, clock: StoppedClock
) -> None:
    for _ in range(3):
        notes.starting("opens its disks", within_limit=True)
        clock.now_s += 100.0
    assert manager.heard() == ["STATUS=opens its disks"]


def test_the_watchdog_hears_nothing_of_a_daemon_that_hangs(
    notes: ServiceNotes,
    manager: Manager,
    clock: StoppedClock,
    wheel: Wheel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes.ready("serves")
    clock.now_s += STALL_S + 1.0
    manager.heard()
    with caplog.at_level(logging.CRITICAL):
        for _ in range(20):
            notes.look("serves")
            clock.now_s += 5.0
    assert manager.heard() == ["STATUS=hangs: raft"]
    assert [record.getMessage() for record in caplog.records] == [
        f"loops hang loops=raft for {STALL_S + 6:.0f} s"
    ]
    wheel.turned_s = clock.now_s
    notes.look("serves")
    assert manager.heard() == ["STATUS=serves", "WATCHDOG=1"]


def test_a_machine_that_slept_is_no_daemon_that_hangs(
    notes: ServiceNotes,
    manager: Manager,
    clock: StoppedClock,
    wheel: Wheel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes.ready("serves")
    manager.heard()
    clock.now_s += 3600.0
    notes.look("serves")
    wheel.turned_s = clock.now_s
    notes.look("serves")
    assert manager.heard() == ["WATCHDOG=1"]
    assert not caplog.records


def test_without_a_watchdog_only_words_are_sent(
    path: str, manager: Manager, clock: StoppedClock
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path}, PID)
    notes = ServiceNotes(notifier, Pulse(clock), clock)
    notes.ready("serves")
    clock.now_s += 1e6
    notes.look("serves")
    assert manager.heard() == ["READY=1\nSTATUS=serves"]
    notifier.close()


def test_a_long_status_is_cut(notes: ServiceNotes, manager: Manager) -> None:
    notes.look("word " * 1000)
    status, beat = manager.heard()
    assert len(status) <= len("STATUS=") + STATUS_CHARACTERS_MAX
    assert beat == "WATCHDOG=1"
