"""Sessions: each request of a client is applied once, its answer kept while it may be asked for.

A session is opened by a command of its own, never by another request (S1). What is not known any
more answers SessionExpired: the outcome is unknown, and the client must not send that request
again under another session (S2).
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import InvalidArgument, LimitExceeded, SessionExpired, WindowFull
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.limits import (
    ITEMS_PER_COMMAND_MAX,
    KEYED_LIFE_MORE_MS,
    SESSION_LIFE_MS,
    SESSION_WINDOW,
    SESSIONS_MAX,
)
from gfs_ha.master.state.bounds import check_count, check_range, check_text
from gfs_ha.master.state.claims import release_all
from gfs_ha.master.state.commands import Entry, ExpireSessions
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.records import Reapable, Session
from gfs_ha.master.state.tables import (
    ENDED_SESSIONS,
    REPLIES,
    SESSION_KEYS,
    SESSIONS,
    StoredReply,
    id_key,
    pair_key,
)
from gfs_ha.master.state.tail_records import SessionKey
from gfs_ha.protocol.codec import encode
from gfs_ha.protocol.metadata import CloseSession, Done, OpenSession, SessionOpened

_TEXT_BYTES_MAX = 255
_SEQUENCE_MAX = (1 << 62) - 1


@step(OpenSession)
def open_session(draft: Draft, command: OpenSession) -> SessionOpened:
    """Return a fresh session, or the one that bears the key.

    Refuses: LimitExceeded, InvalidArgument.
    """
    check_text("client", command.client, _TEXT_BYTES_MAX, bytes_min=0)
    check_text("key", command.key, _TEXT_BYTES_MAX, bytes_min=0)
    counters = draft.counters
    key = command.key.encode()
    borne = draft.rows.get(SESSION_KEYS, key) if key else None
    if borne is not None:
        session = draft.view.session(borne.session_id)
        assert session is not None, f"a key of session {borne.session_id}, which is not there"
        _touch(draft, borne.session_id, session, session.window_start)
        return SessionOpened(borne.session_id)
    if counters.sessions >= SESSIONS_MAX:
        raise LimitExceeded(f"{counters.sessions} sessions are open; close some, or wait a day")
    counters.last_session += 1
    counters.sessions += 1
    row = Session(
        command.client,
        opened_ms=counters.cluster_ms,
        last_ms=counters.cluster_ms,
        key=command.key,
    )
    draft.rows.put(SESSIONS, id_key(counters.last_session), row)
    if key:
        draft.rows.put(SESSION_KEYS, key, SessionKey(SessionId(counters.last_session)))
    return SessionOpened(SessionId(counters.last_session))


@step(CloseSession, session=True)
def close_session(draft: Draft, command: CloseSession) -> Done:
    """End the session: its claims now, its answers and staged contents in steps."""
    end_session(draft, draft.stamp.session_id)
    return Done()


@step(ExpireSessions)
def expire_sessions(draft: Draft, command: ExpireSessions) -> Done:
    """End the sessions that are still as the leader saw them, unclaiming and past their life."""
    check_count("sessions", command.sessions, ITEMS_PER_COMMAND_MAX)
    for session_id, last_ms in command.sessions:
        check_range("session", session_id, 1, _SEQUENCE_MAX)
        session = draft.view.session(session_id)
        if session is None or session.last_ms != last_ms or session.claim_count:
            continue
        more_ms = KEYED_LIFE_MORE_MS if session.key else 0
        if draft.counters.cluster_ms - last_ms >= SESSION_LIFE_MS + more_ms:
            end_session(draft, session_id)
    return Done()


def end_session(draft: Draft, session_id: SessionId) -> None:
    """Remove the session and its key, and leave the rest of it to be reaped."""
    release_all(draft, session_id)
    session = draft.view.session(session_id)
    if session is not None and session.key:
        draft.rows.delete(SESSION_KEYS, session.key.encode())
    draft.rows.delete(SESSIONS, id_key(session_id))
    draft.rows.put(ENDED_SESSIONS, id_key(session_id), Reapable(draft.stamp.index))
    draft.counters.sessions -= 1
    draft.counters.reapable += 1


def answered(draft: Draft, entry: Entry) -> bytes | None:
    """Return the stored answer when the request was applied before, None when it may be applied.

    Raises: SessionExpired, WindowFull, InvalidArgument.
    """
    if entry.session_id == NO_SESSION:
        return None
    check_range("session", entry.session_id, 1, _SEQUENCE_MAX)
    check_range("window_start", entry.window_start, 0, _SEQUENCE_MAX)
    check_range("sequence", entry.sequence, 0, _SEQUENCE_MAX)
    if entry.window_start > entry.sequence:
        raise InvalidArgument(
            f"sequence {entry.sequence} lies below its own window start {entry.window_start}"
        )
    session = draft.view.session(entry.session_id)
    if session is None:
        was_given = entry.session_id <= draft.counters.last_session
        if was_given and isinstance(entry.command, CloseSession):
            return encode(Done())
        raise SessionExpired(f"session {entry.session_id} is not known (any more)")
    if entry.sequence < session.window_start:
        raise SessionExpired(
            f"the answer to request {entry.sequence} of session {entry.session_id} is not kept:"
            f" its window starts at {session.window_start}"
        )
    window_start = max(session.window_start, entry.window_start)
    if entry.sequence >= window_start + SESSION_WINDOW:
        raise WindowFull(
            f"request {entry.sequence} of session {entry.session_id} is too far ahead of the oldest"
            f" open one, {window_start}; wait for answers"
        )
    stored = draft.rows.get(REPLIES, pair_key(entry.session_id, entry.sequence))
    if stored is None:
        return None
    _touch(draft, entry.session_id, session, entry.window_start)
    return stored.data


def record(draft: Draft, entry: Entry, answer: bytes) -> None:
    """Keep the answer of a session's request, and forget those below its window start."""
    if entry.session_id == NO_SESSION:
        return
    session = draft.view.session(entry.session_id)
    if session is None:
        return  # It closed itself just now.
    _touch(draft, entry.session_id, session, entry.window_start)
    draft.rows.put(REPLIES, pair_key(entry.session_id, entry.sequence), StoredReply(answer))


def _touch(draft: Draft, session_id: SessionId, session: Session, window_start: int) -> None:
    start = max(session.window_start, window_start)
    if start > session.window_start:
        low, high = pair_key(session_id, session.window_start), pair_key(session_id, start)
        for key in [key for key, _ in draft.rows.scan(REPLIES, low, high)]:
            draft.rows.delete(REPLIES, key)
    touched = msgspec.structs.replace(
        session, last_ms=draft.counters.cluster_ms, window_start=start
    )
    draft.rows.put(SESSIONS, id_key(session_id), touched)
