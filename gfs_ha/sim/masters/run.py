"""One seed: a cluster of masters, its clients, faults, and the end at which all must agree."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import msgspec

from gfs_ha.limits import RAFT_TIMEOUT_MAX_S
from gfs_ha.protocol.calls import LINEARIZABLE
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters import names_model
from gfs_ha.sim.masters.calls import Host
from gfs_ha.sim.masters.client import SimClient, WatchedCalls, Worker
from gfs_ha.sim.masters.complaints import Complaints
from gfs_ha.sim.masters.faults import SLOW, Faults
from gfs_ha.sim.masters.history import History
from gfs_ha.sim.masters.ledger import Ledger, applied_mark, check_tables
from gfs_ha.sim.masters.linear import judge
from gfs_ha.sim.masters.lives import applied_life, short_lives
from gfs_ha.sim.masters.logs import check_complete, check_matching
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.members import check_majority
from gfs_ha.sim.masters.network import ClusterNetwork
from gfs_ha.sim.masters.operators import MEMBERS, Operators
from gfs_ha.sim.masters.plans import RunPlan, draw_plan, with_operators
from gfs_ha.sim.masters.rebirth import Rebirth
from gfs_ha.sim.masters.tasks import TaskScheduler
from gfs_ha.sim.masters.trace import Trace
from gfs_ha.sim.masters.world import Build, World, cluster_config

_LOOK_S = 0.05
_COMPARE_S = 1.0
_QUIET_MAX_S = 60.0  # In which all must have come to rest after the last fault.

PLAIN = Build(WatchedCalls)


class RunReport(msgspec.Struct):
    """What one run did."""

    seed: int
    violation: str | None
    simulated_s: float
    operations: int
    acked: int
    unknown: int
    dated: int  # Reads that any master could answer …
    past: int  # … and the answers to them that were not of now.
    undecided: int  # Histories that were too long to be judged.
    terms: int
    events: int
    digest: str


class MasterRun:
    """One seed. `show` gets the lines of the trace."""

    def __init__(
        self,
        seed: int,
        build: Build = PLAIN,
        plan: RunPlan | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        chance = random.Random(seed)
        plan = with_operators(draw_plan(chance), seed) if plan is None else plan
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
            build=build,
            plan_limits=short_lives(plan.session_life_s),
            timeout_max_s=plan.timeout_max_s,
        )
        self.history = History()
        names = [one.name for one in self.world.config.cluster.masters]
        self.masters = {name: SimMaster(self.world, name) for name in names}
        self.hosts: dict[str, Host] = dict(self.masters)
        self.clients = [self._client(f"c{n}") for n in range(1, len(plan.habits) + 1)]
        self._workers: list[Worker] = []
        kinds = [kind for kind in plan.fault_kinds if kind != MEMBERS]
        self._faults = Faults(self.world, self.masters, self.clients, plan.fault_mean_s, kinds)
        mean_s = plan.members_mean_s or 0.3 * (MEMBERS in plan.fault_kinds)
        self.operators = Operators(
            self.world, self.masters, self.hosts, self._faults, (seed, mean_s)
        )
        self._complaints = Complaints()
        self._seed = seed
        self._undecided = 0
        self._next_compare_s = 0.0
        self._began_s = scheduler.now_s

    def run(self) -> RunReport:
        """Run to the end; a broken promise is in the report."""
        violation = self._complaints.hear(self._play_lives, self._tear_down, self.world.trace)
        scheduler, ledger = self.world.scheduler, self.world.ledger
        return RunReport(
            seed=self._seed,
            violation=violation,
            simulated_s=scheduler.now_s - self._began_s,
            operations=len(self.history.operations),
            acked=ledger.acked_count,
            unknown=self.history.unknown_count,
            dated=self.history.dated_count,
            past=self.history.past_count,
            undecided=self._undecided,
            terms=ledger.term_count,
            events=scheduler.event_count,
            digest=self.world.trace.digest(),
        )

    def _client(self, name: str) -> SimClient:
        habits = self.plan.habits[(int(name[1:]) - 1) % len(self.plan.habits)]
        return SimClient(self.world, name, self.hosts, habits)

    def _play_lives(self) -> None:
        with applied_life(self.plan.session_life_s):
            self._play()

    def _play(self) -> None:
        scheduler = self.world.scheduler
        for master in self.masters.values():
            master.start()
        for client in self.clients:
            for number in range(client.habits.task_count):
                worker = Worker(client, self.world, self.plan.names, self.history)
                self._workers.append(worker)
                client.spawn(f"worker {number}", worker.run)
        if self.plan.fault_kinds:
            self._faults.begin()
        if self.plan.members_mean_s or MEMBERS in self.plan.fault_kinds:
            self.operators.begin()
        end_s = scheduler.now_s + self.plan.run_s
        self._advance(lambda: scheduler.now_s >= end_s, self.plan.run_s + 1.0)
        self.operators.stop()
        self._faults.stop()
        for worker in self._workers:
            worker.ending = True
        if not self._advance(self._at_rest, _QUIET_MAX_S):
            raise Violation(f"no rest: {self._unrest()}")
        self._read_at_end()
        if not self._advance(self._at_rest, _QUIET_MAX_S):
            raise Violation(f"no rest: {self._unrest()}")
        self._check_end()
        if self.plan.rebirth:
            act = Rebirth(self.world, self.masters, self.operators, self._seed)
            act.play(self._advance, self._at_rest, self.plan.names)

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

    # At every look.

    def _look(self) -> None:
        self._complaints.check()
        ledger = self.world.ledger
        for master in self.masters.values():
            master.note_leading()
            node = master.node
            if node is not None and master.leading and ledger.leads(master.name, master.term):
                check_complete(master.name, master.term, node.replica._journal, ledger)
        if self.world.scheduler.now_s >= self._next_compare_s:
            self._next_compare_s = self.world.scheduler.now_s + _COMPARE_S
            self._compare()

    def _compare(self) -> None:
        journals = {}
        for master in self.masters.values():
            if master.node is not None:
                journals[master.name] = master.node.replica._journal
            with master.disk.held.read() as reader:
                index = applied_mark(reader)
                if index:
                    self.world.ledger.compares_state(master.name, index, reader)
        check_matching(journals)
        leader = self._leader()
        if leader is not None and not self._faults.copies_out:
            check_majority(leader, [*self.masters.values(), *self.operators.gone.values()])

    def _leader(self) -> SimMaster | None:
        leading = [master for master in self.masters.values() if master.leading]
        return max(leading, key=lambda master: master.term, default=None)

    # At the end.

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> str:
        busy = [client.name for client in self.clients if client.process.tasks]
        if any(worker.busy for worker in self._workers):
            return f"clients still wait: {', '.join(busy)}"
        if self.operators.at_work:
            return "an operator still waits"
        if self._leader() is None:
            return "nothing is broken any more, and nobody leads"
        members = self.operators.configuration().members
        masters = {name: self.masters[name] for name in members if name in self.masters}
        down = [name for name, master in masters.items() if master.process is None]
        if down:
            ended = {name: self.masters[name].ended for name in down}
            return f"nothing is broken any more, and some do not run: {ended}"
        positions = {}
        for master in masters.values():
            with master.disk.held.read() as reader:
                positions[master.name] = applied_mark(reader)
        if len(set(positions.values())) > 1:
            return f"the members applied up to {positions}"
        if min(positions.values()) < self.world.ledger.acked_max:
            return f"acknowledged up to {self.world.ledger.acked_max}, applied {positions}"
        return ""

    def _read_at_end(self) -> None:
        habits = replace(self.plan.habits[0], consistency=LINEARIZABLE)
        reader = SimClient(self.world, "end", self.hosts, habits)
        worker = Worker(reader, self.world, self.plan.names, self.history)
        self._workers.append(worker)
        self.clients.append(reader)
        reader.spawn("reader", worker.read_all)

    def _check_end(self) -> None:
        self._compare()
        for master in self.masters.values():
            with master.disk.held.read() as reader:
                check_tables(master.name, reader)
            if master.full_count:
                raise Violation(f"disk full: {master.name} stopped, growth was not refused in time")
        terms = self.world.ledger.term_count
        usual = self.plan.timeout_max_s == RAFT_TIMEOUT_MAX_S
        calm = set(self.plan.fault_kinds) <= SLOW and not self.operators.asked_count
        if usual and calm and terms > 1:
            raise Violation(f"needless election: {terms} terms led")
        for name, operations in sorted(self.history.groups().items()):
            verdict = judge(operations, names_model.EMPTY, names_model.step)
            if not verdict.decided:
                self._undecided += 1
            elif not verdict.linearizable:
                raise Violation(f"not linearizable: {name}: stuck at {verdict}")

    def _tear_down(self) -> None:
        """Kill what runs, and let the threads of the tasks unwind."""
        scheduler = self.world.scheduler
        scheduler.failure = None
        self.operators.close()
        for client in self.clients:
            client.kill()
        for master in self.masters.values():
            if master.process is not None:
                master.end("the run is over")
        scheduler.run_until(scheduler.now_s + 0.001)
        scheduler.close()
