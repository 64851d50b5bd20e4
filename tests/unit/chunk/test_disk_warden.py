"""When a disk is out of service: if it takes nothing any more, and not by one bad sector (D6)."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hanging_disk import HangingDisk

from gfs_ha.chunk import disk_warden
from gfs_ha.chunk.disk_memory import MemoryFile
from gfs_ha.chunk.disk_warden import (
    COMPARE_EVERY,
    PROBE_NAME,
    PROBES,
    REST_MAX_S,
    REST_MIN_S,
    SILENT_S,
    DiskWarden,
    probe,
)
from gfs_ha.chunk.slots.identity import IDENTITY_NAME, Identity, write_identity
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.errors import DiskFailed, DiskFull, GfsError
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import MIB
from gfs_ha.net.buffers import BufferPool
from gfs_ha.runtime import Condition, ThreadedRuntime

PATIENCE_S = 60.0
BROKEN = DiskFailed("cannot write: Read-only file system")


class Turnstile:
    """A condition whose waits end when the test says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._go = threading.Semaphore(0)
        self.idle = threading.Semaphore(0)

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        self.idle.release()
        self._lock.release()
        try:
            return self._go.acquire(timeout=PATIENCE_S)
        finally:
            self._lock.acquire()

    def notify_all(self) -> None:
        self._go.release()


class Clockwork(ThreadedRuntime):
    """A runtime in which the warden looks when, and at what time, the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.turnstile = Turnstile()
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def condition(self) -> Condition:
        return self.turnstile  # type: ignore[return-value]


class Ward:
    """A disk, its warden, and what that says."""

    def __init__(self) -> None:
        runtime = ThreadedRuntime()
        self.disk = HangingDisk(runtime)
        self.refused = (0, "")
        identity = Identity("c1", ServerId(1), DiskId(7), "one")
        write_identity(self.disk, identity)
        self.shelf = Shelf(self.disk, identity, BufferPool(runtime), runtime, boot_id=1)
        self.dead: list[tuple[Shelf, str]] = []
        clockwork = self.clockwork = Clockwork()
        self.turnstile = clockwork.turnstile
        self.missing: set[ChunkId] = set()
        self.gone: list[ChunkId] = []
        self.compared = 0
        self.warden = DiskWarden(
            *(self.shelf, self._on_dead, clockwork, lambda _: self.refused),
            *(self._vanished, self.gone.append),
        )
        self.warden.start()
        assert self.turnstile.idle.acquire(timeout=PATIENCE_S)

    def _on_dead(self, shelf: Shelf, why: str) -> None:
        self.dead.append((shelf, why))
        self.turnstile.idle.release()

    def _vanished(self, shelf: Shelf) -> set[ChunkId]:
        self.compared += 1
        return set(self.missing)

    def rest_and_look(self, times: int = 1) -> None:
        for _ in range(times):
            self.clockwork.now_s += REST_MAX_S
            self.look()

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.turnstile.notify_all()
            assert self.turnstile.idle.acquire(timeout=PATIENCE_S)

    def fail(self, error: GfsError | None) -> None:
        """Have everything fail from now on, and somebody notice."""
        self.disk.failing = error
        if error is not None:
            with pytest.raises(type(error)):
                self.disk.names()


@pytest.fixture
def ward() -> Iterator[Ward]:
    made = Ward()
    try:
        yield made
    finally:
        made.disk.let_go()
        made.shelf.failed = ""  # Or nobody waits for its hand.
        assert made.warden.stop(PATIENCE_S)


def test_a_disk_that_takes_nothing_any_more_is_given_up_once_with_what_it_says(ward: Ward) -> None:
    ward.fail(BROKEN)
    assert ward.shelf.ailing == ""
    ward.look(PROBES - 1)
    assert ward.dead == [] and ward.shelf.ailing == BROKEN.message
    ward.look()
    assert ward.dead == [(ward.shelf, BROKEN.message)]


def test_one_that_works_again_after_some_failures_stays(ward: Ward) -> None:
    for _ in range(3):
        ward.fail(BROKEN)
        ward.look(PROBES - 1)
        ward.fail(None)
        ward.look(2)
        assert ward.shelf.ailing == ""
    assert ward.dead == []
    # They are not added up.
    ward.fail(BROKEN)
    ward.look(PROBES - 1)
    assert ward.dead == []


def test_a_bad_sector_is_no_dead_disk(ward: Ward) -> None:
    file = ward.disk.create("00000001.slot")
    file.write(0, bytes(4096))
    ward.disk.break_sector("00000001.slot", 512)
    for _ in range(2 * PROBES):
        with pytest.raises(DiskFailed):
            file.read(0, memoryview(bytearray(4096)))
        ward.look()
    assert ward.dead == [] and ward.disk.names() == ["00000001.slot", IDENTITY_NAME]


def test_a_full_disk_is_no_dead_one(ward: Ward) -> None:
    ward.disk._capacity = 0
    ward.disk.error_count += 1
    ward.look(2 * PROBES)
    assert ward.dead == [] and probe(ward.disk, DiskId(7)) == ""
    ward.fail(DiskFull("no space left"))
    ward.look(2 * PROBES)
    assert ward.dead == []


def test_a_disk_without_trouble_is_written_to_now_and_then_and_not_before(ward: Ward) -> None:
    for _ in range(3):
        before = ward.disk.operations
        ward.clockwork.now_s += REST_MIN_S - 0.1
        ward.look(5)
        assert ward.disk.operations == before
        ward.clockwork.now_s += REST_MAX_S - REST_MIN_S + 0.2
        ward.look()
        assert ward.disk.operations > before
    assert ward.dead == [] and ward.disk.names() == [IDENTITY_NAME]


def test_a_disk_that_dies_while_nobody_uses_it_is_given_up_too(ward: Ward) -> None:
    ward.disk.failing = BROKEN  # Also what is asked each second anyway.
    ward.look(1 + PROBES)
    assert ward.dead == [(ward.shelf, BROKEN.message)]


def test_one_that_went_away_while_nobody_used_it_is_found_by_the_next_probe(ward: Ward) -> None:
    ward.disk.away = BROKEN
    ward.look(2 * PROBES)
    assert ward.dead == [], "how full it is the system knows by itself"
    ward.clockwork.now_s += REST_MAX_S
    ward.look(PROBES)
    assert ward.dead == [(ward.shelf, BROKEN.message)]


# Disks that say nothing ---------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look soon for an answer that does not come; the clock is the test's."""
    monkeypatch.setattr(disk_warden, "LOOK_S", 0.01)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("whole", [False, True])
