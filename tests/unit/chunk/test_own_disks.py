"""The directories of a server at its start: whose they are, and which cannot be used (D6)."""

from __future__ import annotations

import pytest
from hanging_disk import HangingDisk

from gfs_ha.chunk import patience
from gfs_ha.chunk.disk_memory import MemoryDisk, PowerCut
from gfs_ha.chunk.epochs import EPOCH_NAME, EpochBook
from gfs_ha.chunk.machine import FoundDisk
from gfs_ha.chunk.own_disks import (
    NEIGHBOURS_NAME,
    BrokenDisk,
    OwnDisks,
    look_at,
    open_store,
)
from gfs_ha.chunk.slots.identity import IDENTITY_NAME, Identity, write_identity
from gfs_ha.errors import DiskFailed, DiskFull, WrongDirectory
from gfs_ha.ids import ANY_DISK, DiskId, Epoch, ServerId
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
CLUSTER, NAME, ID = "c1", "one", ServerId(4)
BROKEN = DiskFailed("I/O error")


def disk() -> MemoryDisk:
    return MemoryDisk(RUNTIME)


def found(**disks: MemoryDisk) -> list[FoundDisk]:
    return [FoundDisk(f"/{name}", one) for name, one in disks.items()]


def look(**disks: MemoryDisk) -> OwnDisks:
    return look_at(found(**disks), CLUSTER, NAME, RUNTIME)


def settled(**disks: MemoryDisk) -> OwnDisks:
    """Return the directories of a server that has started with all of them."""
    seen = look(**disks)
    seen.settle(CLUSTER, NAME, ID, RUNTIME)
    seen.remember()
    return seen


def ids(seen: OwnDisks) -> dict[str, DiskId]:
    return {one.directory: one.identity.disk_id for one in seen.known}


def test_empty_directories_are_new_and_then_those_of_the_server() -> None:
    a, b = disk(), disk()
    seen = look(a=a, b=b)
    assert not seen.known and len(seen.fresh) == 2 and seen.server_id == 0
    seen.settle(CLUSTER, NAME, ID, RUNTIME)
    assert seen.server_id == ID and not seen.fresh
    assert len(set(ids(seen).values())) == 2
    assert ids(look(a=a, b=b)) == ids(seen)
    assert ids(look(x=b, y=a)) == {"/x": ids(seen)["/b"], "/y": ids(seen)["/a"]}, "they changed"


def test_a_new_directory_beside_known_ones_becomes_a_further_disk() -> None:
    a, b = disk(), disk()
    before = ids(settled(a=a))
    seen = look(a=a, b=b)
    assert [one.directory for one in seen.fresh] == ["/b"] and ids(seen) == before
    seen.settle(CLUSTER, NAME, ID, RUNTIME)
    assert ids(seen).items() > before.items()


@pytest.mark.parametrize("moment", range(4))
def test_a_power_cut_amid_the_adoption_leaves_a_directory_that_can_be_used(moment: int) -> None:
    a = disk()
    a.cut_after = moment
    try:
        write_identity(a, Identity(CLUSTER, ID, DiskId(1), NAME))
    except PowerCut:
        pass
    a.power_cycle(lambda write, sector: sector == 0)
    seen = look(a=a)
    assert len(seen.known) + len(seen.fresh) == 1


def test_an_empty_directory_in_the_place_of_another_disk_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = disk(), disk()
    before = ids(settled(a=a, b=b))
    assert not swapped(caplog)
    c = disk()
    now = ids(settled(a=a, b=c))
    (said,) = swapped(caplog)
    assert "directory=/b" in said and f"was={before['/b']:#x} is={now['/b']:#x}" in said
    settled(a=a, b=c)  # It is known from now on.
    settled(a=a, b=c, d=disk())  # Nothing was there.
    settled(a=a, x=c, b=disk(), c=disk())  # That one is somewhere else now.
    assert len(swapped(caplog)) == 1


def swapped(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records]
    return [text for text in said if "where another disk was" in text]


def test_a_broken_directory_is_named_by_what_the_others_remember() -> None:
    a, b = disk(), disk()
    before = ids(settled(a=a, b=b))
    b.failing = BROKEN
    seen = look(a=a, b=b)
    seen.remember()
    assert seen.broken == [BrokenDisk("/b", "I/O error", before["/b"])]
    # It is remembered for as long as it is missing, also by a disk that comes for it.
    c = disk()
    settled(a=a, b=b, c=c)
    a.failing = BROKEN
    seen = look(a=a, b=b, c=c)
    seen.remember()
    assert {one.directory: one.disk_id for one in seen.broken} == before


