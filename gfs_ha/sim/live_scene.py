"""A cluster that is not there, as its leader would report it: for screens at any size, from a seed.

Loads come from counters that grow as those of servers do, and through the leader's own reckoning.
"""

from __future__ import annotations

import random

from gfs_ha.ids import ChunkId, DiskId, Epoch, InodeId, LogIndex, ServerId, StartId
from gfs_ha.master.loads import Loads
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.jobs import JobOptions, JobRow
from gfs_ha.protocol.live import GetLive, LiveReport, LiveServer
from gfs_ha.protocol.overview import (
    GoalRow,
    LeaseTotals,
    MasterClock,
    Overview,
    RepairTotals,
    ServerTotals,
)
from gfs_ha.protocol.rates import CallFacts, LoadFacts, Served, time_class
from gfs_ha.protocol.reports import (
    Finding,
    HealthReport,
    LedTerm,
    MasterFacts,
    MasterRow,
    StatusReport,
)
from gfs_ha.protocol.scrub import ScrubSummary
from gfs_ha.protocol.server_modes import DRAINING, IN_SERVICE

GIB = 1 << 30
MIB = 1 << 20
WALL_NS = 1_795_000_000 * 10**9
_DISK = 4096 * GIB
_STEP_S = 1.0


class LiveScene:
    """`count` servers in racks, one of them draining, one suspect, one dead if there are enough."""

    def __init__(self, count: int = 12, chunks: int = 1_904_330, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._count = count
        self._chunks = chunks
        self._loads = Loads()
        self._counters = [_Counter() for _ in range(count)]
        self._usage = [0.55 + 0.13 * self._random.random() for _ in range(count)]
        self._now_s = 1_000.0
        self._calls = 0
        for _ in range(4):
            self.step()

    @property
    def now_s(self) -> float:
        """Return the time of the scene."""
        return self._now_s

    def step(self) -> None:
        """Let a second pass."""
        self._now_s += _STEP_S
        self._calls += 1_800
        for number, counter in enumerate(self._counters):
            counter.work(self._random)
            if self._state(number) == "live":
                self._loads.heard(ServerId(number + 1), counter.facts(), self._now_s)

    def report(self, asked: GetLive | None = None) -> LiveReport:
        """Return what the leader would say now; servers by name, as many as are asked for."""
        asked = asked or GetLive()
        ids = [ServerId(number + 1) for number in range(self._count)]
        load, measured = self._loads.together(ids, self._now_s)
        rows = [self._server(number) for number in range(self._count)]
        words = asked.wanted.split()
        found = [row for row in rows if all(word in f"{row.name} {row.rack}" for word in words)]
        if asked.reverse:
            found.reverse()
        low = min(range(self._count), key=lambda number: self._usage[number])
        high = max(range(self._count), key=lambda number: self._usage[number])
        states = [self._state(number) for number in range(self._count)]
        job = self._jobs()
        overview = Overview(
            wall_ns=WALL_NS + int(self._now_s * 1e9),
            servers=ServerTotals(
                count=self._count,
                live=states.count("live"),
                suspect=states.count("suspect"),
                dead=states.count("dead"),
                leaving=1,
                racks=len({row.rack for row in rows}),
                total_bytes=self._count * _DISK,
                free_bytes=sum(row.free_bytes for row in rows),
                low=rows[low].name,
                low_usage=self._usage[low],
                high=rows[high].name,
                high_usage=self._usage[high],
                suspects=tuple(row.name for row in rows if row.state == "suspect"),
                gone=tuple(row.name for row in rows if row.state == "dead"),
            ),
            load=load,
            measured=measured,
            goals=(GoalRow(2, (0, 3, 41_022, 0)), GoalRow(3, (0, 0, 212, self._chunks - 41_237))),
            leases=LeaseTotals(1_204, self._count - 1, 18),
            repair=RepairTotals(215, 215, 215 * 61 * MIB, 0, 210 * MIB, 362_000),
            jobs=2,
            running=job[:2],
            clocks=(MasterClock("m1", 3_400, 800), MasterClock("m3", -600, 800)),
        )
        return LiveReport(
            status=self._status(),
            overview=overview,
            servers=tuple(found[asked.offset : asked.offset + asked.limit]),
            matching=len(found),
            leases=tuple(self._leases()),
            jobs=job,
            answered_by="m2",
            leads=True,
        )

    def _state(self, number: int) -> str:
        if self._count >= 6 and number == 4:
            return "suspect"
        return "dead" if self._count >= 8 and number == 8 else "live"

    def _server(self, number: int) -> LiveServer:
        state, usage = self._state(number), self._usage[number]
        ages = {"live": 200 + 37 * number % 800, "suspect": 7_400, "dead": 94_000}
        reasons = {
            "live": "",
            "suspect": "no heartbeat for 7 s: it gets no new chunks",
            "dead": "no heartbeat for 94 s, over 30 s: its copies are made anew elsewhere",
        }
        return LiveServer(
            server_id=ServerId(number + 1),
            name=f"cs{number + 1:02d}",
            rack=f"r{number % 3 + 1}",
            state=state,
            mode=DRAINING if number == 6 else IN_SERVICE,
            maintenance=False,
            reason=reasons[state],
            disk_usage=usage,
            free_bytes=int(_DISK * (1 - usage)),
            total_bytes=_DISK,
            chunk_count=int(3 * self._chunks / self._count * usage / 0.61),
            heartbeat_age_ms=ages[state],
            disk_count=2,
            failed_disks=0,
            rates=self._loads.rates(ServerId(number + 1), self._now_s),
        )

    def _status(self) -> StatusReport:
        findings = (
            Finding(
                "SERVER_DEAD",
                "error",
                "chunkserver cs09 is dead: no heartbeat for 94 s; its copies are made anew",
                "bring it back within the hour, or let repair finish and remove it",
            ),
            Finding(
                "SERVER_SUSPECT",
                "warning",
                "chunkserver cs05 is suspect: no heartbeat for 7 s",
                "look whether it runs, and at its network",
            ),
        )
        return StatusReport(
            cluster_id="prod",
            cluster_name="prod",
            leader="m2",
            term=41,
            incarnation=1,
            leader_age_ms=11_520_000,
            applied_index=8_412_907,
            masters=tuple(self._master(name) for name in ("m1", "m2", "m3")),
            servers=(),
            chunks_by_copies={"0": 0, "1": 3, "2": 41_234, "3+": self._chunks - 41_237},
            chunk_count=self._chunks,
            under_count=215,
            open_count=1_204,
            sealing_count=2,
            dead_count=310,
            file_count=10_211_448,
            directory_count=52_310,
            session_count=418,
            goal=3,
            chunk_bytes=64 * MIB,
            health=HealthReport(False, findings),
            failovers=(
                LedTerm(41, 1, "m2", (WALL_NS - 3 * 3600 * 10**9) // 10**6, 8_300_000),
                LedTerm(40, 1, "m1", (WALL_NS - 50 * 3600 * 10**9) // 10**6, 7_900_000),
                LedTerm(39, 1, "m3", (WALL_NS - 400 * 3600 * 10**9) // 10**6, 7_000_000),
            ),
            scrub=ScrubSummary(0.31, 3, 96 * MIB, 0, False),
            failover_count=40,
            week_failovers=2,
        )

    def _master(self, name: str) -> MasterRow:
        leads = name == "m2"
        number = int(name[1:])
        times = [0] * 30
        times[time_class(700)], times[time_class(4_000)] = self._calls, self._calls // 60
        facts = MasterFacts(
            name=name,
            role="leader" if leads else "follower",
            term=41,
            leader="m2",
            leader_age_ms=11_520_000,
            commit_index=8_412_907,
            applied_index=8_412_907 - (0 if leads else number),
            last_index=8_412_907,
            first_index=8_100_000,
            log_bytes=96 * MIB,
            state_bytes=3_174 * MIB,
            map_bytes=64 * GIB,
            disk_free_bytes=180 * GIB,
            commit_p50_us=580 + 40 * number,
            commit_p99_us=2_900 + 300 * number,
            rss_bytes=(204 + 4 * number) * MIB,
            incarnation=1,
            version="0.1.0",
            longest_gap_ms=700 if name == "m2" else 640 if name == "m1" else -1,
            calls=CallFacts(Served(sum(times), 400 * sum(times), tuple(times))) if leads else None,
            wall_ns=WALL_NS + int(self._now_s * 1e9),
        )
        lag = 0 if leads else number // 3
        return MasterRow(name, f"10.0.0.{number}", 7100, True, facts, lag_entries=lag)

    def _jobs(self) -> tuple[JobRow, ...]:
        def job(name: str, kind: str, phase: str, share: float, **more: object) -> JobRow:
            facts: dict[str, object] = {
                "server": "",
                "bytes_per_s": 0,
                "eta_ms": -1,
                "ended_ns": 0,
                "waits": "",
                "blocked": 0,
            }
            facts |= more
            planned = 6_100 * GIB
            return JobRow(
                id=name,
                kind=kind,
                phase=phase,
                disk_id=DiskId(0),
                share=share,
                planned_bytes=planned,
                planned_moves=98_204,
                moved_bytes=int(planned * share),
                moves=int(98_204 * share),
                left_bytes=int(planned * (1 - share)),
                left_moves=int(98_204 * (1 - share)),
                made_ns=WALL_NS,
                asked_by="anna@ops1",
                last_error="",
                last_error_ns=0,
                options=JobOptions(),
                **facts,  # type: ignore[arg-type]
            )

        return (
            job("r-19", "rebalance", "running", 0.42, bytes_per_s=380 * MIB, eta_ms=2_460_000),
            job(
                *("d-7", "drain", "running", 0.64),
                server="cs07",
                bytes_per_s=96 * MIB,
                eta_ms=1_080_000,
                waits="3 copies wait for room in rack r2",
                blocked=3,
            ),
            job("r-18", "rebalance", "done", 1.0, ended_ns=WALL_NS),
        )

    def _leases(self) -> list[LeaseRow]:
        return [
            LeaseRow(
                chunk_id=ChunkId((1 << 48) + 0x3F2A + number),
                inode_id=InodeId(77 + number),
                path=f"/logs/app-{number:02d}/2026-11-26/requests-by-hour/part-{number:05d}.log",
                holder=f"cs{number % self._count + 1:02d}",
                server_id=ServerId(number % self._count + 1),
                start_id=StartId(9),
                epoch=Epoch(1, 41),
                granted_index=LogIndex(8_412_000),
                file_offset=0,
                length=number * 3 * MIB + 4096,
                left_ms=4_000 + 2_700 * number,
                held_ms=1_800_000,
                renewed=60,
                idle_ms=40 * number,
            )
            for number in range(12)
        ]


class _Counter:
    """The counters of one server."""

    def __init__(self) -> None:
        self._read, self._write, self._append = _Kind(), _Kind(), _Kind()
        self._queue = 0

    def work(self, chance: random.Random) -> None:
        busy = chance.random()
        self._read.serve(int(40 + 160 * busy), 300 * 1024, int(400 + 900 * busy), chance)
        self._write.serve(int(4 + 20 * busy), 2 * MIB, int(4_000 + 9_000 * busy), chance)
        self._append.serve(int(300 * chance.random()), 4_096, int(1_100 + 800 * busy), chance)
        self._queue = int(9 * busy * chance.random())

    def facts(self) -> LoadFacts:
        write = self._write.served()
        return LoadFacts(
            self._read.served(), write, self._append.served(), write.length // 3, self._queue
        )


class _Kind:
    def __init__(self) -> None:
        self._count = self._length = 0
        self._times = [0] * 40

    def serve(self, count: int, each: int, usual_us: int, chance: random.Random) -> None:
        self._count += count
        self._length += count * each
        slow = count // 40
        self._times[time_class(usual_us)] += count - slow
        self._times[time_class(int(usual_us * (4 + 8 * chance.random())))] += slow

    def served(self) -> Served:
        return Served(self._count, self._length, tuple(self._times))
