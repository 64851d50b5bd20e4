"""The scrub: what servers are told of it, how far they are, and what operators change."""

from __future__ import annotations

from functools import partial

from gfs_ha.errors import InvalidArgument, UnknownServer
from gfs_ha.ids import LogIndex, ServerId, order_index
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import result_of
from gfs_ha.master.proposals import MARGIN_S, reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.scrub_commands import AskScrub, SetScrub
from gfs_ha.master.state.scrubs import scrub_settings, scrub_wanted
from gfs_ha.master.state.view import View
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import Heartbeat
from gfs_ha.protocol.scrub import (
    SERVERS_PER_START_MAX,
    ChangeScrub,
    GetScrub,
    ScrubBudgetReport,
    ScrubReport,
    ScrubRow,
    ScrubStarted,
    StartScrub,
)

PAGE_MAX = 500


def note_scrub(desk: Desk, reign: Reign, beat: Heartbeat) -> bool:
    """Note what a server is to be told of its scrub; return whether that is to be told at once.

    A server that does not take it is told with every answer, and never made to ask more often.
    """
    if not beat.scrub:
        return False  # Of an earlier release.
    with desk.kv.read() as reader:
        wanted = scrub_wanted(View(reader), beat.server_id)
    if all(facts.wanted == wanted for facts in beat.scrub):
        return False
    return reign.tell_scrub(beat.server_id, wanted)


def get_scrub(desk: Desk, view: View, request: GetScrub, slot: Slot) -> ScrubReport:
    """Return how far servers are, one page of them: 500 with all that they found fit a frame."""
    if not 1 <= request.limit <= PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {PAGE_MAX} servers, not {request.limit}")
    whole = scrub_report(desk, view)
    rows = sorted(whole.items, key=lambda row: row.server_id)
    page = [row for row in rows if row.server_id > request.after]
    more = len(page) > request.limit
    return ScrubReport(tuple(page[: request.limit]), whole.budget, more)


def scrub_report(desk: Desk, view: View) -> ScrubReport:
    """Return how far the scrub of every server is, as the leader has heard."""
    reign = desk.leading()
    now_s = desk.now_s()
    rows = []
    for server_id, server in view.servers():
        facts = reign.observed.servers.get(server_id)
        disks = facts.scrub if facts is not None else ()
        wanted = scrub_wanted(view, server_id)
        told = bool(disks) and all(disk.wanted == wanted for disk in disks)
        state = reign.observed.state(server_id, now_s)
        rows.append(ScrubRow(server_id, server.name, state, told, disks))
    return ScrubReport(tuple(rows), _budget(view))


def start_scrub(desk: Desk, request: StartScrub, slot: Slot) -> None:
    """Ask servers for a round now, and answer once that is written down."""
    desk.leading()
    with desk.kv.read() as reader:
        known = [server_id for server_id, _ in View(reader).servers()]
    wanted = list(dict.fromkeys(request.servers)) or known
    strange = set(wanted).difference(known)
    if strange:
        raise UnknownServer(f"there is no chunkserver {min(strange)}")
    if not wanted:
        raise InvalidArgument("there is no chunkserver yet")
    starts = range(0, len(wanted), SERVERS_PER_START_MAX)
    parts = [tuple(wanted[start : start + SERVERS_PER_START_MAX]) for start in starts]
    _ask_next(desk, slot, request.bytes_per_s, (parts, tuple(wanted)))


def _ask_next(
    desk: Desk,
    slot: Slot,
    bytes_per_s: int,
    left: tuple[list[tuple[ServerId, ...]], tuple[ServerId, ...]],
) -> None:
    """Propose the first part of the servers that are left, and go on when it is done."""
    parts, servers = left

    def done(outcome: Outcome) -> None:
        if not _succeeded(desk, slot, outcome):
            return
        if parts[1:]:
            go_on = partial(_ask_next, desk, slot, bytes_per_s, (parts[1:], servers))
            desk.post_or_fail(go_on, slot.fail)
            return
        slot.reply(ScrubStarted(servers, order_index(desk.incarnation, LogIndex(outcome.index))))

    desk.proposer.propose(AskScrub(parts[0], bytes_per_s), slot.left_s() - MARGIN_S, done)


def change_scrub(desk: Desk, request: ChangeScrub, slot: Slot) -> None:
    """Write down how disks are scrubbed from now on, and answer with all of it."""
    desk.leading()
    command = SetScrub(request.bytes_per_s, request.period_s, request.paused)

    def done(outcome: Outcome) -> None:
        if _succeeded(desk, slot, outcome):
            assert outcome.result is not None, "it succeeded"
            slot.reply_encoded(outcome.result)

    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


def _succeeded(desk: Desk, slot: Slot, outcome: Outcome) -> bool:
    """Return whether a proposal was applied; else the slot is answered."""
    result = result_of(desk, slot, outcome)
    if result is None:
        return False
    if isinstance(reply_of(outcome), Failure):
        slot.reply_encoded(result)
        return False
    return True


def _budget(view: View) -> ScrubBudgetReport:
    row = scrub_settings(view)
    return ScrubBudgetReport(row.bytes_per_s, row.period_s, row.paused)