def test_one_that_nobody_remembers_or_that_lies_elsewhere_now_is_not_named() -> None:
    a, b = disk(), disk()
    settled(a=a, b=b)
    seen = look_at([*found(a=a), FoundDisk("/c", None, "not mounted")], CLUSTER, NAME, RUNTIME)
    seen.remember()
    assert seen.broken == [BrokenDisk("/c", "not mounted", ANY_DISK)]
    # Now /a is where /b was, and what is at /a is not there: it is not the disk that is here.
    seen = look_at([*found(b=a), FoundDisk("/a", None, "not mounted")], CLUSTER, NAME, RUNTIME)
    seen.remember()
    assert seen.broken == [BrokenDisk("/a", "not mounted", ANY_DISK)]


@pytest.mark.parametrize("offset", [0, 5, 40])
def test_a_damaged_list_of_the_others_costs_the_names_and_nothing_else(offset: int) -> None:
    a, b = disk(), disk()
    before = ids(settled(a=a, b=b))
    a.flip(NEIGHBOURS_NAME, offset, mask=0x55)
    b.failing = BROKEN
    seen = look(a=a, b=b)
    seen.remember()
    assert [one.disk_id for one in seen.broken] == [ANY_DISK]
    b.failing = None
    assert ids(settled(a=a, b=b)) == before


def test_a_full_disk_starts_although_it_cannot_remember_the_others() -> None:
    a, b = disk(), disk()
    settled(a=a)
    a._capacity = a._used()
    seen = look(a=a, b=b)
    seen.settle(CLUSTER, NAME, ID, RUNTIME)
    seen.remember()
    assert len(seen.known) == 2


def test_a_directory_of_somebody_else_ends_the_start() -> None:
    for other in (
        Identity("c2", ID, DiskId(1), NAME),
        Identity(CLUSTER, ID, DiskId(1), "two"),
        Identity(CLUSTER, ServerId(5), DiskId(1), NAME),
    ):
        a, b = disk(), disk()
        settled(a=a)
        write_identity(b, other)
        for order in ({"a": a, "b": b}, {"b": b, "a": a}):
            with pytest.raises(WrongDirectory):
                look(**order)


def test_a_copied_directory_ends_the_start() -> None:
    a, b = disk(), disk()
    seen = settled(a=a)
    write_identity(b, seen.known[0].identity)
    with pytest.raises(WrongDirectory, match="/b is a copy of /a"):
        look(a=a, b=b)


@pytest.mark.parametrize("trouble", ["no identity", "damaged"])
def test_a_disk_that_lost_its_identity_is_left_out_beside_others_and_ends_a_start_alone(
    trouble: str,
) -> None:
    a, b = disk(), disk()
    if trouble == "damaged":
        settled(a=a, b=b)
        b.flip(IDENTITY_NAME, 20)
    else:
        settled(a=a)
        b.create("00000001.slot")
    for order in ({"a": a, "b": b}, {"b": b, "a": a}):
        seen = look(**order)
        (broken,) = seen.broken
        assert list(ids(seen)) == ["/a"] and broken.directory == "/b" and trouble in broken.why
    for alone in ({"b": b}, {"b": b, "new": disk()}):
        with pytest.raises(WrongDirectory, match=trouble):
            look(**alone)


def test_a_disk_whose_epoch_cannot_be_trusted_is_left_out_and_the_others_serve() -> None:
    a, b = disk(), disk()
    settled(a=a, b=b)
    EpochBook([a, b], RUNTIME).told(Epoch(1, 7))
    for offset in (9, 4096 + 9):
        b.flip(EPOCH_NAME, offset)
    seen = look(a=a, b=b)
    assert list(ids(seen)) == ["/a"] and seen.broken[0].directory == "/b"
    store = open_store(seen, RUNTIME, 1)
    assert [one.directory for one in store.shelves] == ["/a"] and seen.broken[0].disk_id
    a.failing = BROKEN
    with pytest.raises(DiskFailed):
        look(a=a, b=b)


