"""What goes wrong in a simulated cluster, by seeded chance."""

from __future__ import annotations

import random
from collections.abc import Callable

from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.sim.member import SimMember
from gfs_ha.sim.network import Network


class Faults:
    """Breaks and mends members and links until it is stopped."""

    def __init__(
        self, members: dict[str, SimMember], network: Network, chance: random.Random, rate: float
    ) -> None:
        self._members = members
        self._network = network
        self._chance = chance
        self._mean_s = 1 / rate
        self._stopped = False
        self._old_disks = {name: member.disk.crash() for name, member in members.items()}
        self._true_disks: dict[str, MemoryKV] = {}
        self._kinds: list[Callable[[SimMember], None]] = [
            self._power_cut,
            self._power_cut,
            self._cut_in_commit,
            self._cut_in_commit,
            self._pause,
            self._partition,
            self._slow_partition,
            self._one_way,
            self._one_pair,
            self._one_pair,
            self._reset,
            self._slow_disk,
            self._all_down,
            self._old_copy,
            self._hand_over,
            self._hand_over,
        ]

    def begin(self) -> None:
        self._network.scheduler.after(self._chance.expovariate(1 / self._mean_s), self._strike)

    def stop(self) -> None:
        """Mend everything and break nothing more."""
        self._stopped = True
        self._network.heal_all()
        for member in self._members.values():
            member.commit_s = 0.0002
            member.cut_in = None
            member.resume()
            self._put_true_disk_back(member)
            if not member.running:
                member.start()

    def _strike(self) -> None:
        if self._stopped:
            return
        members = list(self._members.values())
        leading = [member for member in members if member.leading]
        victim = self._chance.choice(leading or members if self._chance.random() < 0.5 else members)
        self._chance.choice(self._kinds)(victim)
        self.begin()

    def _later(self, low_s: float, high_s: float, mend: Callable[[], None]) -> None:
        def guarded() -> None:
            if not self._stopped:
                mend()

        self._network.scheduler.after(self._chance.uniform(low_s, high_s), guarded)

    def _restart(self, member: SimMember) -> None:
        if not member.running and member.name not in self._true_disks:
            member.start()

    def _power_cut(self, member: SimMember) -> None:
        if member.running:
            member.power_cut()
            self._later(0.01, 1.5, lambda: self._restart(member))

    def _cut_in_commit(self, member: SimMember) -> None:
        if member.running:
            member.cut_in = self._chance.randrange(4)
            self._later(0.3, 1.5, lambda: self._restart(member))

    def _all_down(self, member: SimMember) -> None:
        for each in self._members.values():
            self._power_cut(each)

    def _old_copy(self, member: SimMember) -> None:
        """Somebody restores an old image of a disk, or the one that was just bootstrapped.

        Only while all others have seen the newest start: against a member that has not, and that
        alone makes a majority with the copy, no rule about starts can help.
        """
        others = [each for name, each in self._members.items() if name != member.name]
        if member.name in self._true_disks or not all(member.is_known_to(each) for each in others):
            return
        member.power_cut()
        self._true_disks[member.name] = member.disk
        member.disk = self._old_disks[member.name].crash()
        self._old_disks[member.name] = self._true_disks[member.name].crash()
        member.start()

        def repair() -> None:
            self._put_true_disk_back(member)
            self._restart(member)

        self._later(0.5, 1.5, repair)

    def _put_true_disk_back(self, member: SimMember) -> None:
        disk = self._true_disks.pop(member.name, None)
        if disk is not None:
            if member.running:
                member.power_cut()
            member.disk = disk

    def _pause(self, member: SimMember) -> None:
        member.pause()
        self._later(0.05, 1.5, member.resume)

    def _partition(self, member: SimMember) -> None:
        for other in self._members:
            if other != member.name:
                self._cut_both(member.name, other)()

    def _slow_partition(self, member: SimMember) -> None:
        """The links of a member die one after another: the first may be replaced as leader by one
        that it does not reach any more, while the rest still confirm it.
        """
        others = [name for name in self._members if name != member.name]
        first = self._chance.choice(others)
        for other in others:
            delay_s = 0.0 if other == first else self._chance.uniform(0.2, 0.6)
            self._network.scheduler.after(delay_s, self._cut_both(member.name, other))

    def _cut_both(self, first: str, second: str) -> Callable[[], None]:
        def cut() -> None:
            if not self._stopped:
                self._cut(first, second)
                self._cut(second, first)

        return cut

    def _one_way(self, member: SimMember) -> None:
        others = [name for name in self._members if name != member.name]
        ends = [member.name, self._chance.choice(others)]
        self._chance.shuffle(ends)
        self._cut(ends[0], ends[1])

    def _one_pair(self, member: SimMember) -> None:
        other = self._chance.choice([name for name in self._members if name != member.name])
        self._cut_both(member.name, other)()

    def _cut(self, source: str, target: str) -> None:
        self._network.cut(source, target)
        self._later(0.1, 2.0, lambda: self._network.heal(source, target))

    def _reset(self, member: SimMember) -> None:
        for other in self._members:
            if other != member.name and self._chance.random() < 0.5:
                self._network.reset(member.name, other)

    def _hand_over(self, member: SimMember) -> None:
        """A leader hands over; half of the time its links die while it does."""
        leading = [each for each in self._members.values() if each.leading]
        if not leading:
            return
        leader = self._chance.choice(leading)
        others = [name for name in self._members if name != leader.name]
        target = self._chance.choice(["", *others])
        leader.ask(lambda node: node.transfer(target, lambda error, successor: None))
        if self._chance.random() < 0.5:
            for other in others:
                delay_s = self._chance.uniform(0.0005, 0.008)
                self._network.scheduler.after(delay_s, self._cut_both(leader.name, other))

    def _slow_disk(self, member: SimMember) -> None:
        def heal() -> None:
            member.commit_s = 0.0002

        member.commit_s = self._chance.choice([0.005, 0.03, 0.15])
        self._later(0.2, 1.5, heal)
