"""Empties servers and disks: every copy there is made elsewhere first, as a move of the job (G4).

The walk goes over the places of the server by the tables. A sealed chunk gets one copy more, which
leaves the old one to the planner of the surplus; so no copy goes before another one counts (G3).
What is being written is waited for; tails are handed on by planners/leases.py. A server that dies
on the way is repaired as any other, and its places are forgotten as others come to hold its chunks.

A job is done when the tables place nothing there and the server's own tally says the same.
"""

from __future__ import annotations

from dataclasses import replace

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.observed import DEAD as GONE
from gfs_ha.master.placement import Candidate, place_copy, takes_copy
from gfs_ha.master.planners.copies import evidence
from gfs_ha.master.planners.drain_blocks import why_no_tail, why_nowhere
from gfs_ha.master.planners.drain_end import left_there
from gfs_ha.master.planners.drain_walk import Blocked, DrainRound, JobWalk
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.rebalance import PAID_AHEAD_S
from gfs_ha.master.planners.scene import Load, Scene
from gfs_ha.master.state.commands import EndCopy, PlaceCopy
from gfs_ha.master.state.job_commands import NoteJob, SetJobPhase
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import job_events, running_jobs
from gfs_ha.master.state.records import DEAD, OPEN, SEALED, Chunk, Replica
from gfs_ha.master.state.server_mode_commands import ForgetPlaces
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import BLOCKED, DECOMMISSION, DISK_DRAIN, DONE, DRAIN, RUNNING

KINDS = (DRAIN, DECOMMISSION, DISK_DRAIN)
LEAVES = "its server goes out of service"
DIED = "the server is dead: what it held is made anew from other copies, and the job goes on"
DISK_LEFT = (
    "its server came back without the disk: what it held is made anew from other copies, and the"
    " job goes on"
)
DISK_BROKEN = "the disk failed: what it held is made anew from other copies, and the job goes on"
DISK_GONE = "the disk is lost, its server came back without it; nothing is missed of it"
DISK_FAILED = "the disk failed on the way; nothing is missed of it"
_VAIN_MAX = 100  # Chunks that one plan looks for a target for, and begins nothing.
_EVENTS_LOOKED_AT = 20

# What a place waits for.
WRITTEN = "being written: moved when the writer is done"
APPENDED = "appended to: the next appends go to other servers"
SEALING = "being sealed"
DELETED = "being deleted"
MOVING = "being copied elsewhere"
LATE = "without a copy that counts: deleted once there are enough others"
UNSURE = "copied elsewhere: deleted once those servers have been heard for a while"
REPAIRED = "made anew from other copies"
TURN = "waiting for their turn"
PACED = "held back by the limit of the job"


