"""What goes wrong on the machines of a cluster, by seeded chance, within what is promised.

A fault that destroys bytes happens only while every chunk keeps a whole copy on another machine:
what is lost beyond that is nobody's mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from gfs_ha.errors import GfsError
from gfs_ha.master.state.copies import USUAL_BUDGET
from gfs_ha.protocol.repair import SetBudget
from gfs_ha.sim.cluster.bay import Bay
from gfs_ha.sim.cluster.damage import flip_a_byte, is_spare, lose_a_file
from gfs_ha.sim.cluster.disk import BALLAST
from gfs_ha.sim.cluster.disk_faults import DiskFaults
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.cluster.truth import Truth
from gfs_ha.sim.cluster.user import SimUser
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.world import World

_FULL = (0.955, 0.99)
_LATE_S = 1.0


class Faults:
    """Breaks and mends until it is stopped. `kinds` says how often each kind comes, in shares."""

    def __init__(
        self,
        world: World,
        masters: dict[str, SimMaster],
        truth: Truth,
        users: Sequence[SimUser],
        kinds: Sequence[str],
    ) -> None:
        self._world = world
        self._chance = world.chance
        self._masters = masters
        self._servers = truth.servers
        self._truth = truth
        self._users = users
        self._kinds = [KINDS[kind] for kind in kinds]
        self._mean_s = 1.0
        self._copies = self._copies_told = USUAL_BUDGET.copies
        self._stopped = False
        self.count = 0
        self.rotten = 0  # Bytes that rotted.
        self.disks = DiskFaults(world, truth, self._later)

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
            for disk in server.disks:
                disk.unlink(BALLAST)
            self.disks.mend(server)
            self._restart(server)
        for user in self._users:
            self._restart_user(user)
        if self._copies_told != USUAL_BUDGET.copies:
            self._let_copy(USUAL_BUDGET.copies)

    @property
    def busy(self) -> str:
        """Return what an operator still has to do before repair may be judged."""
        return "" if self._copies_told == self._copies else f"set {self._copies} copies at once"

    def strike(self, kind: str, server: SimServer) -> None:
        """Have one fault happen now."""
        self._world.trace.note(f"fault {kind} {server.name}")
        KINDS[kind](self, server)

    def _next(self) -> None:
        self._world.scheduler.after(self._chance.expovariate(1 / self._mean_s), self._strike)

    def _strike(self) -> None:
        if self._stopped or not self._kinds:
            return
        kind = self._chance.choice(self._kinds)
        server = self._chance.choice(self._servers)
        self._world.trace.note(f"fault {kind.__name__[1:]} {server.name}")
        self.count += 1
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

    def _away(self, server: SimServer, power: bool) -> None:
        server.kill(power)
        longest_s = self._chance.choice([1.0, 4.0, 20.0])
        self._later(0.05, longest_s, partial(self._restart, server))

    def _kill_server(self, server: SimServer) -> None:
        if server.running:
            self._away(server, power=False)

    def _power_server(self, server: SimServer) -> None:
        if server.running:
            self._away(server, power=True)

    def _power_rack(self, server: SimServer) -> None:
        for one in self._servers:
            if one.rack == server.rack and one.running:
                one.kill(power=True)
                low_s = self._chance.choice([1.0, 15.0])
                self._later(low_s, low_s + 10.0, partial(self._restart, one))

    def _power_all(self, server: SimServer) -> None:
        """The power of everything goes, and comes back."""
        for one in self._servers:
            if one.running:
                one.kill(power=True)
                self._later(0.5, self._chance.choice([2.0, 6.0]), partial(self._restart, one))
        for master in self._masters.values():
            if master.running:
                master.kill(power=True)
                self._later(0.1, 2.0, partial(self._restart_master, master))

    def _a_bay(self, server: SimServer) -> Bay:
        return server.bays[0] if len(server.bays) == 1 else self._chance.choice(server.bays)

    def _disk_dies(self, server: SimServer) -> None:
        self.disks.dies(server)

    def _disk_blinks(self, server: SimServer) -> None:
        self.disks.blinks(server)

    def _disk_hangs(self, server: SimServer) -> None:
        self.disks.hangs(server)

    def _disk_absent(self, server: SimServer) -> None:
        self.disks.absent(server)

    def _lose_disk(self, server: SimServer) -> None:
        bay = self._a_bay(server)
        if server.running and is_spare(self._truth, server, bay.disk):
            server.lose_disk(bay)
            longest_s = self._chance.choice([0.5, 2.0, 20.0])
            self._later(0.1, longest_s, partial(self._restart, server))

    def _swap_disk(self, server: SimServer) -> None:
        """A new disk, and at once the server again: nobody missed it."""
        bay = self._a_bay(server)
        if server.running and is_spare(self._truth, server, bay.disk):
            server.lose_disk(bay)
            self._later(0.02, 0.2, partial(self._restart, server))

    def _rot(self, server: SimServer) -> None:
        found = flip_a_byte(self._truth, server, self._chance)
        if found is not None:
            name, offset = found
            self.rotten += 1
            server.harmed_s = self._world.scheduler.now_s
            self._world.trace.note(f"{server.name} rots in {name} at {offset}")

    def _lose_file(self, server: SimServer) -> None:
        """A slot file vanishes while its server is down, as a check of the file system may do."""
        if server.running:
            server.kill()
            server.harmed_s = self._world.scheduler.now_s
            name = lose_a_file(self._truth, server, self._chance)
            self._world.trace.note(f"{server.name} loses {name or 'nothing'}")
            self._later(0.1, 2.0, partial(self._restart, server))

    def _stop_server(self, server: SimServer) -> None:
        server.stop()
        self._later(0.1, self._chance.choice([0.8, 4.0, 20.0]), server.go_on)

    def _slow_disk(self, server: SimServer) -> None:
        def heal() -> None:
            server.speed.sync_s = server.speed.usual_s

        server.speed.sync_s = self._chance.choice([0.1, 0.6, 3.0])
        self._later(1.0, 6.0, heal)

    def _full_disk(self, server: SimServer) -> None:
        """Somebody else fills the disk almost to its end, for a while."""
        disk = self._a_bay(server).disk
        usage = disk.usage()
        ballast = int(self._chance.uniform(*_FULL) * usage.total) - usage.used
        if BALLAST in disk.names() or ballast <= 0:
            return
        disk.create(BALLAST).allocate(ballast)
        self._later(3.0, 20.0, lambda: disk.unlink(BALLAST))

    # Links.

    def _server_island(self, server: SimServer) -> None:
        """A server hears no master, but its peers and the users."""
        self._cut_from(server, list(self._masters), self._chance.random() < 0.3)

    def _server_alone(self, server: SimServer) -> None:
        """A server hears the masters, but no peer."""
        self._cut_from(server, [one.name for one in self._servers], self._chance.random() < 0.3)

    def _one_pair(self, server: SimServer) -> None:
        self._cut_from(server, [self._chance.choice(self._servers).name], one_way=False)

    def _server_off(self, server: SimServer) -> None:
        """A server hears nobody at all."""
        near = [one.name for one in self._servers] + [one.name for one in self._users]
        others = [*self._masters, *near]
        self._cut_from(server, others, one_way=False)

    def _user_way(self, server: SimServer) -> None:
        """A user does not reach a server that all others reach."""
        self._cut_from(server, [self._chance.choice(self._users).name], self._chance.random() < 0.5)

    def _kill_user(self, server: SimServer) -> None:
        """A user is gone in the middle; its session is never closed, and nobody goes on in it."""
        user = self._chance.choice(self._users)
        if user.process.alive:
            user.kill(power=self._chance.random() < 0.5)
            self._world.trace.note(f"{user.name} ends")
            self._later(0.1, self._chance.choice([1.0, 8.0]), partial(self._restart_user, user))

    def _restart_user(self, user: SimUser) -> None:
        if not user.process.alive:
            user.start()

    def _pause_repair(self, server: SimServer) -> None:
        """An operator lets no copy begin for a while."""
        if self._copies:
            self._let_copy(0)
            self._later(6.0, 15.0, lambda: self._let_copy(USUAL_BUDGET.copies))

    def _let_copy(self, copies: int) -> None:
        """Have a user say how many copies there may be at once, sooner or later."""
        self._copies, self._copies_told = copies, -1
        user = self._users[0]
        if user.process.alive and not user.has("operator"):
            user.spawn("operator", partial(self._tell_budget, user))

    def _tell_budget(self, user: SimUser) -> None:
        while self._copies_told != self._copies:
            user.runtime.sleep(_LATE_S)  # What was asked before has come by then.
            copies = self._copies
            try:
                user.cluster.operations.set_repair_budget(SetBudget(copies=copies))
                self._copies_told = copies
                user.note(f"{copies} copies at once")
            except GfsError as error:
                user.note(f"{copies} copies at once: {error.code}: {error.message}")

    def _cut_from(self, server: SimServer, others: Sequence[str], one_way: bool) -> None:
        seconds = self._chance.uniform(0.2, self._chance.choice([1.0, 5.0, 20.0]))
        forth = not one_way or self._chance.random() < 0.5
        back = not one_way or not forth
        for other in others:
            if other != server.name:
                if forth:
                    self._cut(server.name, other, seconds)
                if back:
                    self._cut(other, server.name, seconds)

    def _cut(self, source: str, target: str, seconds: float) -> None:
        network = self._world.network
        network.cut(source, target)
        self._later(seconds, seconds, partial(network.heal, source, target))

    # Masters.

    def _a_master(self) -> SimMaster:
        masters = list(self._masters.values())
        leading = [master for master in masters if master.leading]
        return self._chance.choice(leading if leading and self._chance.random() < 0.7 else masters)

    def _restart_master(self, master: SimMaster) -> None:
        if master.process is None:
            master.start()

    def _kill_master(self, server: SimServer) -> None:
        master = self._a_master()
        if master.running:
            master.kill(power=self._chance.random() < 0.5)
            self._later(0.1, 3.0, partial(self._restart_master, master))

    def _stop_master(self, server: SimServer) -> None:
        master = self._a_master()
        master.stop()
        self._later(0.1, self._chance.choice([0.8, 5.0]), master.go_on)

    def _cut_master(self, server: SimServer) -> None:
        """A master is cut off from the other masters, perhaps also from a half of the servers."""
        master = self._a_master()
        seconds = self._chance.uniform(0.2, 5.0)
        half = [one.name for one in self._servers if self._chance.random() < 0.5]
        away = half if self._chance.random() < 0.5 else []
        for other in [name for name in self._masters if name != master.name] + away:
            self._cut(master.name, other, seconds)
            self._cut(other, master.name, seconds)

    def _hand_over(self, server: SimServer) -> None:
        for master in self._masters.values():
            if master.leading:
                master.ask(lambda node: node.transfer("", lambda error, successor: None))
                return


_Kind = Callable[[Faults, SimServer], object]

KINDS: dict[str, _Kind] = {
    "kill-server": Faults._kill_server,
    "power-server": Faults._power_server,
    "power-rack": Faults._power_rack,
    "power-all": Faults._power_all,
    "lose-disk": Faults._lose_disk,
    "swap-disk": Faults._swap_disk,
    "rot": Faults._rot,
    "lose-file": Faults._lose_file,
    "stop-server": Faults._stop_server,
    "slow-disk": Faults._slow_disk,
    "full-disk": Faults._full_disk,
    "disk-dies": Faults._disk_dies,
    "disk-blinks": Faults._disk_blinks,
    "disk-absent": Faults._disk_absent,
    "disk-hangs": Faults._disk_hangs,
    "server-island": Faults._server_island,
    "server-alone": Faults._server_alone,
    "server-off": Faults._server_off,
    "one-pair": Faults._one_pair,
    "user-way": Faults._user_way,
    "kill-user": Faults._kill_user,
    "pause-repair": Faults._pause_repair,
    "kill-master": Faults._kill_master,
    "stop-master": Faults._stop_master,
    "cut-master": Faults._cut_master,
    "hand-over": Faults._hand_over,
}
