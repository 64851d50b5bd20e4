"""One seed: masters, chunkservers and users, faults, and the end at which all must be whole."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable

from gfs_ha.limits import RAFT_TIMEOUT_MAX_S
from gfs_ha.master.planners.placing_walk import ROUND_S
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndClaims,
    EndCopy,
    LoseHolder,
    PlaceCopy,
    ReapStep,
    ReplicasDeleted,
)
from gfs_ha.master.state.tail_commands import AbandonTails
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.appending import AppendHabits, AppendWorker
from gfs_ha.sim.cluster.caretaker import Caretaker
from gfs_ha.sim.cluster.faults import Faults
from gfs_ha.sim.cluster.files_model import FileHistory
from gfs_ha.sim.cluster.health import AGAINST_RULE, lacking, unrest
from gfs_ha.sim.cluster.keyed import KeyedWriter
from gfs_ha.sim.cluster.plans import RunPlan, draw_plan, with_disks
from gfs_ha.sim.cluster.records_model import RecordHistory
from gfs_ha.sim.cluster.report import ClusterReport
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.cluster.streams import Kernel
from gfs_ha.sim.cluster.truth import Truth
from gfs_ha.sim.cluster.user import Outcomes, SimUser
from gfs_ha.sim.cluster.watch import Watch
from gfs_ha.sim.cluster.worker import Worker
from gfs_ha.sim.masters.calls import Host
from gfs_ha.sim.masters.client import WatchedCalls
from gfs_ha.sim.masters.complaints import Complaints
from gfs_ha.sim.masters.ledger import Ledger, applied_mark, check_tables
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.network import ClusterNetwork
from gfs_ha.sim.masters.tasks import TaskScheduler
from gfs_ha.sim.masters.trace import Trace
from gfs_ha.sim.masters.world import Build, World, cluster_config

_LOOK_S = 0.25
_COMPARE_S = 10.0
_START_S = 30.0
_QUIET_MAX_S = 200.0  # In which all must have come to rest after the last fault.
_CLAIM_SILENCE_S = 15.0
_CARED_FOR = 3  # Every so manyth seed has an operator who drains servers and evens out disks.
_DISKS_EVERY = 4  # Every so manyth seed has machines with several disks, and an operator.
_CARE_S = 4.0  # The mean between two things that he does.
_QUIET_S = 6.0  # Of rest, in which nobody proposes anything.
# What planners propose while there is something to do. (Leases of open tails go on for ever.)
_WORK = (
    PlaceCopy,
    ConfirmCopy,
    EndCopy,
    LoseHolder,
    DropReplica,
    ReplicasDeleted,
    ReapStep,
    EndClaims,
    AbandonTails,
)


class ClusterRun:
    """One seed. `show` gets the lines of the trace."""

    def __init__(
        self,
        seed: int,
        plan: RunPlan | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        chance = random.Random(f"cluster {seed}")
        drawn = plan is None
        plan = plan or draw_plan(chance)
        if drawn and seed % _DISKS_EVERY == 1:
            plan = with_disks(plan, seed)
        scheduler = TaskScheduler()
        trace = Trace(scheduler, show)
        trace.note(f"seed {seed} {plan}")
        network = ClusterNetwork(scheduler, chance, trace)
        self.plan = plan
        self.world = World(
            scheduler=scheduler,
            network=network,
            chance=chance,
            ledger=Ledger(scheduler, trace),
            trace=trace,
            config=cluster_config(plan.master_count),
            build=Build(WatchedCalls),
            plan_limits=PlanLimits(claim_silence_s=_CLAIM_SILENCE_S),
            timeout_max_s=RAFT_TIMEOUT_MAX_S,
            dead_s=plan.dead_s,
        )
        names = [one.name for one in self.world.config.cluster.masters]
        self.masters = {name: SimMaster(self.world, name) for name in names}
        self._hosts: dict[str, Host] = dict(self.masters)
        self._kernels: dict[str, Kernel] = {}
        self.servers = [
            SimServer(
                self.world,
                (f"s{number}", rack),
                (plan.disk_count, plan.disk_bytes),
                self._kernel(f"s{number}"),
                self._hosts,
            )
            for number, rack in enumerate(plan.racks, 1)
        ]
        for server in self.servers:
            server.disks_forget = not plan.memory
        self.truth = Truth(self.masters, self.servers)
        self.outcomes = Outcomes()
        self.users = [self._user(f"u{n}") for n in range(1, plan.user_count + 1)]
        self.files = [
            FileHistory(f"/u{user}.{n}")
            for user in range(1, plan.user_count + 1)
            for n in range(plan.names_per_user)
        ]
        self.logs = [RecordHistory(f"/log.{number}") for number in range(plan.logs)]
        self.workers = [self._worker(user) for user in self.users]
        logs = self.logs
        self.appenders = [self._appender(user) for user in self.users if logs]
        self.writers = [self._writer(user) for user in self.users if logs and plan.keyed]
        self.faults = Faults(
            self.world, self.masters, self.truth, list(self.users), plan.fault_kinds
        )
        self.watch = Watch(self.world, self.masters, self.truth)
        self._complaints = Complaints()
        self._cared_for = drawn and (seed % _CARED_FOR == 0 or plan.disk_count > 1)
        self.caretakers: list[Caretaker] = []
        self._seed = seed
        self._next_compare_s = 0.0
        self._began_s = scheduler.now_s
        self._rest_s = 0.0

    def run(self) -> ClusterReport:
        """Run to the end; a broken promise is in the report."""
        gc.collect()
        gc.disable()  # What a collection would end, would end at another moment in each run.
        try:
            violation = self._complaints.hear(self._play, self._tear_down, self.world.trace)
        finally:
            gc.enable()
        scheduler, economy = self.world.scheduler, self.watch.economy
        return ClusterReport(
            seed=self._seed,
            violation=violation,
            simulated_s=scheduler.now_s - self._began_s,
            operations=self.outcomes.done,
            acked=self.outcomes.changes + self.outcomes.records,
            failed=sum(self.outcomes.failed.values()),
            unknown=self.outcomes.unknown,
            undecided=0,
            bytes_put=self.outcomes.bytes_put,
            records=self.outcomes.records,
            faults=self.faults.count,
            copies=self.watch.copies_placed,
            bytes_copied=economy.copied,
            bytes_least=economy.least,
            bytes_away=economy.away,
            rest_s=self._rest_s,
            terms=self.world.ledger.term_count,
            disk_faults=dict(self.faults.disks.count),
            jobs=self._jobs(),
            events=scheduler.event_count,
            digest=self.world.trace.digest(),
        )

    def _jobs(self) -> dict[str, int]:
        begun: Counter[str] = Counter()
        for caretaker in self.caretakers:
            begun.update(caretaker.begun)
        begun.update({f"{kind} done": count for kind, count in self.watch.jobs_done.items()})
        if self.watch.moved_within:
            begun["moved within a server"] = self.watch.moved_within
        return dict(begun)

    def _kernel(self, name: str) -> Kernel:
        return Kernel(name, self.world.network, self._kernels)

    def _user(self, name: str) -> SimUser:
        rack = self.world.chance.choice(self.plan.racks)
        timeout_s = self.plan.habits.timeout_s
        kernel = self._kernel(name)
        return SimUser(self.world, (name, rack), kernel, self._hosts, timeout_s)

    def _worker(self, user: SimUser) -> Worker:
        own = [one for one in self.files if one.name.startswith(f"/{user.name}.")]
        return Worker(user, self.world, self.plan.habits, (own, self.files), self.outcomes)

    def _appender(self, user: SimUser) -> AppendWorker:
        return AppendWorker(user, self.world, self.logs, self._append_habits, self.outcomes)

    def _writer(self, user: SimUser) -> KeyedWriter:
        return KeyedWriter(user, self.world, self.logs[0], self._append_habits, self.outcomes)

    def _employ(self) -> None:
        """Have an operator at work, with a machine of his own."""
        ops = self._user("ops")
        self.users.append(ops)
        names = [server.name for server in self.servers]
        disks = self.plan.disk_count > 1
        caretaker = Caretaker(ops, names, self._seed, _CARE_S, disks)
        self.caretakers.append(caretaker)
        ops.work("caretaker", caretaker.run)

    @property
    def _append_habits(self) -> AppendHabits:
        return AppendHabits.of(self.plan.habits.pause_s, self.plan.memory_logs)

    def _play(self) -> None:
        scheduler = self.world.scheduler
        for master in self.masters.values():
            master.start()
        for server in self.servers:
            server.start()
        if not self._advance(lambda: not unrest(self.truth, self.masters), _START_S):
            raise Violation(f"no start: {unrest(self.truth, self.masters)}")
        for user, worker in zip(self.users, self.workers, strict=True):
            user.work("worker", worker.run)
        for user, appender in zip(self.users, self.appenders, strict=False):
            user.work("appender", appender.run)
        for user, writer in zip(self.users, self.writers, strict=False):
            user.work("writer", writer.run)
        if self._cared_for:
            self._employ()
        self.faults.begin(self.plan.fault_mean_s)
        end_s = scheduler.now_s + self.plan.run_s
        self._advance(lambda: scheduler.now_s >= end_s, self.plan.run_s + 1.0)
        self._end()

    def _end(self) -> None:
        scheduler = self.world.scheduler
        self.faults.stop()
        self.world.trace.note("everything is mended")
        for worker in self._busybodies():
            worker.ending = True
        if not self._advance(lambda: not self._waiting(), _QUIET_MAX_S):
            raise Violation(f"no rest: {self._waiting()}")
        for user in self.users:
            user.spawn("close", user.cluster.close)
        ended_s = scheduler.now_s
        self._come_to_rest("no rest")
        self._rest_s = scheduler.now_s - ended_s
        self._read_all()
        self._come_to_rest("no rest after reading")  # Who reads finds rot that nobody knew of.
        if self.faults.rotten:
            self._scrub_all()
        self._check_rest()
        for master in self.masters.values():
            with master.disk.held.read() as reader:
                check_tables(master.name, reader)

    def _come_to_rest(self, else_what: str) -> None:
        def rests() -> bool:
            return not self._unrest()

        if self._advance(rests, _QUIET_MAX_S):
            return
        # A chunk that was misplaced when it was made is found by the next round over all.
        if AGAINST_RULE in self._unrest() and self._advance(rests, ROUND_S):
            return
        raise Violation(f"{else_what}: {self._unrest()}")

    def _busybodies(self) -> list[Worker | AppendWorker | KeyedWriter | Caretaker]:
        return [*self.workers, *self.appenders, *self.writers, *self.caretakers]

    def _check_rest(self) -> None:
        """Nobody has anything to do any more, and what is said to be there is there."""
        scheduler = self.world.scheduler
        quiet_s = scheduler.now_s
        self._advance(lambda: scheduler.now_s >= quiet_s + _QUIET_S, 2 * _QUIET_S)
        restless = [
            command
            for at_s, command in self.watch.commands
            if at_s >= quiet_s and isinstance(command, _WORK)
        ]
        if restless:
            raise Violation(f"no rest: {len(restless)} commands at rest, first {restless[0]}")
        why = lacking(self.truth)
        if why:
            raise Violation(f"copies lost: {why}")
        self.watch.economy.check()

    def _scrub_all(self) -> None:
        """Have every disk looked through: what rotted is found, and made anew."""
        user = self.users[-1]

        def ask() -> None:
            user.cluster.operations.start_scrub()

        user.spawn("scrub", ask)

        def healed() -> bool:
            return not (user.has("scrub") or lacking(self.truth) or self._unrest())

        if not self._advance(healed, _QUIET_MAX_S):
            raise Violation(f"rot is not healed: {lacking(self.truth) or self._unrest()}")

    def _read_all(self) -> None:
        """Have somebody who knows nothing of the run read every file."""
        unread: list[str] = []
        reader = self._user("end")
        self.users.append(reader)
        worker = Worker(reader, self.world, self.plan.habits, ([], self.files), self.outcomes)
        appender = self._appender(reader)

        def read() -> None:
            unread.extend(one.name for one in self.files if not worker.read(one))
            unread.extend(one.name for one in self.logs if not appender.read(one))

        reader.spawn("reader", read)
        if not self._advance(lambda: not reader.has("reader"), _QUIET_MAX_S):
            raise Violation(f"no rest: {worker.busy or appender.busy} goes on for ever")
        if unread:
            raise Violation(f"unreadable: {', '.join(unread)}, after everything was mended")

    def _advance(self, done: Callable[[], bool], longest_s: float) -> bool:
        """Let time pass until something is so; look at the masters on the way."""
        scheduler = self.world.scheduler
        end_s = scheduler.now_s + longest_s
        while not done():
            if scheduler.now_s >= end_s:
                return False
            scheduler.run_until(scheduler.now_s + _LOOK_S)
            self._look()
        return True

    def _look(self) -> None:
        self._complaints.check()
        self.watch.look()
        ledger = self.world.ledger
        for master in self.masters.values():
            if master.leading:
                ledger.leads(master.name, master.term)
        if self.world.scheduler.now_s >= self._next_compare_s:
            self._next_compare_s = self.world.scheduler.now_s + _COMPARE_S
            for master in self.masters.values():
                with master.disk.held.read() as reader:
                    index = applied_mark(reader)
                    if index:
                        ledger.compares_state(master.name, index, reader)

    def _waiting(self) -> str:
        """Return which operation is still under way."""
        for worker in self._busybodies():
            if worker.busy:
                return f"a user still waits: {worker.busy}"
        return self.faults.busy and f"an operator still wants to {self.faults.busy}"

    def _unrest(self) -> str:
        return unrest(self.truth, self.masters)

    def _tear_down(self) -> None:
        """Kill what runs, and let the threads of the tasks unwind."""
        scheduler = self.world.scheduler
        scheduler.failure = None
        for user in self.users:
            user.kill()
        for server in self.servers:
            server.close()
        for master in self.masters.values():
            if master.process is not None:
                master.end("the run is over")
        scheduler.run_until(scheduler.now_s + 0.001)
        scheduler.close()
