"""Keeps leases going, ends tails whose primary orders no appends any more, gives up others (G9).

Safety does not depend on any of it: a tail ends by fencing its replicas (C2), whoever thinks that
he holds what.
"""

from __future__ import annotations

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import LEASE_RENEW_BELOW_MS, TAIL_IDLE_S
from gfs_ha.master.census import LostDisks, lost_disks
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.placement import Wanted, place
from gfs_ha.master.planners.plan import NO_CHUNK, NO_INODE, Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.primaries import why_over
from gfs_ha.master.roster import Roster, roster
from gfs_ha.master.rules import SEED
from gfs_ha.master.state.commands import BeginSeal
from gfs_ha.master.state.records import OPEN, Chunk
from gfs_ha.master.state.tail_commands import AbandonTails, EndHolds, RenewLeases
from gfs_ha.master.state.tail_reads import (
    holds_after,
    keeps_name,
    leases,
    open_tails,
    unopened_tails,
    why_ended,
)
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.master.state.view import View

RECOVERED = "the masters were recovered meanwhile"
IDLE = "nothing was appended for long"
MEMBER_GONE = "a server of it is dead"
DISK_GONE = "a disk of it is lost"
TOO_FEW = "it has fewer copies than wanted, and there are servers for all of them again"
NOT_LED = "its primary orders no appends to it"
RENAMED = "its file is called otherwise now"
LEAVES = "a server of it goes out of service"
PAUSES = "a server of it is in maintenance"
TOO_FEW_MS = 30_000  # So old is a tail with too few copies that is handed on: servers come and go.
UNLISTED_MS = 30_000  # After which a primary that lives and does not name a tail has none.


