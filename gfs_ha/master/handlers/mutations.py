"""Changes that clients ask for: proposed under their session, refused while room is short (M8).

A command that was applied before gets its stored answer also while nothing may grow: an answer
that says "refused" for something that happened would break exactly-once (S3).
"""

from __future__ import annotations

from functools import partial

from gfs_ha.errors import GfsError, NoSpace, UnknownOutcome
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.proposals import MARGIN_S, Sender
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.tables import REPLIES, pair_key
from gfs_ha.master.state.view import View


def propose_for_client(desk: Desk, command: Command, slot: Slot) -> None:
    """Propose a session's command and answer with how it ended."""
    sender = Sender(slot.session_id, slot.sequence, slot.window_start)
    if desk.proposer.short_of_room(command):
        _refuse_growth(desk, slot, sender)
        return
    done = partial(answer_outcome, desk, slot)
    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done, sender)


def answer_outcome(desk: Desk, slot: Slot, outcome: Outcome) -> None:
    """Answer a request with how its proposal ended. Runs in the consensus loop's thread."""
    if outcome.error is not None or outcome.result is None:
        assert outcome.error is not None, "an outcome without result or error"
        slot.fail(desk.proposer.for_client(outcome.error))
    else:
        slot.reply_encoded(outcome.result)


def _refuse_growth(desk: Desk, slot: Slot, sender: Sender) -> None:
    if desk.proposer.under_way(sender):
        slot.fail(UnknownOutcome("the same request is still on its way; send it again in a moment"))
        return

    def look(error: GfsError | None) -> None:
        if error is None:
            desk.post_or_fail(partial(_answer_stored, desk, slot), slot.fail)
        else:
            slot.fail(desk.proposer.for_client(error))

    desk.proposer.read_index(slot.left_s() - MARGIN_S, look)


def _answer_stored(desk: Desk, slot: Slot) -> None:
    key = pair_key(slot.session_id, slot.sequence)
    with desk.kv.read() as reader:
        stored = View(reader).rows.get(REPLIES, key)
    if stored is not None:
        slot.reply_encoded(stored.data)
    else:
        slot.fail(
            NoSpace(
                "the disk or the metadata store of a master is almost full; "
                "delete something or give the masters more room"
            )
        )
