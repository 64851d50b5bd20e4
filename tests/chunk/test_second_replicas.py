"""Second replicas on one server, which a disk brought back: what becomes of them (D6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK
from disks_house import (
    DATA,
    DIGEST,
    LATER,
    ORDER,
    PUT,
    SEALED,
    A,
    B,
    C,
    Disks,
    begin_copy,
    blank,
    copy_to,
    drop_outlived,
    open_disks,
    scrubbing,
    shelf_of,
    slots,
)
from replica_house import RUNTIME, append, readable

from gfs_ha.chunk import scrub
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.scrub_plan import Round
from gfs_ha.chunk.scrub_state import ScrubBook
from gfs_ha.chunk.slots import index
from gfs_ha.chunk.slots.format import COPY_BYTES, Header, State
from gfs_ha.chunk.slots.slot import Slot
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFailed, ReplicaBusy, StaleOrder, UnknownReplica
from gfs_ha.ids import DiskId, Epoch, LogIndex


def beside_its_copy(copied: LogIndex = ORDER) -> tuple[Disks, ChunkStore]:
    """Return a server whose chunk counts on B, and that has an older replica on A."""
    disks = blank(A, B)
    older = open_disks({A: disks[A]})
    append(older.create_replica(PUT, disk_id=A), DATA)
    older.finish_seal(CHUNK, SEALED, len(DATA), DIGEST)
    copy_to(open_disks({B: disks[B]}), B, copied)
    store = open_disks(disks)
    assert store.get(CHUNK).disk_id == B and store.twins_on(shelf_of(store, A)) == 1
    return disks, store


def beside_an_open_one() -> tuple[Disks, ChunkStore]:
    """Return a server whose chunk counts on B by its order, still open, and is older on A."""
    disks = blank(A, B)
    append(open_disks({A: disks[A]}).create_replica(PUT, disk_id=A), DATA)
    newer = open_disks({B: disks[B]}).create_replica(PUT, ORDER, disk_id=B)
    append(newer, DATA)
    store = open_disks(disks)
    assert store.get(CHUNK).disk_id == B and store.get(CHUNK).header.state is not State.SEALED
    return disks, store


def test_a_chunk_that_is_deleted_takes_its_second_replica_along() -> None:
    disks, store = beside_its_copy()
    store.delete(CHUNK, LATER)
    assert not slots(disks[A]) and not slots(disks[B]) and store.unidentified == ()
    assert open_disks(disks, BOOT_ID + 1).chunk_count == 0


def test_a_delete_that_is_older_than_the_replica_touches_none() -> None:
    disks, store = beside_its_copy(LATER)
    with pytest.raises(StaleOrder):
        store.delete(CHUNK, ORDER)
    assert len(slots(disks[A])) == len(slots(disks[B])) == 1
    assert readable(store.get(CHUNK), disks[B], len(DATA)) == DATA


def test_a_delete_spares_a_second_replica_of_a_newer_order() -> None:
    disks, store = beside_its_copy()
    store.compare(CHUNK, ORDER, len(DATA), DIGEST ^ 1)  # Quarantines it: then the older one counts.
    store = open_disks(disks, BOOT_ID + 1)
    assert store.get(CHUNK).disk_id == A and store.twins_on(shelf_of(store, B)) == 1
    between = LogIndex(ORDER - 1)
    assert between >= SEALED
    store.delete(CHUNK, between)
    assert not slots(disks[A]) and len(slots(disks[B])) == 1


def test_a_delete_that_did_not_reach_the_second_replica_does_when_it_comes_again() -> None:
    disks, store = beside_its_copy()
    unlink, broken = disks[A].unlink, [True]

    def unlink_later(name: str) -> None:
        if broken[0]:
            raise DiskFailed("I/O error")
        unlink(name)

    disks[A].unlink = unlink_later  # type: ignore[method-assign]
    with pytest.raises(DiskFailed):
        store.delete(CHUNK, LATER)
    assert store.twins_on(shelf_of(store, A)) == 1, "it is still known"
    broken[0] = False
    store.delete(CHUNK, LATER)
    assert not slots(disks[A]) and store.unidentified == ()


def test_the_second_replica_serves_at_once_when_the_disk_of_the_first_dies() -> None:
    disks, store = beside_its_copy()
    store.take_out(shelf_of(store, B), "it broke")
    assert readable(store.get(CHUNK), disks[A], len(DATA)) == DATA
    assert store.count_on(shelf_of(store, A)) == 1 and store.unidentified == ()
    assert list(store.each_sealed(shelf_of(store, A))) == [(CHUNK, len(DATA))]


def test_a_copy_does_not_take_the_place_of_one_that_counts_only_since_a_disk_died(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disks, store = beside_its_copy()
    disks |= blank(C)
    store = open_disks(disks)
    copy = begin_copy(store, C, LATER)
    stamp = copy.stamp

    def stamp_while_a_disk_dies(digest: int, older: Header | None) -> Slot:
        assert older is not None
        slot = stamp(digest, older)
        store.take_out(shelf_of(store, B), "it was pulled")
        return slot

    monkeypatch.setattr(copy, "stamp", stamp_while_a_disk_dies)
    with pytest.raises(ReplicaBusy, match="counts by now"):
        store.install_copy(copy, DIGEST, lambda: True)
    store.drop_copy(copy)
    assert store.get(CHUNK).disk_id == A and not slots(disks[C])
    copy_to(store, C, LATER)  # As it is ordered again.
    assert store.get(CHUNK).disk_id == C and not slots(disks[A])


@pytest.mark.parametrize("fails", ["unlink", "sync_names"])
def test_what_could_not_be_removed_when_a_copy_took_its_place_goes_with_the_chunk(
    fails: str,
) -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    append(store.create_replica(PUT, disk_id=A), DATA)
    store.finish_seal(CHUNK, SEALED, len(DATA), DIGEST)
    works = getattr(disks[A], fails)

    def read_only(*_: object) -> None:
        raise DiskFailed("Read-only file system")

    setattr(disks[A], fails, read_only)
    with pytest.raises(DiskFailed):
        copy_to(store, B)
    setattr(disks[A], fails, works)
    assert store.get(CHUNK).disk_id == B and store.twins_on(shelf_of(store, A)) == 1
    copy_to(store, B)  # As it is ordered again.
    store.delete(CHUNK, LATER)
    assert not slots(disks[A]) and not slots(disks[B]) and store.unidentified == ()
    disks[A].power_cycle()
    assert open_disks(disks, BOOT_ID + 1).chunk_count == 0


def test_a_chunk_comes_again_to_a_disk_that_did_not_remove_it_when_it_was_deleted() -> None:
    disks = blank(A)
    store = open_disks(disks)
    append(store.create_replica(PUT, disk_id=A), DATA)
    works = disks[A].unlink

    def read_only(name: str) -> None:
        raise DiskFailed("Read-only file system")

    disks[A].unlink = read_only  # type: ignore[method-assign]
    with pytest.raises(DiskFailed):
        store.delete(CHUNK, SEALED)
    assert store.chunk_count == 0 and len(slots(disks[A])) == 1
    disks[A].unlink = works  # type: ignore[method-assign]
    copy_to(store, A)
    assert readable(store.get(CHUNK), disks[A], len(DATA)) == DATA
    drop_outlived(store)
    assert len(slots(disks[A])) == 1 and store.unidentified == ()


@pytest.mark.parametrize(
    ("trouble", "counts"), [("", B), ("failed", A), ("quarantined", A), ("all quarantined", None)]
)
def test_of_several_second_replicas_the_newest_counts_that_may_serve(
    trouble: str, counts: DiskId | None
) -> None:
    disks, store = beside_its_copy()
    if "quarantined" in trouble:
        store.compare(CHUNK, ORDER, len(DATA), DIGEST ^ 1)
    if trouble.startswith("all"):
        open_disks({A: disks[A]}).compare(CHUNK, ORDER, len(DATA), DIGEST ^ 1)
    disks |= blank(C)
    copy_to(open_disks({C: disks[C]}), C, LATER)
    store = open_disks(disks, BOOT_ID + 1)
    assert store.get(CHUNK).disk_id == C and len(store.unidentified) == 2
    if trouble == "failed":
        store.take_out(shelf_of(store, B), "it broke")
    store.take_out(shelf_of(store, C), "it broke too")
    here = [one for one in (A, B) if store.count_on(shelf_of(store, one))]
    assert here == ([counts] if counts else [])


def test_a_second_replica_of_another_birth_is_left_for_a_person() -> None:
    disks = blank(A, B)
    other = replace(PUT, birth=Epoch(1, 2))
    append(open_disks({A: disks[A]}).create_replica(other, disk_id=A), DATA)
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks)
    drop_outlived(store)
    assert len(slots(disks[A])) == 1 == store.twins_on(shelf_of(store, A))


def test_a_freed_second_replica_hides_no_older_one_that_is_sealed() -> None:
    disks, store = beside_its_copy()
    disks |= blank(C)
    store = open_disks(disks)
    with refusing(disks[B], "unlink"), pytest.raises(DiskFailed):
        store.delete(CHUNK, LATER)  # It is freed on B, and A is not reached.
    copy_to(store, C, LogIndex(LATER + 1))
    assert [store.twins_on(shelf_of(store, one)) for one in (A, B)] == [1, 1]
    store.take_out(shelf_of(store, C), "it broke")
    assert readable(store.get(CHUNK), disks[A], len(DATA)) == DATA
    assert list(store.each_sealed(shelf_of(store, A))) == [(CHUNK, len(DATA))]
    assert store.twins_on(shelf_of(store, B)) == 1, "what is freed goes when its disk removes it"
    started = open_disks({A: disks[A], B: disks[B]}, BOOT_ID + 1)
    assert started.get(CHUNK).disk_id == A, "a start finds the same"


def test_a_second_replica_that_is_open_proves_nothing_when_the_first_dies() -> None:
    """It may lack what was acknowledged on the one that is lost (C3)."""
    _, store = beside_an_open_one()
    store.take_out(shelf_of(store, B), "it broke")
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    assert store.twins_on(shelf_of(store, A)) == 1


def test_a_second_replica_that_is_on_the_lost_disk_too_does_not_serve() -> None:
    disks = blank(A, B)
    append(open_disks({A: disks[A]}).create_replica(PUT, disk_id=A), DATA)
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks)
    store.take_out(shelf_of(store, B), "it broke")
    copy_to(store, A, LATER)
    store = open_disks({A: disks[A], B: MemoryDisk(RUNTIME)}, BOOT_ID + 1)
    assert store.twins_on(shelf_of(store, A)) == 1
    store.take_out(shelf_of(store, A), "it broke")
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)


def test_a_replica_that_is_sealed_after_the_start_frees_its_second_one_without_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scrub, "TWINS_S", 0.05)
    monkeypatch.setattr(scrub.scrub_plan, "LOOK_S", 0.05)
    disks, store = beside_an_open_one()
    now_ms = RUNTIME.wall_ns() // 1_000_000
    ScrubBook(disks[B]).keep(Round(number=1, began_ms=now_ms, ended_ms=now_ms))
    with scrubbing(store) as scrubbers:
        RUNTIME.sleep(0.3)
        assert len(slots(disks[A])) == 1, "what counts is open: nobody knows that it is whole"
        store.finish_seal(CHUNK, LATER, len(DATA), DIGEST)
        deadline_s = RUNTIME.monotonic_s() + 60.0
        while slots(disks[A]) and RUNTIME.monotonic_s() < deadline_s:
            RUNTIME.sleep(0.01)
        assert not slots(disks[A]) and store.unidentified == ()
    assert scrubbers[B].facts().number == 1, "no round was needed"


@pytest.mark.parametrize("then", ["damaged", "another", "long ago"])
def test_what_was_read_whole_lets_nothing_go_once_that_may_not_be_so_any_more(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks, _ = beside_its_copy()
    disks |= blank(C)
    store = open_disks(disks)
    store.note_whole(CHUNK)
    if then == "damaged":
        store.note_damage(CHUNK)
    elif then == "another":
        copy_to(store, C, LATER)  # Nobody has read that one.
    else:
        monkeypatch.setattr(index, "WHOLE_S", -1.0)
    for shelf in store.shelves:
        store.drop_outlived(shelf)
    assert len(slots(disks[A])) == 1 == store.twins_on(shelf_of(store, A))


@pytest.mark.parametrize("trouble", ["failed", "ailing"])
def test_what_can_not_go_now_is_neither_read_again_and_again_nor_waited_for(trouble: str) -> None:
    disks, store = beside_its_copy()
    assert store.twins_of(shelf_of(store, B)) == [CHUNK]
    setattr(shelf_of(store, A), trouble, "it does not answer")
    assert store.twins_of(shelf_of(store, B)) == []
    drop_outlived(store)
    store.delete(CHUNK, LATER)
    assert len(slots(disks[A])) == 1 and not slots(disks[B])


def refused_as_a_copy_takes_its_place(call: str) -> tuple[Disks, ChunkStore]:
    """Return a server whose chunk counts on B; A did not do its part when a copy came to B."""
    disks = blank(A, B)
    store = open_disks(disks)
    append(store.create_replica(PUT, disk_id=A), DATA)
    store.finish_seal(CHUNK, SEALED, len(DATA), DIGEST)
    store.note_damage(CHUNK)
    with refusing(disks[A], call), pytest.raises(DiskFailed):
        copy_to(store, B)
    assert store.get(CHUNK).disk_id == B and store.get(CHUNK).condition == "sealed"
    return disks, store


@contextmanager
def refusing(disk: MemoryDisk, call: str) -> Iterator[None]:
    """Have a disk refuse one kind of change meanwhile."""
    works = getattr(disk, call)

    def read_only(*_: object) -> None:
        raise DiskFailed("Read-only file system")

    setattr(disk, call, read_only)
    try:
        yield
    finally:
        setattr(disk, call, works)


def test_what_was_to_give_way_serves_as_damaged_until_it_was_read_whole() -> None:
    disks, store = refused_as_a_copy_takes_its_place("unlink")
    shelf = shelf_of(store, A)
    store.take_out(shelf_of(store, B), "it broke")
    assert store.get(CHUNK).condition == "damaged" and store.unidentified == ()
    assert [one.state for one in store.list_open()] == ["damaged"]
    assert not any(shelf.tally.packed())
    assert readable(store.get(CHUNK), disks[A], len(DATA)) == DATA
    assert store.confirm(CHUNK, BIRTH, (LATER, len(DATA), DIGEST), disk_id=A)
    assert store.get(CHUNK).condition == "sealed" and store.list_open() == ()
    assert any(shelf.tally.packed())


def test_a_second_replica_whose_file_is_gone_does_not_serve_and_its_name_goes_for_good() -> None:
    disks, store = refused_as_a_copy_takes_its_place("sync_names")
    store.take_out(shelf_of(store, B), "it broke")
    assert store.chunk_count == 0 and store.list_sealed() == ()
    assert store.twins_on(shelf_of(store, A)) == 1, "its name may be back"
    store.drop_outlived(shelf_of(store, A))
    assert store.unidentified == ()
    disks[A].power_cycle()
    assert open_disks({A: disks[A]}, BOOT_ID + 1).chunk_count == 0


@pytest.mark.parametrize("lost", [False, True])
def test_a_freed_replica_that_its_disk_did_not_remove_goes_once_the_disk_works_again(
    lost: bool,
) -> None:
    disks = blank(A)
    store = open_disks(disks)
    append(store.create_replica(PUT, disk_id=A), DATA)
    store.finish_seal(CHUNK, SEALED, len(DATA), DIGEST)
    if lost:  # Who frees it writes both copies of its header.
        disks[A].flip(*slots(disks[A]), 40)
        store = open_disks(disks, BOOT_ID + 1)
    shelf = shelf_of(store, A)
    with refusing(disks[A], "unlink"), pytest.raises(DiskFailed):
        store.delete(CHUNK, LATER)
    shelf.ailing = "it does not answer"
    assert store.delete(CHUNK, LATER) == 0
    store.drop_outlived(shelf)
    assert len(slots(disks[A])) == 1 == store.twins_on(shelf)
    shelf.ailing = ""
    store.drop_outlived(shelf)
    assert not slots(disks[A]) and store.unidentified == () and store.twins_on(shelf) == 0


@pytest.mark.parametrize("copy", [0, 1])
def test_a_second_replica_with_a_bad_copy_is_not_free_whatever_the_other_one_says(
    copy: int,
) -> None:
    """What stood there may have been newer (D1)."""
    disks = blank(A, B)
    older = open_disks({A: disks[A]})
    append(older.create_replica(PUT, disk_id=A), DATA)
    older.finish_seal(CHUNK, SEALED, len(DATA), DIGEST)
    with refusing(disks[A], "unlink"), pytest.raises(DiskFailed):
        older.delete(CHUNK, ORDER)
    disks[A].flip(*slots(disks[A]), copy * COPY_BYTES + 40)
    copy_to(open_disks({B: disks[B]}), B, LATER)
    store = open_disks(disks, BOOT_ID + 1)
    assert store.get(CHUNK).disk_id == B and store.twins_on(shelf_of(store, A)) == 1
    store.drop_outlived(shelf_of(store, A))
    assert len(slots(disks[A])) == 1 == store.twins_on(shelf_of(store, A))
