"""Mutes: codes of findings that do not count for a while, and how that ends.

A mute covers what it covered when it was made: as severe as then, about the same things. What gets
worse is seen by the leader (planners/events.py), which ends the mute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gfs_ha.errors import InvalidArgument, LimitExceeded, NotFound, StaleCommand
from gfs_ha.limits import EVENT_SUBJECT_BYTES_MAX, MUTE_MS_MAX, MUTES_MAX, SERVERS_MAX
from gfs_ha.master.state.bounds import check_count, check_range, check_text
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.event_commands import EndMute, StartMute
from gfs_ha.master.state.event_records import Mute
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.tables import MUTES
from gfs_ha.master.state.view import View
from gfs_ha.protocol.events import ERROR, MUTE, WARNING, MuteReport, MuteRow

_CODE_BYTES_MAX = 64
_TEXT_BYTES_MAX = 200


@step(StartMute)
def start_mute(draft: Draft, command: StartMute) -> MuteReport:
    """Let findings of a code not count for a while. Refuses: InvalidArgument, LimitExceeded."""
    check_text("code", command.code, _CODE_BYTES_MAX)
    check_range("for_ms", command.for_ms, 1, MUTE_MS_MAX)
    check_text("reason", command.reason, _TEXT_BYTES_MAX, bytes_min=0)
    check_text("asked by", command.asked_by, _TEXT_BYTES_MAX, bytes_min=0)
    check_count("subjects", command.subjects, SERVERS_MAX)
    for subject in command.subjects:
        check_text("subject", subject, EVENT_SUBJECT_BYTES_MAX)
    if command.severity not in (WARNING, ERROR):
        raise InvalidArgument(f"a finding is never of severity {command.severity!r}")
    key = command.code.encode()
    if draft.rows.get(MUTES, key) is None:
        if draft.counters.mutes >= MUTES_MAX:
            raise LimitExceeded(f"{draft.counters.mutes} codes are muted already")
        draft.counters.mutes += 1
    row = Mute(
        until_ms=draft.counters.cluster_ms + command.for_ms,
        severity=command.severity,
        subjects=command.subjects,
        reason=command.reason,
        asked_by=command.asked_by,
        made_wall_ns=draft.stamp.wall_ns,
        made_index=draft.stamp.index,
    )
    draft.rows.put(MUTES, key, row)
    whose = f" by {command.asked_by}" if command.asked_by else ""
    why = f": {command.reason}" if command.reason else ""
    minutes = command.for_ms // 60_000
    span = f"{minutes} min" if minutes else f"{command.for_ms // 1000} s"
    note_event(draft, MUTE, command.code, f"muted for {span}{whose}{why}")
    return MuteReport(mute_rows(all_mutes(draft.view), draft.counters.cluster_ms))


@step(EndMute)
def end_mute(draft: Draft, command: EndMute) -> MuteReport:
    """Let findings of a code count again. Refuses: NotFound, StaleCommand, InvalidArgument."""
    check_text("code", command.code, _CODE_BYTES_MAX)
    check_text("why", command.why, _TEXT_BYTES_MAX)
    key = command.code.encode()
    row = draft.rows.get(MUTES, key)
    if row is None and not command.made_index:
        raise NotFound(f"{command.code} is not muted; gfsctl admin health shows what is")
    if row is None or command.made_index not in (0, row.made_index):
        raise StaleCommand(f"{command.code} is not muted by that (any more)")
    draft.rows.delete(MUTES, key)
    draft.counters.mutes -= 1
    note_event(draft, MUTE, command.code, f"counts again: {command.why}")
    return MuteReport(mute_rows(all_mutes(draft.view), draft.counters.cluster_ms))


def all_mutes(view: View) -> dict[str, Mute]:
    """Return the mutes by code, also those whose time is over; at most MUTES_MAX."""
    return {key.decode(): row for key, row in view.rows.scan(MUTES)}


def mute_rows(mutes: Mapping[str, Mute], now_ms: int) -> tuple[MuteRow, ...]:
    """Return the mutes that hold at a moment of cluster time, as operators see them."""
    return tuple(
        MuteRow(code, mute.until_ms - now_ms, mute.reason, mute.asked_by, mute.made_wall_ns)
        for code, mute in sorted(mutes.items())
        if mute.until_ms > now_ms
    )


def check_mutes(view: View) -> Iterator[str]:
    """Yield what is wrong: mutes that are not counted (an invariant)."""
    count = len(all_mutes(view))
    if count != view.counters().mutes or count > MUTES_MAX:
        yield f"{count} codes are muted, counted {view.counters().mutes}"
