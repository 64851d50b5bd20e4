"""One replica of a chunk: who may append, what a fence answers, how it is sealed, read and ended.

Locks: `_orders` is held through a whole order; `_lock` covers header, sync and the look before an
acknowledgement (C2), and is never held across the network. `_orders` is taken first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from gfs_ha.checksum import chunk_digest
from gfs_ha.chunk.slots import stamps
from gfs_ha.chunk.slots.answers import (
    Proof,
    ReadPlan,
    check_served,
    condition_of,
    fence_answer,
    plan_read,
    prove,
)
from gfs_ha.chunk.slots.appending import OpenPush, PushPlan, Reserve
from gfs_ha.chunk.slots.commits import Commits
from gfs_ha.chunk.slots.format import Header, SlotFlag, State
from gfs_ha.chunk.slots.gate import Gate, check_start
from gfs_ha.chunk.slots.inspection import Inspection
from gfs_ha.chunk.slots.slot import Slot, Verified
from gfs_ha.chunk.slots.surroundings import Surroundings
from gfs_ha.errors import DiskFailed, DiskFull, ReplicaBusy, ReplicaDamaged, StaleOrder
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.control import FenceAnswer
from gfs_ha.protocol.data import Durability


class Replica:
    """A replica on this server. Thread-safe."""

    def __init__(self, slot: Slot, around: Surroundings, made_here: bool) -> None:
        """Args: `made_here` says that this process made it, so that it knows of every append."""
        self._slot = slot
        self._around = around
        self.disk, self.disk_id = slot.disk, around.journal.disk_id
        self._lock = around.runtime.lock()
        self._orders = around.runtime.lock()
        self.made_here = made_here
        self.gate = Gate("" if made_here else "it was open before this server started")
        self._commits = Commits(self, slot, around.journal)
        self.committed = 0  # Of a tail: what every replica acknowledged, as far as known here.
        self._reserve = Reserve(slot.header.capacity)
        self._distrusted = slot.doubt  # Why what was written may not be there.
        self._inspection = Inspection(slot, around.buffers)
        if slot.copy_lost:
            slot.header = stamps.flagged(slot.header, SlotFlag.COPY_LOST)
        self._counted: int | None = None  # The length under which the tally has it.
        self._served: tuple[Header, array[int] | None]
        self._publish()

    def _publish(self) -> None:
        """Show readers and reports what counts now; they never wait for a sync."""
        self._served = (self._slot.header, self._slot.held_table)
        self._count()

    def _count(self) -> None:
        """Move it in or out of the tally of what is sealed and whole (G7)."""
        counts = self.condition == "sealed" and not self.gate.deleted
        length = self.header.end if counts else None
        if length != self._counted:
            self._around.tally.change(self.header.chunk_id, self._counted, length)
            self._counted = length

    @property
    def header(self) -> Header:
        """Return what the header said after the last change that is done."""
        return self._served[0]

    @property
    def name(self) -> str:
        """Return the name of the slot file."""
        return self._slot.name

    @property
    def condition(self) -> str:
        """Return "open", "fenced", "sealed", "damaged" or "quarantined", as reports call it."""
        return condition_of(self.header, self._distrusted)

    @property
    def durable(self) -> bool:
        """Return True when an acknowledgement means synced (C1)."""
        return self._slot.header.durability is Durability.DISK

    def begin_push(self, offset: int, length_max: int, entries: bytes = b"") -> OpenPush:
        """Return the one push that may append now; close it in any case.

        Args: `entries` are those of the records that make up all of it, packed; of a tail only.
        Raises: Fenced when it takes no appends (any more), WrongOffset, ReplicaBusy, LimitExceeded,
        ProtocolError, DiskFull, DiskFailed.
        """
        with self._lock:
            header = self._slot.header
            self.gate.check_open(header)
            if self.gate.pushing:
                raise ReplicaBusy(f"chunk {header.chunk_id:#x}: another push is not over here")
            check_start(header, offset, length_max, entries)
            self._commits.check_room(entries)
            self.gate.pushing = True
            kept = self._commits.goes_to_journal(length_max, entries)
            tail = self._slot.table[-1] if offset % BLOCK_BYTES else None
        try:
            file = self._slot.open()
            try:
                self._reserve.reach(file, offset + length_max)
                return OpenPush(self, file, PushPlan(offset, length_max, tail, entries, kept))
            except BaseException:
                file.close()
                raise
        except BaseException:
            self.end_push("")
            raise

    def check_accepting(self) -> None:
        """Raise Fenced or UnknownReplica unless appends are still taken; cheap, for each packet."""
        if self.gate.closed:
            self.look_before_ack()

    def commit_push(self, push: OpenPush) -> int:
        """Make a whole push count and return the new end; at durability `disk` it is safe then.

        One sync covers data and header, or that of the journal all of it. A fence waits for it or
        comes first, and then this raises: so a fence answer never misses an acknowledged byte (C2).
        """
        with self._lock:
            self.gate.check_open(self._slot.header)
            with self._distrusting():
                self._commits.commit(push, self._around.runtime.wall_ns() // 1_000_000)
            self._publish()
            return push.end

    @contextmanager
    def _distrusting(self) -> Iterator[None]:
        """Take neither appends nor be proof any more, when what reached the disk is not known."""
        try:
            yield
        except BaseException as error:
            self._distrusted = f"a sync failed: {error}"
            self.gate.close(self._distrusted)
            raise

    def watched(self) -> AbstractContextManager[None]:
        """Remember when writing fails, what is in the block."""
        return self._commits.watched()

    def settle(self) -> None:
        """Make durable in the slot what is safe in the journal only (D4).

        Raises: DiskFailed, DiskFull: then it is in the journal only until the next start.
        """
        with self._distrusting():
            self._commits.write_back()
            with self._lock:
                if not self.gate.deleted:
                    self._commits.settle()

    def look_before_ack(self) -> None:
        """Raise Fenced if an acknowledgement must not leave any more (C2)."""
        with self._lock:
            self.gate.check_open(self._slot.header)

    def end_push(self, broken_because: str) -> None:
        """Let go of the replica after a push; a broken one was its last (C6)."""
        with self._lock:
            self.gate.pushing = False
            self.gate.close(broken_because)

    def note_committed(self, length: int) -> None:
        """Serve readers of the open tail up to there: its primary says so (C10)."""
        with self._lock:
            self.committed = max(self.committed, length)

    # Orders -------------------------------------------------------------------------------------

    def fence(self, order_index: LogIndex) -> FenceAnswer:
        """Refuse further appends, durably, and tell what is there (C2, C3). Idempotent.

        Raises: StaleOrder, DiskFailed, UnknownReplica.
        """
        with self._orders:
            self._close_for(order_index, "it is fenced")
            self.settle()  # Or answer nothing: only a start can tell what the journal has.
            verified = self._inspection.verify()
            with self._lock:
                # What was shown is on the disk; what the slot says may have failed on its way.
                shown = self.header
                newer = shown.state is State.FENCED and shown.order_index < order_index
                if shown.state is State.OPEN or newer:
                    self._write_fence(self._slot.header, order_index, verified)
            return fence_answer(
                self._slot.header, verified, order_index, self._around.boot_id, self._distrusted
            )

    def _close_for(self, order_index: LogIndex, why: str) -> None:
        """Take no appends from now on: first in memory, so that a commit cannot slip in between."""
        with self._lock:
            header = self._slot.header
            self.gate.check_here(self.header)
            if order_index < header.order_index:
                older = f"order {order_index} is older than {header.order_index}, obeyed before"
                raise StaleOrder(f"chunk {header.chunk_id:#x}: {older}")
            self.gate.close(why)

    def _write_fence(self, header: Header, order_index: LogIndex, verified: Verified) -> None:
        self._inspection.forget()  # Until it is written: the disk may hold less if that fails.
        stamps.stamp_fence(self._slot, header, order_index, verified)
        self._inspection.known = verified
        self._publish()

    def prove(self, order_index: LogIndex, length: int) -> Proof:
        """Return what the first `length` bytes are, read from the disk (C4).

        Raises: ReplicaDamaged with `details["end"]` when fewer verify; StaleOrder, UnknownReplica.
        """
        if self.header.state is not State.SEALED:  # Else its bytes do not change any more.
            self.fence(order_index)
        with self._orders:
            self.gate.check_here(self.header)
            table = self._inspection.cut(self._inspection.verify(), length)
            with self._inspection.reading() as (file, buffer):
                return prove(file, self.header, Verified(length, table), buffer)

    def finish(self, order_index: LogIndex, length: int, digest: int) -> None:
        """Cut to the sealed length, sync, stamp as sealed (C7). Idempotent.

        Raises: ReplicaDamaged when fewer bytes verify, or other ones (then it is quarantined).
        """
        with self._orders:
            shown, header = self.header, self._slot.header
            same = self._sealed_as(order_index, length, digest)
            if same and not shown.flags & SlotFlag.COPY_LOST and not self._distrusted:
                return
            # What this process wrote and counted needs no second look: a tenth of a put's cost.
            trusted = self.made_here and not self._distrusted and header.state is State.OPEN
            claim = Verified(header.end, self._slot.table) if trusted else self._inspection.verify()
            table = self._inspection.cut(claim, length)
            if chunk_digest(table) != digest:
                self.quarantine()
                other = f"chunk {header.chunk_id:#x} has other bytes here than the sealed one"
                raise ReplicaDamaged(f"{other}; it is quarantined", end=claim.end)
            try:
                self._seal(order_index, digest, Verified(length, table))
            except BaseException as error:
                self._distrusted = f"a seal failed: {error}"
                self._inspection.forget()
                self._count()
                raise

    def compare(self, order_index: LogIndex, length: int, digest: int) -> None:
        """Take no appends, and quarantine it if it has other bytes than the sealed chunk (C4).

        One with the same bytes or fewer stays what it is: the masters do not count it. A sealed one
        is read, and listed as damaged if need be. One write says both that it was compared and what
        came of it. Raises: StaleOrder, DiskFailed, UnknownReplica.
        """
        with self._orders:
            shown = self.header
            if self._sealed_as(order_index, length, digest):
                self._inspection.forget()
                if self._inspection.verify().end < length:
                    self.doubt("some of its blocks are damaged")
            elif shown.state is State.SEALED:
                self.quarantine()
            # One that was only kept (G3) is open yet.
            compared = shown.order_index >= order_index and shown.state is not State.OPEN
            if shown.state is State.SEALED or compared:
                return
            claim = self._inspection.verify()
            whole = claim.end >= length
            odd = whole and chunk_digest(self._inspection.cut(claim, length)) != digest
            with self._lock:
                header = self._slot.header
                changed = stamps.flagged(header, SlotFlag.QUARANTINED) if odd else header
                self._write_fence(changed, order_index, claim)

    def _sealed_as(self, order_index: LogIndex, length: int, digest: int) -> bool:
        """Return whether it is sealed so: no order about that is too old. Else begin the order."""
        self.gate.check_here(self.header)
        shown = self.header
        if shown.state is State.SEALED and (shown.end, shown.digest) == (length, digest):
            return True
        self._close_for(order_index, "it is sealed")
        self._settle_or_look()
        return False

    def _settle_or_look(self) -> None:
        """Settle it; if that fails it is damaged, and all of it is read before it is sealed."""
        with suppress(DiskFailed, DiskFull):
            self.settle()

    def doubt(self, why: str) -> None:
        """List a sealed one as damaged until it was read whole or replaced (D3)."""
        if self.header.state is State.SEALED:
            self._distrusted = self._distrusted or why
            self._inspection.forget()
            self._count()

    def _seal(self, order_index: LogIndex, digest: int, whole: Verified) -> None:
        with self._lock:
            synced = self.durable and not self._distrusted
            stamps.stamp_sealed(self._slot, order_index, digest, whole, synced)
            self._distrusted = ""
            self._inspection.forget()
            self._publish()

    def confirm(self, order_index: LogIndex, length: int, digest: int) -> bool:
        """Read all of it again; seal it if it has the bytes of the sealed chunk, else say False.

        Whatever its header says: also one that was quarantined or is open (C7, D3).
        Raises: StaleOrder, DiskFailed, UnknownReplica.
        """
        with self._orders:
            self._close_for(order_index, "the chunk is sealed")
            self._settle_or_look()
            self._inspection.forget()
            claim = self._inspection.verify()
            if claim.end < length:
                return False
            table = self._inspection.cut(claim, length)
            if chunk_digest(table) != digest:
                return False
            if self.condition != "sealed" or self.header.order_index < order_index:
                self._seal(order_index, digest, Verified(length, table))
            return True

    def keep(self, order_index: LogIndex) -> None:
        """Refuse deletes up to this index from now on, durably (G3). Idempotent."""
        beyond = LogIndex(order_index + 1)
        with self._orders, self._lock:
            self.gate.check_here(self.header)
            if self._slot.header.order_index < beyond:
                with self._commits.watched():
                    stamps.stamp_order(self._slot, beyond)
                self._publish()

    @contextmanager
    def holding_still(self, order_index: LogIndex, why: str) -> Iterator[Slot]:
        """Let an order change the slot; what it says then is shown. Raises: StaleOrder…"""
        with self._orders:
            self._close_for(order_index, why)
            with self._lock:
                yield self._slot
                self._publish()

    @contextmanager
    def giving_way(self, order_index: LogIndex, why: str) -> Iterator[Slot]:
        """Hold still, while a good copy takes its place or it is freed; then it is gone (D3).

        It stays what it is when the block raises. Raises: StaleOrder, UnknownReplica; DiskFailed
        also when its gate says that it is deleted, and only its slot is still there.
        """
        with self.holding_still(order_index, why) as slot:
            yield slot
            self.gate.deleted = True
            self._count()
            self._commits.drop()
            slot.disk.unlink(slot.name)

    def quarantine(self) -> None:
        """Keep it, serve it no more, and say so durably (D3, C4)."""
        if self.header.flags & SlotFlag.QUARANTINED:
            return  # An order that cannot be obeyed comes every second.
        with self._lock, self._commits.watched():
            stamps.stamp_quarantined(self._slot)
            self._publish()

    def plan_read(self, offset: int, length: int, data: bool = True) -> ReadPlan:
        """Return what is needed to serve a range, or with `data` False only its CRCs.

        An open chunk of a put is served up to its own committed end, after a restart up to the end
        that verifies; an open tail below the commit length that is known here (C10).
        Raises: ChunkUnavailable, RangeGone, ReplicaDamaged, UnknownReplica.
        """
        header, table = self._served
        self.gate.check_here(header)
        wanted = (offset, length)
        check_served(header, self.committed, wanted, data)
        if header.state is not State.SEALED and (not self.made_here or self._distrusted):
            with self._orders:
                return plan_read(self.name, header, self._inspection.verify(), wanted)
        if table is None:
            table = self._slot.table
        return plan_read(self.name, header, Verified(header.end, table), wanted)
