"""Changes that take files with open tails away, or freeze what they hold: sealed first (C9).

The leader looks before it proposes: it holds the inodes, seals the tails below them, and then sends
the client's command under its session. What the look missed, apply refuses as Held; that is no
answer of the session, so the same request goes the long way then. Runs on the door's thread.

A rename takes no tail away, but who appends follows the name: the tails of what was moved are
sealed before it is answered, so that nothing is appended any more to what has the new name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from gfs_ha.errors import Busy, GfsError, Held, Refused
from gfs_ha.ids import ROOT_INODE, ChunkId, InodeId, LogIndex, order_index
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import (
    answer_outcome,
    no_room,
    refuse_unless_answered,
    sender_of,
)
from gfs_ha.master.planners.leases import RENAMED
from gfs_ha.master.proposals import MARGIN_S, reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.records import OPEN, Chunk
from gfs_ha.master.state.tables import REPLIES, pair_key
from gfs_ha.master.state.tail_commands import EndHolds, HoldInodes
from gfs_ha.master.state.tail_reads import keeps_name, tails_below
from gfs_ha.master.state.view import View
from gfs_ha.master.waiting import Ends
from gfs_ha.protocol.codec import Failure, encode, failure
from gfs_ha.protocol.extents import ReplaceContent, StageCopy
from gfs_ha.protocol.metadata import DIRECTORY, FILE, Publish, Remove, Rename

logger = logging.getLogger(__name__)

TAKES_TAILS = (Remove, Rename, Publish, ReplaceContent, StageCopy)
REASON = "its file is about to be removed, replaced or copied"
RETRY_MS = 200
_TAILS_AT_ONCE = 256  # Of a directory with more, the next ones follow.
_LEFT_MIN_S = 0.2
_REFUSALS_MAX = 2
_HELD = encode(failure(Held("")))
_HELD = _HELD[: _HELD.index(b"Held") + len(b"Held")]


def propose_without_tails(desk: Desk, command: Command, slot: Slot) -> None:
    """Propose a session's command once no tail is open at or below what it takes away."""
    _Taking(desk, command, slot).begin()


