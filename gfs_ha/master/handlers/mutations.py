"""Changes that clients ask for: proposed under their session, refused while room is short (M8).

A command that was applied before gets its stored answer also while nothing may grow, or nothing
can be placed: an answer that says "refused" for something that happened would break exactly-once
(S3).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gfs_ha.errors import GfsError, NoSpace, UnknownOutcome
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.proposals import MARGIN_S, Sender
from gfs_ha.master.quorum import short_of_room
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.tables import REPLIES, pair_key
from gfs_ha.master.state.view import View


def propose_for_client(desk: Desk, command: Command, slot: Slot) -> None:
    """Propose a session's command and answer with how it ended."""
    if desk.proposer.short_of_room(command):
        refuse_unless_answered(desk, slot, no_room(desk))
        return
    done = partial(answer_outcome, desk, slot)
    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done, sender_of(slot))


def answer_outcome(desk: Desk, slot: Slot, outcome: Outcome) -> None:
    """Answer a request with how its proposal ended. Runs in the consensus loop's thread."""
    result = result_of(desk, slot, outcome)
    if result is not None:
        slot.show(outcome.index)
        slot.reply_encoded(result)


def once_visible(desk: Desk, slot: Slot, action: Callable[[], None]) -> None:
    """Act on the door's thread once the store shows all that was acknowledged before.

    Who did something a moment ago, and asks for the next thing, is judged by both. What `action`
    raises answers the slot.
    """

    def act() -> None:
        try:
            action()
        except GfsError as error:
            slot.fail(desk.weigh(error))

    def visible(error: GfsError | None) -> None:
        if error is None:
            desk.post_or_fail(act, slot.fail)
        else:
            slot.fail(desk.proposer.for_client(error))

    desk.proposer.read_index(slot.left_s() - MARGIN_S, visible)


def result_of(desk: Desk, slot: Slot, outcome: Outcome) -> bytes | None:
    """Return what a proposal came to; None when it was not applied: then the slot is answered."""
    if outcome.error is not None or outcome.result is None:
        assert outcome.error is not None, "an outcome without result or error"
        slot.fail(desk.proposer.for_client(outcome.error))
        return None
    return outcome.result


def refuse_unless_answered(desk: Desk, slot: Slot, error: GfsError) -> None:
    """Answer a request that will not be proposed: as before if it was applied, else `error`."""
    if desk.proposer.under_way(sender_of(slot)):
        slot.fail(UnknownOutcome("the same request is still on its way; send it again in a moment"))
        return

    def look(unread: GfsError | None) -> None:
        if unread is None:
            desk.post_or_fail(partial(_answer_stored, desk, slot, error), slot.fail)
        else:
            slot.fail(desk.proposer.for_client(unread))

    desk.proposer.read_index(slot.left_s() - MARGIN_S, look)


def sender_of(slot: Slot) -> Sender:
    """Return whose request it is."""
    return Sender(slot.session_id, slot.sequence, slot.window_start)


def no_room(desk: Desk) -> NoSpace:
    """Return the error of a change that adds state while a master is short of room for it."""
    low = short_of_room(desk.proposer.status())
    return NoSpace(
        f"the disk or the metadata store of master {', '.join(low)} is almost full; "
        "delete something or give it more room"
    )


def _answer_stored(desk: Desk, slot: Slot, error: GfsError) -> None:
    key = pair_key(slot.session_id, slot.sequence)
    with desk.kv.read() as reader:
        index = stored_applied(reader)
        stored = View(reader).rows.get(REPLIES, key)
    if stored is not None:
        slot.show(index)  # Else a later read of another master may not show the own change.
        slot.reply_encoded(stored.data)
    else:
        slot.fail(error)
