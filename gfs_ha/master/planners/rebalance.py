"""Evens out how full the servers are: copies go from the fuller disks to the emptier ones (G4).

Where a copy goes, and when there is nothing left to do, is decided in balance.py; here, whether
anything is begun now. Chunks that lack copies come first, then servers that are to be emptied. A
rebalance stays within the budget of repair and within its own, takes its time with servers that are
new, and ends when no disk is outside its threshold, or nothing more can be done about it.
"""

from __future__ import annotations

from dataclasses import replace

from gfs_ha.ids import ChunkId
from gfs_ha.limits import JOB_TEXT_BYTES_MAX
from gfs_ha.master.planners.balance import THRESHOLD_DEFAULT, Balance, Disk, Movable
from gfs_ha.master.planners.fullness import NOT_WHOLE, Traffic, balance_of, movable, unheard
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.rebalance_end import beside_plan
from gfs_ha.master.planners.rebalance_walk import RebalanceWalk
from gfs_ha.master.planners.scene import Load, Scene
from gfs_ha.master.state.bounds import fitting_text
from gfs_ha.master.state.commands import PlaceCopy
from gfs_ha.master.state.job_commands import NoteJob, SetJobPhase
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import DONE, REBALANCE, RUNNING, in_window
from gfs_ha.protocol.measures import share_text

UNFREED_MAX = 256  # Old places that are still there: so much room is taken twice at most.
_PAGE = 8  # Half of what is read at first of what lies on a disk.
_PER_PLAN = 24  # Moves that one plan begins: some 8 ms.
MOVES_DEFAULT = 64  # Under way at once, all servers together.
PAID_AHEAD_S = 0.5  # What a rate allows for so long begins at once: a plan comes twice within it.
LACKING_S = 30.0  # So long nothing begins after a chunk that lacked a copy was given one.
UNFREED = "copies that were moved still have to be deleted where they were"
NO_TARGET = (
    "no emptier disk takes one of its copies: it would be too full then, or the rule of placement"
    " forbids it"
)
STUCK = "nothing more can be done"
LARGE = "its copies are larger than what it is off the mean"


