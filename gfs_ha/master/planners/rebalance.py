"""Evens out how full the servers are: copies go from the fuller disks to the emptier ones (G4).

Where a copy goes, and when there is nothing left to do, is decided in balance.py; here, whether
anything is begun now. Chunks that lack copies come first, then servers that are to be emptied. A
rebalance stays within the budget of repair and within its own, takes its time with servers that are
new, and ends when no disk is outside its threshold, or nothing more can be done about it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gfs_ha.ids import ChunkId
from gfs_ha.limits import JOB_TEXT_BYTES_MAX
from gfs_ha.master.planners.balance import THRESHOLD_DEFAULT, Balance
from gfs_ha.master.planners.fullness import Traffic, balance_of, movable, unheard
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.rebalance_ahead import Step
from gfs_ha.master.planners.rebalance_course import Course
from gfs_ha.master.planners.rebalance_end import beside_plan
from gfs_ha.master.planners.rebalance_walk import SETTLE_S, RebalanceWalk
from gfs_ha.master.planners.scene import Load, Scene
from gfs_ha.master.state.bounds import fitting_text
from gfs_ha.master.state.commands import PlaceCopy
from gfs_ha.master.state.job_commands import NoteJob, SetJobPhase
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.records import SEALED
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import DONE, REBALANCE, RUNNING, STUCK, in_window
from gfs_ha.protocol.measures import share_text

UNFREED_MAX = 256  # Old places that are still there: so much room is taken twice at most.
_PER_PLAN = 24  # Moves that one plan begins: some 8 ms.
MOVES_DEFAULT = 64  # Under way at once, all servers together.
PAID_AHEAD_S = 0.5  # What a rate allows for so long begins at once: a plan comes twice within it.
LACKING_S = 30.0  # So long nothing begins after a chunk that lacked a copy was given one.
UNSURE = "servers came or fell silent a moment ago: which of them stay is not known yet"
UNFREED = "copies that were moved still have to be deleted where they were"


def plan_rebalance(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the next moves of the rebalance that runs, or its end."""
    made = Plan()
    known = next((one for one in running_jobs(view) if one[1].kind == REBALANCE), None)
    if known is None:
        cursors.rebalance.course = None
        return made
    number, job = known
    if cursors.rebalance.number != number:
        walk = RebalanceWalk(number, lacking_s=seen.elected_s)
        walk.settle_until_s = seen.now_s + SETTLE_S
        cursors.rebalance = walk
    if job.phase != RUNNING:
        cursors.rebalance.look_anew()
        return made
    rebalance = _Rebalance(made, view, Scene.of(view, seen, cursors), (number, job), cursors)
    rebalance.go_on(limits)
    return made


