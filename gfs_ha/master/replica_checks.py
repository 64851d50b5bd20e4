"""Chunks that a person wants verified: whose copy said what, and who waits for it; soft state.

What a server finds is listed with its heartbeats and healed like any other damage: nothing here
decides anything, it only collects the answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gfs_ha.errors import Overloaded
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.waiting import Waiting
from gfs_ha.protocol.control import CompareReplica
from gfs_ha.protocol.damage import WAITING, VerifiedChunk, VerifiedReplica

CHECKS_MAX = 1_000
KEEP_S = 30.0  # How long answers are kept for who comes again for the rest.
_ANSWER_BEFORE_S = 0.5  # The deadline of a request: what is known by then is told.


@dataclass(slots=True)
class Check:
    """One chunk whose copies read themselves."""

    chunk: VerifiedChunk
    touched_s: float
    found: dict[ServerId, VerifiedReplica] = field(default_factory=dict)
    waiting: set[ServerId] = field(default_factory=set)
    slots: list[Waiting] = field(default_factory=list)
    order: CompareReplica | None = None  # What those that are waited for were told.

    def report(self) -> VerifiedChunk:
        """Return what is known by now."""
        rows = tuple(self.found[one] for one in sorted(self.found))
        return VerifiedChunk(self.chunk.chunk_id, self.chunk.length, self.chunk.goal, rows)


class ReplicaChecks:
    """The checks of one reign; on the door's thread."""

    def __init__(self) -> None:
        self._checks: dict[ChunkId, Check] = {}

    def __len__(self) -> int:
        return len(self._checks)

    def known(self, chunk_id: ChunkId, slot: Waiting, now_s: float) -> bool:
        """Have a slot wait for a check that is under way; False: there is none."""
        check = self._checks.get(chunk_id)
        if check is None:
            return False
        check.touched_s = now_s
        check.slots.append(slot)
        self._end_if_done(check)
        return True

    def begin(
        self,
        chunk: VerifiedChunk,
        rows: Iterable[VerifiedReplica],
        slot: Waiting,
        now_s: float,
        order: CompareReplica | None = None,
    ) -> None:
        """Begin a check; a row says WAITING while its server is being asked. Raises: Overloaded."""
        if len(self._checks) >= CHECKS_MAX:
            raise Overloaded(f"{CHECKS_MAX} chunks are being verified already")
        check = Check(chunk, now_s, {row.server_id: row for row in rows}, slots=[slot], order=order)
        check.waiting = {one for one, row in check.found.items() if row.verdict == WAITING}
        self._checks[chunk.chunk_id] = check
        self._end_if_done(check)

    def answered(self, chunk_id: ChunkId, server_id: ServerId, verdict: str, why: str) -> None:
        """Note what a server said of its copy."""
        check = self._checks.get(chunk_id)
        if check is None or server_id not in check.waiting:
            return
        row = check.found[server_id]
        check.found[server_id] = VerifiedReplica(server_id, row.name, row.rack, verdict, why)
        check.waiting.discard(server_id)
        self._end_if_done(check)

    def asks(self, chunk_id: ChunkId, server_id: ServerId) -> bool:
        """Return whether a server's answer about its copy is waited for."""
        check = self._checks.get(chunk_id)
        return check is not None and server_id in check.waiting

    def unanswered(self) -> list[tuple[ServerId, CompareReplica]]:
        """Return who is waited for, and what it was told.

        Another order about the chunk may have taken its place in the book: it is told again.
        """
        return [
            (server_id, check.order)
            for check in self._checks.values()
            if check.order is not None
            for server_id in sorted(check.waiting)
        ]

    def length_of(self, chunk_id: ChunkId) -> int:
        """Return the length of a chunk that is being checked; 0 for any other."""
        check = self._checks.get(chunk_id)
        return check.chunk.length if check is not None else 0

    def _end_if_done(self, check: Check) -> None:
        # The last answer may come when nobody waits: who asked is about to ask again.
        if not check.waiting and check.slots:
            del self._checks[check.chunk.chunk_id]
            self._tell(check)

    def _tell(self, check: Check) -> None:
        slots, check.slots = check.slots, []
        for slot in slots:
            slot.reply(check.report())

    def tick(self, now_s: float) -> None:
        """Answer who cannot wait longer with what is known, and forget what nobody asks for."""
        for chunk_id, check in list(self._checks.items()):
            check.slots = [slot for slot in check.slots if not slot.closed]
            if any(slot.left_s() <= _ANSWER_BEFORE_S for slot in check.slots):
                self._tell(check)
                check.touched_s = now_s
            if not check.slots and now_s - check.touched_s > KEEP_S:
                del self._checks[chunk_id]
