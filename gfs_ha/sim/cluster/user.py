"""One simulated machine with a process that uses the cluster through the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.data_ports import DataPorts
from gfs_ha.client.filesystem import Cluster
from gfs_ha.config import ClientConfig
from gfs_ha.errors import GfsError
from gfs_ha.sim.cluster.runtime import BusyRuntime
from gfs_ha.sim.cluster.streams import Kernel, SimStreams
from gfs_ha.sim.masters.calls import CallNetwork, Host
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.world import World


class Outcomes:
    """What came of the operations of a run."""

    def __init__(self) -> None:
        self.done = 0
        self.changes = 0
        self.unknown = 0
        self.records = 0
        self.bytes_put = 0
        self.failed: dict[str, int] = {}

    def fails(self, error: GfsError) -> None:
        self.failed[error.code] = self.failed.get(error.code, 0) + 1


class SimUser:
    """A machine with a process that uses the cluster; the next one knows nothing of its session."""

    process: Process
    runtime: BusyRuntime
    cluster: Cluster

    def __init__(
        self,
        world: World,
        place: tuple[str, str],
        kernel: Kernel,
        hosts: dict[str, Host],
        timeout_s: float,
    ) -> None:
        """Args: `place` is (name, rack)."""
        self.name, self._rack = place
        self.kernel = kernel
        self._world = world
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._bodies: list[tuple[str, Callable[[], None]]] = []
        self.start()

    def start(self) -> None:
        """Start a process, with everything that was spawned before."""
        world, name = self._world, self.name
        self.kernel.powered = True
        self.process = Process(name, name, world.scheduler, self._crashed)
        rate = 1.0 + world.chance.uniform(-0.03, 0.03)
        self.runtime = runtime = BusyRuntime(world.scheduler, self.process, world.chance, rate)
        here = ClientConfig(name, self._rack, self._timeout_s)
        config = replace(world.config, client=here)
        self._network = CallNetwork(runtime, world.network, self._hosts)
        plane = DataPorts(config.cluster.id, SimStreams(self.kernel, runtime), runtime)
        connection = ClusterConnection(
            config, self._timeout_s, runtime, self._network, plane, name=name
        )
        self.calls = connection.calls
        self.cluster = Cluster(config, connection=connection)
        for task, body in self._bodies:
            world.scheduler.spawn(self.process, task, body)

    def work(self, name: str, body: Callable[[], None]) -> None:
        """Run a body, and again after each restart."""
        self._bodies.append((name, body))
        self.spawn(name, body)

    def spawn(self, name: str, body: Callable[[], None]) -> None:
        self._world.scheduler.spawn(self.process, name, body)

    def note(self, what: str) -> None:
        """Write a line into the trace."""
        self._world.trace.note(f"{self.name} {what}")

    def has(self, name: str) -> bool:
        """Return whether a task of that name still runs."""
        return any(task.name == name for task in self.process.tasks)

    def kill(self, power: bool = False) -> None:
        """End the process; what it was doing stays open for ever. Without power nobody hears."""
        self.process.end()
        self.kernel.powered = not power
        self.kernel.process_ends()
        if not power:
            self._network.hang_up()
        for task in list(self.process.tasks):
            self._world.scheduler.kill(task)

    def _crashed(self, task: str, error: BaseException) -> None:
        raise error
