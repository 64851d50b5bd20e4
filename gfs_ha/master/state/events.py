"""Events: what happened to the cluster, written down in words, in a ring that people read.

Commands that decide something tell of it themselves (`note_event`). What only a leader observes
comes with NoteEvents, which compares with what was noted last, so that a new leader neither
repeats nor forgets; the same rows say since when a finding stands.
"""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.errors import InvalidArgument, LimitExceeded
from gfs_ha.limits import (
    EVENT_CHANGES_MAX,
    EVENT_NOTED_MAX,
    EVENT_SUBJECT_BYTES_MAX,
    EVENT_TEXT_BYTES_MAX,
    EVENT_WINDOW_MS,
    EVENTS_KEPT,
    EVENTS_PER_WINDOW,
)
from gfs_ha.master.state.bounds import (
    SIZE_MAX,
    check_count,
    check_range,
    check_text,
    fitting_text,
)
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.event_commands import NotedChange, NoteEvents
from gfs_ha.master.state.event_records import Event, Noted
from gfs_ha.master.state.tables import EVENTS, NOTED, id_key, read_id
from gfs_ha.master.state.view import View
from gfs_ha.protocol.events import INFO, KINDS, SEVERITIES
from gfs_ha.protocol.metadata import Done

KEY_BYTES_MAX = 200
OFTEN = "often"  # What a key begins with of which only the number of events is bounded.
_VALUES_MAX = 4
_NOTHING = Noted("", 0, 0, 0, 0)


@step(NoteEvents)
def note_events(draft: Draft, command: NoteEvents) -> Done:
    """Write down what a leader observed. Refuses: InvalidArgument, LimitExceeded."""
    check_count("changes", command.changes, EVENT_CHANGES_MAX)
    for change in command.changes:
        _check(change)
    for change in command.changes:
        row = noted(draft.view, change.key)
        if row.state == change.seen:
            _change(draft, change, row)
    return Done()


def note_event(draft: Draft, kind: str, subject: str, text: str, severity: str = INFO) -> None:
    """Tell that something happened; the oldest event leaves. For steps that decide something."""
    assert kind in KINDS and severity in SEVERITIES, f"an event of kind {kind!r}, {severity!r}"
    draft.counters.last_event += 1
    number = draft.counters.last_event
    row = Event(
        draft.stamp.wall_ns,
        kind,
        fitting_text(subject, EVENT_SUBJECT_BYTES_MAX),
        fitting_text(text, EVENT_TEXT_BYTES_MAX),
        severity,
    )
    draft.rows.put(EVENTS, id_key(number), row)
    if number > EVENTS_KEPT:
        draft.rows.delete(EVENTS, id_key(number - EVENTS_KEPT))


def note_often(draft: Draft, kind: str, subject: str, text: str, severity: str = INFO) -> None:
    """Tell of something that others bring about, and so may happen any number of times: damped."""
    key = fitting_text(f"{OFTEN}/{kind}/{subject}", KEY_BYTES_MAX)
    row = noted(draft.view, key)
    if row is _NOTHING and draft.counters.noted >= EVENT_NOTED_MAX // 2:
        return  # What it tells of must not fail because of it; and leaders need room for theirs.
    _change(draft, NotedChange(key, "", "", kind, subject, text, severity), row)


def noted(view: View, key: str) -> Noted:
    """Return what was noted last of something that leaders watch."""
    return view.rows.get(NOTED, key.encode()) or _NOTHING


def all_noted(view: View) -> dict[str, Noted]:
    """Return all that was noted; at most EVENT_NOTED_MAX."""
    return {key.decode(): row for key, row in view.rows.scan(NOTED)}


def events_after(view: View, after: int) -> Iterator[tuple[int, Event]]:
    """Yield the events above a number, oldest first."""
    for key, row in view.rows.scan(EVENTS, id_key(after + 1)):
        yield read_id(key), row


def events_below(view: View, below: int) -> Iterator[tuple[int, Event]]:
    """Yield the events below a number (0: all), the newest first."""
    end = id_key(below) if below else None
    for key, row in view.rows.scan(EVENTS, b"", end, reverse=True):
        yield read_id(key), row


def first_event(view: View) -> int:
    """Return the number of the oldest event that is kept; 0: there is none."""
    return max(1, view.counters().last_event - EVENTS_KEPT + 1) if view.counters().last_event else 0


def check_events(view: View) -> Iterator[str]:
    """Yield what is wrong: gaps in the numbers, rows that are not counted (an invariant)."""
    last = view.counters().last_event
    numbers = [read_id(key) for key, _ in view.rows.scan(EVENTS)]
    if numbers != list(range(max(1, last - EVENTS_KEPT + 1), last + 1)):
        yield f"events {numbers[:3]}…{numbers[-3:]} are kept, the last is {last}"
    rows = all_noted(view)
    if len(rows) != view.counters().noted or len(rows) > EVENT_NOTED_MAX:
        yield f"{len(rows)} things are noted, counted {view.counters().noted}"
    for key, row in rows.items():
        if bool(row.state) != bool(row.since_wall_ns):
            yield f"{key} is {row.state!r} since {row.since_wall_ns}"


def _check(change: NotedChange) -> None:
    check_text("key", change.key, KEY_BYTES_MAX)
    check_text("state", change.state, EVENT_TEXT_BYTES_MAX, bytes_min=0)
    check_text("subject", change.subject, EVENT_SUBJECT_BYTES_MAX)
    check_text("text", change.text, EVENT_TEXT_BYTES_MAX, bytes_min=0)
    check_count("values", change.values, _VALUES_MAX)
    for value in change.values:
        check_range("value", value, 0, SIZE_MAX)
    if change.kind not in KINDS:
        raise InvalidArgument(f"{change.kind!r} is no kind of event")
    if change.severity not in SEVERITIES:
        raise InvalidArgument(f"{change.severity!r} is no severity")


def _change(draft: Draft, change: NotedChange, row: Noted) -> None:
    """Write down one change, and tell of it unless this thing told too much lately."""
    now_ms, now_ns = draft.counters.cluster_ms, draft.stamp.wall_ns
    fresh = not row.told or now_ms - row.window_ms >= EVENT_WINDOW_MS
    told, held = (0, row.held) if fresh else (row.told, row.held)
    if change.text and told < EVENTS_PER_WINDOW:
        text = change.text
        if change.timed and row.since_wall_ns:
            text += f" after {_span_text(max(0, now_ns - row.since_wall_ns))}"
        if held:
            text += f" ({held} more like this)"
        note_event(draft, change.kind, change.subject, text, change.severity)
        told, held = told + 1, 0
    elif change.text:
        held += 1
    quiet = not change.state and not change.text and not held and fresh
    if quiet:
        _forget(draft, change.key, row)
        return
    since_ns = (row.since_wall_ns or max(1, now_ns)) if change.state else 0
    window_ms = now_ms if fresh and told else row.window_ms
    values = change.values if change.state != row.state else row.values
    _put(draft, change.key, row, Noted(change.state, since_ns, window_ms, told, held, values))


def _put(draft: Draft, key: str, before: Noted, after: Noted) -> None:
    if before is _NOTHING:
        if draft.counters.noted >= EVENT_NOTED_MAX:
            raise LimitExceeded(f"{draft.counters.noted} things are noted already")
        draft.counters.noted += 1
    draft.rows.put(NOTED, key.encode(), after)


def _forget(draft: Draft, key: str, before: Noted) -> None:
    if before is not _NOTHING:
        draft.counters.noted -= 1
        draft.rows.delete(NOTED, key.encode())


def _span_text(span_ns: int) -> str:
    seconds = span_ns // 10**9
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
