"""A thread of a user that appends under a key, and begins again with its first record (C8)."""

from __future__ import annotations

from gfs_ha.client.appender import SETTLED_WAIT_S, Appender
from gfs_ha.errors import GfsError
from gfs_ha.sim.cluster.appending import AppendHabits
from gfs_ha.sim.cluster.records_model import RecordHistory, make_record
from gfs_ha.sim.cluster.user import Outcomes, SimUser
from gfs_ha.sim.masters.world import World

_SIZES = (20, 300, 2000)
_RECORDS_MAX = 200  # Of one key.


class KeyedWriter:
    """Has many runs: after a failure, a kill, or just so. Nothing of an earlier one is doubled."""

    def __init__(
        self,
        user: SimUser,
        world: World,
        log: RecordHistory,
        habits: AppendHabits,
        outcomes: Outcomes,
    ) -> None:
        self.ending = False
        self.busy = ""
        self._user = user
        self._world = world
        self._log = log
        self._habits = habits
        self._outcomes = outcomes
        self._records: list[tuple[int, bytes]] = []  # All of the key, in their order.

    def run(self) -> None:
        while not self.ending:
            self._pause()
            appender = self._user.cluster.appender(
                self._log.name,
                durability=self._habits.durability,
                key=f"writer of {self._user.name}",
            )
            try:
                with appender:
                    self._go_on(appender)
            except GfsError as error:
                self._outcomes.fails(error)
                self._user.note(f"a run of the writer ends: {error.code}: {error.message}")

    def _go_on(self, appender: Appender) -> None:
        """Append everything that there is, and then new records, until this run is over."""
        self._append(appender, self._records)
        while not self.ending and self._world.chance.random() < 0.9:
            self._pause()
            if len(self._records) < _RECORDS_MAX:
                tag = self._world.next_tag()
                record = make_record(tag, self._world.chance.choice(_SIZES))
                self._log.begins(tag)
                self._records.append((tag, record))
                self._append(appender, self._records[-1:])

    def _append(self, appender: Appender, records: list[tuple[int, bytes]]) -> None:
        self.busy = f"append {self._log.name} {len(records)} records under a key"
        try:
            futures = appender.append_all([record for _, record in records])
            for (tag, record), future in zip(records, futures, strict=True):
                told = future.result(SETTLED_WAIT_S)
                self._log.found_again(tag, told.offset, len(record))
                self._outcomes.records += not told.before
                again = ", there before" if told.before else ""
                self._user.note(f"record {tag} of {len(record)} bytes at {told.offset}{again}")
        finally:
            self.busy = ""
        self._outcomes.done += 1

    def _pause(self) -> None:
        self._user.runtime.sleep(self._world.chance.expovariate(1 / self._habits.pause_s))
