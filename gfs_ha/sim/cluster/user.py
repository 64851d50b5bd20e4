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
    """A user, alive for the whole run."""

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
