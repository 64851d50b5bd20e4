"""Changes of the members of a simulated cluster, by seeded chance."""

from __future__ import annotations

import random
from functools import partial

from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.raft.members import (
    AddLearner,
    Address,
    Addresses,
    AdmitMember,
    Change,
    RemoveMember,
)
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.sim.member import SimMember
from gfs_ha.sim.scheduler import Scheduler


class MemberChanges:
    """Asks whoever leads to add, admit and remove members, until it is stopped."""

    def __init__(
        self,
        members: dict[str, SimMember],
        addresses: dict[str, Address],
        scheduler: Scheduler,
        chance: random.Random,
    ) -> None:
        self.done_count = 0
        self._members = members
        self._addresses = addresses
        self._scheduler = scheduler
        self._chance = chance
        self._stopped = False

    def begin(self) -> None:
        self._scheduler.after(self._chance.expovariate(1 / 0.15), self._ask)

    def stop(self) -> None:
        self._stopped = True

    def _ask(self) -> None:
        if self._stopped:
            return
        self.begin()
        leading = [member for member in self._members.values() if member.leading]
        if not leading:
            return
        leader = self._chance.choice(leading)
        # Several at once: a leader must refuse what comes too early.
        for _ in range(self._chance.choice([1, 1, 2])):
            change = self._choose(leader)
            if change is not None:
                leader.ask(partial(self._submit, change))

    def _submit(self, change: Change, node: RaftNode) -> None:
        node.change_members(change, 1.0, self._done)

    def _done(self, outcome: Outcome) -> None:
        self.done_count += outcome.error is None

    def _choose(self, leader: SimMember) -> Change | None:
        now = leader.configuration
        absent = [name for name in self._members if name not in now.members]
        kinds: list[Change] = [
            AddLearner(name, Addresses(self._addresses[name])) for name in absent
        ]
        kinds += [AdmitMember(name) for name in now.learners] * 2
        if len(now.voters) > 1:
            kinds += [RemoveMember(name) for name in now.members if name != leader.name]
        return self._chance.choice(kinds) if kinds else None
