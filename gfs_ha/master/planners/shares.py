"""Shares the budget of repair: what the copies to each server may take together, anew each time.

A server gets its share by the bytes that it still has to copy, so all of them end at about the same
time, and none keeps a share that it has no use for. Raised is only what others are known to have
given up: a share that was told holds until its server says otherwise, or is silent for so long that
its allowance has lapsed. So the sum stays within the budget while it moves.
"""

from __future__ import annotations

from collections.abc import Mapping

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import MIB
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.view import View
from gfs_ha.protocol.repair import RepairAllowance

NO_LIMIT, NOTHING = 0, -1
_EVEN_BYTES = 8 * MIB  # Beside these, little differences of what is left do not count.


def plan_shares(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return what repair may take on every server that is not dead."""
    made = Plan()
    scene = Scene.of(view, seen, cursors)
    repair, budget = seen.repair, scene.budget
    wants = bytes_to_go(view, scene, limits.busy_rows)
    facts = {one: repair.facts[one] for one in wants if one in repair.facts}
    held = {one: told.copies_bytes_per_s for one, told in facts.items()}
    caps = dict.fromkeys(wants, budget.server_bytes_per_s)
    for server_id, told in facts.items():
        if told.backing_off:
            caps[server_id] = told.server_bytes_per_s
    shares = share(budget.cluster_bytes_per_s, wants, caps, held)
    for server_id in repair.states:
        if scene.there(server_id):
            mine = shares.get(server_id, NOTHING)
            if repair.young and mine != NOTHING:
                # What the leader before allowed to those that were not heard yet is not known.
                if server_id not in held:
                    continue
                mine = _less(mine, held[server_id])
            made.allowances[server_id] = RepairAllowance(mine, budget.server_bytes_per_s)
    return made


def bytes_to_go(view: View, scene: Scene, rows: int) -> dict[ServerId, int]:
    """Return the bytes that are still to be copied to each live server that is given copies."""
    found: dict[ServerId, int] = {}
    for chunk_id, chunk in view.busy_chunks(ChunkId(0), rows):
        for order in chunk.copying:
            left = scene.bytes_left(chunk_id, chunk, order)
            if left > 0 and scene.live(order.server_id):
                found[order.server_id] = found.get(order.server_id, 0) + left
    return found


def share(
    budget: int,
    wants: Mapping[ServerId, int],
    caps: Mapping[ServerId, int],
    held: Mapping[ServerId, int],
) -> dict[ServerId, int]:
    """Return the bytes per second of each server that wants some.

    Args: `budget` and `caps`, 0 is no limit; `held` is what holds on the servers now.
    """
    if budget == NO_LIMIT:
        return {one: caps[one] for one in wants}
    fair = _by_weight(budget, {one: left + _EVEN_BYTES for one, left in wants.items()}, caps)
    now = {one: _known(held.get(one, NOTHING), budget) for one in fair}
    raised = {one: rate - now[one] for one, rate in fair.items() if rate > now[one]}
    room = budget - sum(max(now[one], min(rate, now[one])) for one, rate in fair.items())
    wanted = sum(raised.values())
    if not wanted or wanted <= room:
        return fair
    part = max(0, room) / wanted
    return {
        one: max(1, now[one] + int(raised[one] * part)) if one in raised else rate
        for one, rate in fair.items()
    }


def _by_weight(
    budget: int, weights: dict[ServerId, int], caps: Mapping[ServerId, int]
) -> dict[ServerId, int]:
    """Return shares by weight; what is above the cap of a server goes to the others."""
    found: dict[ServerId, int] = {}
    left = budget
    open_ones = dict(weights)
    while open_ones:
        total = sum(open_ones.values())
        shares = {one: left * weight // total for one, weight in open_ones.items()}
        capped = [one for one in open_ones if caps[one] and shares[one] > caps[one]]
        if not capped:
            found.update((one, max(1, rate)) for one, rate in shares.items())
            break
        for one in capped:
            found[one] = caps[one]
            left -= caps[one]
            del open_ones[one]
    return found


def _known(rate: int, budget: int) -> int:
    """Return what a rate that holds takes of a budget at most."""
    return budget if rate == NO_LIMIT else max(0, min(rate, budget))


def _less(one: int, other: int) -> int:
    """Return the lower of two rates."""
    if NO_LIMIT in (one, other):
        return max(one, other) if NOTHING not in (one, other) else NOTHING
    return min(one, other)