def plan_rebalance(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the next moves of the rebalance that runs, or its end."""
    made = Plan()
    known = next((one for one in running_jobs(view) if one[1].kind == REBALANCE), None)
    if known is None:
        return made
    number, job = known
    if cursors.rebalance.number != number:
        cursors.rebalance = RebalanceWalk(number, lacking_s=seen.elected_s)
    if job.phase != RUNNING:
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
        self._taken: set[ChunkId] = set()

    def go_on(self, limits: PlanLimits) -> None:
        """Begin what may begin now, and end the job when nothing is left to do."""
        job, walk = self._job, self._walk
        load = Load.under_way(self._view, self._scene, limits.busy_rows)
        traffic = Traffic(self._view, self._scene, limits.busy_rows, self._number)
        threshold = job.options.threshold or THRESHOLD_DEFAULT
        balance = balance_of(self._view, self._scene, traffic, threshold)
        self._note_failures()
        unsettled = self._why_unsettled(load, traffic)
        waits = unsettled or self._why_not_now()
        if not waits and balance.outside() and self._now_s >= walk.rest_until_s:
            waits = self._begin(balance, load, (traffic, limits))
        under_way = traffic.moves + len(self._made.proposals)
        if not waits and traffic.unfreed and not under_way and not self._paced():
            waits = UNFREED
        if unsettled:
            self._tell_as_before(waits)
        else:
            self._tell(balance, traffic, waits)
        if not waits and not under_way and not traffic.unfreed and not traffic.others:
            self._end_if_over(balance)

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
        if load.lacking or (newest.copies and self._now_s - walk.lacking_s < LACKING_S):
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
        """Propose moves, as far as budgets allow. Returns why not all that could be were begun."""
        traffic, limits = more
        walk, rows = self._walk, limits.rows
        active = {one.key for one in balance.sources()} - walk.through
        while active:
            # One move of each in turn: the copies of no single server keep all others from theirs.
            for source in [one for one in balance.sources() if one.key in active]:
                if not balance.helps(source):
                    continue
                if rows <= 0 or load.full or self._paused(traffic):
                    return ""
                if traffic.unfreed >= UNFREED_MAX:
                    return UNFREED
                looked_at, began = self._from(balance, source, load, rows)
                rows -= looked_at
                if not began:
                    active.discard(source.key)
            active &= {one.key for one in balance.sources()}
        if all(one.key in walk.through for one in balance.sources()) and not traffic.moves:
            walk.end_round(self._now_s, self._calm())
        return ""

    def _paused(self, traffic: Traffic) -> bool:
        """Return whether as much was begun, or is under way, as may be at once."""
        options = self._job.options
        most = options.moves_max or MOVES_DEFAULT
        if len(self._made.proposals) >= _PER_PLAN:
            return True
        if traffic.moves + len(self._made.proposals) >= most:
            return True
        return self._paced(PAID_AHEAD_S)

    def _paced(self, ahead_s: float = 0.0) -> bool:
        """Return whether the limit of the job allows for no more until so far ahead."""
        limit = self._job.options.bytes_per_s
        return bool(limit) and self._walk.paid_until_s > self._now_s + ahead_s

    def _from(self, balance: Balance, source: Disk, load: Load, rows: int) -> tuple[int, bool]:
        """Begin one move off a disk. Returns (rows that were looked at, whether one was begun)."""
        walk = self._walk
        whole, looked_at, size = walk.fresh(source.key), 0, _PAGE
        while looked_at < rows:
            size = min(2 * size, rows - looked_at)  # Most often one of the first may go.
            start = (source.disk_id, walk.of(source.key))
            page = self._view.replicas_of(source.server_id, start, size)
            here = [chunk_id for disk_id, chunk_id in page if disk_id == source.disk_id]
            for chunk_id in here:
                looked_at += 1
                begun = self._look_at(balance, source, chunk_id, load)
                if begun is None:
                    return looked_at, False  # The servers have enough to do: its turn comes later.
                walk.after[source.key] = chunk_id
                if begun:
                    return looked_at, True
            if len(page) < size or len(here) < len(page):
                walk.end_disk(source.key, whole)
                break
        return looked_at or 1, False

    def _look_at(
        self, balance: Balance, source: Disk, chunk_id: ChunkId, load: Load
    ) -> bool | None:
        """Propose the move of a chunk if it may go. Returns as `_move`."""
        chunk = self._view.chunk(chunk_id)
        free = chunk is not None and chunk_id not in self._taken
        found = movable(self._scene, chunk_id, chunk) if free and chunk is not None else None
        if found is None:
            self._walk.why_not(source.key, NOT_WHOLE)
            return False
        return self._move(balance, source, found, load)

    def _move(self, balance: Balance, source: Disk, found: Movable, load: Load) -> bool | None:
        """Propose one move. Returns None when it has to wait for servers that are busy."""
        scene, chunk_id = self._scene, found.chunk_id
        chunk = self._view.chunk(chunk_id)
        assert chunk is not None, "it was looked at a moment ago"
        failed = scene.copy_wanted(chunk_id, chunk, list(chunk.holders)).failed
        target = balance.target(source, found, failed.__contains__)
        if target is None:
            small = found.length <= (source.share - balance.mean) * source.total
            self._walk.why_not(source.key, NO_TARGET if small else LARGE)
            return False
        if not load.free(target.server_id, chunk.length):
            target = balance.target(
                source, found, lambda one: one in failed or not load.free(one, chunk.length)
            )
        if target is None:
            return None
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
        self._taken.add(chunk_id)
        load.add(target.server_id, sources[0], chunk.length)
        balance.move(source, target, found.length)
        self._walk.begin(self._now_s, chunk.length, self._job.options.bytes_per_s)
        return True

    # How far it is ------------------------------------------------------------------------------

    def _tell(self, balance: Balance, traffic: Traffic, waits: str) -> None:
        walk, job = self._walk, self._job
        left = balance.left_bytes() + traffic.left_bytes
        usual = job.moved_bytes / job.moves if job.moves else 0.0
        if not usual and walk.begun:
            usual = walk.begun_bytes / walk.begun
        moves = -(-left // int(usual)) if usual >= 1 else (job.planned_moves if left else 0)
        told = JobLeft(left, int(moves), waits, moved_bytes=job.moved_bytes, moves=job.moves)
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
        elif self._walk.given_up(self._now_s):
            text = self._why_outside(balance, outside)
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

    def _why_outside(self, balance: Balance, outside: list[Disk]) -> str:
        """Return which disks stay outside the threshold, and why."""
        named = ", ".join(f"{one.shown} at {share_text(one.share, 1)}" for one in outside[:6])
        more = f" and {len(outside) - 6} more" if len(outside) > 6 else ""
        reasons = [one.trouble for one in outside if one.trouble]
        reasons += [self._walk.usual_reason(one.key) for one in balance.sources()]
        why = next((one for one in reasons if one), "no server can give or take copies now")
        mean = share_text(balance.mean, 1)
        return f"{STUCK}: {named}{more} (mean {mean}): {why}"[:400]
