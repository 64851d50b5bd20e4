"""One simulated machine with a whole chunkserver on it, over a disk that may lose, fill and rot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.machine import FoundDisk, Machine
from gfs_ha.chunk.server import Chunkserver
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.config import ChunkserverConfig, DiskConfig
from gfs_ha.errors import DiskFailed, DiskFull, GfsError, UnknownReplica
from gfs_ha.ids import ChunkId, DiskId, StartId
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.bay import Bay
from gfs_ha.sim.cluster.disk import ProcessDisk, Speed
from gfs_ha.sim.cluster.runtime import BusyRuntime
from gfs_ha.sim.cluster.streams import Kernel, SimStreams
from gfs_ha.sim.masters.calls import CallNetwork, Host
from gfs_ha.sim.masters.process import Process
from gfs_ha.sim.masters.world import World

DATA_PORT = 1
SYNC_S = 0.004
UNREAD_S = 10.0  # So old may the word of a server be that counts as a copy.

# Told machine, disk and slot file of a replica that is about to go.
OnUnlink = Callable[["SimServer", MemoryDisk, str], None]


class SimServer:
    """A machine. Its disks outlive its processes, until somebody puts in a new one."""

    def __init__(
        self,
        world: World,
        place: tuple[str, str],
        size: tuple[int, int],
        kernel: Kernel,
        hosts: dict[str, Host],
    ) -> None:
        """Args: `place` is (name, rack); `size` is (disks, bytes of each)."""
        self.name, self.rack = place
        self.kernel = kernel
        self.speed = Speed(SYNC_S)
        self.process: Process | None = None
        self.on_unlink: OnUnlink = lambda server, disk, name: None
        self.ended = ""
        self.was_without_power = False
        self.harmed_s = -1e9  # When bytes on its disks were destroyed last.
        self.disks_forget = False  # One that fails loses what was not synced.
        self._world = world
        self._hosts = hosts
        self._network: CallNetwork | None = None
        self._server: Chunkserver | None = None
        self._boot_id = world.chance.getrandbits(64)
        self._clock = BusyRuntime(world.scheduler, self._new_process(), world.chance, 1.0)
        count, disk_bytes = size
        names = [self.name] if count == 1 else [f"{self.name}.{n}" for n in range(1, count + 1)]
        self.bays = tuple(Bay(name, self._clock, disk_bytes) for name in names)

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def store(self) -> ChunkStore | None:
        """Return the replicas of the running process; None before it serves."""
        return None if self._server is None else self._server.store

    @property
    def disks(self) -> tuple[MemoryDisk, ...]:
        """Return the disks, also those that do not work."""
        return tuple(bay.disk for bay in self.bays)

    def bay_of(self, disk_id: DiskId) -> Bay | None:
        """Return where a disk is now; None when it is gone."""
        return next((bay for bay in self.bays if bay.disk_id == disk_id), None)

    def left_out(self, bay: Bay) -> bool:
        """Return whether the running process goes on without a disk."""
        if self.store is None:
            return False
        return not any(one.directory == bay.name and not one.failed for one in self.store.shelves)

    def serves(self, bay: Bay, for_s: float = 0.0) -> bool:
        """Return whether what is on a disk can be had now, and could for a while."""
        since_s = self._world.scheduler.now_s - for_s
        return bay.works and self.running and not self.left_out(bay) and bay.since_s <= since_s

    def sees(self, bay: Bay, chunk_id: ChunkId) -> bool:
        """Return whether the replica of a chunk that the process knows lies on a disk."""
        try:
            return self.store is not None and self.store.get(chunk_id).disk_id == bay.disk_id
        except UnknownReplica:
            return False

    def start(self) -> None:
        """Start a process on what the disks hold."""
        world = self._world
        assert self.process is None
        self.ended = ""
        self.kernel.powered = True
        process = self.process = self._new_process()
        rate = 1.0 + world.chance.uniform(-0.03, 0.03)
        runtime = BusyRuntime(world.scheduler, process, world.chance, rate)
        network = self._network = CallNetwork(runtime, world.network, self._hosts)
        start_id = StartId(world.chance.getrandbits(64))
        streams = SimStreams(self.kernel, runtime)
        found = tuple(self._find(bay, runtime) for bay in self.bays)
        machine = Machine(found, network, streams, self._boot_id, start_id)
        own = ChunkserverConfig(
            self.name,
            tuple(DiskConfig(Path(bay.name)) for bay in self.bays),
            *(self.name, DATA_PORT, self.rack, self.name),
        )
        config = replace(world.config, chunkserver=own)
        world.trace.note(f"{self.name} starts")

        def run() -> None:
            server = self._server = Chunkserver(config, own, runtime, machine)
            server.ended.when_done(lambda: self._ends(process, server))
            server.start()

        world.scheduler.spawn(process, "main", run)

    def kill(self, power: bool = False) -> None:
        """End the process at once: as kill -9 does, or with the power of the machine."""
        if self.process is not None:
            self._end("power cut" if power else "killed", power)
        elif power:
            self.kernel.powered = False

    def _find(self, bay: Bay, runtime: BusyRuntime) -> FoundDisk:
        if bay.pulled:
            return FoundDisk(bay.name, None, f"nothing is mounted on {bay.name}")
        disk, now_s = bay.disk, self._world.scheduler.now_s
        bay.errors = 0
        if bay.works:
            bay.since_s = now_s
        held = ProcessDisk(bay, runtime, self.speed, lambda name: self.on_unlink(self, disk, name))
        return FoundDisk(bay.name, held)

    def lose_disk(self, bay: Bay) -> None:
        """Put an empty disk in the place of the one that was there; the process is gone then."""
        self.kill()
        self._world.trace.note(f"{bay.name} has a new disk")
        self.harmed_s = self._world.scheduler.now_s
        bay.renew()

    def mend_disk(self, bay: Bay) -> None:
        """Have a disk be there and work, for a process that has not begun without it."""
        if not bay.works:
            self._world.trace.note(f"the disk of {bay.name} works")
            if self.disks_forget and not bay.hangs and (self.left_out(bay) or not self.running):
                bay.forget_unsynced(self._world.chance)
            if bay.hangs and self.harmed_s > bay.hung_s - UNREAD_S:
                self.harmed_s = self._world.scheduler.now_s  # Nobody could read it since.
            bay.heal(self._world.scheduler.now_s)

    def stop(self) -> None:
        """Stop the process for a while, as SIGSTOP does."""
        if self.process is not None:
            self._world.trace.note(f"{self.name} stops")
            self.process.stop()

    def go_on(self) -> None:
        if self.process is not None and self.process.stopped:
            self._world.trace.note(f"{self.name} goes on")
            self.process.go_on()

    def close(self) -> None:
        """End it with the run."""
        if self.process is not None:
            self._end("the run is over", power=False)

    def _new_process(self) -> Process:
        return Process(self.name, self.name, self._world.scheduler, self._crashed)

    def _end(self, why: str, power: bool) -> None:
        process, network = self.process, self._network
        assert process is not None and network is not None
        self._world.trace.note(f"{self.name} ends: {why}")
        self.ended = why
        process.end()
        self.kernel.powered = not power
        self.kernel.process_ends()
        if not power:
            network.hang_up()
        for task in list(process.tasks):
            self._world.scheduler.kill(task)
        self.process = self._network = self._server = None
        if power:
            self.was_without_power = True
            chance = self._world.chance
            for bay in self.bays:
                bay.forget_unsynced(chance)
            self._boot_id = chance.getrandbits(64)

    def _ends(self, process: Process, server: Chunkserver) -> None:
        """Hear that the server ends by itself, for an error that only a person can help."""
        error = server.ended.result(0.0)
        if self.process is process and process.alive:
            if not isinstance(error, DiskFull | DiskFailed):
                raise Violation(f"fatal: {self.name} ends by itself: {error.message}")
            self._end(error.code, power=False)

    def _crashed(self, task: str, error: BaseException) -> None:
        """Hear of an exception that left a task: the end of the process, if it may come to that."""
        if isinstance(error, DiskFull | DiskFailed) and self.process is not None:
            self._end(error.code, power=False)
        elif isinstance(error, GfsError):
            raise Violation(f"fatal: {task} of {self.name} stops: {error.message}") from error
        else:
            raise error
