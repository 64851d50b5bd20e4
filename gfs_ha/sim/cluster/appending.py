"""Threads of a user that append records to shared files, read them while they grow, copy them."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.errors import GfsError, NotFound, UnknownOutcome
from gfs_ha.protocol.metadata import DISK, MEMORY
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.records_model import RecordHistory, make_record
from gfs_ha.sim.cluster.user import Outcomes, SimUser
from gfs_ha.sim.masters.world import World

_SIZES = (0, 20, 300, 300, 4000, 60_000)


@dataclass(frozen=True, slots=True)
class AppendHabits:
    """How records are appended."""

    pause_s: float  # The mean between two operations of a task.
    durability: str = DISK

    @classmethod
    def of(cls, pause_s: float, memory: bool) -> AppendHabits:
        return cls(pause_s, MEMORY if memory else DISK)


class AppendWorker:
    """Appends one record after another, each whole and once."""

    def __init__(
        self,
        user: SimUser,
        world: World,
        logs: list[RecordHistory],
        habits: AppendHabits,
        outcomes: Outcomes,
    ) -> None:
        self.ending = False
        self.busy = ""
        self._user = user
        self._world = world
        self._logs = logs
        self._habits = habits
        self._outcomes = outcomes
        self._copy_count = 0

    def run(self) -> None:
        chance = self._world.chance
        while not self.ending:
            self._user.runtime.sleep(chance.expovariate(1 / self._habits.pause_s))
            if self.ending:
                return
            log = chance.choice(self._logs)
            kind = chance.random()
            if kind < 0.1:
                self.read(log)
            elif kind < 0.13:
                self._copy(log)
            else:
                self._append(log)

    def read(self, log: RecordHistory) -> bool:
        """Read a whole log and judge it; return whether it could be read."""
        return self._read(log, log.name, (log.grown, dict(log.acked)))

    def _read(self, log: RecordHistory, name: str, known: tuple[int, dict[int, int]]) -> bool:
        """Judge what is in a log, or in a copy of it, of which so much must be there."""
        least, acked = known
        self.busy = f"get {name}"
        try:
            data = self._user.cluster.read_bytes(name)
        except NotFound as error:
            if acked:
                raise Violation(f"lost: {log.name} with {len(acked)} records is gone") from error
            data = b""
        except GfsError as error:
            self._outcomes.fails(error)
            self._user.note(f"{self.busy}: {error.code}: {error.message}")
            return False
        finally:
            what, self.busy = self.busy, ""
        log.check(data, least, acked)
        self._outcomes.done += 1
        self._user.note(f"{what}: {len(data)} bytes")
        return True

    def _copy(self, log: RecordHistory) -> None:
        """Copy a log that others append to: the copy has all that was acknowledged before (C9)."""
        known = (log.grown, dict(log.acked))
        # Whether an earlier copy came to be is perhaps not known: each has a name of its own.
        self._copy_count += 1
        name = f"/{self._user.name}.copy.{self._copy_count}"
        self.busy = f"copy {log.name} to {name}"
        try:
            self._user.cluster.copy(log.name, name)
        except GfsError as error:
            self._outcomes.fails(error)
            self._user.note(f"{self.busy}: {error.code}: {error.message}")
            return
        finally:
            self.busy = ""
        self._read(log, name, known)

    def _append(self, log: RecordHistory) -> None:
        tag = self._world.next_tag()
        record = make_record(tag, self._world.chance.choice(_SIZES))
        self.busy = f"append {log.name} record {tag} of {len(record)} bytes"
        log.begins(tag)
        try:
            offset = self._user.cluster.append(log.name, record, durability=self._habits.durability)
            log.acknowledged(tag, offset, len(record))
            self._outcomes.done += 1
            self._outcomes.records += 1
            outcome = f"at {offset}"
        except UnknownOutcome:
            self._outcomes.unknown += 1
            outcome = "unknown"
        except GfsError as error:
            log.not_applied(tag)
            self._outcomes.fails(error)
            outcome = f"not done: {error.code}: {error.message}"
        finally:
            what, self.busy = self.busy, ""
        self._user.note(f"{what}: {outcome}")
