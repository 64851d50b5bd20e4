"""Ends the claims of silent clients, seals what they left open, expires old sessions (C11, S1)."""

from __future__ import annotations

from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.limits import KEYED_LIFE_MORE_MS
from gfs_ha.master.planners.plan import NO_CHUNK, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.chunk_rows import begun_before
from gfs_ha.master.state.commands import BeginSeal, EndClaims, ExpireSessions
from gfs_ha.master.state.records import OPEN
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import TAIL

REASON = "its writer is gone"
REASON_ANEW = "the masters were recovered meanwhile"


def plan_claims(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the end of claims whose session has been silent for too long."""
    claims = view.claims(cursors.claims, limits.rows)
    cursors.claims = claims[-1] if len(claims) == limits.rows else None
    silent = tuple(
        (session_id, chunk_id)
        for session_id, chunk_id in claims
        if _silence_s(view, seen, session_id) > limits.claim_silence_s
    )
    return Plan(proposals=[EndClaims(silent[: limits.items])] if silent else [])


def _silence_s(view: View, seen: Seen, session_id: SessionId) -> float:
    """Return for how long a session has been silent.

    One that opened a moment ago may not be known to the leader yet, and have a claim: what it had
    applied last, in cluster time as it goes on in this term, speaks for it.
    """
    silence_s = seen.session_silence_s(session_id)
    session = None if session_id in seen.sessions else view.session(session_id)
    if session is None:
        return silence_s
    return min(silence_s, (seen.cluster_ms(view.counters()) - session.last_ms) / 1000)


def plan_sessions(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the expiry of sessions that claim nothing and have lived their time.

    A session that only renews leaves no trace in the tables; a new leader gives it time to.
    """
    before_ms = view.counters().cluster_ms - limits.session_life_ms
    if before_ms <= 0:
        return Plan()
    idle, cursors.sessions = view.sessions_idle(before_ms, cursors.sessions, limits.rows)
    expired = tuple(
        (session_id, last_ms)
        for session_id, last_ms in idle
        if seen.session_silence_s(session_id) > limits.claim_silence_s
        and (last_ms < before_ms - KEYED_LIFE_MORE_MS or not _has_key(view, session_id))
    )
    return Plan(proposals=[ExpireSessions(expired[: limits.items])] if expired else [])


def _has_key(view: View, session_id: SessionId) -> bool:
    session = view.session(session_id)
    return session is not None and bool(session.key)


def plan_seals(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the chunks that are being sealed, and the begin of it for those without a writer.

    A chunk without a writer and without references is dead already (C11), so one that is open
    and unclaimed holds bytes that somebody refers to; unless it is a tail (planners/leases.py).
    """
    page = view.open_or_sealing(cursors.unsealed, limits.rows)
    cursors.unsealed = page[-1][0] if len(page) == limits.rows else NO_CHUNK
    settings = view.settings()
    incarnation = 0 if settings is None else settings.incarnation
    found = Plan()
    for chunk_id, chunk in page:
        if chunk.state != OPEN and begun_before(chunk, incarnation):
            found.proposals.append(BeginSeal(chunk_id, REASON_ANEW))
        elif chunk.state != OPEN:
            found.sealing.append((chunk_id, chunk))
        elif chunk.claimed_by == NO_SESSION and chunk.kind != TAIL:
            found.proposals.append(BeginSeal(chunk_id, REASON))
    return found
