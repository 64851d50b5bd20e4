"""One simulated client: the library's own calls and session, and what it saw in the history."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.consistency import Consistency, Sightings, consistency_of
from gfs_ha.client.session import Session
from gfs_ha.errors import (
    AlreadyExists,
    DeadlineExceeded,
    GfsError,
    NoSpace,
    NotFound,
    NotInitialized,
    Refused,
    SessionExpired,
    Unavailable,
    UnknownOutcome,
    error_from_wire,
)
from gfs_ha.ids import NO_SESSION
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.leader import LeaderLink
from gfs_ha.protocol.calls import LINEARIZABLE, Asked, AsOf, Reply
from gfs_ha.protocol.codec import Failure, Hello
from gfs_ha.protocol.metadata import (
    CloseSession,
    Done,
    FileStatus,
    Publish,
    Published,
    PublishFile,
    Remove,
    Removed,
    Rename,
    Stat,
)
from gfs_ha.runtime import Runtime
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.calls import CallNetwork, Host
from gfs_ha.sim.masters.history import (
    ABSENT,
    CREATE,
    DELETE,
    OK,
    PRESENT,
    PUT,
    RENAME,
    STAT,
    History,
    Operation,
)
from gfs_ha.sim.masters.ledger import Ledger
from gfs_ha.sim.masters.moments import check_moment
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.runtime import ProcessRuntime
from gfs_ha.sim.masters.world import World

# What a change can end with that certainly had no effect: said by the library, and believed.
_NOTHING_HAPPENED = (Unavailable, DeadlineExceeded, SessionExpired, NoSpace, NotInitialized)


@dataclass(frozen=True, slots=True)
class Habits:
    """How a client works."""

    task_count: int
    pause_s: float  # The mean between two operations of a task.
    timeout_s: float
    write_share: float
    growth_share: float  # Of operations that make a new name which nobody else looks at.
    consistency: str = LINEARIZABLE


@dataclass(frozen=True, slots=True)
class Names:
    """The names that the clients of a run work on: few, in groups that never touch each other."""

    groups: int
    per_group: int

    def all(self) -> list[str]:
        return [f"g{g}.{n}" for g in range(self.groups) for n in range(self.per_group)]

    def draw(self, chance: random.Random) -> str:
        return f"g{chance.randrange(self.groups)}.{chance.randrange(self.per_group)}"

    def draw_beside(self, name: str, chance: random.Random) -> str:
        """Return a name of the same group, perhaps the same name."""
        return f"{name.split('.')[0]}.{chance.randrange(self.per_group)}"


class _LastSeen(Sightings):
    """Tells the moment of the newest answer, besides that of the oldest."""

    last: AsOf | None = None

    def note(self, as_of: AsOf | None) -> None:
        super().note(as_of)
        self.last = as_of


class WatchedCalls(ClusterCalls):
    """The library's calls, which tell the ledger of every change that was answered."""

    ledger: Ledger

    def __init__(
        self, link: LeaderLink, runtime: Runtime, timeout_s: float, consistency: Consistency
    ) -> None:
        super().__init__(link, runtime, timeout_s, consistency)
        self._sightings: _LastSeen = _LastSeen(runtime)
        self.own_index = 0  # Of the newest change of this client that was answered.

    @property
    def last_as_of(self) -> AsOf | None:
        """Return which moment the last read shows; for who has not waited since it returned."""
        return self._sightings.last

    def settle(
        self,
        asked: Sequence[Asked],
        timeout_s: float | None = None,
        give_up: tuple[type[GfsError], ...] = (),
    ) -> list[Reply]:
        replies = super().settle(asked, timeout_s, give_up)
        for one, reply in zip(asked, replies, strict=True):
            if one.session_id == NO_SESSION or not one.sequence:
                continue
            recorded = not isinstance(reply, Failure) or reply.error in (ABSENT, PRESENT)
            if recorded and not isinstance(one.request, CloseSession):
                index = self.ledger.acks(one.session_id, one.sequence)
                self.own_index = max(self.own_index, index)
        return replies


