"""Holds: what keeps tails from being opened where a command waits until they are sealed (C9).

A command that takes a file away, or freezes what it holds, is refused while a tail is open at or
below it: the leader holds the inode, seals the tails, and sends the command again, which ends the
hold. The refusal is never recorded as a session's answer, for the same request comes again.
"""

from __future__ import annotations

from collections.abc import Iterable

from gfs_ha.errors import Held, LimitExceeded
from gfs_ha.ids import InodeId
from gfs_ha.limits import HOLD_MS, HOLDS_MAX, ITEMS_PER_COMMAND_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.tables import HOLDS, id_key
from gfs_ha.master.state.tail_commands import EndHolds, HoldInodes
from gfs_ha.master.state.tail_reads import hold_on, holds_after, tails_below
from gfs_ha.master.state.tail_records import Hold
from gfs_ha.protocol.metadata import Done

RETRY_MS = 200
_SWEPT = 32  # Void holds that are looked for with every new one.


@step(HoldInodes)
def hold_inodes(draft: Draft, command: HoldInodes) -> Done:
    """Hold inodes that exist; one that is held already is held anew. Refuses: LimitExceeded."""
    check_count("inodes", command.inodes, ITEMS_PER_COMMAND_MAX)
    check_range("hold_ms", command.hold_ms, 1, HOLD_MS)
    for inode_id, hold in holds_after(draft.view, InodeId(0), _SWEPT):
        if not hold.stands(draft.epoch, draft.counters.cluster_ms):
            end_hold(draft, inode_id)
    until_ms = draft.counters.cluster_ms + command.hold_ms
    for inode_id in command.inodes:
        check_range("inode", inode_id, 0, U64_MAX)
        if draft.view.inode(inode_id) is None:
            continue
        if hold_on(draft.view, inode_id) is None:
            if draft.counters.holds >= HOLDS_MAX:
                raise LimitExceeded(f"{draft.counters.holds} files and directories are held")
            draft.counters.holds += 1
        draft.rows.put(HOLDS, id_key(inode_id), Hold(draft.epoch, until_ms, draft.order_index))
    return Done()


@step(EndHolds)
def end_holds(draft: Draft, command: EndHolds) -> Done:
    """End holds that are still as the leader saw them. Refuses: LimitExceeded."""
    check_count("holds", command.holds, ITEMS_PER_COMMAND_MAX)
    for inode_id, index in command.holds:
        check_range("inode", inode_id, 0, U64_MAX)
        hold = hold_on(draft.view, inode_id)
        if hold is not None and hold.index == index:
            end_hold(draft, inode_id)
    return Done()


def end_hold(draft: Draft, inode_id: InodeId) -> None:
    """End the hold on an inode, if there is one."""
    if draft.counters.holds and hold_on(draft.view, inode_id) is not None:
        draft.rows.delete(HOLDS, id_key(inode_id))
        draft.counters.holds -= 1


def take_from_tails(draft: Draft, inode_id: InodeId, path: str) -> None:
    """Make sure that no tail is open at or below an inode, and end the hold that saw to it.

    Raises: Held.
    """
    if draft.counters.tails and tails_below(draft.view, inode_id, 1):
        raise Held(
            f"{path} is appended to; its tail is sealed first",
            retry_ms=RETRY_MS,
            inode_id=inode_id,
        )
    end_hold(draft, inode_id)


def check_not_held(draft: Draft, inode_ids: Iterable[InodeId], path: str) -> None:
    """Raises: Held when a hold stands on one of these."""
    if not draft.counters.holds:
        return
    for inode_id in inode_ids:
        hold = hold_on(draft.view, inode_id)
        if hold is not None and hold.stands(draft.epoch, draft.counters.cluster_ms):
            raise Held(
                f"{path} is about to be removed, replaced or copied; come again",
                retry_ms=RETRY_MS,
                inode_id=inode_id,
            )
