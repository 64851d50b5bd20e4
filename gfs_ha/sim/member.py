"""One simulated machine with a member on it: steps, stalls, power cuts, restarts."""

from __future__ import annotations

import random
from collections.abc import Callable

from gfs_ha.errors import GfsError, NewerIncarnation, OldCopy
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.identity import bootstrap, join
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.members import NOBODY, Configuration
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.transport import LinkTransport
from gfs_ha.sim.checkers import Ledger, Machine, Violation
from gfs_ha.sim.network import Network, SimLinks
from gfs_ha.sim.runtime import SimRuntime
from gfs_ha.sim.scheduler import Scheduler
from gfs_ha.sim.store import PowerCut, SimStore

_STEP_S = 0.00002  # A step without a commit.
_WAIT_MAX_S = 0.05


class SimMember:
    """A machine. Its disk outlives its processes."""

    def __init__(
        self,
        config: RaftConfig,
        network: Network,
        chance: random.Random,
        ledger: Ledger,
        node_type: type[RaftNode] = RaftNode,
        spare: bool = False,
    ) -> None:
        self.name = config.member_id
        self.disk = MemoryKV()
        self.node: RaftNode | None = None
        self.paused = False
        self.cut_in: int | None = None  # Power is cut at this half of a commit from now.
        self.commit_s = 0.0002
        self.config = config
        self._network = network
        self._chance = chance
        self._ledger = ledger
        self._node_type = node_type
        self._links: SimLinks | None = None
        self._run = 0
        self._step_at_s = float("inf")
        self._stepping = False
        if spare:
            join(self.disk, config)  # It waits to be let in.
        else:
            bootstrap(self.disk, config)

    @property
    def scheduler(self) -> Scheduler:
        return self._network.scheduler

    @property
    def running(self) -> bool:
        return self.node is not None

    @property
    def leading(self) -> bool:
        return self.node is not None and self.node.replica.role == LEADER

    @property
    def term(self) -> int:
        return 0 if self.node is None else self.node.replica.term

    def is_known_to(self, other: SimMember) -> bool:
        """Return whether another running member has durably seen this one's start."""
        if self.node is None or other.node is None:
            return False
        theirs = other.node.identity
        return theirs.last_seen(self.name) == self.node.identity.start and not theirs.dirty

    @property
    def configuration(self) -> Configuration:
        return NOBODY if self.node is None else self.node.replica.configuration

    def start(self) -> None:
        """Start the process on what the disk holds."""
        self._run += 1
        self.paused = False
        self.cut_in = None
        rate = 1.0 + self._chance.uniform(-0.03, 0.03)
        runtime = SimRuntime(self.scheduler, self._chance, rate)
        self._runtime = runtime
        store = SimStore(self._on_commit, self.disk)
        self._store = store

        def now_s() -> float:
            return self.scheduler.now_s + runtime.ahead_s

        links = SimLinks(self._network, self.name, now_s, self._wake)
        self._links = links
        peers = {name: where for name, where in self.config.members.items() if name != self.name}
        transport = LinkTransport(links, peers, runtime)
        machine = Machine(self.name, self._ledger)
        runtime.ahead_s = 0.0
        self.node = self._node_type(self.config, store, machine, transport, runtime)
        self._step_at_s = float("inf")
        self._schedule(self.scheduler.now_s)

    def power_cut(self) -> None:
        """Stop at once; only what was committed stays."""
        self._vanish()

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self.running:
                self._schedule(self.scheduler.now_s)

    def ask(self, action: Callable[[RaftNode], None]) -> None:
        """Have the process do something as one of its threads would."""
        if self.node is not None and not self.paused:
            action(self.node)

    def _vanish(self) -> None:
        self._run += 1
        self.node = None
        self.disk = self._store.survivor()
        if self._links is not None:
            self._links.power_off()

    def _on_commit(self, half: int) -> None:
        if self.cut_in is not None:
            if self.cut_in <= 0:
                raise PowerCut
            self.cut_in -= 1
        if half == 1:
            self._runtime.ahead_s += self._chance.expovariate(1 / self.commit_s)

    def _wake(self) -> None:
        if not self._stepping and not self.paused:
            self._schedule(self.scheduler.now_s + self._runtime.ahead_s)

    def _schedule(self, when_s: float) -> None:
        when_s = max(when_s, self.scheduler.now_s)
        if when_s >= self._step_at_s and self._step_at_s >= self.scheduler.now_s:
            return
        self._step_at_s = when_s
        run = self._run

        def step() -> None:
            if run == self._run and self._step_at_s == when_s:
                self._step_at_s = float("inf")
                if not self.paused:
                    self._step()

        self.scheduler.at(when_s, step)

    def _step(self) -> None:
        node, links = self.node, self._links
        assert node is not None and links is not None
        self._runtime.ahead_s = 0.0
        self._stepping = True
        try:
            node.step(0.0)
        except PowerCut:
            self._vanish()
            return
        except (OldCopy, NewerIncarnation):
            self._vanish()
            return
        except GfsError as error:
            raise Violation(f"fatal: {self.name} stops: {error.message}") from error
        finally:
            self._stepping = False
        self._ledger.check()
        replica = node.replica
        if replica.role == LEADER:
            self._ledger.leads(self.name, replica.term)
        done_s = self.scheduler.now_s + self._runtime.ahead_s + _STEP_S
        if replica.busy or links.waiting:
            self._schedule(done_s)
        else:
            due_s = self._runtime.global_s(replica.next_deadline_s)
            self._schedule(max(done_s, min(due_s + 1e-6, done_s + _WAIT_MAX_S)))