def test_a_disk_that_does_not_answer_is_given_up_and_not_waited_for(
    ward: Ward, whole: bool
) -> None:
    ward.disk.hang(whole)
    ward.clockwork.now_s += REST_MAX_S
    ward.look(2)
    ward.disk.wait_until_it_hangs()
    ward.clockwork.now_s += SILENT_S - 0.1
    ward.look(2)
    assert ward.shelf.ailing == "" and ward.dead == [], "it may only be slow"
    ward.clockwork.now_s += 0.2
    ward.look()
    assert "does not answer" in ward.shelf.ailing and ward.dead == []
    ward.clockwork.now_s += SILENT_S * (PROBES - 2)
    ward.look()
    assert ward.dead == []
    ward.clockwork.now_s += SILENT_S
    ward.look()
    ((shelf, why),) = ward.dead
    assert shelf is ward.shelf and f"for {PROBES * SILENT_S:.0f} s" in why
    shelf.failed = why
    ward.warden.stop(PATIENCE_S)
    assert ward.disk.hanging == 1, "it was left alone"
    ward.disk.let_go()


@pytest.mark.usefixtures("quick")
def test_a_disk_that_still_does_something_is_only_slow(ward: Ward) -> None:
    file = ward.disk.create("00000001.slot")
    ward.disk.hang()
    ward.clockwork.now_s += REST_MAX_S
    ward.look(2)
    ward.disk.wait_until_it_hangs()
    for _ in range(2 * PROBES):
        ward.clockwork.now_s += SILENT_S - 0.1
        MemoryFile.write_back(file, 0, 4096)  # That of somebody else, which comes through.
        ward.look()
    assert ward.dead == [] and ward.shelf.ailing == ""
    ward.clockwork.now_s += SILENT_S
    ward.look()
    assert ward.shelf.ailing != "" and ward.dead == []
    ward.disk.let_go()
    while ward.shelf.ailing:
        ward.look()
    # The silence is not added up, either.
    assert ward.dead == []


@pytest.mark.usefixtures("quick")
def test_what_the_system_does_in_memory_is_no_sign_of_life(ward: Ward) -> None:
    file = ward.disk.create("00000001.slot")
    ward.disk.hang()
    ward.clockwork.now_s += REST_MAX_S
    ward.look(2)
    ward.disk.wait_until_it_hangs()
    for _ in range(PROBES):
        ward.clockwork.now_s += SILENT_S
        file.write(0, bytes(100))
        file.read(0, memoryview(bytearray(100)))
        ward.disk.usage()
        ward.look()
    assert len(ward.dead) == 1