class SimClient:
    """A machine with a client process; the next one after it knows nothing of its session."""

    process: Process
    calls: WatchedCalls
    session: Session

    def __init__(self, world: World, name: str, hosts: dict[str, Host], habits: Habits) -> None:
        self.name = name
        self.habits = habits
        self._world = world
        self.hosts = hosts
        self._bodies: list[tuple[str, Callable[[], None]]] = []
        self.start()

    def start(self) -> None:
        """Start a process, with everything that was spawned before."""
        world, name = self._world, self.name
        self.process = Process(name, name, world.scheduler, self._crashed)
        rate = 1.0 + world.chance.uniform(-0.03, 0.03)
        self.runtime = ProcessRuntime(world.scheduler, self.process, world.chance, rate)
        cluster = world.config.cluster
        hello = Hello(cluster.id, PROTOCOL_VERSION, "client", name)
        self._network = CallNetwork(self.runtime, world.network, self.hosts)
        link = LeaderLink(cluster.masters, self._network, hello, self.runtime)
        consistency = consistency_of(self.habits.consistency)
        timeout_s = self.habits.timeout_s
        self.calls = world.build.calls_type(link, self.runtime, timeout_s, consistency)
        self.calls.ledger = world.ledger
        self.session = world.build.session_type(self.calls, self.runtime, name)
        for task, body in self._bodies:
            world.scheduler.spawn(self.process, task, body)

    def spawn(self, name: str, body: Callable[[], None]) -> None:
        self._bodies.append((name, body))
        self._world.scheduler.spawn(self.process, name, body)

    def kill(self, power: bool = False) -> None:
        """End the process; what it was doing stays open for ever. Without power its connections
        just fall silent.
        """
        self.process.end()
        if not power:
            self._network.hang_up()
        for task in list(self.process.tasks):
            self._world.scheduler.kill(task)

    def _crashed(self, task: str, error: BaseException) -> None:
        raise error


class Worker:
    """One thread of a client that works on the names until it is told to end."""

    def __init__(self, client: SimClient, world: World, names: Names, history: History) -> None:
        self.ending = False
        self.busy = False
        self._client = client
        self._world = world
        self._names = names
        self._history = history

    def run(self) -> None:
        chance, habits = self._world.chance, self._client.habits
        while not self.ending:
            self._client.runtime.sleep(chance.expovariate(1 / habits.pause_s))
            if self.ending:
                return
            if chance.random() < habits.growth_share:
                self.perform(self._draw_growth())
            elif chance.random() < habits.write_share:
                self.perform(self._draw_change())
            else:
                self.perform(Operation(self._client.name, STAT, self._names.draw(chance)))

    def read_all(self) -> None:
        """Look at every name once."""
        for name in self._names.all():
            self.perform(Operation(self._client.name, STAT, name))

    def _draw_change(self) -> Operation:
        chance = self._world.chance
        name = self._names.draw(chance)
        kind = chance.choice([PUT, PUT, CREATE, DELETE, RENAME, RENAME])
        operation = Operation(self._client.name, kind, name)
        if kind in (PUT, CREATE):
            operation.tag = self._world.next_tag()
        elif kind == RENAME:
            operation.target = self._names.draw_beside(name, chance)
            operation.replace = chance.random() < 0.7
        return operation

    def _draw_growth(self) -> Operation:
        tag = self._world.next_tag()
        return Operation(self._client.name, CREATE, f"new{tag}", tag=tag)

    def perform(self, operation: Operation) -> None:
        """Do an operation and note in the history what came of it."""
        scheduler, trace = self._world.scheduler, self._world.trace
        operation.called_s = scheduler.now_s
        self.busy = True
        calls = self._client.calls
        seen_index = max(calls.index, calls.own_index)
        try:
            operation.answer = self._ask(operation)
            operation.returned_s = scheduler.now_s
            if operation.kind == STAT and not calls.consistency.led:
                operation.as_of = calls.last_as_of
                for host in self._client.hosts.values():
                    host.note_leading()
                timeline = self._world.ledger.timeline
                check_moment(operation, calls.consistency, seen_index, timeline)
        except UnknownOutcome:
            pass
        except _NOTHING_HAPPENED as error:
            trace.note(f"{operation} nothing: {error.code}")
            return
        except GfsError as error:
            raise Violation(f"odd answer: {operation}: {error.code}: {error.message}") from error
        finally:
            self.busy = False
            if not self._client.process.alive:
                operation.returned_s = None
                self._history.add(operation)
        trace.note(str(operation))
        self._history.add(operation)

    def _ask(self, operation: Operation) -> str | int:
        try:
            return self._send(operation)
        except NotFound:
            return ABSENT
        except AlreadyExists:
            return PRESENT

    def _send(self, operation: Operation) -> str | int:
        path, change = f"/{operation.name}", self._client.session.change
        if operation.kind == STAT:
            return self._client.calls.read(Stat(path), FileStatus).mtime_ns
        if operation.kind in (PUT, CREATE):
            file = PublishFile(path, 0, 0o644, operation.tag, if_absent=operation.kind == CREATE)
            published = change(Publish((file,)), Published).files[0]
            if published.error:
                error = error_from_wire(published.error, published.message, {})
                raise error if isinstance(error, Refused) else Violation(published.message)
        elif operation.kind == DELETE:
            change(Remove(path), Removed)
        else:
            target = f"/{operation.target}"
            change(Rename(path, target, operation.replace), Done)
        return OK
