"""What operators ask of the masters' states: compare them, count them again, tell the own hash."""

from __future__ import annotations

from gfs_ha.errors import GfsError
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.state import digest
from gfs_ha.protocol.state_checks import (
    CheckStates,
    CountStates,
    StateFacts,
    StateReport,
    StatesCounting,
)


def state_facts(desk: Desk) -> StateFacts | None:
    """Return the state hash of this master as of now; needs no leader."""
    with desk.kv.read() as reader:
        kept, noted = digest.kept(reader), digest.notes(reader)
    if kept is None:
        return None
    checks = tuple((one.index, one.value.hex()) for one in noted)
    newest = None if desk.recounter is None else desk.recounter.newest
    return StateFacts(kept.index, kept.value.hex(), checks, newest)


def check_states(desk: Desk, request: CheckStates, slot: Slot) -> None:
    """Compare the hashes of all masters at one index, and answer with the result."""

    def done(report: StateReport | GfsError) -> None:
        if isinstance(report, GfsError):
            slot.fail(report)
        else:
            slot.reply(report)

    desk.verifying().check(done)


def count_states(desk: Desk, request: CountStates, slot: Slot) -> None:
    """Have every master count all of its rows, and answer once that is under way."""

    def done(index: int | GfsError) -> None:
        if isinstance(index, GfsError):
            slot.fail(index)
        else:
            slot.reply(StatesCounting(index))

    desk.verifying().count(done)
