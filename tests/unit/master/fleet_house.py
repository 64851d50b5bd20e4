"""A cluster whose disks fill up, for the planners that even out how full they are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from repair_house import LENGTH, PLANNERS, House

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.limits import SLOT_HEAD_BYTES
from gfs_ha.master.planners.job_progress import plan_progress
from gfs_ha.master.planners.plan import Plan, Seen
from gfs_ha.master.planners.rebalance import plan_rebalance
from gfs_ha.master.state.invariants import check_all
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import get_job, job_events
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.jobs import REBALANCE, RUNNING, JobOptions

ROOM = LENGTH + SLOT_HEAD_BYTES  # What a copy takes on a disk.
ALL_PLANNERS = (*PLANNERS[:-1], plan_rebalance, PLANNERS[-1], plan_progress)


@dataclass
class Fleet(House):
    """A House whose disks hold so many chunks; `most` is how full each was at most."""

    totals: dict[int, int] = field(default_factory=dict)  # Chunks that fit on a server.
    other_use: dict[int, int] = field(default_factory=dict)  # Chunks' worth of something else.
    now_s: float = 1000.0
    day_minute: int = 12 * 60
    most: dict[int, float] = field(default_factory=dict)
    unheard: set[int] = field(default_factory=set)  # Have not told this leader how full they are.
    empty_disks: dict[int, int] = field(default_factory=dict)  # Second disks, by server.

    def used(self, server: int) -> int:
        """Return how many bytes lie on a server's disk."""
        held = len(self.on_disk.get(server, ())) + self.other_use.get(server, 0)
        return held * ROOM

    def share(self, server: int) -> float:
        return self.used(server) / (self.totals[server] * ROOM)

    @property
    def mean(self) -> float:
        there = [one for one in self.totals if one not in self.dead]
        total = sum(self.totals[one] for one in there) * ROOM
        return sum(self.used(one) for one in there) / total

    def seen(self) -> Seen:
        known = super().seen()
        disks, candidates = {}, []
        for one in known.repair.candidates:
            total = self.totals[one.server_id] * ROOM
            free = max(0, total - self.used(one.server_id))
            candidates.append(
                replace(one, total_bytes=total, free_bytes=free, used_share=1 - free / total)
            )
            if one.server_id not in self.dead | self.unheard:
                first = DiskId(100 + one.server_id)
                disks[one.server_id, first] = DiskFacts(first, total, free, 0)
        for server, disk in self.empty_disks.items():
            total = self.totals[server] * ROOM
            disks[ServerId(server), DiskId(disk)] = DiskFacts(DiskId(disk), total, total, 0)
        repair = replace(known.repair, candidates=tuple(candidates), disks=disks)
        return replace(known, now_s=self.now_s, repair=repair, day_minute=self.day_minute)

    def apply(self, made: Plan) -> None:
        """Commit what a plan proposes; whether all is in order is looked at in the end."""
        for command in made.proposals:
            self.tables.do(command)

    def obey(self, made: Plan) -> None:
        super().obey(made)
        for one in self.totals:
            self.most[one] = max(self.most.get(one, 0.0), self.share(one))

    def tick(self) -> bool:
        self.now_s += 1.0
        busy = False
        for planner in ALL_PLANNERS:
            made = self.plan(planner)
            busy |= not made.empty
            self.apply(made)
            self.obey(made)
        return busy

    # The job --------------------------------------------------------------------------------------

    def begin(self, **options: object) -> int:
        """Start a rebalance."""
        return self.tables.do(StartJob(REBALANCE, JobOptions(**options))).number

    def job(self, number: int) -> Job:
        with self.tables.view() as view:
            found = get_job(view, number)
        assert found is not None
        return found

    def said(self, number: int) -> list[str]:
        """Return the log of a job."""
        with self.tables.view() as view:
            return [row.text for _, row in job_events(view, number, 0, 200)]

    def set_phase(self, number: int, phase: str) -> None:
        self.tables.do(SetJobPhase(number, self.job(number).phase, phase))

    def run(self, number: int, ticks: int = 400) -> None:
        """Tick until the job has ended."""
        for _ in range(ticks):
            if self.job(number).phase != RUNNING:
                self.rest()
                with self.tables.view() as view:
                    assert check_all(view) == []
                return
            self.tick()
        raise AssertionError(f"it does not end: {self.cursors.jobs.of(number)}")

    def outside(self, threshold: float = 0.05) -> list[int]:
        """Return the live servers whose used share is not near the mean."""
        return [
            one
            for one in self.totals
            if one not in self.dead and abs(self.share(one) - self.mean) > threshold
        ]
