"""Simulated operators: they add, replace and remove masters with the code of `gfsctl admin
masters`, while everything else goes wrong, and some of them die half way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from gfs_ha.client.members import MasterMembers
from gfs_ha.config import MasterAddress
from gfs_ha.errors import GfsError
from gfs_ha.limits import RAFT_MEMBERS_MAX
from gfs_ha.master.raft.members import NOBODY, Configuration
from gfs_ha.sim.masters.calls import Host
from gfs_ha.sim.masters.client import Habits, SimClient
from gfs_ha.sim.masters.faults import Faults
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.world import World

MEMBERS = "members"  # In a plan's faults: operators are at work all the time.
_ACTIONS = ("add", "add", "replace", "replace", "bury", "bury", "remove", "remove", "come-back")
_NEW_MAX = 6  # Names that a run adds.
_TRIES = 3
_CATCH_UP_S = 6.0
_LAST_S = 20.0  # After the last fault, in which an operator still may be at work.
_HABITS = Habits(task_count=1, pause_s=1.0, timeout_s=5.0, write_share=0.0, growth_share=0.0)

_Command = Callable[[SimClient], Iterator[str]]


class Operators:
    """Changes who the masters are, one command at a time. Chance is their own, so that a seed
    without them is what it was before there were any.
    """

    def __init__(
        self,
        world: World,
        masters: dict[str, SimMaster],
        hosts: dict[str, Host],
        faults: Faults,
        seed_mean_s: tuple[int, float],
    ) -> None:
        seed, self._mean_s = seed_mean_s
        self.gone: dict[str, SimMaster] = {}  # Machines that are off, perhaps not for ever.
        self.done_count = 0
        self._chance = random.Random(f"operators {seed}")
        self._world = world
        self._masters = masters
        self.hosts = hosts
        self._faults = faults
        self._stopped = False
        self._clients: dict[SimClient, None] = {}
        self.asked_count = 0
        self._new_count = 0

    @property
    def at_work(self) -> bool:
        return any(client.process.tasks for client in self._clients)

    def begin(self) -> None:
        self._after(self._chance.expovariate(1 / self._mean_s), self._strike)

    def stop(self) -> None:
        """Begin nothing more; commands that are under way go on for a while, or die."""
        self._stopped = True
        delay_s = self._chance.choice([0.0, _LAST_S])
        for client in list(self._clients):
            self._world.scheduler.after(delay_s, partial(self._die, client))

    def close(self) -> None:
        """End everything that still runs."""
        for client in list(self._clients):
            self._die(client)
        for master in self.gone.values():
            master.end("the run is over")

    def adds_new(self) -> None:
        """Add an empty master, as after a loss; this operator does not die."""
        new = self._new_master()
        self._work(partial(self._add, new), f"adds {new}")

    def configuration(self) -> Configuration:
        """Return the members as the newest leader has them."""
        leading = [each for each in self._masters.values() if each.leading]
        if not leading:
            return NOBODY
        node = max(leading, key=lambda each: each.term).node
        assert node is not None
        return node.replica.configuration

    # What they do.

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        def guarded() -> None:
            if not self._stopped:
                action()

        self._world.scheduler.after(delay_s, guarded)

    def _strike(self) -> None:
        now = self.configuration()
        # Seldom two of them at once, who do not know of each other.
        alone = not self.at_work or self._chance.random() < 0.2
        if alone and now is not NOBODY and not self._faults.copies_out:
            action = self._chance.choice(_ACTIONS)
            self._act(action, now)
        self._faults.members_move = self.at_work
        self.begin()

    def _act(self, action: str, now: Configuration) -> None:
        voters = [name for name in now.voters if name in self._masters]
        dead = [name for name in now.members if name in self.gone]
        if action == "come-back":
            self._come_back([name for name in self.gone if name not in now.members])
        elif now.learners and self._chance.random() < 0.5:
            self._go_on(self._chance.choice(list(now.learners)), now)
        elif action == "remove":
            chosen = dead or (voters if len(now.voters) > 3 else [])
            if chosen:
                name = self._chance.choice(chosen)
                self._work(partial(self._remove, name), f"removes {name}")
        elif self._new_count < _NEW_MAX and len(now.members) < RAFT_MEMBERS_MAX:
            if action == "add" and len(now.voters) < 5 and not dead:
                new = self._new_master()
                self._work(partial(self._add, new), f"adds {new}")
            elif action in ("replace", "bury") and voters:
                old = dead[0] if dead else self._chance.choice(voters)
                if action == "bury" and not dead and len(now.voters) >= 3:
                    self.bury(old)
                new = self._new_master()
                self._work(partial(self._replace, old, new), f"replaces {old} by {new}")

    def _go_on(self, name: str, now: Configuration) -> None:
        """Another operator finds a learner that somebody left half way."""
        if name in self.gone or self._chance.random() < 0.3:
            self._work(partial(self._remove, name), f"removes {name}")
        else:
            self._work(partial(self._add, name), f"adds {name}")

    def _come_back(self, names: list[str]) -> None:
        """Somebody starts a machine that was removed long ago; its disk does not know that."""
        if not names:
            return
        name = self._chance.choice(sorted(names))
        master = self.gone.pop(name)
        self._masters[name] = master
        self._world.trace.note(f"{name} comes back")
        master.start()
        self._after(self._chance.uniform(1.0, 6.0), partial(self._off_again, name))

    def _off_again(self, name: str) -> None:
        if name in self._masters and name not in self.configuration().members:
            self.bury(name)

    def bury(self, name: str) -> None:
        """A machine dies; nobody but an operator starts it again."""
        master = self._masters.pop(name)
        master.kill(power=True)
        self.gone[name] = master

    def _new_master(self) -> str:
        self._new_count += 1
        name = f"n{self._new_count}"
        master = SimMaster(self._world, name, empty=True)
        self._masters[name] = master
        self.hosts[name] = master
        self._faults.takes(master)
        master.start()
        return name

    # An operator.

    def _work(self, command: _Command, what: str) -> None:
        self.asked_count += 1
        name = f"op{self.asked_count}"
        self._world.trace.note(f"{name} {what}")
        client = SimClient(self._world, name, self.hosts, _HABITS)
        self._clients[client] = None
        client.spawn("command", partial(self._run, client, command))
        if self._chance.random() < 0.3:
            self._after(self._chance.uniform(0.01, 2.5), partial(self._die, client))

    def _die(self, client: SimClient) -> None:
        if client in self._clients:
            del self._clients[client]
            if client.process.tasks:
                self._world.trace.note(f"{client.name} dies")
            client.kill()

    def _run(self, client: SimClient, command: _Command) -> None:
        """Repeat a command that failed, as a person does."""
        for _ in range(_TRIES):
            try:
                for step in command(client):
                    self._world.trace.note(f"{client.name}: {step}")
                self.done_count += 1
                return
            except GfsError as error:
                self._world.trace.note(f"{client.name}: {error.code}: {error.message}")
            client.runtime.sleep(0.5)

    def _members(self, client: SimClient) -> MasterMembers:
        return MasterMembers(client.calls, client.runtime, _CATCH_UP_S)

    def _add(self, name: str, client: SimClient) -> Iterator[str]:
        yield from self._members(client).add(MasterAddress(name, name, 1, 2))

    def _replace(self, old: str, new: str, client: SimClient) -> Iterator[str]:
        yield from self._members(client).replace(old, MasterAddress(new, new, 1, 2))
        self._removed(old)

    def _remove(self, name: str, client: SimClient) -> Iterator[str]:
        yield from self._members(client).remove(name)
        self._removed(name)

    def _removed(self, name: str) -> None:
        """Turn the machine off now, after a while, or never."""
        if name in self._masters:
            delay_s = self._chance.choice([0.0, 1.0, 1000.0])
            self._after(delay_s, partial(self._off_again, name))
