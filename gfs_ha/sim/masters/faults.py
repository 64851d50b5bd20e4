"""What goes wrong on the machines and links of a simulated cluster of masters, by seeded chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.sim.masters.client import SimClient
from gfs_ha.sim.masters.master import COMMIT_S, SimMaster
from gfs_ha.sim.masters.rivals import Rival
from gfs_ha.sim.masters.world import World

_HOUR_NS = 3600 * 1_000_000_000
_ROOM_ROWS = 1500  # Of a disk that somebody else filled: enough for what must go on.


class Faults:
    """Breaks and mends until it is stopped. `kinds` says how often each kind comes, in shares."""

    def __init__(
        self,
        world: World,
        masters: dict[str, SimMaster],
        clients: Sequence[SimClient],
        mean_s: float,
        kinds: Sequence[str],
    ) -> None:
        self._world = world
        self._chance = world.chance
        self._masters = masters
        self._clients = clients
        self._mean_s = mean_s
        self._stopped = False
        self._old_disks = {name: master.disk.held.crash() for name, master in masters.items()}
        self._true_disks: dict[str, MemoryKV] = {}
        self.members_move = False  # An operator is at work: no disk is replaced by an old copy.
        self._kinds = [KINDS[kind] for kind in kinds]

    @property
    def world(self) -> World:
        return self._world

    @property
    def masters(self) -> dict[str, SimMaster]:
        return self._masters

    @property
    def clients(self) -> Sequence[SimClient]:
        return self._clients

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def copies_out(self) -> bool:
        """Return whether a master runs on an old copy of its disk."""
        return bool(self._true_disks)

    def takes(self, master: SimMaster) -> None:
        """Hear of a new machine."""
        self._old_disks[master.name] = master.disk.held.crash()

    def begin(self) -> None:
        self._world.scheduler.after(self._chance.expovariate(1 / self._mean_s), self._strike)

    def stop(self) -> None:
        """Mend everything and break nothing more."""
        self._stopped = True
        self._world.network.heal_all()
        for client in self._clients:
            client.process.go_on()
            self._restart_client(client)
        for master in self._masters.values():
            master.commit_s, master.commit_range_s = COMMIT_S, None
            master.cut_in = None
            master.go_on()
            master.disk.repair()
            self._put_true_disk_back(master)
            if master.process is None:
                master.start()

    def _strike(self) -> None:
        if self._stopped:
            return
        masters = list(self._masters.values())
        leading = [master for master in masters if master.leading]
        victim = self._chance.choice(leading or masters if self._chance.random() < 0.5 else masters)
        kind = self._chance.choice(self._kinds)
        self._world.trace.note(f"fault {kind.__name__[1:]} {victim.name}")
        kind(self, victim)
        self.begin()

    def _later(self, low_s: float, high_s: float, mend: Callable[[], None]) -> None:
        def guarded() -> None:
            if not self._stopped:
                mend()

        self._world.scheduler.after(self._chance.uniform(low_s, high_s), guarded)

    # Machines.

    def _restart(self, master: SimMaster) -> None:
        gone = master.name in self._true_disks or master.name not in self._masters
        if master.process is None and not gone:
            master.start()
            self._later(0.3, 1.0, lambda: self._restart(master))  # If it cannot run yet.

    def _kill(self, master: SimMaster) -> None:
        if master.running:
            master.kill()
            self._later(0.05, 1.5, lambda: self._restart(master))

    def _power_cut(self, master: SimMaster) -> None:
        if master.running:
            master.kill(power=True)
            self._later(0.05, 3.0, lambda: self._restart(master))

    def _cut_in_commit(self, master: SimMaster) -> None:
        if master.running:
            master.cut_in = self._chance.randrange(4)
            self._later(0.3, 1.5, lambda: self._restart(master))

    def _all_down(self, master: SimMaster) -> None:
        for each in self._masters.values():
            self._power_cut(each)

    def _stop(self, master: SimMaster) -> None:
        master.stop()
        longest_s = self._chance.choice([0.2, 1.5, 6.0])
        self._later(0.05, longest_s, master.go_on)

    def _suspend_all(self, master: SimMaster) -> None:
        """The machine below all of them is suspended."""
        for each in self._masters.values():
            each.stop()
        seconds = self._chance.uniform(0.1, 20.0)
        for each in self._masters.values():
            self._later(seconds, seconds + 0.05, each.go_on)

    def _step_clock(self, master: SimMaster) -> None:
        if master.runtime is not None:
            step_ns = self._chance.choice([-_HOUR_NS, _HOUR_NS, 24 * _HOUR_NS, _HOUR_NS // 3600])
            master.runtime.wall_step_ns += step_ns

    def _old_copy(self, master: SimMaster) -> None:
        """Somebody restores an old image of a disk, or the one that was just bootstrapped.

        Only while all others have seen the newest start: against a member that has not, and that
        alone makes a majority with the copy, no rule about starts can help.
        """
        others = [each for name, each in self._masters.items() if name != master.name]
        if self.members_move or master.name in self._true_disks:
            return
        if not all(master.is_known_to(each) for each in others):
            return
        master.end("disk replaced")
        self._true_disks[master.name] = master.disk.held
        master.disk.held = self._old_disks[master.name].crash()
        self._old_disks[master.name] = self._true_disks[master.name].crash()
        master.on_old_copy = True
        master.start()

        def repair() -> None:
            self._put_true_disk_back(master)
            self._restart(master)

        self._later(0.5, 2.5, repair)

    def _put_true_disk_back(self, master: SimMaster) -> None:
        disk = self._true_disks.pop(master.name, None)
        if disk is not None:
            master.end("disk replaced")
            master.on_old_copy = False
            master.disk.held = disk

    # Disks.

    def _slow_disk(self, master: SimMaster) -> None:
        def heal() -> None:
            master.commit_s = COMMIT_S

        master.commit_s = self._chance.choice([0.005, 0.03, 0.15])
        self._later(0.2, 1.5, heal)

    def _busy_disks(self, master: SimMaster) -> None:
        """Bulk writers on the disks of all masters: commits of 6 to 60 ms, now and then more."""
        for each in self._masters.values():
            each.commit_range_s = self._chance.choice([(0.006, 0.06), (0.006, 0.06), (0.05, 0.2)])
        self._later(1.0, 5.0, self._calm_disks)

    def _stalling_disks(self, master: SimMaster) -> None:
        """Commits of a few hundred milliseconds on all masters, for a while."""
        for each in self._masters.values():
            each.commit_range_s = (0.1, 0.28)
        self._later(1.0, 3.0, self._calm_disks)

    def _calm_disks(self) -> None:
        for each in self._masters.values():
            each.commit_range_s = None

    def _full_disk(self, master: SimMaster) -> None:
        """Something else fills the disk of a master, or of all; what one lacks still fits on it."""
        chosen = [master] if self._chance.random() < 0.5 else list(self._masters.values())
        most = max(each.disk.rows() for each in self._masters.values())
        for each in chosen:
            each.disk.fill(_ROOM_ROWS, most)
            self._later(3.0, 12.0, each.disk.repair)

    def _failing_disk(self, master: SimMaster) -> None:
        def repair() -> None:
            master.disk.repair()
            self._restart(master)

        master.disk.fails = True
        self._later(0.3, 2.0, repair)

    # Links.

    def _partition(self, master: SimMaster) -> None:
        for other in self._others(master):
            self._cut_both(master.name, other)()

    def _island(self, master: SimMaster) -> None:
        """A master alone with one client, which does not notice."""
        self._partition(master)
        self._strand(master)

    def _slow_island(self, master: SimMaster) -> None:
        """The same, but its links to the other masters die one after another."""
        self._world.scheduler.after(self._slow_partition(master), lambda: self._strand(master))

    def _strand(self, master: SimMaster) -> None:
        """Leave one client with a master; the others lose their connections to it and look for
        another one at once, as after a reset.
        """
        near = self._chance.choice(self._clients)
        away = {client.name for client in self._clients if client is not near}
        if self._stopped:
            return
        if master.door is not None:
            for visitor in list(master.door.visitors):
                if visitor.peer in away:
                    visitor.hang_up()
        for name in sorted(away):
            self._world.scheduler.after(0.003, self._cut_both(master.name, name))
        for other in self._others(master):
            self._cut_both(near.name, other)()

    def _slow_partition(self, master: SimMaster) -> float:
        """The links of a member die one after another: it may be replaced as leader by the first
        that it does not reach any more, while the rest still confirm it. Return when the last dies.
        """
        others = self._others(master)
        first = self._chance.choice(others)
        last_s = 0.0
        for other in others:
            delay_s = 0.0 if other == first else self._chance.uniform(0.2, 0.6)
            last_s = max(last_s, delay_s)
            self._world.scheduler.after(delay_s, self._cut_both(master.name, other))
        return last_s

    def _one_way(self, master: SimMaster) -> None:
        ends = [master.name, self._chance.choice(self._others(master))]
        self._chance.shuffle(ends)
        self._cut(ends[0], ends[1])

    def _one_pair(self, master: SimMaster) -> None:
        self._cut_both(master.name, self._chance.choice(self._others(master)))()

    def _client_way(self, master: SimMaster) -> None:
        client = self._chance.choice(self._clients)
        ends = [master.name, client.name]
        self._chance.shuffle(ends)
        self._cut(ends[0], ends[1])
        if self._chance.random() < 0.3:
            self._cut(ends[1], ends[0])

    def _client_deaf(self, master: SimMaster) -> None:
        """All masters hear a client that hears none, perhaps for longer than it waits for an
        answer: what it sends again meets stored answers.
        """
        client = self._chance.choice(self._clients)
        seconds = self._chance.uniform(*self._chance.choice([(1.6, 4.0), (10.5, 14.0)]))
        for name in self._masters:
            self._world.network.cut(name, client.name)
            self._later(seconds, seconds, partial(self._world.network.heal, name, client.name))

    def _client_stop(self, master: SimMaster) -> None:
        """A laptop goes to sleep, perhaps for longer than its session lives."""
        client = self._chance.choice(self._clients)
        client.process.stop()
        self._later(0.1, self._chance.choice([1.0, 15.0]), client.process.go_on)

    def _client_kill(self, master: SimMaster) -> None:
        """A client is gone in the middle; its session is never closed, and nobody goes on in it."""
        client = self._chance.choice(self._clients)
        if client.process.alive:
            client.kill(power=self._chance.random() < 0.5)
            self._later(0.05, self._chance.choice([0.5, 8.0]), lambda: self._restart_client(client))

    def _restart_client(self, client: SimClient) -> None:
        if not client.process.alive:
            client.start()

    def _reset(self, master: SimMaster) -> None:
        for other in self._others(master):
            if self._chance.random() < 0.5:
                self._world.network.reset(master.name, other)

    def _hand_over(self, master: SimMaster) -> None:
        """A leader hands over; half of the time its links die while it does."""
        leading = [each for each in self._masters.values() if each.leading]
        if not leading:
            return
        leader = self._chance.choice(leading)
        others = self._others(leader)
        target = self._chance.choice(["", *others])
        leader.ask(lambda node: node.transfer(target, lambda error, successor: None))
        if self._chance.random() < 0.5:
            for other in others:
                delay_s = self._chance.uniform(0.0005, 0.008)
                self._world.scheduler.after(delay_s, self._cut_both(leader.name, other))
            self._world.scheduler.after(0.004, lambda: self._strand(leader))

    def _rival(self, master: SimMaster) -> None:
        self._raise_rival(alone=True)

    def _usurper(self, master: SimMaster) -> None:
        self._raise_rival(alone=False)

    def _raise_rival(self, alone: bool) -> None:
        leading = [each for each in self._masters.values() if each.leading]
        if leading:
            Rival(self, self._chance.choice(leading), alone)

    def _others(self, master: SimMaster) -> list[str]:
        return [name for name in self._masters if name != master.name]

    def _cut_both(self, first: str, second: str) -> Callable[[], None]:
        def cut() -> None:
            if not self._stopped:
                self._cut(first, second)
                self._cut(second, first)

        return cut

    def cut_for(self, first: str, second: str, seconds: float) -> None:
        """Cut both directions between two machines for so long."""
        for source, target in ((first, second), (second, first)):
            self._world.network.cut(source, target)
            self._later(seconds, seconds, partial(self._world.network.heal, source, target))

    def _cut(self, source: str, target: str) -> None:
        self._world.network.cut(source, target)
        longest_s = self._chance.choice([0.5, 2.0, 2.0, 5.0])
        self._later(0.1, longest_s, lambda: self._world.network.heal(source, target))


_Kind = Callable[[Faults, SimMaster], object]

KINDS: dict[str, _Kind] = {
    "kill": Faults._kill,
    "power-cut": Faults._power_cut,
    "cut-in-commit": Faults._cut_in_commit,
    "all-down": Faults._all_down,
    "stop": Faults._stop,
    "suspend-all": Faults._suspend_all,
    "step-clock": Faults._step_clock,
    "old-copy": Faults._old_copy,
    "slow-disk": Faults._slow_disk,
    "busy-disks": Faults._busy_disks,
    "stalling-disks": Faults._stalling_disks,
    "full-disk": Faults._full_disk,
    "failing-disk": Faults._failing_disk,
    "partition": Faults._partition,
    "island": Faults._island,
    "slow-island": Faults._slow_island,
    "slow-partition": Faults._slow_partition,
    "one-way": Faults._one_way,
    "one-pair": Faults._one_pair,
    "client-way": Faults._client_way,
    "client-deaf": Faults._client_deaf,
    "client-stop": Faults._client_stop,
    "client-kill": Faults._client_kill,
    "rival": Faults._rival,
    "usurper": Faults._usurper,
    "reset": Faults._reset,
    "hand-over": Faults._hand_over,
}

SLOW = frozenset({"busy-disks", "stalling-disks"})  # Nothing fails: no reason for an election.
