"""Between the planners of repair and the leader's soft state: what they see, what they ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import SUSPECT_S
from gfs_ha.master.candidates import candidates
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.observed import DEAD, LIVE, ServerFacts
from gfs_ha.master.orders import DELETE, KEEP
from gfs_ha.master.planners.plan import Plan, Seen
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.planners.seen import RepairSeen
from gfs_ha.master.reign import Reign
from gfs_ha.master.roster import roster
from gfs_ha.master.state.commands import ConfirmCopy, EndCopy, PlaceCopy
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import CopyProgress, CopyReplica, DiskFacts, StopCopy
from gfs_ha.protocol.tally import LIST_BUCKETS_MAX

MASS_S = 300.0  # A leader younger than this copies nothing while most servers are away.
YOUNG = "this leader is new and still hears its servers"


def repair_seen(desk: Desk, reign: Reign, take: bool) -> RepairSeen:
    """Return what the planners of repair go by. On the door's thread.

    Args: `take` hands out the answers that came since, once; nobody plans with them otherwise.
    """
    now_s = desk.now_s()
    observed, repairs = reign.observed, reign.repairs
    with desk.kv.read() as reader:
        known = roster(View(reader), now_s - reign.elected_s)
    repairs.look_for_stalled(now_s)
    states = {server_id: observed.state(server_id, now_s) for server_id, _ in known.servers}
    facts = {one: found for one, found in observed.servers.items() if states.get(one) == LIVE}
    young = now_s - reign.elected_s < SUSPECT_S
    reign.hold = YOUNG if young else _mass_outage(states, now_s - reign.elected_s)
    return RepairSeen(
        candidates=tuple(candidates(known, observed, now_s)),
        states=states,
        settled=frozenset(one for one in states if observed.settled(one, now_s)),
        failed_disks=failed_disks(observed.servers),
        disks=_disks(observed.servers, states),
        streams={server_id: found.streams for server_id, found in facts.items()},
        listed={server_id: found.unsettled for server_id, found in facts.items()},
        running=_running(facts),
        facts={one: found.repair for one, found in facts.items() if found.repair is not None},
        copied=repairs.copies_done,
        kept=repairs.take(KEEP) if take else frozenset(),
        deleted=repairs.take(DELETE) if take else frozenset(),
        failed=repairs.take_failed() if take else {},
        resting=repairs.resting(now_s),
        tallies={
            (server_id, disk_id): told
            for server_id, found in facts.items()
            for disk_id, told in found.tallies.items()
        },
        listings=repairs.take_listings(),
        starts={server_id: found.start_id for server_id, found in facts.items()},
        gone=frozenset(repairs.gone),
        doubted=frozenset(repairs.doubted),
        unreached=observed.unreached.all_believed(now_s),
        young=young,
        hold=reign.hold,
    )


def scene_now(desk: Desk, view: View) -> Scene:
    """Return the servers as the planners of repair see them, without taking their news away.

    On the door's thread.
    """
    reign, now_s = desk.leading(), desk.now_s()
    observed, repairs = reign.observed, reign.repairs
    known = roster(view, now_s - reign.elected_s)
    states = {server_id: observed.state(server_id, now_s) for server_id, _ in known.servers}
    seen = RepairSeen(
        candidates=tuple(candidates(known, observed, now_s)),
        states=states,
        settled=frozenset(one for one in states if observed.settled(one, now_s)),
        failed_disks=failed_disks(observed.servers),
        disks=_disks(observed.servers, states),
        streams={one: facts.streams for one, facts in observed.servers.items()},
        running=_running(observed.servers),
        copied=repairs.copies_done,
        resting=repairs.resting(now_s),
        unreached=observed.unreached.all_believed(now_s),
        gone=frozenset(repairs.gone),
        young=now_s - reign.elected_s < SUSPECT_S,
    )
    damaged = frozenset(observed.damage)
    return Scene(view, Seen(now_s, reign.elected_s, {}, damaged=damaged, repair=seen))


def _disks(
    facts: Mapping[ServerId, ServerFacts], states: Mapping[ServerId, str]
) -> dict[tuple[ServerId, DiskId], DiskFacts]:
    """Return what the servers told of their disks that are not dead."""
    return {
        (server_id, disk.disk_id): disk
        for server_id, found in facts.items()
        if states.get(server_id, DEAD) != DEAD
        for disk in found.disks
    }


def _running(
    facts: Mapping[ServerId, ServerFacts],
) -> dict[tuple[ChunkId, ServerId], CopyProgress]:
    """Return the copies that servers say they are making."""
    return {
        (copy.chunk_id, server_id): copy
        for server_id, found in facts.items()
        for copy in found.copies
    }


def failed_disks(
    facts: Mapping[ServerId, ServerFacts],
) -> frozenset[tuple[ServerId, DiskId]]:
    """Return the disks that their servers say are out of service: what lies there is lost."""
    return frozenset(
        (server_id, disk.disk_id)
        for server_id, found in facts.items()
        for disk in found.disks
        if disk.failed
    )


def _mass_outage(states: dict[ServerId, str], age_s: float) -> str:
    """Return why most servers are waited for; after a restart of everything some come late."""
    dead = sum(state == DEAD for state in states.values())
    if 2 * dead <= len(states) or age_s >= MASS_S:
        return ""
    return f"{dead} of {len(states)} chunkservers are dead; they are waited for, {MASS_S:.0f} s"


def carry_out(reign: Reign, plans: Sequence[Plan], now_s: float) -> None:
    """Hand out the orders of plans, and note what they wait for. On the door's thread."""
    repairs = reign.repairs
    if not reign.queue.newest.chunks:
        repairs.waits.clear()
    repairs.note_round(reign.queue.rounds)
    for plan in plans:
        for server_id, allowance in plan.allowances.items():
            reign.allow(server_id, allowance, now_s)
        for server_id, order in plan.orders:
            reign.orders.want(server_id, order)
            if isinstance(order, CopyReplica):
                answered = (order.chunk_id, server_id, order.order_index)
                repairs.wanted(answered, order.length, now_s)
        for command in plan.proposals:
            if isinstance(command, PlaceCopy | ConfirmCopy):
                repairs.waits.pop(command.chunk_id, None)  # If it still does, it is noted below.
            elif isinstance(command, EndCopy):
                reign.orders.want(
                    command.server_id, StopCopy(command.chunk_id, command.order_index)
                )
                repairs.ended((command.chunk_id, command.server_id, command.order_index))
        for server_id, disk_id, bucket in plan.listings:
            wanted = repairs.to_list.setdefault(server_id, [])
            if (disk_id, bucket) not in wanted and len(wanted) < LIST_BUCKETS_MAX:
                wanted.append((disk_id, bucket))
        for chunk_id, server_id in plan.doubts:
            repairs.doubt(chunk_id, server_id)
        repairs.note_waits(plan.waits, plan.stuck, now_s)