def plan_drain(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return the next moves of every running job that empties a server or a disk."""
    made = Plan()
    jobs = [(number, job) for number, job in running_jobs(view) if job.kind in KINDS]
    walks = cursors.drains
    walks.keep({number for number, _ in jobs})
    if not jobs or seen.repair.young:
        return made
    scene = Scene(view, seen)
    load = Load.under_way(view, scene, limits.busy_rows)
    walks.turn += 1
    first = walks.turn % len(jobs)
    for number, job in (*jobs[first:], *jobs[:first]):
        if job.phase == RUNNING:
            drain = _Drain(made, view, scene, load, (number, job))
            drain.go_on(walks.of(number), limits)
    _tell(view, seen, cursors, jobs)
    return made


def _tell(view: View, seen: Seen, cursors: Cursors, jobs: list[tuple[int, Job]]) -> None:
    """Tell reports how far the jobs are, and what blocks them."""
    walks = cursors.drains
    newest = {number: walks.of(number).newest for number, _ in jobs}
    rounds = [found for found in newest.values() if found is not None]
    blocked = (one.chunk_id for found in rounds for one in found.blocked if not one.tail)
    walks.paths.look(view, blocked, seen.now_s)
    for number, found in newest.items():
        if found is not None:
            cursors.jobs.tell(
                number,
                JobLeft(
                    left_bytes=found.left_bytes,
                    left_moves=found.places - found.copied,
                    waits=found.waiting_for,
                    blocked=found.blocked_count,
                    blockers=found.blockers(walks.paths.found),
                    moved_bytes=found.moved_bytes,
                    moves=found.moves,
                    paced=walks.of(number).paid_until_s > seen.now_s,
                ),
            )


class _Drain:
    """One step of one job."""

    def __init__(
        self, made: Plan, view: View, scene: Scene, load: Load, known: tuple[int, Job]
    ) -> None:
        self._made, self._view, self._scene, self._load = made, view, scene, load
        self._number, self._job = known
        self._server_id = self._job.server_id
        self._state = scene.repair.states.get(self._server_id, GONE)
        self._forgotten: list[tuple[ChunkId, tuple[ServerId, ...]]] = []
        self._touched = {
            one.chunk_id for one in made.proposals if isinstance(one, PlaceCopy | EndCopy)
        }
        self._vain = 0
        self._walk = JobWalk()
        self._begins = True  # Else it only looks.
        self._everyone = list(scene.candidates.values())

    def go_on(self, walk: JobWalk, limits: PlanLimits) -> None:
        """Look at the next places, and end the job when there are none."""
        self._walk = walk
        if self._scene.seen.now_s < walk.rest_until_s:
            return
        if not self._paid_ahead():
            self._move_on(walk, limits)
        if self._paid_ahead():
            self._survey(walk, limits)

    def _move_on(self, walk: JobWalk, limits: PlanLimits) -> None:
        if self._state == GONE:
            self._say(DIED)
        elif self._disk_lost():
            self._say(DISK_BROKEN if self._disk_failed() else DISK_LEFT)
        if walk.after is None:
            walk.running.moved_bytes, walk.running.moves = self._job.moved_bytes, self._job.moves
        here, last = self._page(walk.after, limits.rows)
        before = len(self._made.proposals)
        for disk_id, chunk_id in here:
            begun = len(self._made.proposals) - before
            if begun >= limits.items or self._vain >= _VAIN_MAX or self._paid_ahead():
                break  # The next plan goes on from here: none is passed over for others.
            walk.after = (disk_id, chunk_id)
            self._place(walk.running, disk_id, chunk_id)
        else:
            if last:
                self._end_round(walk, before)
        walk.began += len(self._made.proposals) - before
        if self._forgotten:
            forgotten = tuple(self._forgotten[: limits.items])
            self._made.proposals.append(ForgetPlaces(self._server_id, forgotten))

    def _survey(self, walk: JobWalk, limits: PlanLimits) -> None:
        """Look at the next places, and begin nothing.

        What a limit holds back goes around once in a long time; what blocks it, and how much is
        left, is told all the same.
        """
        if self._scene.seen.now_s < walk.survey_rest_until_s:
            return
        self._begins = False
        if walk.survey_after is None:
            walk.survey.moved_bytes, walk.survey.moves = self._job.moved_bytes, self._job.moves
        here, last = self._page(walk.survey_after, limits.rows)
        for disk_id, chunk_id in here:
            if self._vain >= _VAIN_MAX:
                return
            walk.survey_after = (disk_id, chunk_id)
            self._place(walk.survey, disk_id, chunk_id)
        if last:
            walk.end_survey(self._scene.seen.now_s)

    def _page(
        self, after: tuple[DiskId, ChunkId] | None, rows: int
    ) -> tuple[list[tuple[DiskId, ChunkId]], bool]:
        """Return the next places of the job, and whether there are no more."""
        start = after or (self._job.disk_id, ChunkId(0))
        page = self._view.replicas_of(self._server_id, start, rows)
        here = [one for one in page if self._job.disk_id in (0, one[0])]
        return here, len(page) < rows or len(here) < len(page)

    def _end_round(self, walk: JobWalk, before: int) -> None:
        walk.began += len(self._made.proposals) > before
        found = walk.end_round(self._scene.seen.now_s)
        if found.reasons:
            reason, _ = found.reasons.most_common(1)[0]
            text = f"{BLOCKED}{reason}"
            if text != self._job.last_error:
                self._made.proposals.append(NoteJob(self._number, text, error=True))
        if found.places:
            return
        why = left_there(self._view, self._scene, self._job)
        if why:
            found.left = why
            return
        text = "its server is dead, and nothing is missed of it" if self._state == GONE else ""
        if not text and self._disk_lost():
            text = DISK_FAILED if self._disk_failed() else DISK_GONE
        self._made.proposals.append(SetJobPhase(self._number, RUNNING, DONE, text))

    def _disk_lost(self) -> bool:
        """Return whether the job is of one disk, and that is gone or out of service."""
        disk_id = self._job.disk_id
        lost = self._scene.lost(Replica(self._server_id, disk_id))
        return bool(disk_id) and (lost or self._left_behind())

    def _disk_failed(self) -> bool:
        """Return whether its server tells of the disk as broken, be it in the tables or not."""
        return (self._server_id, self._job.disk_id) in self._scene.repair.failed_disks

    def _left_behind(self) -> bool:
        """Return whether its server came back without the disk; it may be forgotten already."""
        server, disk_id = self._scene.server(self._server_id), self._job.disk_id
        known = () if server is None else server.disks
        return all(one.lost or one.disk_id != disk_id for one in known)

    def _say(self, text: str) -> None:
        """Write something down about the job, unless that was done lately."""
        after = max(0, self._job.last_event - _EVENTS_LOOKED_AT)
        events = job_events(self._view, self._number, after, _EVENTS_LOOKED_AT)
        if all(row.text != text for _, row in events):
            self._made.proposals.append(NoteJob(self._number, text))

    # One place ----------------------------------------------------------------------------------

    def _place(self, found: DrainRound, disk_id: DiskId, chunk_id: ChunkId) -> None:
        chunk = self._view.chunk(chunk_id)
        if chunk is None:
            return
        found.places += 1
        if chunk.state == SEALED:
            outcome = self._sealed(chunk_id, chunk)
        elif chunk.state == DEAD:
            if self._state == GONE:
                self._forgotten.append((chunk_id, ()))
            outcome = DELETED
        else:
            outcome = self._unsealed(chunk_id, chunk)
        if outcome in (DELETED, UNSURE):
            found.copied += 1  # Its bytes are counted as moved, and not as left beside that.
        elif chunk.state == SEALED:
            found.left_bytes += chunk.length
        if isinstance(outcome, Blocked):
            found.block(outcome)
            return
        found.moving += outcome in (MOVING, PACED)
        found.waits[outcome] += 1

    def _unsealed(self, chunk_id: ChunkId, chunk: Chunk) -> str | Blocked:
        """Return what is waited for; the planners of seals and tails do the rest."""
        if chunk.state != OPEN:
            return SEALING
        if not chunk.tail_of:
            return APPENDED if chunk.unopened else WRITTEN
        return why_no_tail(self._view, self._scene, chunk_id, chunk) or APPENDED

    def _sealed(self, chunk_id: ChunkId, chunk: Chunk) -> str | Blocked:
        """Propose what moves one sealed chunk on; return what is waited for, or what blocks it."""
        server_id, scene = self._server_id, self._scene
        if chunk_id in self._touched:
            return MOVING  # By another job of this very plan.
        if any(one.server_id == server_id for one in chunk.deleting):
            if self._state == GONE:
                self._forget(chunk_id, chunk)
            return DELETED
        for order in chunk.copying:
            if order.server_id == server_id and order.disk_id:
                return MOVING  # To another disk of the server.
            if order.server_id == server_id:
                if self._begins:
                    ended = EndCopy(chunk_id, server_id, order.order_index, LEAVES)
                    self._made.proposals.append(ended)
                return DELETED
        good = scene.good(chunk_id, chunk)
        others = [one for one in good if not scene.leaves(chunk, one)]
        if len(others) >= chunk.goal:
            if self._state == GONE:
                self._forget(chunk_id, chunk)
            return UNSURE
        coming = [one for one in scene.coming(chunk) if not scene.leaves(chunk, one)]
        if len(others) + len(coming) >= chunk.goal:
            return MOVING
        kept = [*others, *coming]
        if server_id not in good:
            # Its copy does not count, or it is dead: the planner of repair makes another one.
            blocked = self._nowhere(chunk_id, chunk, kept)
            return blocked or (REPAIRED if self._state == GONE else LATE)
        if len(good) + len(scene.coming(chunk)) > chunk.goal:
            return MOVING  # Another copy of it leaves first.
        return self._move(chunk_id, chunk, kept)

    def _move(self, chunk_id: ChunkId, chunk: Chunk, kept: list[ServerId]) -> str | Blocked:
        scene, load = self._scene, self._load
        if scene.repair.hold:
            return scene.repair.hold
        if load.lacking or load.full:
            return TURN
        within = self._move_within(chunk_id, chunk) if self._job.disk_id else ""
        if within:
            return within
        wanted = scene.copy_wanted(chunk_id, chunk, kept)
        if not self._begins and takes_copy(self._everyone, wanted):
            return PACED  # By whom is chosen when it begins: that takes its time.
        best, _ = place_copy(self._everyone, wanted)
        if best is None:
            self._vain += 1
            if takes_copy(self._everyone, replace(wanted, failed=frozenset())):
                return TURN  # Whoever failed may be well again in a moment.
            return why_nowhere(scene, (chunk_id, chunk), kept, self._job)
        if not load.free(best.server_id, chunk.length):
            busy = {one for one in scene.candidates if not load.free(one, chunk.length)}
            best, _ = place_copy(self._everyone, replace(wanted, failed=wanted.failed | busy))
            if best is None:
                self._vain += 1
                return TURN
        sources = scene.sources(chunk_id, chunk, best.server_id)
        if not sources or not load.free(sources[0], chunk.length):
            self._vain += 1
            return TURN
        return self._propose(chunk_id, chunk, best, sources[0])

    def _move_within(self, chunk_id: ChunkId, chunk: Chunk) -> str:
        """Propose that the server has its copy on another of its disks; empty: it has no room.

        The rule sees no difference, and no byte leaves the machine.
        """
        scene, load, own = self._scene, self._load, self._server_id
        here = scene.candidates.get(own)
        if here is None or here.disk_id == scene.disk_of(chunk, own):
            return ""
        wanted = replace(scene.copy_wanted(chunk_id, chunk, []), taken=frozenset())
        if place_copy([here], wanted)[0] is None:
            return ""
        if not load.free(own, chunk.length):
            self._vain += 1
            return TURN
        return self._propose(chunk_id, chunk, here, own)

    def _propose(self, chunk_id: ChunkId, chunk: Chunk, target: Candidate, source: ServerId) -> str:
        """Propose a move, if any is begun now; return what is waited for."""
        if not self._begins:
            return PACED
        seen = len(chunk.holders) + len(chunk.copying)
        where = (chunk.sealed_index, target.server_id, target.disk_id, seen)
        move = PlaceCopy(chunk_id, *where, job=self._number, leaves=self._server_id)
        self._made.proposals.append(move)
        self._walk.pay(self._scene.seen.now_s, chunk.length, self._job.options.bytes_per_s)
        self._load.add(target.server_id, source, chunk.length)
        return MOVING

    def _paid_ahead(self) -> bool:
        """Return whether as much was begun as the limit of the job allows for now.

        Nothing is moved off what is gone: there is nothing to hold back.
        """
        if self._state == GONE or self._disk_lost():
            return False
        until_s = self._scene.seen.now_s + PAID_AHEAD_S
        return bool(self._job.options.bytes_per_s) and self._walk.paid_until_s > until_s

    def _nowhere(self, chunk_id: ChunkId, chunk: Chunk, kept: list[ServerId]) -> Blocked | None:
        """Return what keeps a chunk from getting a copy at all; None: nothing does."""
        self._vain += 1
        wanted = replace(self._scene.copy_wanted(chunk_id, chunk, kept), failed=frozenset())
        if takes_copy(self._everyone, wanted):
            return None
        return why_nowhere(self._scene, (chunk_id, chunk), kept, self._job)

    def _forget(self, chunk_id: ChunkId, chunk: Chunk) -> None:
        """Have a place on a dead server forgotten, if as many others as wanted are sure."""
        sure = evidence(self._scene, chunk_id, chunk, self._server_id)
        if len(sure) >= chunk.goal:
            self._forgotten.append((chunk_id, sure[: chunk.goal]))
