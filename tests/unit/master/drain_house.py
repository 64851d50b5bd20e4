"""A cluster whose servers are emptied: the planners of repair with the one of drains among them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from repair_house import PLANNERS, House

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.planners.drain import plan_drain
from gfs_ha.master.planners.plan import Plan, Planner, Seen
from gfs_ha.master.planners.walk import NUMBERS
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.records import SEALED
from gfs_ha.protocol.jobs import CANCELLED, DONE, DRAIN, JobOptions
from gfs_ha.protocol.tally import BUCKETS, bucket_of, replica_hash

ALL = (*PLANNERS, plan_drain)


@dataclass
class DrainHouse(House):
    """Its clock goes on with each tick, so that walks that rest go on."""

    now_s: float = 1000.0
    untold: set[int] = field(default_factory=set)  # Have not told this leader what they hold.
    unsettled: set[int] = field(default_factory=set)  # Heard for too short a time.
    failed_disks: set[tuple[int, int]] = field(default_factory=set)

    def begin(self, server: int, kind: str = DRAIN, disk: int = 0, bytes_per_s: int = 0) -> int:
        """Begin to empty a server or disk; return the number of the job."""
        options = JobOptions(bytes_per_s=bytes_per_s)
        number: int = self.tables.do(StartJob(kind, options, server, disk)).number
        return number

    def cancel(self, number: int) -> None:
        self.tables.do(SetJobPhase(number, self.job(number).phase, CANCELLED))

    def job(self, number: int) -> Job:
        with self.tables.view() as view:
            found = get_job(view, number)
        assert found is not None
        return found

    def done(self, number: int) -> bool:
        return self.job(number).phase == DONE

    def mode(self, server: int) -> str:
        with self.tables.view() as view:
            return view.server_mode(server).mode

    def places(self, server: int) -> int:
        with self.tables.view() as view:
            return view.replica_count(server)

    def seen(self) -> Seen:
        found = super().seen()
        tallies = {}
        with self.tables.view() as view:
            for server_id, server in view.servers():
                if server_id in self.dead | self.untold:  # Of a silent one the last word stays.
                    continue
                numbers = {one.disk_id: [0] * BUCKETS for one in server.disks if not one.lost}
                for chunk_id in self.on_disk.get(server_id, ()):
                    chunk = view.chunk(chunk_id)
                    places = () if chunk is None else chunk.replicas
                    where = [one.disk_id for one in places if one.server_id == server_id]
                    disk = next((one for one in where if one in numbers), min(numbers))
                    hashed = replica_hash(chunk_id, 0 if chunk is None else chunk.length)
                    numbers[disk][bucket_of(hashed)] ^= hashed
                for disk, counted in numbers.items():
                    tallies[server_id, disk] = NUMBERS.pack(*counted)
        settled = found.repair.settled - self.unsettled
        failed = frozenset((ServerId(one), DiskId(disk)) for one, disk in self.failed_disks)
        repair = replace(found.repair, tallies=tallies, settled=settled, failed_disks=failed)
        return replace(found, now_s=self.now_s, repair=repair)

    def tick(self) -> bool:
        busy = False
        self.now_s += 2.0
        for planner in ALL:
            made = self.plan(planner)
            busy |= not made.empty
            self.apply(made)
            self.check_copies()
            self.obey(made)
        return busy

    def check_copies(self) -> None:
        """No chunk has more than one copy beyond its goal, with those under way."""
        with self.tables.view() as view:
            for chunk_id, chunk in view.chunks_after(0, 1000):
                if chunk.state != SEALED:
                    continue
                there = [one for one in chunk.holders if one not in self.dead]
                # A move between two disks of a holder makes no place more.
                anew = [one for one in chunk.copying if one.server_id not in chunk.holders]
                coming = [one for one in anew if one.server_id not in self.dead]
                assert len(there) + len(coming) <= chunk.goal + 1, (chunk_id, chunk)

    def plan_again(self, planner: Planner = plan_drain) -> Plan:
        """Apply a plan and return the next one."""
        self.now_s += 2.0
        self.apply(self.plan(planner))
        return self.plan(planner)

    def until(self, number: int, ticks: int = 200) -> None:
        """Tick until a job is done."""
        for _ in range(ticks):
            if self.done(number):
                return
            self.tick()
        raise AssertionError(f"job {number} does not end: {self.job(number)}")
