"""The last act of some runs: a majority is lost for good, and one copy begins a new incarnation.

Nothing that the copy had applied may be lost, no id that anybody ever gave may be given again, and
who comes back from the old incarnation must never lead or hold anything of the new one, not even
when a majority of them comes back together while clients write.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.recovery import begin_incarnation, look_at
from gfs_ha.master.state.view import View
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.client import Habits, Names, SimClient, Worker
from gfs_ha.sim.masters.history import History
from gfs_ha.sim.masters.ledger import applied_mark
from gfs_ha.sim.masters.master import SimMaster
from gfs_ha.sim.masters.operators import Operators
from gfs_ha.sim.masters.world import World

_COUNTED = ("last_inode", "last_content", "last_session", "last_server")
_HABITS = Habits(task_count=1, pause_s=0.02, timeout_s=2.0, write_share=0.9, growth_share=0.2)

_Advance = Callable[[Callable[[], bool], float], bool]


class _End(Protocol):
    def __call__(self, kill: bool) -> None: ...


class Rebirth:
    """One recovery from one copy, while clients work."""

    def __init__(
        self, world: World, masters: dict[str, SimMaster], operators: Operators, seed: int
    ) -> None:
        self._world = world
        self._masters = masters
        self._operators = operators
        self._chance = random.Random(f"rebirth {seed}")
        self._copy: SimMaster | None = None
        self._old: list[tuple[SimMaster, int]] = []  # And what it knew to be committed.
        self._ids: dict[str, int] = {}
        self._client_count = 0

    def play(self, advance: _Advance, at_rest: Callable[[], bool], names: Names) -> None:
        """Play the act; `advance` lets time pass. Raises: Violation."""
        end_load = self._load(names)
        advance(lambda: False, self._chance.uniform(0.1, 1.5))
        if not self._begin():
            end_load(kill=True)
            return
        end_load(kill=True)
        together = self._chance.random() < 0.5
        if self._chance.random() < 0.5:
            end_load = self._load(names)
            self._come_back(together)
            advance(self._old_ended, 3.0)
            end_load(kill=True)
        if not advance(lambda: self._masters_lead(), 20.0):
            raise Violation("recovery: the copy does not lead")
        for _ in range(2):
            self._operators.adds_new()
            end_load = self._load(names)
            advance(lambda: not self._operators.at_work, 30.0)
            end_load(kill=False)
        if not self._old:
            end_load = self._load(names)
            self._come_back(together)
            advance(self._old_ended, 3.0)
            end_load(kill=False)
        advance(lambda: False, 2.0)
        if not advance(at_rest, 60.0):
            raise Violation("recovery: no rest in the new incarnation")
        self._check()

    def _load(self, names: Names) -> _End:
        """Have a client work; nobody judges what it sees."""
        self._client_count += 1
        hosts = self._operators.hosts
        client = SimClient(self._world, f"late{self._client_count}", hosts, _HABITS)
        worker = Worker(client, self._world, names, History())
        client.spawn("worker", worker.run)

        def end(kill: bool) -> None:
            worker.ending = True
            if kill:
                client.kill()
            else:
                self._world.scheduler.after(15.0, client.kill)

        return end

    def _masters_lead(self) -> bool:
        self._look()
        return any(master.leading for master in self._masters.values())

    def _begin(self) -> bool:
        """Lose all masters and start one copy alone; False if no master fits."""
        voters = self._operators.configuration().voters
        known = [one.name for one in self._world.config.cluster.masters]
        fitting = [name for name in known if name in voters and name in self._masters]
        if len(voters) < 3 or not fitting:
            return False
        copy = self._masters[self._chance.choice(fitting)]
        for name in list(self._masters):
            self._operators.bury(name)
        for master in self._operators.gone.values():
            self._note_ids(master)
        self._copy = self._operators.gone.pop(copy.name)
        self._recover(self._copy)
        self._masters[copy.name] = self._copy
        self._copy.start()
        return True

    def _recover(self, copy: SimMaster) -> None:
        with copy.disk.held.read() as reader:
            applied = applied_mark(reader)
            self._world.ledger.compares_state(copy.name, applied, reader)
        found = look_at(copy.disk.held, copy.raft_config)
        incarnation = begin_incarnation(copy.disk.held, copy.raft_config)
        if incarnation <= found.incarnation or found.last_index < applied:
            raise Violation(f"recovery: {found} begins incarnation {incarnation}")
        self._world.trace.note(f"{copy.name} recovers at {applied} in {incarnation}")
        self._world.ledger.begins_incarnation(applied)

    def _come_back(self, together: bool) -> None:
        """One of the old ones is found after all, or all of them: they could go on together."""
        lost = sorted(self._operators.gone)
        for name in lost if together else [self._chance.choice(lost)] if lost else []:
            master = self._operators.gone[name]
            self._old.append((master, _committed(master)))
            master.start()

    def _old_ended(self) -> bool:
        """Look at those that came back; return whether all of them ended."""
        self._look()
        return not any(master.running for master, _ in self._old)

    def _look(self) -> None:
        for master, committed in self._old:
            if master.leading:
                raise Violation(f"old incarnation: {master.name} leads")
            if _applied(master) > committed:
                raise Violation(f"old incarnation: {master.name} applies again")

    def _check(self) -> None:
        """Look at the state of the new incarnation."""
        assert self._copy is not None
        self._look()
        with self._copy.disk.held.read() as reader:
            settings, counters = View(reader).settings(), View(reader).counters()
        if settings is not None and settings.incarnation < 2:
            raise Violation(f"recovery: the state is of incarnation {settings.incarnation}")
        for field, given in self._ids.items():
            if getattr(counters, field) <= given:
                raise Violation(f"ids: {field} goes on at or below {given}, given before")

    def _note_ids(self, master: SimMaster) -> None:
        with master.disk.held.read() as reader:
            counters = View(reader).counters()
        for field in _COUNTED:
            self._ids[field] = max(self._ids.get(field, 0), getattr(counters, field))


def _applied(master: SimMaster) -> int:
    with master.disk.held.read() as reader:
        return applied_mark(reader)


def _committed(master: SimMaster) -> int:
    """Return up to where a stopped master may apply by itself: a follower does so a little late."""
    return max(_applied(master), Journal(master.disk.held).getRaftCommitIndex())
