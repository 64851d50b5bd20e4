"""A rebalance that is played through for a plan, slice by slice on the door's thread.

Between two slices everybody else has a turn; each has a read transaction of its own. All who ask
for the same plan meanwhile get the same answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gfs_ha.errors import Busy, DeadlineExceeded, GfsError, NotLeader
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.observed import LIVE
from gfs_ha.master.planners.balance import THRESHOLD_DEFAULT, Balance
from gfs_ha.master.planners.fullness import Traffic, balance_of, unheard
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.planners.rebalance_ahead import Ahead, Step, told
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.reign import Reign
from gfs_ha.master.repairing import scene_now
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import REBALANCE, JobOptions, job_id
from gfs_ha.protocol.rebalance import LISTED_MAX, PlannedMove, RebalancePlan
from gfs_ha.runtime import Future

logger = logging.getLogger(__name__)

PLAYED_MAX_S = 60.0  # What is not played through by then is told as far as it is.
_SLICE_S = 0.005
_PAUSE_S = 0.005
_ROWS = 16  # Between two looks at the clock.
_RETRY_MS = 300
_FRESH_S = 2.0  # A plan that was ready so lately is told again.

Answer = Callable[[RebalancePlan | GfsError], object]


class Foresight:
    """One plan; all of it on the door's thread but the pauses."""

    def __init__(self, desk: Desk, reign: Reign, options: JobOptions) -> None:
        self._desk, self._reign, self._options = desk, reign, options
        self._began_s = desk.now_s()
        self._done_s: float | None = None
        self._result: RebalancePlan | GfsError | None = None
        self._waiting: list[Answer] = []
        self._asked_s = self._began_s
        with desk.kv.read() as reader:
            view = View(reader)
            # Kept for what it knows of servers; the tables are read with younger views.
            self._scene = _hopeful(view, scene_now(desk, view))
            traffic = Traffic(view, self._scene, PlanLimits().busy_rows)
            threshold = options.threshold or THRESHOLD_DEFAULT
            balance = balance_of(view, self._scene, traffic, threshold)
            self._running = running_rebalance(view)
        self._balanced = not balance.outside()
        self._mean = balance.mean
        self._moves: list[PlannedMove] = []
        self._ahead: Ahead | None = Ahead(balance, partial(self._list, balance))
        desk.runtime.spawn("rebalance plan", self._run)

    def serves(self, options: JobOptions, running: str) -> bool:
        """Return whether this is the plan, or will be, for somebody who asks now.

        Args: `running` is the rebalance that has not ended, as of now.
        """
        fresh = self._done_s is None or self._desk.now_s() - self._done_s < _FRESH_S
        return (options, running) == (self._options, self._running) and fresh

    @property
    def waited_for(self) -> bool:
        """Return whether it is being played, for somebody who asked for it not long ago."""
        asked_ago_s = self._desk.now_s() - self._asked_s
        return self._result is None and asked_ago_s < REQUEST_DEADLINE_S

    def when_done(self, answer: Answer) -> None:
        """Have somebody told of the plan, or why there is none."""
        self._asked_s = self._desk.now_s()
        if self._result is not None:
            answer(self._result)
        else:
            self._waiting.append(answer)

    def end(self, error: GfsError) -> None:
        """Tell all who wait that there is no plan; the play ends soon."""
        if self._result is None:
            self._finish(error)

    def _run(self) -> None:
        """Have slice after slice played. In a task of its own, which only waits."""
        runtime = self._desk.runtime
        more = True
        while more:
            future: Future[bool] = runtime.future()
            try:
                self._desk.post(partial(self._tell_slice, future))
                more = future.result(REQUEST_DEADLINE_S)
            except GfsError as error:
                logger.warning("plan of a rebalance given up because=%s", error.message)
                lost = DeadlineExceeded("the plan could not be played through; try again")
                self._desk.post_quietly(partial(self.end, lost))
                return
            runtime.sleep(_PAUSE_S)

    def _list(self, balance: Balance, step: Step) -> None:
        if len(self._moves) < LISTED_MAX:
            self._moves.append(told(step, balance))

    def _tell_slice(self, future: Future[bool]) -> None:
        future.set(self._slice())

    def _slice(self) -> bool:
        ahead = self._ahead
        if ahead is None or self._desk.reign is not self._reign:
            self.end(NotLeader("the reign is over"))
            return False
        now_s = self._desk.now_s()
        until_s = now_s + _SLICE_S
        try:
            with self._desk.kv.read() as reader:
                view = View(reader)
                more = True
                while more and self._desk.now_s() < until_s:
                    more = ahead.step(view, self._scene, _ROWS)
        except GfsError as error:
            self._finish(self._desk.weigh(error))
            return False
        if more and now_s - self._began_s < PLAYED_MAX_S:
            return True
        self._finish(self._report(ahead, whole=not more))
        return False

    def _finish(self, result: RebalancePlan | GfsError) -> None:
        self._result, self._done_s = result, self._desk.now_s()
        waiting, self._waiting = self._waiting, []
        self._ahead = None  # It may have become large.
        for answer in waiting:
            answer(result)

    def _report(self, ahead: Ahead, whole: bool) -> RebalancePlan:
        rows = ahead.rows_of_disks()
        per_s = self._rate(sum(bool(row.bytes_in) for row in rows))
        lacking = self._reign.queue.newest.makeable
        waits = "chunks lack copies: these come first" if lacking else ""
        return RebalancePlan(
            items=rows,
            moves=tuple(self._moves),
            move_count=ahead.move_count,
            moved_bytes=ahead.moved_bytes,
            mean=round(self._mean, 4),
            threshold=ahead.balance.threshold,
            bytes_per_s=per_s,
            eta_ms=ahead.moved_bytes * 1000 // per_s if per_s else -1,
            balanced=self._balanced,
            running=self._running,
            waits=self._reign.hold or waits,
            whole=whole,
        )

    def _rate(self, targets: int) -> int:
        """Return what the moves may take together by all budgets; 0: there is no limit."""
        budget = self._scene.budget
        limits = [self._options.bytes_per_s, budget.cluster_bytes_per_s]
        limits.append(budget.server_bytes_per_s * max(1, targets))
        return min((one for one in limits if one), default=0)


def _hopeful(view: View, scene: Scene) -> Scene:
    """Return the scene as it will be once the servers that beat have done so for a while.

    Raises: Busy while this leader does not know yet how full all of them are.
    """
    missing = unheard(scene)
    if missing:
        why = f"this leader is new and has not heard yet of {', '.join(missing[:5])}"
        raise Busy(why, retry_ms=_RETRY_MS)
    live = frozenset(one for one, state in scene.repair.states.items() if state == LIVE)
    repair = replace(scene.repair, settled=live)
    return Scene(view, replace(scene.seen, repair=repair))


def running_rebalance(view: View) -> str:
    """Return the rebalance that has not ended, else empty."""
    found = (number for number, job in running_jobs(view) if job.kind == REBALANCE)
    return next((job_id(REBALANCE, number) for number in found), "")
