"""One simulated client: the library as programs use it, and whether what it returns is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.data_ports import DataPorts
from gfs_ha.client.filesystem import Cluster
from gfs_ha.config import ClientConfig
from gfs_ha.errors import GfsError, NotFound, UnknownOutcome
from gfs_ha.protocol.metadata import DISK, MEMORY
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.files_model import ABSENT, Content, FileHistory
from gfs_ha.sim.cluster.runtime import BusyRuntime
from gfs_ha.sim.cluster.streams import Kernel, SimStreams
from gfs_ha.sim.masters.calls import CallNetwork, Host
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.world import World


@dataclass(frozen=True, slots=True)
class Habits:
    """How a user works."""

    pause_s: float  # The mean between two operations of a task.
    timeout_s: float
    write_share: float
    memory_share: float  # Of puts at durability `memory`.
    sizes: tuple[int, ...]


class Tallied:
    """What came of the operations of a run."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: dict[str, int] = {}
        self.unknown = 0
        self.bytes_put = 0

    def fails(self, error: GfsError) -> None:
        self.failed[error.code] = self.failed.get(error.code, 0) + 1


class SimUser:
    """A machine with a process that uses the cluster."""

    def __init__(
        self,
        world: World,
        place: tuple[str, str],
        kernel: Kernel,
        hosts: dict[str, Host],
        timeout_s: float,
    ) -> None:
        """Args: `place` is (name, rack)."""
        self.name, rack = place
        self.kernel = kernel
        self.process = Process(self.name, self.name, world.scheduler, self._crashed)
        rate = 1.0 + world.chance.uniform(-0.03, 0.03)
        self.runtime = BusyRuntime(world.scheduler, self.process, world.chance, rate)
        config = replace(world.config, client=ClientConfig(self.name, rack, timeout_s))
        self._network = CallNetwork(self.runtime, world.network, hosts)
        streams = SimStreams(kernel, self.runtime)
        plane = DataPorts(config.cluster.id, streams, self.runtime)
        connection = ClusterConnection(
            config, timeout_s, self.runtime, self._network, plane, name=self.name
        )
        self.cluster = Cluster(config, connection=connection)
        self._world = world

    def spawn(self, name: str, body: Callable[[], None]) -> None:
        self._world.scheduler.spawn(self.process, name, body)

    def has(self, name: str) -> bool:
        """Return whether a task of that name still runs."""
        return any(task.name == name for task in self.process.tasks)

    def close(self) -> None:
        """End it with the run."""
        self.process.end()
        self.kernel.process_ends()
        self._network.hang_up()
        for task in list(self.process.tasks):
            self._world.scheduler.kill(task)

    def _crashed(self, task: str, error: BaseException) -> None:
        raise error


class Worker:
    """One thread of a user: it alone changes its names, and reads those of all."""

    def __init__(
        self,
        user: SimUser,
        world: World,
        habits: Habits,
        own: list[FileHistory],
        everybody: list[FileHistory],
        tallied: Tallied,
    ) -> None:
        self.ending = False
        self.busy = ""
        self._user = user
        self._world = world
        self._habits = habits
        self._own = own
        self._everybody = everybody
        self._tallied = tallied

    def run(self) -> None:
        chance = self._world.chance
        while not self.ending:
            self._user.runtime.sleep(chance.expovariate(1 / self._habits.pause_s))
            if self.ending:
                return
            if chance.random() < self._habits.write_share:
                self._change(chance.choice(self._own))
            else:
                self.read(chance.choice(self._everybody))

    def _change(self, history: FileHistory) -> None:
        chance = self._world.chance
        if history.certain != ABSENT and chance.random() < 0.15:
            now_s = self._world.scheduler.now_s
            perhaps_gone = history.allows(ABSENT, now_s, now_s)
            remove = partial(self._remove, history, perhaps_gone)
            self._attempt(history, ABSENT, "rm", remove)
            return
        content = Content(self._world.next_tag(), chance.choice(self._habits.sizes))
        durability = MEMORY if chance.random() < self._habits.memory_share else DISK
        self._attempt(history, content, "put", lambda: self._put(history, content, durability))

    def _attempt(
        self, history: FileHistory, content: Content, verb: str, act: Callable[[], None]
    ) -> None:
        scheduler = self._world.scheduler
        history.begins(content, scheduler.now_s)
        self.busy = f"{verb} {history.name} {content}"
        outcome = "done"
        try:
            act()
            history.acknowledged(content, scheduler.now_s)
            self._tallied.done += 1
        except UnknownOutcome:
            history.unknown()
            self._tallied.unknown += 1
            outcome = "unknown"
        except GfsError as error:
            history.not_applied()
            self._tallied.fails(error)
            outcome = f"not done: {error.code}: {error.message}"
        finally:
            what, self.busy = self.busy, ""
        self._world.trace.note(f"{self._user.name} {what}: {outcome}")

    def _put(self, history: FileHistory, content: Content, durability: str) -> None:
        data = content.data()
        with self._user.cluster.open(history.name, "wb", durability=durability) as file:
            step = max(1, len(data) // 3)
            for start in range(0, len(data), step):
                file.write(data[start : start + step])
        self._tallied.bytes_put += len(data)

    def _remove(self, history: FileHistory, perhaps_gone: bool) -> None:
        try:
            self._user.cluster.remove(history.name)
        except NotFound as error:
            if not perhaps_gone:
                raise Violation(f"lost: {history.name} of {history.certain} is gone") from error

    def read(self, history: FileHistory) -> bool:
        """Read a whole file and judge it; return whether it could be read."""
        scheduler = self._world.scheduler
        asked_s = scheduler.now_s
        self.busy = f"get {history.name}"
        try:
            data = self._user.cluster.read_bytes(history.name)
            seen = self._recognise(history, data)
            self._tallied.done += 1
        except NotFound:
            seen = ABSENT
            self._tallied.done += 1
        except GfsError as error:
            self._tallied.fails(error)
            note = f"{self._user.name} {self.busy}: {error.code}: {error.message}"
            self._world.trace.note(note)
            return False
        finally:
            what, self.busy = self.busy, ""
        self._world.trace.note(f"{self._user.name} {what}: {seen}")
        history.check(seen, asked_s, scheduler.now_s)
        return True

    def _recognise(self, history: FileHistory, data: bytes) -> Content:
        for content in history.contents():
            if content.size == len(data) and content.data() == data:
                return content
        return Content(-1, len(data))
