"""The cluster's history as operators ask for it, and findings that they mute for a while."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

from gfs_ha.errors import InvalidArgument
from gfs_ha.limits import EVENT_SUBJECT_BYTES_MAX, MUTE_MS_MAX
from gfs_ha.master.handlers.admin import health_of, server_rows
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import answer_outcome, once_visible
from gfs_ha.master.planners.news import News
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.quorum import ERROR, WARNING
from gfs_ha.master.state.bounds import check_count, check_range, fitting_text
from gfs_ha.master.state.event_commands import EndMute, StartMute
from gfs_ha.master.state.event_records import Event
from gfs_ha.master.state.events import events_after, events_below, first_event
from gfs_ha.master.state.view import View
from gfs_ha.protocol.events import (
    EVENTS_PAGE_MAX,
    FROM_NEWEST,
    KINDS,
    SEVERITIES,
    SUBJECTS_ASKED_MAX,
    EventItem,
    EventReport,
    GetEvents,
    MuteFinding,
)
from gfs_ha.protocol.findings import FINDING_CODES

_LOOKED_AT_MAX = 4_000  # Events of one page: about 10 ms.
_NUMBER_MAX = (1 << 63) - 1


def get_events(desk: Desk, view: View, request: GetEvents, slot: Slot) -> EventReport:
    """Return a page of events. Raises: NotLeader, InvalidArgument."""
    desk.leading()
    _check(request)
    if request.after != FROM_NEWEST:
        found, at, more = _page(events_after(view, request.after), request)
        at = max(at, request.after)
    else:
        found, at, more = _page(_since(events_below(view, request.below), request), request)
        found.reverse()
    return EventReport(tuple(found), at, more, first_event(view), view.counters().last_event)


def mute_finding(desk: Desk, request: MuteFinding, slot: Slot) -> None:
    """Let findings of a code not count for a while, or count again, and answer what is muted."""
    desk.leading()
    if request.code not in FINDING_CODES:
        raise InvalidArgument(
            f"there is no finding {request.code!r}; codes are listed by gfsctl explain"
        )
    check_range("for_ms", request.for_ms, 0, MUTE_MS_MAX)
    if request.for_ms:
        # By what it was until now: a mute of a moment ago counts, too.
        once_visible(desk, slot, partial(_mute, desk, request, slot))
        return
    # Whether it is muted knows apply: what is seen here may be a moment old.
    whose = f" by {request.asked_by}" if request.asked_by else ""
    why = f": {request.reason}" if request.reason else ""
    said = fitting_text(f"the mute was ended{whose}{why}", EVENT_SUBJECT_BYTES_MAX)
    _propose(desk, EndMute(request.code, 0, said), slot)


def _mute(desk: Desk, request: MuteFinding, slot: Slot) -> None:
    desk.leading()
    with desk.kv.read() as reader:
        command = _start(desk, View(reader), request)
    _propose(desk, command, slot)


def _propose(desk: Desk, command: StartMute | EndMute, slot: Slot) -> None:
    done = partial(answer_outcome, desk, slot)
    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


def look_around(desk: Desk) -> News:
    """Return what is found of the whole cluster now. On the door's thread. Raises: NotLeader.

    It shares with screens what is dear, so the door's time that it takes is bounded.
    """
    with desk.kv.read() as reader:
        view = View(reader)
        report, _ = desk.leading().board.health.get(
            desk.now_s, lambda: health_of(desk, view, server_rows(desk, view))
        )
    raft = desk.proposer.status()
    voters = sorted(one.member_id for one in raft.members if one.voter)
    learners = sorted(f"{one.member_id} (learns)" for one in raft.members if not one.voter)
    return News(report.items, (*voters, *learners))


def _start(desk: Desk, view: View, request: MuteFinding) -> StartMute:
    """Return the command that mutes what there is now of a code, or all that may come."""
    report, _ = health_of(desk, view, server_rows(desk, view))
    standing = [one for one in report.items if one.code == request.code]
    severity = WARNING if all(one.severity == WARNING for one in standing) else ERROR
    before = next((one.reason for one in report.mutes if one.code == request.code), "")
    return StartMute(
        request.code,
        request.for_ms,
        severity if standing else ERROR,
        tuple(sorted({one.subject for one in standing if one.subject})),
        request.reason or before,  # Who only gives it longer has not said otherwise.
        request.asked_by,
    )


def _check(request: GetEvents) -> None:
    if not 1 <= request.limit <= EVENTS_PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {EVENTS_PAGE_MAX} events, not {request.limit}")
    check_range("after", request.after, FROM_NEWEST, _NUMBER_MAX)
    check_range("below", request.below, 0, _NUMBER_MAX)
    check_count("subjects", request.subjects, SUBJECTS_ASKED_MAX)
    if request.severity not in SEVERITIES:
        known = ", ".join(SEVERITIES)
        raise InvalidArgument(f"there is no severity {request.severity!r}; there are {known}")
    for kind in request.kinds:
        if kind not in KINDS:
            raise InvalidArgument(f"there are no events of {kind!r}; there are {', '.join(KINDS)}")


def _since(found: Iterator[tuple[int, Event]], asked: GetEvents) -> Iterator[tuple[int, Event]]:
    """Yield from the newest backwards until they are too old.

    A leader's clock may stand behind that of the one before, so a few older ones end nothing.
    """
    older = 0
    for number, row in found:
        older = older + 1 if row.wall_ns < asked.since_ns else 0
        if older > EVENTS_PAGE_MAX:
            return
        yield number, row


def _page(
    found: Iterator[tuple[int, Event]], asked: GetEvents
) -> tuple[list[EventItem], int, bool]:
    """Return (events, the last number that was looked at, whether there may be more)."""
    items: list[EventItem] = []
    at, looked_at = 0, 0
    for number, row in islice(found, _LOOKED_AT_MAX):
        at, looked_at = number, looked_at + 1
        if _wanted(row, asked):
            items.append(
                EventItem(number, row.wall_ns, row.kind, row.subject, row.text, row.severity)
            )
            if len(items) == asked.limit:
                return items, at, True
    return items, at, looked_at == _LOOKED_AT_MAX


def _wanted(row: Event, asked: GetEvents) -> bool:
    if SEVERITIES.index(row.severity) < SEVERITIES.index(asked.severity):
        return False
    if asked.kinds and row.kind not in asked.kinds:
        return False
    if asked.subjects and row.subject not in asked.subjects:
        return False
    return row.wall_ns >= asked.since_ns