def plan_renewals(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the renewal of leases that are half over: one command for many servers."""
    now_ms = seen.cluster_ms(view.counters())
    due = [
        (server_id, lease.start_id, lease.until_ms)
        for server_id, lease in leases(view)
        if now_ms < lease.until_ms < now_ms + LEASE_RENEW_BELOW_MS
        and seen.repair.states.get(server_id) == LIVE
        and seen.tails.starts.get(server_id) == lease.start_id
    ]
    due.sort(key=lambda one: one[2])
    return Plan(proposals=[RenewLeases(tuple(due[: limits.items]))] if due else [])


def plan_tails(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the begin of the seal of tails that take no more appends, or that nobody needs.

    A file whose tail is more than half full gets its next one placed and created before.
    """
    page = open_tails(view, cursors.tails, limits.rows)
    cursors.tails = page[-1][0] if len(page) == limits.rows else NO_CHUNK
    found = Plan()
    now_ms = seen.cluster_ms(view.counters()) if page else 0
    held = dict(leases(view)) if page else {}
    known = roster(view, seen.now_s - seen.elected_s) if page else None
    lost = lost_disks(view) | seen.repair.failed_disks if page else frozenset()
    for chunk_id, inode_id, tail in page:
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state != OPEN or len(found.proposals) >= limits.items:
            continue
        why = (
            why_ended(tail, held.get(tail.server_id), now_ms)
            or why_over(tail, seen.tails.primary(tail))
            or _why_not_worth(seen, (tail, chunk), now_ms)
            or (DISK_GONE if _on_any(chunk, lost) else "")
            or (TOO_FEW if _better_elsewhere(view, seen, (chunk_id, chunk), now_ms, tail) else "")
            or (_why_handed_on(seen, chunk, known) if known is not None else "")
            or ("" if keeps_name(view, inode_id, tail) else RENAMED)
        )
        if why:
            found.proposals.append(BeginSeal(chunk_id, why))
        elif _more_than_half_full(seen, tail, chunk):
            found.ahead.append(inode_id)
    return found


def _more_than_half_full(seen: Seen, tail: Tail, chunk: Chunk) -> bool:
    led = seen.tails.primary(tail).led
    return led is not None and 2 * led.length > chunk.capacity


def _why_not_worth(seen: Seen, what: tuple[Tail, Chunk], now_ms: int) -> str:
    """Return why a tail is better sealed although its primary goes on; empty: it is not."""
    tail, chunk = what
    if tail.epoch.incarnation != seen.tails.epoch.incarnation:
        return RECOVERED
    if any(seen.repair.states.get(one.server_id) == DEAD for one in chunk.replicas):
        return MEMBER_GONE
    primary = seen.tails.primary(tail)
    if primary.led is not None:
        return IDLE if primary.led.idle_ms >= TAIL_IDLE_S * 1000 else ""
    heard = primary.state == LIVE and primary.start_id is not None and not seen.repair.young
    return NOT_LED if heard and now_ms - tail.opened_ms >= UNLISTED_MS else ""


def _on_any(chunk: Chunk, lost: LostDisks) -> bool:
    """Return whether a replica went with its disk: only what is sealed gets another one."""
    return any((one.server_id, one.disk_id) in lost for one in chunk.replicas)


def _better_elsewhere(
    view: View, seen: Seen, known: tuple[ChunkId, Chunk], now_ms: int, tail: Tail
) -> bool:
    """Return whether a tail was begun with too few copies, and the next one would have them all."""
    chunk_id, chunk = known
    if len(chunk.replicas) >= chunk.goal or now_ms - tail.opened_ms < TOO_FEW_MS:
        return False
    settings = view.settings()
    rule = chunk.rule or (settings.rule if settings is not None else SEED)
    wanted = (chunk.goal, chunk.goal, chunk.capacity, "", "", frozenset[ServerId](), chunk_id, rule)
    try:
        return len(place(list(seen.repair.candidates), Wanted(*wanted)).replicas) >= chunk.goal
    except (NoServers, NoSpace):
        return False


def _why_handed_on(seen: Seen, chunk: Chunk, known: Roster) -> str:
    """Return why a file needs a tail on other servers; empty: not, or there are too few others."""
    places = [
        one
        for one in chunk.replicas
        if known.trouble(one.server_id) or not known.serves(one.server_id, one.disk_id)
    ]
    if not places:
        return ""
    others = sum(not one.trouble for one in seen.repair.candidates)
    if others < chunk.min_copies:
        return ""  # Nobody could append: better there than nowhere.
    leaves = any(
        known.leaving(one.server_id) or not known.serves(one.server_id, one.disk_id)
        for one in places
    )
    return LEAVES if leaves else PAUSES


def plan_unopened(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the end of tails that were placed and that nobody opens any more.

    One of this epoch may have been placed a moment ago: it is given up when it is met twice.
    """
    met, cursors.unopened_met = cursors.unopened_met, frozenset()
    if not view.counters().unopened_tails:
        return Plan()
    page = unopened_tails(view, cursors.unopened, limits.rows)
    cursors.unopened = page[-1][0] if len(page) == limits.rows else NO_CHUNK
    older = [one for one, chunk in page if chunk.birth != seen.tails.epoch]
    lost = frozenset(
        one
        for one, chunk in page
        if chunk.birth == seen.tails.epoch and one not in seen.tails.opening
    )
    cursors.unopened_met = lost
    found = Plan()
    if older:
        found.proposals.append(AbandonTails(tuple(older[: limits.items])))
    if lost & met:
        given_up = tuple(sorted(lost & met)[: limits.items])
        found.proposals.append(AbandonTails(given_up, given_up=True))
    return found


def plan_holds(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the end of holds that count no more: of another epoch, or past their time (C9)."""
    counters = view.counters()
    if not counters.holds:
        return Plan()
    page = holds_after(view, cursors.holds, limits.rows)
    cursors.holds = page[-1][0] if len(page) == limits.rows else NO_INODE
    now_ms = seen.cluster_ms(counters)
    void = [
        (inode_id, hold.index)
        for inode_id, hold in page
        if not hold.stands(seen.tails.epoch, now_ms)
    ]
    return Plan(proposals=[EndHolds(tuple(void[: limits.items]))] if void else [])