class _Taking:
    """One such request on its way."""

    def __init__(self, desk: Desk, command: Command, slot: Slot) -> None:
        self._desk = desk
        self._command = command
        self._slot = slot
        self._refusals = 0
        self._holds: tuple[tuple[InodeId, LogIndex], ...] = ()  # That this request took.
        self._tails = False  # Whether any file has a tail, or is about to get one.

    def begin(self) -> None:
        """Look first; but a Publish names many files, and hardly ever one with a tail."""
        if isinstance(self._command, Publish):
            self._propose()
        else:
            self._look_and_go_on()

    def _look_and_go_on(self) -> None:
        held, answered = self._look()
        if answered or not held:
            self._propose()
        else:
            self._hold(held)

    def _look(self) -> tuple[tuple[InodeId, ...], bool]:
        """Return the inodes that are to be held, and whether the request was answered before."""
        slot = self._slot
        with self._desk.kv.read() as reader:
            view = View(reader)
            self._tails = bool(view.counters().tails or self._desk.opening().opening())
            if not view.counters().tails or view.session(slot.session_id) is None:
                return (), False
            held = tuple(one for one in targets(view, self._command) if tails_below(view, one, 1))
            if not held:
                return (), False
            if slot.sequence < 0:
                return (), False  # Apply says what it thinks of that.
            stored = view.rows.get(REPLIES, pair_key(slot.session_id, slot.sequence))
            return held, stored is not None

    def _propose(self) -> None:
        desk, slot = self._desk, self._slot
        if desk.proposer.short_of_room(self._command):
            refuse_unless_answered(desk, slot, no_room(desk))
            return
        left_s = slot.left_s() - MARGIN_S
        desk.proposer.propose(self._command, left_s, self._proposed, sender_of(slot))

    def _proposed(self, outcome: Outcome) -> None:
        """Take the outcome, in the consensus loop's thread."""
        held = outcome.result is not None and outcome.result.startswith(_HELD)
        if held and self._refusals < _REFUSALS_MAX:
            # There was no look, or a tail was opened after it, or was not visible to it.
            self._refusals += 1
            self._when_visible(self._look_and_go_on)
        elif self._tails and isinstance(self._command, Rename) and _is_done(outcome):
            self._when_visible(partial(self._seal_moved, self._command.target, outcome))
        else:
            answer_outcome(self._desk, self._slot, outcome)

    def _seal_moved(self, target: str, outcome: Outcome) -> None:
        """Seal the tails of what was moved, then answer; it was moved, whatever comes of them."""
        with self._desk.kv.read() as reader:
            view = View(reader)
            found = _entry(view, target)
            tails = tails_below(view, found[0], _TAILS_AT_ONCE) if found else []
            moved = [
                (tail.chunk_id, view.chunk(tail.chunk_id))
                for inode_id, tail in tails
                if not keeps_name(view, inode_id, tail)
            ]
        if not moved:
            answer_outcome(self._desk, self._slot, outcome)
            return

        def ended(error: GfsError | None) -> None:
            answer_outcome(self._desk, self._slot, outcome)

        self._seal_all(moved, RENAMED, Ends([one for one, _ in moved], self._slot.left_s, ended))

    def _hold(self, inodes: tuple[InodeId, ...]) -> None:
        def done(outcome: Outcome) -> None:
            if outcome.error is not None:
                self._slot.fail(self._desk.proposer.for_client(outcome.error))
                return
            reply = reply_of(outcome)
            if isinstance(reply, Failure):
                self._slot.fail(Busy(reply.message, retry_ms=RETRY_MS))
            else:
                index = order_index(self._desk.incarnation, LogIndex(outcome.index))
                self._holds = tuple((inode_id, index) for inode_id in inodes)
                self._when_visible(partial(self._seal, inodes))

        left_s = self._slot.left_s() - MARGIN_S
        self._desk.proposer.propose(HoldInodes(inodes), left_s, done)

    def _seal(self, inodes: tuple[InodeId, ...]) -> None:
        """Seal the tails that are left below held inodes; when there are none, go on."""
        slot = self._slot
        if slot.closed or slot.left_s() < _LEFT_MIN_S:
            self._give_up(Busy("it is still appended to; ask again", retry_ms=RETRY_MS))
            return
        with self._desk.kv.read() as reader:
            view = View(reader)
            found: list[ChunkId] = []
            for inode_id in inodes:
                left = _TAILS_AT_ONCE - len(found)
                if left > 0:
                    found += [tail.chunk_id for _, tail in tails_below(view, inode_id, left)]
            chunks = [(chunk_id, view.chunk(chunk_id)) for chunk_id in dict.fromkeys(found)]
        if not chunks:
            self._propose()
            return

        def ended(error: GfsError | None) -> None:
            if error is None:
                self._when_visible(partial(self._seal, inodes))
            else:
                self._give_up(error)

        self._seal_all(chunks, REASON, Ends([one for one, _ in chunks], slot.left_s, ended))

    def _seal_all(
        self, chunks: list[tuple[ChunkId, Chunk | None]], reason: str, ends: Ends
    ) -> None:
        sealer = self._desk.sealing()
        for chunk_id, chunk in chunks:
            if chunk is not None and chunk.state == OPEN:
                sealer.seal(chunk_id, reason, ends.one(chunk_id), frozenset())
            else:
                sealer.wait_for(chunk_id, ends.one(chunk_id), frozenset())
                sealer.look_at(chunk_id, chunk)

    def _give_up(self, error: GfsError) -> None:
        """Answer with an error; appends go on at once, and not only when the hold is over."""
        self._slot.fail(error)
        if self._holds:
            command = EndHolds(self._holds)
            self._desk.proposer.propose(command, REQUEST_DEADLINE_S, lambda outcome: None)

    def _when_visible(self, action: Callable[[], None]) -> None:
        """Go on, on the door's thread, once what was applied can be read (M2). Thread-safe."""
        desk, slot = self._desk, self._slot

        def run() -> None:
            try:
                action()
            except GfsError as error:
                slot.fail(desk.weigh(error))

        def done(error: GfsError | None) -> None:
            if error is None:
                desk.post_or_fail(run, slot.fail)
            else:
                slot.fail(desk.proposer.for_client(error))

        desk.proposer.read_index(REQUEST_DEADLINE_S, done)


def _is_done(outcome: Outcome) -> bool:
    return outcome.error is None and not isinstance(reply_of(outcome), Failure)


def targets(view: View, command: Command) -> list[InodeId]:
    """Return the inodes whose tails, or those below, stand in the way of a command as of now.

    What apply would refuse otherwise needs no seal.
    """
    if isinstance(command, Remove):
        found = _entry(view, command.path)
        if found is None:
            return []
        inode_id, kind = found
        row = view.inode(inode_id)
        full = kind == DIRECTORY and row is not None and row.entry_count > 0
        return [] if full and not command.recursive else [inode_id]
    if isinstance(command, Rename):
        source = _entry(view, command.source)
        found = _entry(view, command.target) if command.replace else None
        if source is None or found is None or found == source:
            return []
        # A directory is replaced only when it is empty, and a file only by a file.
        return [found[0]] if source[1] == found[1] == FILE else []
    if isinstance(command, Publish):
        named = [_entry(view, file.path) for file in command.files if not file.if_absent]
        return list(dict.fromkeys(one[0] for one in named if one is not None))
    if isinstance(command, ReplaceContent | StageCopy):
        found = _entry(view, command.path)
        return [] if found is None else [found[0]]
    return []


def _entry(view: View, path: str) -> tuple[InodeId, str] | None:
    """Return (inode, kind) of a path; None when it leads nowhere, or to the root."""
    try:
        found = view.resolve(path)
    except Refused:
        return None
    return None if found.inode_id == ROOT_INODE else (found.inode_id, found.kind)
