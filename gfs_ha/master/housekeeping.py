"""The leader's own duties: announced at election, planned and carried out a few times per second.

One thread reads the tables and runs the planners; soft state is touched on the door's thread only.
A planner whose proposals are still on their way is not asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from gfs_ha.errors import GfsError, NotLeader
from gfs_ha.limits import REQUEST_DEADLINE_S, SUSPECT_S
from gfs_ha.master.census import Presence, lost_disks
from gfs_ha.master.duties import Duties
from gfs_ha.master.handlers.chunkservers import note_strays
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.events import look_around
from gfs_ha.master.observed import LIVE
from gfs_ha.master.orders import COMPACT
from gfs_ha.master.planners.compaction import plan_compaction
from gfs_ha.master.planners.copies import plan_copies
from gfs_ha.master.planners.drain import plan_drain
from gfs_ha.master.planners.events import plan_events
from gfs_ha.master.planners.expiry import plan_claims, plan_seals, plan_sessions
from gfs_ha.master.planners.garbage import plan_deletes, plan_reaping
from gfs_ha.master.planners.goals import plan_goals
from gfs_ha.master.planners.job_progress import plan_progress
from gfs_ha.master.planners.leases import (
    plan_holds,
    plan_renewals,
    plan_tails,
    plan_unopened,
)
from gfs_ha.master.planners.lost_disks import plan_lost_disks
from gfs_ha.master.planners.news import News
from gfs_ha.master.planners.orphans import plan_orphans
from gfs_ha.master.planners.pauses import plan_pauses
from gfs_ha.master.planners.placing import plan_placing
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Planner, Seen
from gfs_ha.master.planners.punching import plan_punching
from gfs_ha.master.planners.rebalance import plan_rebalance
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.planners.results import plan_results
from gfs_ha.master.planners.shares import plan_shares
from gfs_ha.master.planners.surplus import plan_surplus
from gfs_ha.master.planners.tally import plan_tally
from gfs_ha.master.primaries_heard import tails_seen
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.reign import Reign
from gfs_ha.master.repairing import carry_out, repair_seen
from gfs_ha.master.roles import RoleKeeper, log_outcome
from gfs_ha.master.state.commands import InitCluster, LeaderElected
from gfs_ha.master.state.garbage_commands import EndCompaction
from gfs_ha.master.state.view import View
from gfs_ha.runtime import Future

logger = logging.getLogger(__name__)

TICK_S = 0.25
_MINUTE_S = 60.0
_SNAPSHOT_WAIT_S = 2.0
_NEWS_S = 2.0  # How often it is looked at the health of the whole cluster.
_DELETED_PER_PLAN = 1_000
_CENSUS_ROWS = 500
_HEARD_AFTER_S = SUSPECT_S  # A new leader has heard of every live server by then (G6).

_DELETES = "deletes"
_COPIES = "copies"
_PUNCHING = "punching"
_ORPHANS = "orphans"
_EVENTS = "events"
_ANNOUNCE = "announce"
_INIT = "init"

PLANNERS: dict[str, Planner] = {
    "claims": plan_claims,
    "sessions": plan_sessions,
    "seals": plan_seals,
    "tails": plan_tails,
    "leases": plan_renewals,
    "unopened": plan_unopened,
    "holds": plan_holds,
    "results": plan_results,
    _DELETES: plan_deletes,
    "reaping": plan_reaping,
    _PUNCHING: plan_punching,
    _ORPHANS: plan_orphans,
    "compaction": plan_compaction,
    _COPIES: plan_copies,
    "replication": plan_replication,
    "drain": plan_drain,
    "lost disks": plan_lost_disks,
    "pauses": plan_pauses,
    "goals": plan_goals,
    "placing": plan_placing,
    "rebalance": plan_rebalance,
    "surplus": plan_surplus,
    "tally": plan_tally,
    "shares": plan_shares,
    "progress": plan_progress,
    _EVENTS: plan_events,
}


class Housekeeper:
    """Ticks while this master leads. `run` belongs to one thread."""

    def __init__(self, desk: Desk, roles: RoleKeeper, every_minute: Callable[[], object]) -> None:
        self.limits = PlanLimits()
        self._desk = desk
        self._roles = roles
        self._every_minute = every_minute
        self._cursors = Cursors()
        self._planned_for: Reign | None = None
        self._duties = Duties(desk.runtime)
        self._stopping = False
        self.turned_s = desk.now_s()  # When a tick last ended, with whatever result.
        self._news_s = 0.0  # When it is looked at the whole cluster next.
        self._news: tuple[Reign, News] | None = None  # Of the door's thread.

    def run(self) -> None:
        """Tick until `stop`."""
        minute_s = self._desk.now_s() + _MINUTE_S
        while not self._stopping:
            self._desk.runtime.sleep(TICK_S)
            try:
                self._roles.check()
                if self._desk.now_s() >= minute_s:
                    minute_s += _MINUTE_S
                    self._every_minute()
                reign = self._desk.reign
                if reign is not None and not self._stopping:
                    self.tick(reign)
            except Exception:
                # The top of this thread. A planner's mistake must not stop all masters in turn.
                logger.exception("a tick of housekeeping failed")
            self.turned_s = self._desk.now_s()

    def stop(self) -> None:
        """Make `run` return soon. Thread-safe."""
        self._stopping = True

    def tick(self, reign: Reign) -> None:
        """Plan once and hand out what comes of it."""
        try:
            self._look_around(reign)
            # First: what is told once is told those alone that plan with it.
            resting = self._resting()
            seen = self._seen(reign, resting)
            plans = self._plan(reign, seen, resting)
            self._desk.post(partial(self._carry_out, reign, plans))
        except NotLeader:
            return
        except GfsError as error:
            self._desk.weigh(error)
            logger.warning("a tick of housekeeping was left out because=%s", error.message)

    def _resting(self) -> frozenset[str]:
        """Return the duties that have no turn now: the tables lack something that they proposed.

        Without settings none has one.
        """
        with self._desk.kv.read() as reader:
            shown = stored_applied(reader)
            if View(reader).settings() is None:
                return frozenset(PLANNERS)
        return frozenset(name for name in PLANNERS if self._duties.waits(name, shown))

    def _seen(self, reign: Reign, resting: frozenset[str]) -> Seen:
        """Return what the door's thread has heard; it also answers what has waited long enough.

        Raises: NotLeader when the reign is over, DeadlineExceeded when the door is held up.
        """
        future: Future[Seen] = self._desk.runtime.future()
        proposed, copying = _DELETES in resting, _COPIES in resting
        collecting = bool(resting & {_PUNCHING, _ORPHANS})

        def look() -> None:
            sealer, opener = self._desk.sealer, self._desk.opener
            if self._desk.reign is not reign or sealer is None or opener is None:
                future.fail(NotLeader("the reign is over"))
                return
            now_s = self._desk.now_s()
            reign.release_due(now_s)
            opener.tick(now_s)
            sealer.tick(now_s)
            repair = repair_seen(self._desk, reign, take=not copying)
            future.set(
                Seen(
                    now_s=now_s,
                    elected_s=reign.elected_s,
                    sessions=dict(reign.observed.sessions),
                    deleted=() if proposed else reign.take_deleted(_DELETED_PER_PLAN),
                    live=frozenset(
                        server_id
                        for server_id in reign.observed.servers
                        if reign.observed.state(server_id, now_s) == LIVE
                    ),
                    damaged=frozenset(reign.observed.damage),
                    tails=tails_seen(reign, opener, repair.states),
                    repair=repair,
                    garbage=reign.garbage.seen(take=not collecting),
                    day_minute=_day_minute(self._desk.runtime.wall_ns()),
                    news=self._take_news(reign, repair.young),
                )
            )

        self._desk.post(look)
        return future.result(_SNAPSHOT_WAIT_S)

    def _look_around(self, reign: Reign) -> None:
        """Have the door's thread look at the whole cluster, every few seconds.

        In a turn of its own: a mistake in a report must not cost the planners what they see.
        """
        now_s = self._desk.now_s()
        if now_s < self._news_s or self._duties.pending(_EVENTS):
            return
        self._news_s = now_s + _NEWS_S

        def look() -> None:
            if self._desk.reign is reign:
                self._news = reign, look_around(self._desk)

        self._desk.post_quietly(look)

    def _take_news(self, reign: Reign, young: bool) -> News | None:
        """Return what was found of the whole cluster, once. On the door's thread."""
        found, self._news = self._news, None
        return found[1] if found is not None and found[0] is reign and not young else None

    def _plan(self, reign: Reign, seen: Seen, resting: frozenset[str]) -> list[Plan]:
        if self._planned_for is not reign:
            self._planned_for, self._cursors = reign, Cursors()
        with self._desk.kv.read() as reader:
            view = View(reader)
            if view.settings() is None:
                self._initialize(reign)
                return []
            newest = view.led_terms(1)
            if not newest or (newest[0].incarnation, newest[0].term) < (
                reign.epoch.incarnation,
                reign.epoch.term,
            ):
                # The one of the election was lost.
                command = LeaderElected(self._desk.name, self._desk.incarnation)
                self._propose(_ANNOUNCE, Plan(proposals=[command]))
            plans = []
            for name, planner in PLANNERS.items():
                if name in resting:
                    continue
                wanted = partial(planner, view, seen, self.limits, self._cursors)
                plan = reign.guard.run(name, wanted, seen.now_s)
                self._propose(name, plan)
                plans.append(plan)
            reign.queue = self._cursors.queue
            reign.placing = self._cursors.placing
            reign.tally = self._cursors.tally
            reign.drains = self._cursors.drains
            reign.jobs = self._cursors.jobs
            reign.garbage.walk = self._cursors.dead_blocks
            young = seen.now_s - seen.elected_s < _HEARD_AFTER_S
            presence = Presence(
                lambda server_id: young or server_id in seen.live,
                lost_disks(view) | seen.repair.failed_disks,
                seen.damaged,
            )
            reign.census.step(view, presence, _CENSUS_ROWS)
        return plans

    def _propose(self, name: str, plan: Plan) -> None:
        if self._duties.pending(name):
            return
        for command in plan.proposals:
            self._duties.begin(name)
            self._desk.proposer.propose(
                command, REQUEST_DEADLINE_S, partial(self._proposed, name, type(command).__name__)
            )

    def _proposed(self, name: str, command: str, outcome: Outcome) -> None:
        self._duties.ended(name, outcome)
        log_outcome(command, outcome)

    def _carry_out(self, reign: Reign, plans: list[Plan]) -> None:
        sealer, opener = self._desk.sealer, self._desk.opener
        if self._desk.reign is not reign or sealer is None or opener is None:
            return
        now_s = self._desk.now_s()
        for plan in plans:
            for server_id, order in plan.deletes:
                reign.orders.want(server_id, order)
            for chunk_id, chunk in plan.sealing:
                sealer.look_at(chunk_id, chunk)
            opener.prepare(plan.ahead)
        carry_out(reign, plans, now_s)
        note_strays(reign, plans)
        for plan in plans:
            for command in plan.proposals:
                if isinstance(command, EndCompaction):
                    reign.orders.forget(command.chunk_id, (COMPACT,))
        reign.release_due(now_s)

    def _initialize(self, reign: Reign) -> None:
        """Propose the settings of a fresh cluster, from this leader's file (M1)."""
        cluster, settings = self._desk.config.cluster, self._desk.config.settings
        command = InitCluster(
            cluster_id=cluster.id,
            cluster_name=cluster.name,
            incarnation=reign.epoch.incarnation,
            chunk_bytes=settings.chunk_bytes,
            goal=settings.goal,
            min_copies=settings.min_copies,
            rule=settings.placement,
        )
        # The announcement of the election came before the settings and was refused.
        elected = LeaderElected(self._desk.name, self._desk.incarnation)
        self._propose(_INIT, Plan(proposals=[command, elected]))


def _day_minute(wall_ns: int) -> int:
    """Return the minute of the day by this machine's clock and time zone."""
    moment = datetime.fromtimestamp(wall_ns / 1e9)
    return moment.hour * 60 + moment.minute
