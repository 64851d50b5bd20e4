"""A server with several disks: one replica of a chunk at most, and what a lost disk takes along."""

from __future__ import annotations

import pytest
from chunk_house import BIRTH, CHUNK
from disks_house import (
    A,
    B,
    DATA,
    DIGEST,
    LATER,
    ORDER,
    PUT,
    SEALED,
    TAIL,
    blank,
    copy_to,
    open_disks,
    shelf_of,
    slots,
)
from replica_house import append

from gfs_ha.errors import DiskFailed, Fenced, UnknownReplica

BROKEN = DiskFailed("I/O error")


def test_a_tail_that_went_with_its_disk_is_not_made_anew_by_an_order_that_comes_again() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    store.create_tail(TAIL, SEALED, A)
    store.take_out(shelf_of(store, A), "it broke")
    with pytest.raises(Fenced):
        store.create_tail(TAIL, SEALED)
    with pytest.raises(Fenced):
        store.create_replica(PUT, disk_id=B)
    with pytest.raises(UnknownReplica):
        store.fence(CHUNK, BIRTH, ORDER)
    copy_to(store, B, LATER)
    assert store.get(CHUNK).disk_id == B


def test_a_chunk_whose_tombstone_is_on_a_broken_disk_can_be_deleted() -> None:
    disks = blank(A, B)
    store = open_disks(disks)
    with pytest.raises(UnknownReplica):
        store.fence(CHUNK, BIRTH, SEALED)
    assert len(slots(disks[A])) == 1
    disks[A].failing = BROKEN
    store.take_out(shelf_of(store, A), "it broke")
    with pytest.raises(Fenced):
        store.create_replica(PUT)
    copy_to(store, B)
    store.delete(CHUNK, LATER)
    with pytest.raises(UnknownReplica):
        store.get(CHUNK)
    assert slots(disks[B]) == []
