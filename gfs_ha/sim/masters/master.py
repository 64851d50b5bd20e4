"""One simulated machine with a whole master on it: consensus loop, handlers, housekeeping.

It is put together as the real server does it, with twins for the door, the store, the links and
the clock. Consensus loop and housekeeping are tasks, which wait where the real threads do; the
door takes its turns between them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import structs

from gfs_ha.errors import DiskFailed, DiskFull, GfsError, NewerIncarnation, OldCopy
from gfs_ha.ids import Epoch, LogIndex
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.dispatch import Dispatcher
from gfs_ha.master.health import space_low
from gfs_ha.master.housekeeping import Housekeeper
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.identity import bootstrap, join
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.recovery import stored_incarnation
from gfs_ha.master.raft.transport import LinkTransport
from gfs_ha.master.recount import ensure_hash
from gfs_ha.master.reign import Reign
from gfs_ha.master.roles import RoleKeeper
from gfs_ha.master.state.tables import DATABASES
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.door import SimDoor
from gfs_ha.sim.masters.ledger import MARK, WatchedMachine
from gfs_ha.sim.masters.links import WaitingLinks
from gfs_ha.sim.masters.members import watch_member
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.runtime import ProcessRuntime
from gfs_ha.sim.masters.store import Disk, ProcessStore
from gfs_ha.sim.masters.world import World, config_with
from gfs_ha.sim.store import PowerCut

INCARNATION = 1
COMMIT_S = 0.0002


class SimMaster:
    """A machine. Its disk outlives its processes."""

    def __init__(self, world: World, name: str, empty: bool = False) -> None:
        self.name = name
        self.powered = True
        self.disk = Disk()
        self.process: Process | None = None
        self.door: SimDoor | None = None
        self.node: RaftNode | None = None
        self.desk: Desk | None = None
        self.cut_in: int | None = None  # Power is cut at this half of a commit from now.
        self.commit_s = COMMIT_S
        self.commit_range_s: tuple[float, float] | None = None  # Instead, beside bulk writes.
        self.ended: str = ""  # Why the last process ended by itself.
        self.full_count = 0  # How often it ended because its disk was full.
        self._world = world
        self._links: WaitingLinks | None = None
        self._store: ProcessStore | None = None
        self.on_old_copy = False
        self.config = config_with(world.config, name)
        masters = self.config.cluster.masters
        self.raft_config = RaftConfig(
            world.config.cluster.id,
            INCARNATION,
            name,
            {one.name: (one.host, one.raft_port) for one in masters},
            timeout_max_s=world.timeout_max_s,
            state_databases=(*DATABASES, MARK.database),
            doors={one.name: (one.host, one.port) for one in masters},
        )
        if empty:
            join(self.disk.held, self.raft_config)
        else:
            bootstrap(self.disk.held, self.raft_config)

    @property
    def running(self) -> bool:
        return self.node is not None

    @property
    def stopped(self) -> bool:
        return self.process is not None and self.process.stopped

    @property
    def leading(self) -> bool:
        return self.node is not None and self.node.replica.role == LEADER

    def note_leading(self) -> None:
        """Have the timeline know if this master leads now."""
        if self.leading:
            self._world.ledger.timeline.leads()

    @property
    def term(self) -> int:
        return 0 if self.node is None else self.node.replica.term

    @property
    def runtime(self) -> ProcessRuntime | None:
        clock = None if self.process is None else self.process.clock
        return clock if isinstance(clock, ProcessRuntime) else None

    def is_known_to(self, other: SimMaster) -> bool:
        """Return whether another running member has durably seen this one's start."""
        if self.node is None or other.node is None:
            return False
        theirs = other.node.identity
        return theirs.last_seen(self.name) == self.node.identity.start and not theirs.dirty

    # Life.

    def start(self) -> None:
        """Start the process on what the disk holds; if it ends again, `ended` says why."""
        world = self._world
        assert self.process is None
        self.powered = True
        self.cut_in = None
        self.ended = ""
        process = Process(self.name, self.name, world.scheduler, self._crashed)
        rate = 1.0 + world.chance.uniform(-0.03, 0.03)
        runtime = ProcessRuntime(world.scheduler, process, world.chance, rate)
        links = WaitingLinks(world.network, runtime)
        peers = {n: at for n, at in self.raft_config.members.items() if n != self.name}
        transport = LinkTransport(links, peers, runtime)
        store = ProcessStore(self.disk, self._on_commit)
        machine = WatchedMachine(world.build.machine_type(self._mistake), self.name, world.ledger)
        self.process, self._links = process, links
        world.trace.note(f"{self.name} starts")
        self._store = store

        def run() -> None:
            ensure_hash(self.disk.held, runtime)
            incarnation = stored_incarnation(store) or INCARNATION
            config = structs.replace(self.raft_config, incarnation=incarnation)
            node = world.build.node_type(config, store, machine, transport, runtime)
            watch_member(self, node)
            self.node = node
            self._furnish(process, runtime, store, node)
            node.run()

        world.scheduler.spawn(process, "raft", run)

    def _furnish(
        self, process: Process, runtime: ProcessRuntime, store: ProcessStore, node: RaftNode
    ) -> None:
        world = self._world
        dispatcher = Dispatcher()
        door = SimDoor(process, dispatcher.greet, dispatcher)
        masters = {one.name: one for one in self.config.cluster.masters}
        desk = Desk(
            config=self.config,
            name=self.name,
            incarnation=node.identity.incarnation,
            kv=store,
            proposer=world.build.proposer_type(node, runtime, masters),
            runtime=runtime,
            post=door.post,
            disk_room=self.disk.room,
            rss_bytes=lambda: 1 << 26,
        )
        dispatcher.furnish(desk)
        roles = RoleKeeper(desk, partial(_make_reign, desk, node, world.dead_s))
        housekeeper = Housekeeper(desk, roles, lambda: None)
        housekeeper.limits = world.plan_limits
        node.on_role_change(roles.role_changed)
        node.on_role_change(lambda role, term: world.ledger.timeline.leads())
        node.space_low_source = partial(self._space_low, store)
        self.door, self.desk = door, desk
        world.scheduler.spawn(process, "housekeeping", housekeeper.run)

    def kill(self, power: bool = False) -> None:
        """End the process at once; with the power of the machine, or as kill -9 does."""
        if self.process is not None:
            self.end("power cut" if power else "killed", power)

    def stop(self) -> None:
        """Stop the process for a while: SIGSTOP, or the machine is suspended."""
        if self.process is not None:
            self.process.stop()
            self._world.trace.note(f"{self.name} stops")

    def go_on(self) -> None:
        if self.process is not None and self.process.stopped:
            self._world.trace.note(f"{self.name} goes on")
            self.process.go_on()

    def ask(self, action: Callable[[RaftNode], None]) -> None:
        """Have the process do something as one of its threads would."""
        process, node = self.process, self.node
        if process is not None and node is not None:
            process.at(self._world.scheduler.now_s, lambda: action(node))

    def end(self, why: str, power: bool = False) -> None:
        """End the process as it is between two steps."""
        process, door, links = self.process, self.door, self._links
        if process is None:
            return
        self._world.trace.note(f"{self.name} ends: {why}")
        self.note_leading()
        self.ended = why
        self.powered = not power
        process.end()
        if links is not None:
            links.power_off()
        if door is not None and not power:
            for visitor in list(door.visitors):
                visitor.hang_up()
        for task in list(process.tasks):
            self._world.scheduler.kill(task)
        self.disk.held = self._survivor()
        self.process = self.door = self.node = self.desk = self._links = None

    def _survivor(self) -> MemoryKV:
        """Return what a restart finds. A commit that was under way is there, or it is not."""
        store = self._store
        if store is not None and store.under_way and self._world.chance.random() < 0.5:
            store.finish()
        return self.disk.held.crash()

    def _crashed(self, task: str, error: BaseException) -> None:
        """Hear of an exception that left a task: the end of the process, if it may come to that."""
        if isinstance(error, PowerCut):
            self.end("power cut in a commit", self._world.chance.random() < 0.5)
        elif isinstance(error, DiskFull | DiskFailed | OldCopy | NewerIncarnation):
            self.full_count += isinstance(error, DiskFull) and self.node is not None
            self.end(error.code)
        elif isinstance(error, GfsError):
            raise Violation(f"fatal: {task} of {self.name} stops: {error.message}") from error
        else:
            raise error

    def _mistake(self, index: LogIndex, command: str, error: Exception) -> None:
        raise Violation(f"mistake: {command} at {index} raised {error!r}") from error

    def _space_low(self, store: ProcessStore) -> bool:
        stats = store.stats()
        return space_low(*self.disk.room(), stats.used_bytes, stats.map_bytes)

    # The time of a commit.

    def _on_commit(self, half: int) -> None:
        if self.cut_in is not None:
            if self.cut_in <= 0:
                assert self.process is not None
                self.process.end()  # Before the step unwinds: no word of it leaves.
                raise PowerCut
            self.cut_in -= 1
        runtime = self.runtime
        if half == 0 and runtime is not None:
            runtime.sleep(self._commit_takes_s())

    def _commit_takes_s(self) -> float:
        if self.commit_range_s is not None:
            return self._world.chance.uniform(*self.commit_range_s)
        return self._world.chance.expovariate(1 / self.commit_s)


def _make_reign(desk: Desk, node: RaftNode, dead_s: float, term: int) -> Reign:
    # A new member learns of the incarnation from those that let it in.
    desk.incarnation = node.identity.incarnation
    return Reign(Epoch(desk.incarnation, term), desk.runtime.monotonic_s(), dead_s)
