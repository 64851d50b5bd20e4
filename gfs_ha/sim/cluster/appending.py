"""One thread of a user that appends records to shared files, and reads them while they grow."""

from __future__ import annotations

from gfs_ha.errors import GfsError, NotFound, UnknownOutcome
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.records_model import RecordHistory, make_record
from gfs_ha.sim.cluster.user import Outcomes, SimUser
from gfs_ha.sim.masters.world import World

_SIZES = (0, 20, 300, 300, 4000, 60_000)


class AppendWorker:
    """Appends one record after another, each whole and once."""

    def __init__(
        self,
        user: SimUser,
        world: World,
        pause_s: float,
        logs: list[RecordHistory],
        outcomes: Outcomes,
    ) -> None:
        self.ending = False
        self.busy = ""
        self._user = user
        self._world = world
        self._pause_s = pause_s
        self._logs = logs
        self._outcomes = outcomes

    def run(self) -> None:
        chance = self._world.chance
        while not self.ending:
            self._user.runtime.sleep(chance.expovariate(1 / self._pause_s))
            if self.ending:
                return
            log = chance.choice(self._logs)
            if chance.random() < 0.1:
                self.read(log)
            else:
                self._append(log)

    def read(self, log: RecordHistory) -> bool:
        """Read a whole log and judge it; return whether it could be read."""
        least, acked = log.grown, dict(log.acked)
        self.busy = f"get {log.name}"
        try:
            data = self._user.cluster.read_bytes(log.name)
        except NotFound as error:
            if acked:
                raise Violation(f"lost: {log.name} with {len(acked)} records is gone") from error
            data = b""
        except GfsError as error:
            self._outcomes.fails(error)
            self._note(f"{self.busy}: {error.code}: {error.message}")
            return False
        finally:
            what, self.busy = self.busy, ""
        log.check(data, least, acked)
        self._outcomes.done += 1
        self._note(f"{what}: {len(data)} bytes")
        return True

    def _append(self, log: RecordHistory) -> None:
        tag = self._world.next_tag()
        record = make_record(tag, self._world.chance.choice(_SIZES))
        self.busy = f"append {log.name} record {tag} of {len(record)} bytes"
        log.begins(tag)
        try:
            offset = self._user.cluster.append(log.name, record)
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
        self._note(f"{what}: {outcome}")

    def _note(self, what: str) -> None:
        self._world.trace.note(f"{self._user.name} {what}")
