"""A server with several disks: one replica of a chunk at most, and what a lost disk takes along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from append_house import appending, order_tail
from chunk_house import BIRTH, BOOT_ID, CHUNK, House, client_room, fetch, house_of
from disks_house import (
    DATA,
    DIGEST,
    LATER,
    ORDER,
    PUT,
    SEALED,
    TAIL,
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
from test_copy_power_cuts import survival

from gfs_ha.chunk import primary
from gfs_ha.chunk.dataport import ServerRun
from gfs_ha.chunk.disk_memory import MemoryDisk, MemoryFile, PowerCut
from gfs_ha.chunk.scrub import Scrubber
from gfs_ha.chunk.scrub_check import check_replica
from gfs_ha.chunk.scrub_plan import Round
from gfs_ha.chunk.scrub_state import ScrubBook
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.chunk.slots.spec import ReplicaSpec
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.fetch import Fetch, FetchTarget
from gfs_ha.errors import (
    AlreadyExists,
    Cancelled,
    CorruptData,
    DiskFailed,
    Fenced,
    GfsError,
    ReplicaBusy,
    UnknownReplica,
)
from gfs_ha.ids import ANY_DISK, DiskId, LogIndex, StartId, make_chunk_id

BROKEN = DiskFailed("I/O error")
LUCK = range(4)


def sealed_on(store: ChunkStore, disk_id: DiskId) -> None:
    append(store.create_replica(PUT, disk_id=disk_id), DATA)
    store.finish_seal(CHUNK, SEALED, len(DATA), DIGEST)


def take_out(store: ChunkStore, disk_id: DiskId) -> int:
    return store.take_out(shelf_of(store, disk_id), "it broke")


def fail_after(disk: MemoryDisk, count: int) -> None:
    """Have all operations fail that change something, once `count` have gone well."""
    change, left = disk._change, [count]

    def failing() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise BROKEN
        change()

    disk._change = failing  # type: ignore[method-assign]


def where(store: ChunkStore) -> DiskId:
    return store.get(CHUNK).disk_id


# Where a replica is made -----------------------------------------------------------------------


def test_a_replica_is_made_on_the_disk_that_was_asked_for_and_on_no_other() -> None:
    disks = blank(A, B, C)
    store = open_disks(disks)
    assert store.create_replica(PUT, disk_id=B).disk_id == B
    assert [len(slots(disk)) for disk in disks.values()] == [0, 1, 0]
    assert [store.count_on(shelf) for shelf in store.shelves] == [0, 1, 0]
    with pytest.raises(AlreadyExists):
        store.create_replica(PUT, disk_id=C)
    with pytest.raises(AlreadyExists):
        store.create_replica(PUT)


def test_who_names_no_disk_gets_the_emptiest_one() -> None:
    disks = blank(A, B)
    disks[A]._capacity //= 2
    assert open_disks(disks).create_replica(PUT, disk_id=ANY_DISK).disk_id == B


@pytest.mark.parametrize("disk_id", [1, 2**64 - 1, int(A) + 2**32])
def test_a_disk_that_nobody_knows_is_refused_and_nothing_is_left_behind(disk_id: int) -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    for _ in range(2):
        with pytest.raises(DiskFailed, match="not in service"):
            store.create_replica(PUT, disk_id=DiskId(disk_id))
        with pytest.raises(DiskFailed, match="not in service"):
            begin_copy(store, DiskId(disk_id))
    assert not slots(disks[A]) and not slots(disks[B])
    assert store.create_replica(PUT, disk_id=A).disk_id == A
    assert disks[A].error_count == 0, "the wardens have nothing to look into"


def test_of_many_who_make_one_chunk_on_different_disks_one_does() -> None:
    disks = blank(A, B, C)
    store = open_disks(disks)
    ready, made = threading.Barrier(6), []

    def make(disk_id: DiskId) -> None:
        ready.wait(30.0)
        for number in range(20):
            spec = ReplicaSpec(make_chunk_id(1, 100 + number), *PUT_ABOUT)
            try:
                made.append(store.create_replica(spec, disk_id=disk_id).header.chunk_id)
            except AlreadyExists:
                continue

    threads = [threading.Thread(target=make, args=(disk_id,)) for disk_id in [A, B, C] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert len(made) == len(set(made)) == store.chunk_count == 20
    assert sum(len(slots(disk)) for disk in disks.values()) == 20
    again = open_disks(disks, BOOT_ID + 1)
    assert again.chunk_count == 20 and again.unidentified == ()


PUT_ABOUT = (PUT.birth, PUT.kind, PUT.capacity, PUT.durability)


# A move between two disks ----------------------------------------------------------------------


def test_a_move_leaves_one_replica_which_counts_on_its_new_disk_only() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    sealed_on(store, A)
    blank_tally = shelf_of(store, B).tally.packed()
    counted = shelf_of(store, A).tally.packed()
    copy_to(store, B)
    assert where(store) == B and not slots(disks[A]) and len(slots(disks[B])) == 1
    assert shelf_of(store, B).tally.packed() == counted
    assert shelf_of(store, A).tally.packed() == blank_tally
    assert not store.confirm(CHUNK, BIRTH, (ORDER, len(DATA), DIGEST), disk_id=A)
    assert store.confirm(CHUNK, BIRTH, (ORDER, len(DATA), DIGEST), disk_id=B)
    assert readable(store.get(CHUNK), disks[B], len(DATA)) == DATA


def test_a_copy_that_is_not_wanted_any_more_leaves_the_old_one_alone() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    sealed_on(store, A)
    copy = begin_copy(store, B)
    with pytest.raises(Cancelled):
        store.install_copy(copy, DIGEST, lambda: False)
    store.drop_copy(copy)
    assert where(store) == A and not slots(disks[B])
    assert store.get(CHUNK).condition == "sealed"


@pytest.mark.parametrize("target", [A, B])
def test_a_copy_that_was_not_wanted_is_not_back_once_the_chunk_is_deleted(target: DiskId) -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    sealed_on(store, A)
    copy = begin_copy(store, target)
    with pytest.raises(Cancelled):
        store.install_copy(copy, DIGEST, lambda: False)
    store.delete(CHUNK, LATER)
    for disk in disks.values():
        disk.power_cycle()
    with pytest.raises(UnknownReplica):
        open_disks(disks).get(CHUNK)


def cut_moves(cut_disk: DiskId) -> Iterator[tuple[Disks, bool, str]]:
    """Yield what is left after a cut of the power at each operation of one of the two disks.

    Both lose it at that moment: they are in one machine.
    """
    cut, complete = 0, False
    while not complete:
        for luck in LUCK:
            disks = blank(A, B)
            store = open_disks(disks)
            sealed_on(store, A)
            disks[cut_disk].cut_after = cut
            done = False
            try:
                copy_to(store, B)
                complete = done = True
            except PowerCut:
                pass
            for disk in disks.values():
                disk.power_cycle(survival(luck, cut))
            yield disks, done, f"{cut_disk} cut after {cut}, luck {luck}"
        cut += 1
    assert cut >= (2 if cut_disk == A else 8), "the move was too short to mean anything"


@pytest.mark.parametrize("cut_disk", [A, B])
def test_a_power_cut_amid_a_move_leaves_one_whole_replica(cut_disk: DiskId) -> None:
    both = 0
    for disks, done, at in cut_moves(cut_disk):
        both += bool(slots(disks[A])) and bool(slots(disks[B])) and not done
        for _ in range(2):  # What a start does is done: the next one finds the same.
            store = open_disks(disks, BOOT_ID + 1)
            replica = store.get(CHUNK)
            assert replica.condition in ("sealed", "damaged"), at
            assert replica.header.state is State.SEALED, at
            assert readable(replica, disks[replica.disk_id], len(DATA)) == DATA, at
            assert not done or replica.disk_id == B, at
            for disk_id in {A, B} - {replica.disk_id}:
                kept = shelf_of(store, disk_id).unidentified
                assert slots(disks[disk_id]) == kept, at
        copy_to(store, B)
        assert where(store) == B and not slots(disks[A]), at
        assert readable(store.get(CHUNK), disks[B], len(DATA)) == DATA, at
    assert both, "no crash left both"


def amid_the_unlink() -> Disks:
    """Return disks after a cut between the stamp of the copy and the end of the old one."""
    for disks, done, _ in cut_moves(A):
        if not done and len(slots(disks[A])) == len(slots(disks[B])) == 1:
            return disks
    raise AssertionError("no crash left both")


def test_one_that_gave_way_at_a_start_is_not_back_once_its_copy_is_deleted() -> None:
    disks = amid_the_unlink()
    store = open_disks(disks)
    assert where(store) == B and not slots(disks[A])
    store.delete(CHUNK, LATER)
    for disk in disks.values():
        disk.power_cycle()
    with pytest.raises(UnknownReplica):
        open_disks(disks).get(CHUNK)


def test_a_copy_that_rots_before_the_old_one_is_gone_destroys_neither() -> None:
    disks = amid_the_unlink()
    disks[B].flip(slots(disks[B])[0], DATA_OFFSET + 7)
    store = open_disks(disks)
    assert len(slots(disks[A])) == len(slots(disks[B])) == 1
    assert where(store) == B and store.unidentified == tuple(slots(disks[A]))


@pytest.mark.parametrize("broken", [A, B])
def test_a_disk_that_fails_amid_a_move_costs_nothing_that_is_on_the_other(broken: DiskId) -> None:
    after = 0
    while True:
        disks = blank(A, B)
        store = open_disks(disks)
        sealed_on(store, A)
        change = disks[broken]._change
        fail_after(disks[broken], after)
        try:
            copy_to(store, B)
            break
        except GfsError:
            pass
        take_out(store, broken)
        disks[broken]._change = change  # type: ignore[method-assign]
        other = A if broken == B else B
        if broken == B or slots(disks[B]):
            store = open_disks({other: disks[other]}, BOOT_ID + 1)
            assert readable(store.get(CHUNK), disks[other], len(DATA)) == DATA
        store = open_disks(disks, BOOT_ID + 1)  # It is back.
        assert readable(store.get(CHUNK), disks[where(store)], len(DATA)) == DATA
        after += 1
    assert after >= (2 if broken == A else 8)


# A disk that is taken out ----------------------------------------------------------------------


def test_nothing_of_a_disk_that_is_out_is_here_any_more_and_the_rest_is() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    sealed_on(store, A)
    other = ReplicaSpec(make_chunk_id(1, 8), *PUT_ABOUT)
    store.create_replica(other, disk_id=B)
    assert take_out(store, A) == 1
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    assert store.chunk_count == 1 and store.count_on(shelf_of(store, A)) == 0
    assert store.list_sealed() == ()
    assert [one.chunk_id for one in store.list_open()] == [other.chunk_id]
    for disk_id in (A, ANY_DISK):
        spec = ReplicaSpec(make_chunk_id(1, 9 + disk_id), *PUT_ABOUT)
        if disk_id == A:
            with pytest.raises(DiskFailed, match="out of service"):
                store.create_replica(spec, disk_id=disk_id)
        else:
            assert store.create_replica(spec, disk_id=disk_id).disk_id == B


def test_an_append_under_way_is_not_acknowledged_once_its_disk_is_out() -> None:
    store = open_disks(blank(A, B))
    replica = store.create_replica(PUT, disk_id=A)
    append(replica, b"before")
    with replica.begin_push(6, 5) as push:
        take_out(store, A)
        with pytest.raises(Fenced, match="out of service"):
            replica.check_accepting()
        with pytest.raises(Fenced, match="out of service"):
            push.commit()
    with pytest.raises(Fenced):
        replica.look_before_ack()


def test_without_any_disk_nothing_is_made_or_refused() -> None:
    store = open_disks(blank(A, B))
    take_out(store, A)
    take_out(store, B)
    with pytest.raises(DiskFailed):
        store.create_replica(PUT)
    with pytest.raises(DiskFailed):
        store.fence(CHUNK, BIRTH, SEALED)


def test_what_went_with_its_disk_is_not_made_anew_by_an_order_that_comes_again() -> None:
    store = open_disks(blank(A, B))
    store.create_tail(TAIL, SEALED, A)
    take_out(store, A)
    with pytest.raises(Fenced):
        store.create_tail(TAIL, SEALED)
    with pytest.raises(Fenced):
        store.create_replica(PUT, disk_id=B)
    with pytest.raises(UnknownReplica):
        store.fence(CHUNK, BIRTH, ORDER)
    copy_to(store, B, LATER)
    assert where(store) == B


def test_what_was_refused_is_refused_although_the_disk_of_the_tombstone_is_out() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    with pytest.raises(UnknownReplica):
        store.fence(CHUNK, BIRTH, SEALED)
    assert len(slots(disks[A])) == 1
    disks[A].failing = BROKEN
    take_out(store, A)
    with pytest.raises(Fenced, match="fenced before"):
        store.create_replica(PUT)
    with pytest.raises(UnknownReplica):
        store.fence(CHUNK, BIRTH, ORDER)
    assert not slots(disks[B]), "one refusal is enough"
    assert store.list_open() == ()
    # And it hinders no order.
    copy_to(store, B)
    store.delete(CHUNK, LATER)
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)


def test_a_copy_under_way_to_a_disk_that_is_out_does_not_count() -> None:
    store = open_disks(blank(A, B))
    sealed_on(store, A)
    copy = begin_copy(store, B)
    take_out(store, B)
    with pytest.raises(DiskFailed, match="out of service"):
        store.install_copy(copy, DIGEST, lambda: True)
    store.drop_copy(copy)
    assert where(store) == A and store.get(CHUNK).condition == "sealed"


def test_a_copy_under_way_from_a_disk_that_is_out_counts() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    sealed_on(store, A)
    copy = begin_copy(store, B)
    take_out(store, A)
    with pytest.raises(ReplicaBusy):
        store.fence(CHUNK, BIRTH, LATER)
    store.install_copy(copy, DIGEST, lambda: True)
    store.drop_copy(copy)
    assert where(store) == B
    # The old one comes back behind it, and nobody sees it.
    store = open_disks(disks, BOOT_ID + 1)
    assert where(store) == B and store.unidentified == tuple(slots(disks[A]))


# A disk that was away --------------------------------------------------------------------------


@pytest.mark.parametrize("first", [A, B])
def test_of_two_replicas_at_a_start_the_newer_order_counts_and_the_other_is_kept(
    first: DiskId,
) -> None:
    disks = blank(A, B)
    sealed_on(open_disks({A: disks[A]}), A)
    copy_to(open_disks({B: disks[B]}), B)
    order = {first: disks[first], **disks}
    store = open_disks(order)
    assert where(store) == B and store.chunk_count == 1
    assert store.unidentified == tuple(slots(disks[A]))
    assert store.count_on(shelf_of(store, A)) == 0
    assert readable(store.get(CHUNK), disks[B], len(DATA)) == DATA


def test_what_came_back_beside_its_copy_goes_once_the_copy_was_read_whole() -> None:
    disks = blank(A, B)
    sealed_on(open_disks({A: disks[A]}), A)
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks)
    assert where(store) == B and len(slots(disks[A])) == 1
    scrubber = Scrubber(store, lambda chunk_id, block: None, RUNTIME, shelf=shelf_of(store, B))
    checked = check_replica(store, CHUNK, lambda file, at, into: file.read(at, into))
    scrubber._judge(CHUNK, checked)
    store.drop_outlived(shelf_of(store, A))
    assert not slots(disks[A]) and store.unidentified == ()
    assert where(open_disks(disks, BOOT_ID + 1)) == B


def test_what_came_back_goes_soon_after_the_start_and_not_with_the_next_round() -> None:
    disks = blank(A, B)
    sealed_on(open_disks({A: disks[A]}), A)
    copy_to(open_disks({B: disks[B]}), B)
    now_ms = RUNTIME.wall_ns() // 1_000_000
    ScrubBook(disks[B]).keep(Round(number=1, began_ms=now_ms, ended_ms=now_ms))
    store = open_disks(disks)
    assert (store.twins_of(shelf_of(store, B)), store.twins_on(shelf_of(store, A))) == ([CHUNK], 1)
    assert store.twins_of(shelf_of(store, A)) == [] and store.twins_on(shelf_of(store, B)) == 0
    with scrubbing(store) as scrubbers:
        deadline_s = RUNTIME.monotonic_s() + 60.0
        while slots(disks[A]) and RUNTIME.monotonic_s() < deadline_s:
            RUNTIME.sleep(0.01)
        assert not slots(disks[A]) and store.unidentified == ()
    assert scrubbers[B].facts().number == 1, "no round was needed"
    assert store.twins_of(shelf_of(store, B)) == [] and store.twins_on(shelf_of(store, A)) == 0


def test_second_replicas_are_counted_among_what_no_chunk_claims() -> None:
    disks = blank(A, B)
    sealed_on(open_disks({A: disks[A]}), A)
    copy_to(open_disks({B: disks[B]}), B)
    disks[A].create("00000077.slot").write(0, b"no header")
    store = open_disks(disks)
    told = {}
    for disk_id in (A, B):
        scrubber = Scrubber(store, lambda *_: None, RUNTIME, shelf=shelf_of(store, disk_id))
        facts = scrubber.facts()
        told[disk_id] = facts.unidentified, facts.second
    assert told == {A: (2, 1), B: (0, 0)}


def test_what_came_back_goes_too_when_the_copy_was_made_beside_it_on_its_own_disk() -> None:
    disks = blank(A, B)
    append(open_disks({A: disks[A]}).create_replica(PUT, disk_id=A), DATA)
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks)
    take_out(store, B)
    copy_to(store, A, LATER)
    store = open_disks({A: disks[A]}, BOOT_ID + 1)
    assert len(store.unidentified) == 1 and len(slots(disks[A])) == 2
    drop_outlived(store)
    assert store.unidentified == () and slots(disks[A]) == [store.get(CHUNK).name]


def test_two_who_read_a_chunk_that_moved_remove_what_came_back_once() -> None:
    """Each disk has its scrub, and one may come to a chunk that went to the disk of another."""
    disks = blank(A, B)
    sealed_on(open_disks({A: disks[A]}), A)
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks)
    unlink, others = disks[A].unlink, [lambda: drop_outlived(store)]

    def unlink_beside_another(name: str) -> None:
        if others:
            others.pop()()
        unlink(name)

    disks[A].unlink = unlink_beside_another  # type: ignore[method-assign]
    drop_outlived(store)
    assert not slots(disks[A]) and store.unidentified == ()


@pytest.mark.parametrize("harm", ["damaged", "quarantined"])
def test_one_that_may_be_missed_stays(harm: str) -> None:
    disks = blank(A, B)
    old = open_disks({A: disks[A]})
    sealed_on(old, A)
    if harm == "quarantined":
        old.quarantine(CHUNK)
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks)
    if harm == "damaged":
        disks[B].flip(store.get(CHUNK).name, DATA_OFFSET + 5)
    checked = check_replica(store, CHUNK, lambda file, at, into: file.read(at, into))
    scrubber = Scrubber(store, lambda chunk_id, block: None, RUNTIME, shelf=shelf_of(store, B))
    scrubber._judge(CHUNK, checked)
    store.drop_outlived(shelf_of(store, A))
    assert len(slots(disks[A])) == 1


def test_a_disk_that_comes_back_with_what_is_gone_elsewhere_has_it_again_for_the_masters() -> None:
    disks = blank(A, B)
    sealed_on(open_disks(disks), A)
    away = open_disks({B: disks[B]}, BOOT_ID + 1)
    assert away.delete(CHUNK, LATER) == 0, "it is not here"
    store = open_disks(disks, BOOT_ID + 2)
    assert store.list_sealed() == ((CHUNK, len(DATA)),), "they say what becomes of it (G2)"
    store.delete(CHUNK, LogIndex(LATER + 1))
    assert not slots(disks[A])


def test_an_open_replica_that_comes_back_takes_no_appends_and_answers_its_fence() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    append(store.create_replica(PUT, disk_id=A), DATA)
    away = open_disks({B: disks[B]}, BOOT_ID + 1)
    with pytest.raises(UnknownReplica):
        away.fence(CHUNK, BIRTH, SEALED)
    store = open_disks(disks, BOOT_ID + 2)
    with pytest.raises(Fenced):
        store.get(CHUNK).begin_push(len(DATA), 1)
    answer = store.fence(CHUNK, BIRTH, ORDER)
    assert answer.proof and answer.end == len(DATA)
    store.forget_tombstone(CHUNK, ORDER)
    assert where(store) == A


def test_what_came_back_does_not_hide_a_copy_that_was_moved_beside_it_since() -> None:
    """Written often, its header counts more changes than that of the copy, which is newer."""
    disks = blank(A, B)
    replica = open_disks({A: disks[A]}).create_replica(PUT, disk_id=A)
    for at in range(0, 90, 10):
        append(replica, DATA[at : at + 10])
    copy_to(open_disks({B: disks[B]}), B)
    store = open_disks(disks, BOOT_ID + 1)
    copy_to(store, A, LATER)
    assert where(store) == A and not slots(disks[B])
    store = open_disks(disks, BOOT_ID + 2)
    assert readable(store.get(CHUNK), disks[A], len(DATA)) == DATA
    assert store.list_sealed() == ((CHUNK, len(DATA)),)


def test_one_that_is_quarantined_does_not_hide_a_good_one_on_a_disk_that_comes_back() -> None:
    disks = blank(A, B)
    sealed_on(open_disks({A: disks[A]}), A)
    store = open_disks({B: disks[B]})
    copy_to(store, B)
    store.quarantine(CHUNK)
    store = open_disks(disks, BOOT_ID + 1)
    assert where(store) == A
    assert store.unidentified == tuple(slots(disks[B])), "kept for a person to see"


# What a server leads ---------------------------------------------------------------------------


@pytest.fixture
def house() -> Iterator[House]:
    """A server with two disks."""
    store = open_disks(blank(A, B))
    made = house_of(store, RUNTIME, None, 8, ServerRun(StartId(100), lambda: BIRTH))
    try:
        yield made
    finally:
        made.stop()


def test_a_tail_that_went_with_its_disk_takes_no_record_and_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_tail([house])
    with appending(house) as stream:
        stream.append(1, b"first")
        stream.wait_for(1)
        take_out(house.store, where(house.store))
        stream.append(2, b"second")
        with pytest.raises(Fenced):
            stream.wait_for(2)
    for _ in range(2):
        (told,) = house.port.primary.led()
        assert told.full, "the masters are to end it"
    with pytest.raises(Fenced):
        order_tail([house])
    monkeypatch.setattr(primary, "LOST_TOLD_MS", 0)
    assert house.port.primary.led() == (), "they know by now, and nothing of it is left"
    assert house.port.primary.led() == ()


def test_a_slot_that_somebody_removed_is_missed_until_it_is_known_as_damaged() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    sealed_on(store, A)
    assert [store.vanished(shelf) for shelf in store.shelves] == [set(), set()]
    disks[A].unlink(store.get(CHUNK).name)
    assert [store.vanished(shelf) for shelf in store.shelves] == [{CHUNK}, set()]
    store.note_damage(CHUNK)
    assert store.vanished(shelf_of(store, A)) == set()
    store.delete(CHUNK, LATER)
    assert store.chunk_count == 0


# What is found at a start ------------------------------------------------------------------------


class Sticky(MemoryDisk):
    """A disk that removes nothing while it sticks."""

    sticks = False

    def unlink(self, name: str) -> None:
        if self.sticks:
            self.error_count += 1
            raise DiskFailed(f"cannot remove {name}: Structure needs cleaning")
        super().unlink(name)


def test_a_disk_that_keeps_what_gave_way_ends_no_start() -> None:
    first = Sticky(RUNTIME)
    disks: Disks = {A: first, B: MemoryDisk(RUNTIME)}
    store = open_disks(disks)
    sealed_on(store, A)
    first.sticks = True
    with pytest.raises(DiskFailed):
        copy_to(store, B)
    store = open_disks(disks)
    assert where(store) == B and store.twins_on(shelf_of(store, A)) == 1
    first.sticks = False
    store = open_disks(disks)
    assert where(store) == B and not slots(first)


# Reads amid a move -----------------------------------------------------------------------------


class TalkativeDisk(MemoryDisk):
    """Tells whoever wants to hear it, once, that a slot is about to be opened."""

    def __init__(self) -> None:
        super().__init__(RUNTIME)
        self.opening: Callable[[], object] | None = None

    def open(self, name: str) -> MemoryFile:
        opening, self.opening = self.opening, None
        if opening is not None:
            opening()
        return super().open(name)


@pytest.mark.parametrize("asked", ["data", "blocks"])
def test_a_read_finds_a_chunk_that_moves_to_another_disk_in_that_moment(asked: str) -> None:
    first = TalkativeDisk()
    store = open_disks({A: first, B: MemoryDisk(RUNTIME)})
    sealed_on(store, A)
    made = house_of(store, RUNTIME, None, 8, ServerRun(StartId(100), lambda: BIRTH))
    try:
        first.opening = lambda: copy_to(store, B)
        with client_room() as room:
            if asked == "data":
                assert fetch(room, made, 0, len(DATA))[0] == DATA
            else:
                where_to = FetchTarget(made.hop, CHUNK, BIRTH)
                assert Fetch(room, where_to, 20.0).read_blocks().digest == DIGEST
        assert where(store) == B and first.opening is None
    finally:
        made.stop()


class LateDisk(MemoryDisk):
    """Does what it is told to, once each, after a slot was opened."""

    def __init__(self) -> None:
        super().__init__(RUNTIME)
        self.after: list[Callable[[], object]] = []

    def open(self, name: str) -> MemoryFile:
        file = super().open(name)
        if self.after:
            self.after.pop(0)()
        return file


def test_damage_that_a_read_finds_is_not_laid_to_the_copy_that_came_meanwhile() -> None:
    first = LateDisk()
    store = open_disks({A: first, B: MemoryDisk(RUNTIME)})
    sealed_on(store, A)
    first.flip(store.get(CHUNK).name, DATA_OFFSET + 7)
    made = house_of(store, RUNTIME, None, 8, ServerRun(StartId(100), lambda: BIRTH))
    try:
        first.after = [lambda: None, lambda: copy_to(store, B)]  # Its CRCs are read first.
        with client_room() as room:
            with pytest.raises(CorruptData):
                fetch(room, made, 0, 100)
            assert where(store) == B and not first.after and not made.damage
            assert fetch(room, made, 0, 100)[0] == DATA[:100]
    finally:
        made.stop()


# What heartbeats list ---------------------------------------------------------------------------


class LateLock:
    """A lock before which something happens when it is taken for the second time."""

    def __init__(self, store: ChunkStore, happens: Callable[[], object]) -> None:
        self._store, self._lock, self._happens = store, store._lock, happens
        self._count = 0

    def __enter__(self) -> None:
        self._count += 1
        if self._count == 2:
            self._store._lock = self._lock
            self._happens()
        self._lock.__enter__()

    def __exit__(self, *about: object) -> None:
        self._lock.__exit__(None, None, None)


def test_damage_that_is_found_amid_a_heartbeat_is_listed_with_the_next() -> None:
    store = open_disks(blank(A))
    sealed_on(store, A)
    store._lock = LateLock(store, lambda: store.note_damage(CHUNK))  # type: ignore[assignment]
    store.list_open()
    assert [one.state for one in store.list_open()] == ["damaged"]


def test_what_a_server_tells_of_its_room_fits_what_it_has_done() -> None:
    # The leader moves copies by it: what is told with an answer must not be older than the answer.
    disks = blank(A, B)
    store = open_disks(disks)
    there = shelf_of(store, A)
    before = there.usage.free
    slot = begin_copy(store, A)
    assert there.usage.free < before, "its room is taken before anything is told of it"
    store.install_copy(slot, DIGEST, lambda: True)
    store.drop_copy(slot)
    assert there.usage == disks[A].usage() and there.usage.free < before
    copy_to(store, B, LATER)  # The one on the other disk gives way.
    assert there.usage.free == before
    assert shelf_of(store, B).usage.free == before - (DATA_OFFSET + len(DATA))
    store.delete(CHUNK, LogIndex(LATER + 1))
    assert shelf_of(store, B).usage.free == before
