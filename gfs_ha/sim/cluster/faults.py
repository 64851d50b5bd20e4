"""What goes wrong on the machines of a cluster, by seeded chance, within what is promised.

A fault that destroys bytes happens only while every chunk keeps a whole copy on another machine:
what is lost beyond that is nobody's mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gfs_ha.master.state.records import SEALED
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.cluster.truth import Truth
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.world import World


class Faults:
    """Breaks and mends until it is stopped. `kinds` says how often each kind comes, in shares."""

    def __init__(
        self,
        world: World,
        masters: dict[str, SimMaster],
        servers: Sequence[SimServer],
        truth: Truth,
        kinds: Sequence[str],
    ) -> None:
        self._world = world
        self._chance = world.chance
        self._masters = masters
        self._servers = servers
        self._truth = truth
        self._kinds = [KINDS[kind] for kind in kinds]
        self._mean_s = 1.0
        self._stopped = False

    def begin(self, mean_s: float) -> None:
        """Break something now and then."""
        self._mean_s = mean_s
        self._next()

    def stop(self) -> None:
        """Mend everything and break nothing more."""
        self._stopped = True
        self._world.network.heal_all()
        for master in self._masters.values():
            master.go_on()
            if master.process is None:
                master.start()
        for server in self._servers:
            server.go_on()
            server.speed.sync_s = server.speed.usual_s
            if server.process is None:
                server.start()

    def _next(self) -> None:
        self._world.scheduler.after(self._chance.expovariate(1 / self._mean_s), self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        kind = self._chance.choice(self._kinds)
        server = self._chance.choice(self._servers)
        self._world.trace.note(f"fault {kind.__name__[1:]} {server.name}")
        kind(self, server)
        self._next()

    def _later(self, low_s: float, high_s: float, mend: Callable[[], None]) -> None:
        def guarded() -> None:
            if not self._stopped:
                mend()

        self._world.scheduler.after(self._chance.uniform(low_s, high_s), guarded)

    # Chunkservers.

    def _restart(self, server: SimServer) -> None:
        if server.process is None:
            server.start()

    def _kill_server(self, server: SimServer) -> None:
        if server.running:
            server.kill()
            self._later(0.05, self._chance.choice([1.0, 20.0]), lambda: self._restart(server))

    def _power_server(self, server: SimServer) -> None:
        if server.running:
            server.kill(power=True)
            self._later(0.1, self._chance.choice([2.0, 20.0]), lambda: self._restart(server))

    def _lose_disk(self, server: SimServer) -> None:
        if server.running and self._spare(server):
            server.lose_disk()
            self._later(0.1, self._chance.choice([2.0, 20.0]), lambda: self._restart(server))

    def _spare(self, server: SimServer) -> bool:
        """Return whether nothing that counts is on this machine alone."""
        held = self._truth.copies()
        for chunk_id, chunk in self._truth.chunks():
            others = held.get(chunk_id, set()) - {server.name}
            needed = chunk.state == SEALED or chunk.published_end > 0
            if chunk_id in held and needed and not others:
                return False
        return True

    # Masters.

    def _kill_master(self, server: SimServer) -> None:
        masters = list(self._masters.values())
        leading = [master for master in masters if master.leading]
        master = self._chance.choice(leading or masters)
        if master.running:
            master.kill(power=self._chance.random() < 0.5)

            def restart() -> None:
                if master.process is None:
                    master.start()

            self._later(0.1, 3.0, restart)


_Kind = Callable[[Faults, SimServer], object]

KINDS: dict[str, _Kind] = {
    "kill-server": Faults._kill_server,
    "power-server": Faults._power_server,
    "lose-disk": Faults._lose_disk,
    "kill-master": Faults._kill_master,
}
