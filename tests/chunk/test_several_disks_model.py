"""Any run of orders, pushes, lost disks and power cuts against one chunk on several disks."""

from __future__ import annotations

import random

from chunk_house import BIRTH, BOOT_ID, CHUNK
from disks_house import PUT, A, B, C, begin_copy, blank, open_disks, shelf_of, slots
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from replica_house import digest_of, noise, readable

from gfs_ha.chunk.slots.format import State
from gfs_ha.chunk.slots.replica import Replica
from gfs_ha.chunk.slots.slot import read_header
from gfs_ha.errors import GfsError, StaleOrder, UnknownReplica
from gfs_ha.ids import DiskId, LogIndex
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.protocol.tally import BUCKETS

WHOLE = noise(300_000, seed=5)
DISKS = st.sampled_from([A, B, C])


class OneChunk(RuleBasedStateMachine):
    """Knows what was acknowledged, refused and deleted, and what every disk may still say."""

    def __init__(self) -> None:
        super().__init__()
        self.disks = blank(A, B, C)
        self.store = open_disks(self.disks)
        self.index = LogIndex(10)
        self.acked = 0
        self.made_in_this_run = self.ever_made = self.refused = False
        self.sealed = self.dead = False
        self.newest: DiskId | None = None  # Where it was sealed or copied last.
        self.emptied: set[DiskId] = set()  # Where nothing may be after the deletion.
        self.boots = 0

    # Helpers ------------------------------------------------------------------------------------

    def order(self) -> LogIndex:
        self.index = LogIndex(self.index + 1)
        return self.index

    @property
    def serving(self) -> list[DiskId]:
        return [one.disk_id for one in self.store.shelves if not one.failed]

    def replica(self) -> Replica | None:
        try:
            return self.store.get(CHUNK)
        except UnknownReplica:
            return None

    # What comes from outside --------------------------------------------------------------------

    # A push or an order that comes again reaches the process to which it was sent, or none.
    # After the end of the chunk it makes garbage at most.
    @precondition(lambda self: not self.dead and (self.made_in_this_run or not self.ever_made))
    @rule(disk_id=DISKS, named=st.booleans())
    def create(self, disk_id: DiskId, named: bool) -> None:
        before = self.replica()
        try:
            made = self.store.create_replica(PUT, disk_id=disk_id if named else DiskId(0))
        except GfsError:
            return
        assert before is None and not self.refused and not self.ever_made
        assert made.disk_id == disk_id or not named
        self.made_in_this_run = self.ever_made = True

    @rule(length=st.integers(1, 40_000), out=st.none() | DISKS)
    def push(self, length: int, out: DiskId | None) -> None:
        """Append, while a disk is taken out."""
        replica = self.replica()
        if replica is None:
            return
        end = replica.header.end
        data = WHOLE[end : end + length]
        try:
            with replica.begin_push(end, len(data)) as opened:
                opened.append(memoryview(data), part_crcs(end, memoryview(data)))
                if out is not None:
                    self.take_out(out)
                opened.commit()
            replica.look_before_ack()
        except GfsError:
            return
        assert not self.refused and not self.sealed
        assert replica.disk_id in self.serving
        self.acked = end + len(data)

    @rule()
    def fence(self) -> None:
        try:
            answer = self.store.fence(CHUNK, BIRTH, self.order())
        except UnknownReplica:
            self.refused = True
            return
        except GfsError:
            return
        self.refused = True
        assert not answer.proof or answer.end >= self.acked

    @precondition(lambda self: self.ever_made and not self.dead)
    @rule()
    def seal(self) -> None:
        """Seal it at what was acknowledged, wherever else it is whole."""
        self.sealed = self.refused = True
        data = WHOLE[: self.acked]
        try:
            self.store.finish_seal(CHUNK, self.order(), self.acked, digest_of(data))
        except GfsError:
            return
        self.newest = self.store.get(CHUNK).disk_id

    @precondition(lambda self: self.sealed and not self.dead)
    @rule(disk_id=DISKS, out=st.none() | DISKS, wanted=st.booleans())
    def copy(self, disk_id: DiskId, out: DiskId | None, wanted: bool) -> None:
        order, data = self.order(), WHOLE[: self.acked]
        end = (order, len(data), digest_of(data))
        try:
            if self.store.confirm(CHUNK, BIRTH, end, disk_id=disk_id):
                assert self.store.get(CHUNK).disk_id == disk_id
                self.newest = disk_id
                return
            copy = begin_copy(self.store, disk_id, order, data=data)
        except GfsError:
            return
        try:
            if out is not None:
                self.take_out(out)
            self.store.install_copy(copy, end[2], lambda: wanted)
            assert wanted and self.store.get(CHUNK).disk_id == disk_id
        except GfsError:
            pass
        finally:
            self.store.drop_copy(copy)
            if copy.installed:
                self.newest = disk_id

    @precondition(lambda self: self.sealed)
    @rule(late=st.booleans())
    def delete(self, late: bool) -> None:
        order = LogIndex(self.index - 1) if late else self.order()
        self.dead = self.dead or not late
        try:
            self.store.delete(CHUNK, order)
        except StaleOrder:
            assert late
            return
        except GfsError:
            return
        self.dead = True  # Nothing newer was obeyed here.
        # A second replica of before is nobody's, until a start finds it alone (G2).
        self.emptied |= {one.disk_id for one in self.store.shelves if not one.unidentified} & set(
            self.serving
        )

    @rule()
    def forget(self) -> None:
        if self.dead:
            self.store.forget_tombstone(CHUNK, self.order())

    # Disks --------------------------------------------------------------------------------------

    @rule(disk_id=DISKS)
    def take_out(self, disk_id: DiskId) -> None:
        if disk_id in self.serving and len(self.serving) > 1:
            self.store.take_out(shelf_of(self.store, disk_id), "it broke")

    @rule(away=st.sets(DISKS, max_size=2), luck=st.integers(0, 9), power=st.booleans())
    def restart(self, away: set[DiskId], luck: int, power: bool) -> None:
        coins = random.Random(luck)
        for disk in self.disks.values():
            if power:
                disk.power_cycle(lambda write, sector: coins.random() < luck / 9)
        self.boots += 1
        here = {key: disk for key, disk in self.disks.items() if key not in away}
        self.store = open_disks(here, BOOT_ID + self.boots)
        self.made_in_this_run = False
        replica = self.replica()
        if self.newest in here and not self.dead:
            assert replica is not None and replica.header.state is State.SEALED
        if replica is not None:
            assert replica.gate.closed
        elif away and not any(CHUNK in shelf.tombstones for shelf in self.store.shelves):
            # It went with its disk, as all that a server with one disk knows. No order and no push
            # reaches this process that was sent to the one before, and masters seal by what others
            # refuse, too: a late client's chunk cannot be finished any more.
            self.refused = False

    # What always holds --------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        replica = self.replica()
        assert self.store.chunk_count == (replica is not None)
        for shelf in self.store.shelves:
            here = replica is not None and replica.disk_id == shelf.disk_id
            assert self.store.count_on(shelf) == here
            if shelf.failed:
                assert not here
                continue
            sealed = here and replica is not None and replica.condition == "sealed"
            assert (shelf.tally.packed() != bytes(8 * BUCKETS)) == sealed

    @invariant()
    def what_is_served_is_what_was_written(self) -> None:
        replica = self.replica()
        if replica is not None and replica.header.state is State.SEALED:
            length = replica.header.end
            assert length == self.acked
            disk = self.disks[replica.disk_id]
            assert readable(replica, disk, length) == WHOLE[:length]

    @invariant()
    def nothing_lies_about_that_nobody_knows(self) -> None:
        for shelf in self.store.shelves:
            if shelf.failed:
                continue
            disk = self.disks[shelf.disk_id]
            replica = self.replica()
            known = set(shelf.unidentified)
            known |= {name for name, _ in shelf.tombstones._held.values()}
            if replica is not None and replica.disk_id == shelf.disk_id:
                known.add(replica.name)
            assert set(slots(disk)) <= known

    @invariant()
    def what_was_deleted_stays_so(self) -> None:
        for disk_id in self.emptied & set(self.serving):
            for name in slots(self.disks[disk_id]):
                reading = read_header(self.disks[disk_id], name)
                assert reading is None or reading.header.state in (State.TOMBSTONE, State.FREE)


TestOneChunk = OneChunk.TestCase
TestOneChunk.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