class _Rebalance:
    """One step of the job."""

    def __init__(
        self, made: Plan, view: View, scene: Scene, known: tuple[int, Job], cursors: Cursors
    ) -> None:
        self._made, self._view, self._scene = made, view, scene
        self._number, self._job = known
        self._cursors, self._walk = cursors, cursors.rebalance
        self._now_s = scene.seen.now_s
        self._begun = self._begun_bytes = 0  # By this plan.

    def go_on(self, limits: PlanLimits) -> None:
        """Begin what may begin now, and end the job when nothing is left to do."""
        walk = self._walk
        load = Load.under_way(self._view, self._scene, limits.busy_rows)
        traffic = Traffic(self._view, self._scene, limits.busy_rows, self._number)
        balance = self._balance(traffic)
        self._note_failures()
        unsettled = self._why_unsettled(load, traffic)
        waits = unsettled or self._why_not_now()
        if unsettled and walk.course is not None:
            walk.end_course(self._now_s, calm=False)
        if waits:
            walk.look_anew()
        wanted = walk.steps_left or balance.outside()
        if not waits and wanted and self._now_s >= walk.rest_until_s:
            waits = self._begin(balance, load, (traffic, limits))
        under_way = traffic.moves + self._begun
        if not waits and traffic.unfreed and not under_way and not self._paced():
            waits = UNFREED
        told = waits if walk.waits_long(waits == UNFREED, self._now_s) else ""
        if unsettled or (walk.course is None and (waits or balance.outside())):
            self._tell_as_before(told)
        else:
            self._tell(traffic, told)
        busy = under_way or traffic.unfreed or traffic.others or walk.steps_left
        if not waits and not busy:
            self._end_if_over(balance)

    def _balance(self, traffic: Traffic) -> Balance:
        threshold = self._job.options.threshold or THRESHOLD_DEFAULT
        return balance_of(self._view, self._scene, traffic, threshold)

    # Whether anything begins --------------------------------------------------------------------

    def _why_unsettled(self, load: Load, traffic: Traffic) -> str:
        """Return why nothing begins while how full disks are is not known, or changes by itself.

        Empty: it is known, and nothing but the job and the clients changes it.
        """
        scene, walk = self._scene, self._walk
        repair = scene.repair
        if repair.young:
            return "the leader is new and still hears its servers"
        if repair.hold:
            return repair.hold
        missing = unheard(scene)
        if missing:
            return f"{', '.join(missing[:5])} not heard yet by this leader"
        if load.lacking:
            walk.lacking_s = self._now_s
        newest = self._cursors.queue.newest
        if load.lacking or (newest.makeable and self._now_s - walk.lacking_s < LACKING_S):
            return "chunks lack copies: these come first"
        emptied = [one for one, job in running_jobs(self._view) if job.kind != REBALANCE]
        if any(traffic.others[one] for one in emptied):
            return "servers or disks are being emptied: that comes first"
        return ""

    def _why_not_now(self) -> str:
        """Return why nothing begins at this time of the day; empty: it may."""
        if self._job.options.window and not in_window(
            self._job.options.window, self._scene.seen.day_minute
        ):
            return f"outside its window of {self._job.options.window}, by the leader's clock"
        return ""

    def _note_failures(self) -> None:
        """Write down the newest failure of a move, if it is not the one that was told last."""
        for (chunk_id, server_id, index), reason in self._scene.repair.failed.items():
            chunk = self._view.chunk(chunk_id)
            orders = chunk.copying if chunk is not None else ()
            if not any((one.order_index, one.job) == (index, self._number) for one in orders):
                continue
            server = self._scene.server(server_id)
            text = f"{server.name if server is not None else server_id} could not copy: {reason}"
            if text[:400] != self._job.last_error:
                self._made.proposals.append(NoteJob(self._number, text[:400], error=True))
            return

    # Moves --------------------------------------------------------------------------------------

    def _begin(self, balance: Balance, load: Load, more: tuple[Traffic, PlanLimits]) -> str:
        """Propose the next moves, as far as budgets allow. Returns why nothing can be looked at."""
        traffic, limits = more
        walk = self._walk
        if walk.course is not None and walk.course.astray(balance, self._now_s):
            walk.end_course(self._now_s, self._calm())
        if walk.course is None:
            if self._now_s < walk.settle_until_s:  # By then it is better known what lies where.
                if not self._calm():
                    return UNSURE
                if traffic.moves or traffic.unfreed:
                    return UNFREED if not traffic.moves else ""
            walk.course = Course(self._balance(traffic))
        course = walk.course
        played = course.play(self._view, self._scene, limits.rows // 2)
        if self._carry_out(course, balance, load, (traffic, limits.rows - played)):
            return UNFREED
        idle = not self._begun and not traffic.moves
        waits_for = load.full or traffic.unfreed or played
        if not idle or self._paced(PAID_AHEAD_S):
            course.stuck(self._now_s, False)
        elif (course.whole and not len(course)) or course.stuck(self._now_s, not waits_for):
            walk.why_outside = self._why_outside(course, balance)
            walk.end_course(self._now_s, self._calm() and not traffic.unfreed)
        return ""

    def _carry_out(
        self, course: Course, balance: Balance, load: Load, more: tuple[Traffic, int]
    ) -> bool:
        """Propose steps, in order; whose servers are busy, or that come too early, wait.

        Returns whether no more is begun because too much is still to be deleted.
        """
        traffic, rows = more
        if len(course) and traffic.unfreed >= UNFREED_MAX:
            return not (load.full or self._paused(traffic))
        early: set[ChunkId] = set()  # Chunks whose next step waits, or is just begun.
        full = load.full or self._paused(traffic)
        for step in course.steps():
            if rows <= 0 or full:
                return False
            if step.chunk_id in early or step not in course:
                continue
            early.add(step.chunk_id)
            if not self._free(balance, step, load):
                continue
            rows -= 1
            verdict = self._look_at(balance, step, load)
            if verdict:
                course.begin(step, self._now_s)
                full = load.full or self._paused(traffic)
            elif verdict is not None:
                course.give_up(step)
        return False

    def _paused(self, traffic: Traffic) -> bool:
        """Return whether as much was begun, or is under way, as may be at once."""
        options = self._job.options
        most = options.moves_max or MOVES_DEFAULT
        if self._begun >= _PER_PLAN:
            return True
        if traffic.moves + self._begun >= most:
            return True
        return self._paced(PAID_AHEAD_S)

    def _paced(self, ahead_s: float = 0.0) -> bool:
        """Return whether the limit of the job allows for no more until so far ahead."""
        limit = self._job.options.bytes_per_s
        return bool(limit) and self._walk.paid_until_s > self._now_s + ahead_s

    def _free(self, balance: Balance, step: Step, load: Load) -> bool:
        """Return whether the target of a step may be brought a copy now."""
        target = balance.disks[step.target]
        fits = target.takes(step.room) and not target.trouble
        return fits and load.free(target.server_id, step.length)

    def _look_at(self, balance: Balance, step: Step, load: Load) -> bool | None:
        """Propose a step if it may be made. Returns None when it has to wait, False if never."""
        scene, chunk_id = self._scene, step.chunk_id
        source, target = balance.disks[step.source], balance.disks[step.target]
        chunk = self._view.chunk(chunk_id)
        if chunk is None or chunk.state != SEALED:
            return False
        if target.server_id in scene.failed_targets(chunk_id):
            return False
        found = movable(scene, chunk_id, chunk)
        if found is None:
            return None
        there = any(
            (one.server_id, one.disk_id) == step.source and one.server_id in found.holders
            for one in chunk.replicas
        )
        if not there or not balance.allows(source, target, found):
            return False
        sources = scene.sources(chunk_id, chunk, target.server_id)
        if target.server_id == source.server_id:
            sources = [source.server_id]
        if not sources or not load.free(sources[0], chunk.length):
            return None
        self._made.proposals.append(
            PlaceCopy(
                chunk_id,
                chunk.sealed_index,
                target.server_id,
                target.disk_id,
                len(chunk.holders) + len(chunk.copying),
                job=self._number,
                leaves=source.server_id,
            )
        )
        self._begun += 1
        self._begun_bytes += chunk.length
        load.add(target.server_id, sources[0], chunk.length)
        balance.move(source, target, found.room)
        self._walk.begin(self._now_s, chunk.length, self._job.options.bytes_per_s)
        return True

    # How far it is ------------------------------------------------------------------------------

    def _tell(self, traffic: Traffic, waits: str) -> None:
        job, course = self._job, self._walk.course
        left, moves = course.left() if course is not None else (0, 0)
        left += traffic.left_bytes + self._begun_bytes
        moves += traffic.moves + self._begun
        told = JobLeft(left, moves, waits, moved_bytes=job.moved_bytes, moves=job.moves)
        self._cursors.jobs.tell(self._number, told)

    def _tell_as_before(self, waits: str) -> None:
        """Tell why the job waits, with what was left before that: what will be, nobody knows yet.

        Repair fills the disks meanwhile, and one that is heard late or gone changes the mean.
        """
        jobs = self._cursors.jobs
        jobs.tell(self._number, replace(jobs.of(self._number), waits=waits))

    def _end_if_over(self, balance: Balance) -> None:
        """End the job when all is even, or when looking again and again found nothing to move."""
        outside = balance.outside()
        if not outside:
            near = f"within {share_text(balance.threshold, 1)} of the mean"
            text = f"{len(balance.disks)} disks are {near}, {share_text(balance.mean, 1)}"
        elif self._walk.course is None and self._walk.given_up(self._now_s):
            text = self._walk.why_outside
            # In full it is told once: as the end of the job, of which this is a part.
            self._made.proposals.append(NoteJob(self._number, STUCK, error=True))
        else:
            return
        beside = beside_plan(self._job, balance)
        told = fitting_text(f"{text}; {beside}" if beside else text, JOB_TEXT_BYTES_MAX)
        self._made.proposals.append(SetJobPhase(self._number, RUNNING, DONE, told))

    def _calm(self) -> bool:
        """Return whether no server comes and goes."""
        scene = self._scene
        there = [one for one, _ in scene.roster.servers if scene.there(one)]
        return all(one in scene.repair.settled or scene.roster.trouble(one) for one in there)

    def _why_outside(self, course: Course, balance: Balance) -> str:
        """Return which disks stay outside the threshold, and why, after a course to its end."""
        outside = balance.outside()
        named = ", ".join(f"{one.shown} at {share_text(one.share, 1)}" for one in outside[:6])
        more = f" and {len(outside) - 6} more" if len(outside) > 6 else ""
        mean = share_text(balance.mean, 1)
        reasons = Counter(filter(None, map(course.why_outside, outside)))
        why = "; ".join(text for text, _ in reasons.most_common(2))
        why = why or "no server can give or take copies now"
        return f"{STUCK}: {named}{more} (mean {mean}): {why}"[:400]
