"""What operators ask of rebalancing: a plan that is played through, a start, how even disks are."""

from __future__ import annotations

from functools import partial

import msgspec

from gfs_ha.errors import Busy, GfsError, InvalidArgument, NotLeader
from gfs_ha.ids import format_id
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.jobs import job_row
from gfs_ha.master.handlers.mutations import answer_outcome, once_visible
from gfs_ha.master.planners.balance import THRESHOLD_DEFAULT, Balance
from gfs_ha.master.planners.fullness import Traffic, balance_of
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.planners.rebalance_ahead import balance_row
from gfs_ha.master.planners.rebalance_end import in_use
from gfs_ha.master.proposals import MARGIN_S
from gfs_ha.master.rebalance_plan import Foresight, running_rebalance
from gfs_ha.master.repairing import scene_now
from gfs_ha.master.state.job_commands import StartJob
from gfs_ha.master.state.jobs import check_options, jobs_below
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import REBALANCE
from gfs_ha.protocol.rebalance import (
    LISTED_MAX,
    GetRebalance,
    PlanRebalance,
    RebalancePlan,
    RebalanceStatus,
    StartRebalance,
)
from gfs_ha.protocol.server_modes import LEAVING

_LEFT_OUT_MAX = 100


def plan_rebalance(desk: Desk, request: PlanRebalance, slot: Slot) -> None:
    """Answer what a rebalance would do, once it was played through beside everything else.

    One at a time: who wants another one has to wait for whoever came first.
    """
    desk.leading()
    check_options(request.options)
    if not 0 <= request.listed <= LISTED_MAX:
        raise InvalidArgument(f"a plan lists 0 to {LISTED_MAX} moves, not {request.listed}")

    once_visible(desk, slot, partial(_plan, desk, request, slot))


def _plan(desk: Desk, request: PlanRebalance, slot: Slot) -> None:
    reign = desk.leading()

    def answer(result: RebalancePlan | GfsError) -> None:
        if isinstance(result, GfsError):
            slot.fail(desk.proposer.for_client(result))
        else:
            with desk.kv.read() as reader:
                left_out = _left_out(desk, View(reader))
            moves = result.moves[: request.listed]
            slot.reply(msgspec.structs.replace(result, moves=moves, left_out=left_out))

    foresight = reign.foresight
    with desk.kv.read() as reader:
        running = running_rebalance(View(reader))
    known = isinstance(foresight, Foresight) and foresight.serves(request.options, running)
    if not isinstance(foresight, Foresight) or not known:
        if isinstance(foresight, Foresight) and foresight.waited_for:
            raise Busy("another plan is being played through, for somebody else", retry_ms=300)
        if foresight is not None:
            foresight.end(NotLeader("another plan was asked for"))
        foresight = Foresight(desk, reign, request.options)
        reign.foresight = foresight
    foresight.when_done(answer)


def get_rebalance(desk: Desk, view: View, request: GetRebalance, slot: Slot) -> RebalanceStatus:
    """Return how full the disks are now, and the newest rebalance."""
    newest = next((one for one in jobs_below(view, 0) if one[1].kind == REBALANCE), None)
    threshold = THRESHOLD_DEFAULT
    if newest is not None:  # How even they are is told by the measure that was asked for last.
        threshold = newest[1].options.threshold or threshold
    balance = _balance_now(desk, view, threshold)
    disks = sorted(balance.disks.values(), key=lambda one: (one.name, one.disk_id))
    return RebalanceStatus(
        items=tuple(balance_row(balance, one) for one in disks),
        mean=round(balance.mean, 4),
        threshold=balance.threshold,
        left_bytes=balance.left_bytes(),
        job=job_row(desk, view, *newest) if newest is not None else None,
        left_out=_left_out(desk, view),
    )


def start_rebalance(desk: Desk, request: StartRebalance, slot: Slot) -> None:
    """Begin a rebalance, and answer with its number."""
    desk.leading()
    with desk.kv.read() as reader:
        balance = _balance_now(desk, View(reader), THRESHOLD_DEFAULT)
    command = StartJob(
        REBALANCE,
        request.options,
        planned_bytes=request.planned_bytes,
        planned_moves=request.planned_moves,
        asked_by=request.asked_by,
        began_disks=len(balance.disks),
        began_bytes=in_use(balance),
    )

    done = partial(answer_outcome, desk, slot)
    desk.proposer.propose(command, slot.left_s() - MARGIN_S, done)


def _balance_now(desk: Desk, view: View, threshold: float) -> Balance:
    scene = scene_now(desk, view)
    traffic = Traffic(view, scene, PlanLimits().busy_rows)
    return balance_of(view, scene, traffic, threshold)


def _left_out(desk: Desk, view: View) -> tuple[str, ...]:
    """Return the servers and disks that give and take nothing, and why."""
    scene = scene_now(desk, view)
    found = []
    modes = scene.roster.disk_modes
    for server_id, server in scene.roster.servers:
        why = scene.roster.trouble(server_id) or ("" if scene.there(server_id) else "is dead")
        if why:
            found.append(f"{server.name} {why}")
            continue
        for disk in server.disks:
            key = (server_id, disk.disk_id)
            how = ""
            if key in scene.repair.failed_disks:
                how = "has failed"
            elif disk.lost:
                how = "is lost"
            elif key in modes:
                how = "is being drained" if modes[key].mode in LEAVING else f"is {modes[key].mode}"
            if how:
                found.append(f"{server.name}:{format_id(disk.disk_id)} {how}")
    return tuple(sorted(found)[:_LEFT_OUT_MAX])