def test_how_full_a_disk_is_comes_from_its_last_answer(ward: Ward) -> None:
    file = ward.disk.create("00000001.slot")
    file.write(0, bytes(MIB))
    ward.look(2)
    assert ward.shelf.usage == ward.disk.usage()
    before = ward.shelf.usage
    ward.fail(BROKEN)
    ward.look(PROBES - 1)
    assert ward.shelf.usage == before and ward.shelf.failed == ""


# What is refused although the disk works ---------------------------------------------------------


def test_a_disk_that_goes_on_to_refuse_what_its_server_needs_is_given_up(ward: Ward) -> None:
    for count in range(1, PROBES + 1):
        assert ward.dead == []
        ward.refused = (count, "cannot sync epoch: Input/output error")
        ward.look()
        assert ward.shelf.ailing == ward.refused[1]
        if count < PROBES:
            ward.look(3)  # Nobody tried again: that counts neither way.
            assert ward.shelf.ailing == ward.refused[1]
    assert ward.dead == [(ward.shelf, ward.refused[1])]


def test_one_that_takes_it_after_all_stays(ward: Ward) -> None:
    for _ in range(3):
        ward.refused = (PROBES - 1, "cannot sync epoch: Input/output error")
        ward.look(2 * PROBES)
        assert ward.shelf.ailing == ward.refused[1]
        ward.refused = (0, "")
        ward.look()
        assert ward.shelf.ailing == "" and ward.dead == []


def test_a_probe_leaves_nothing_and_takes_away_what_an_earlier_one_left(ward: Ward) -> None:
    ward.disk.create(PROBE_NAME)
    assert probe(ward.disk, DiskId(7)) == ""
    assert ward.disk.names() == [IDENTITY_NAME]
    ward.disk._capacity = 0
    probe(ward.disk, DiskId(7))
    assert set(ward.disk.names()) - {PROBE_NAME} == {IDENTITY_NAME}
    ward.disk._capacity = 1 << 40
    assert probe(ward.disk, DiskId(7)) == "" and ward.disk.names() == [IDENTITY_NAME]


def test_a_disk_whose_files_were_removed_below_it_fails(ward: Ward) -> None:
    assert probe(ward.disk, DiskId(7)) == ""
    ward.disk.unlink(IDENTITY_NAME)
    assert "identity.json is gone" in probe(ward.disk, DiskId(7))


def test_a_disk_that_bears_the_mark_of_another_one_now_is_given_up(ward: Ward) -> None:
    write_identity(ward.disk, Identity("c1", ServerId(2), DiskId(8), "two"))
    assert "disk 0x8 of server two" in probe(ward.disk, DiskId(7))
    ward.clockwork.now_s += REST_MAX_S
    ward.look(PROBES)
    assert [why for _, why in ward.dead] == [ward.shelf.ailing] != [""]


def test_a_slot_that_is_missed_twice_is_told_of_and_one_on_its_way_is_not(ward: Ward) -> None:
    ward.missing = {ChunkId(5), ChunkId(6)}
    ward.rest_and_look()
    assert ward.gone == []
    ward.missing = {ChunkId(6), ChunkId(9)}
    ward.rest_and_look()
    assert ward.gone == [6] and ward.dead == []
    ward.missing = set()
    ward.rest_and_look()
    assert ward.gone == [6]


def test_names_are_compared_when_some_came_or_went_and_now_and_then(ward: Ward) -> None:
    ward.disk.create("00000001.slot")
    ward.rest_and_look()
    assert ward.compared == 1
    ward.rest_and_look(COMPARE_EVERY - 1)
    assert ward.compared == 1
    ward.rest_and_look()
    assert ward.compared == 2
    for change in (ward.disk.unlink, ward.disk.create):
        before = ward.compared
        change("00000001.slot")
        ward.rest_and_look(3)
        assert ward.compared == before + 1


def test_names_that_were_not_compared_while_the_disk_failed_are_compared_later(ward: Ward) -> None:
    ward.rest_and_look()
    ward.disk.create("00000001.slot")
    ward.fail(BROKEN)
    ward.look()
    ward.fail(None)
    assert ward.compared == 1
    ward.look()
    assert ward.compared == 2 and ward.dead == []