@pytest.mark.parametrize("why", [BROKEN, DiskFull("full")])
def test_a_new_directory_that_takes_no_identity_is_given_up(why: DiskFailed | DiskFull) -> None:
    a, b = disk(), disk()
    settled(a=a)
    seen = look(a=a, b=b)
    b.failing = why
    seen.settle(CLUSTER, NAME, ID, RUNTIME)
    assert list(ids(seen)) == ["/a"] and [one.directory for one in seen.broken] == ["/b"]
    alone = look(c=disk())
    assert alone.fresh[0].disk is not None
    alone.fresh[0].disk.failing = why  # type: ignore[attr-defined]
    with pytest.raises(DiskFailed):
        alone.settle(CLUSTER, NAME, ID, RUNTIME)


@pytest.mark.parametrize("why", [BROKEN, DiskFull("no room to bring in what the journal has")])
def test_a_disk_whose_slots_cannot_be_brought_in_is_given_up_and_the_others_serve(
    why: DiskFailed | DiskFull,
) -> None:
    a, b = disk(), disk()
    seen = settled(a=a, b=b)
    b.failing = why
    store = open_store(seen, RUNTIME, 1)
    assert [one.directory for one in store.shelves] == ["/a"]
    assert seen.broken[0].directory == "/b" and seen.broken[0].why == why.message
    seen = settled(a=a)
    a.failing = why
    with pytest.raises(DiskFailed):
        open_store(seen, RUNTIME, 1)


@pytest.mark.parametrize("why", [BROKEN, DiskFull("full")])
def test_a_new_disk_that_does_not_keep_the_epoch_is_given_up(why: DiskFailed | DiskFull) -> None:
    a, b = disk(), disk()
    seen = settled(a=a, b=b)
    b.failing = why
    seen.keep_epoch(Epoch(1, 7), RUNTIME)
    assert list(ids(seen)) == ["/a"] and EpochBook([a], RUNTIME).newest == Epoch(1, 7)
    a.failing = why
    with pytest.raises(DiskFailed):
        seen.keep_epoch(Epoch(1, 8), RUNTIME)


def test_a_directory_that_cannot_be_used_is_said_and_known_again_by_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a = disk()
    settled(a=a)
    there = [*found(a=a), FoundDisk("/new", None, "nothing is mounted on /new")]
    first, second = (look_at(there, CLUSTER, NAME, RUNTIME) for _ in range(2))
    assert "directory=/new why=nothing is mounted" in caplog.text
    (broken,) = first.broken
    assert not broken.disk_id and broken.told_id == second.broken[0].told_id
    assert broken.told_id not in ids(first).values()
    assert BrokenDisk("/c", "", DiskId(7)).told_id == 7, "one that the others remember"
    first.remember()
    settled(a=a, new=disk())
    assert "where another disk was" not in caplog.text, "it never was a disk"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SILENT_S", 1.0)
    monkeypatch.setattr(patience, "LOOK_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_hangs_keeps_no_server_with_others_from_its_start() -> None:
    a, b = disk(), HangingDisk(RUNTIME)
    settled(a=a, b=b)
    b.hang(whole=True)
    try:
        seen = look(a=a, b=b)
        assert list(ids(seen)) == ["/a"]
        (broken,) = seen.broken
        assert broken.directory == "/b" and "did not answer" in broken.why
    finally:
        b.let_go()


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_begins_to_hang_while_its_slots_are_read_is_gone_on_without() -> None:
    a, b = disk(), HangingDisk(RUNTIME)
    settled(a=a, b=b)
    seen = look(a=a, b=b)
    b.hang(whole=True)
    try:
        store = open_store(seen, RUNTIME, 1)
        assert store.disk_count == 1 and [one.directory for one in seen.broken] == ["/b"]
    finally:
        b.let_go()


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_is_only_slow_is_waited_for() -> None:
    slow = disk()
    file = slow.create("00000001.slot")

    def read() -> str:
        for _ in range(6):
            RUNTIME.sleep(0.25)
            file.read(0, memoryview(bytearray(1)))
        return "read"

    assert patience.ask_disk(slow, read, RUNTIME) == "read"


def test_what_a_disk_says_at_the_start_is_said_on() -> None:
    def fail() -> None:
        raise BROKEN

    with pytest.raises(DiskFailed, match="I/O error"):
        patience.ask_disk(disk(), fail, RUNTIME)
