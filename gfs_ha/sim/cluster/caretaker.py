"""A simulated operator: takes servers out of service and back, has disks evened out, ends jobs.

It asks as `gfsctl admin` does, while everything else goes wrong. Chance is its own, so that a seed
without it is what it was before there was one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import GfsError, PreconditionFailed
from gfs_ha.protocol.calls import Request
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.disks import LOST, DiskStanding, DrainDisk, UndrainDisk
from gfs_ha.protocol.jobs import (
    CANCEL,
    FINAL,
    LETTERS,
    PAUSE,
    REBALANCE,
    RESUME,
    JobOptions,
    JobStarted,
    job_number,
)
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.rebalance import StartRebalance
from gfs_ha.protocol.server_modes import (
    IN_SERVICE,
    ChangeMaintenance,
    DrainServer,
    UndrainServer,
)
from gfs_ha.sim.cluster.user import SimUser

_OUT_MAX = 2  # Servers that are out of service at once.
_DISKS_OUT_MAX = 3  # The same of disks.
_EVEN = 0.01  # Disks that differ by so much more are evened out.
_MAINTENANCE_MS = (5_000, 20_000, 60_000)
_ACTIONS = (
    *("drain", "drain", "drain", "undrain", "undrain", "rebalance", "rebalance"),
    *("pause", "resume", "cancel", "maintenance", "wait"),
)
_OF_DISKS = ("disk-drain", "disk-drain", "disk-drain", "disk-drain", "disk-undrain", "disk-forget")
_AGAIN_S = 1.0


class Caretaker:
    """One person at work. What he wants at the end: everybody in service, and no job."""

    def __init__(
        self, user: SimUser, names: list[str], seed: int, mean_s: float, disks: bool = False
    ) -> None:
        """Args: `disks`: he takes single disks out of service, too."""
        self.ending = False
        self.begun: Counter[str] = Counter()  # Jobs by kind.
        self._actions = _ACTIONS + _OF_DISKS * disks
        self._user = user
        self._names = names
        self._chance = random.Random(f"caretaker {seed}")
        self._mean_s = mean_s
        self._out: list[str] = []
        self._resting: set[str] = set()
        self._job = 0
        self.busy = "care for the cluster"  # Until all is in order.

    def run(self) -> None:
        """Act until told to end; then leave everything as it should be."""
        while not self.ending:
            self._user.runtime.sleep(self._chance.expovariate(1 / self._mean_s))
            if not self.ending:
                self._act(self._chance.choice(self._actions))
        while not self._put_in_order():
            self._user.runtime.sleep(_AGAIN_S)
        self.busy = ""

    def _act(self, action: str) -> None:
        there = [name for name in self._names if name not in self._out]
        if action == "drain" and len(self._out) < _OUT_MAX and len(there) > 3:
            name = self._chance.choice(there)
            self._out.append(name)
            self._job = self._begin(DrainServer(name, self._chance.random() < 0.3)) or self._job
        elif action == "undrain" and self._out:
            name = self._chance.choice(self._out)
            if self._ask(UndrainServer(name), Done, PreconditionFailed):
                self._out.remove(name)
        elif action == "rebalance":
            options = JobOptions(threshold=_EVEN, moves_max=self._chance.choice([0, 1]))
            self._job = self._begin(StartRebalance(options)) or self._job
        elif action in (PAUSE, RESUME, CANCEL) and self._job:
            self._change(self._job, action)
        elif action == "maintenance":
            name = self._chance.choice(self._names)
            self._resting.add(name)
            self._ask(ChangeMaintenance(name, self._chance.choice(_MAINTENANCE_MS)), Done)
        elif action in _OF_DISKS:
            self._act_on_disk(action)

    def _act_on_disk(self, action: str) -> None:
        known = self._disks()
        out = [one for one in known if one.mode != IN_SERVICE]
        if action == "disk-drain" and len(out) < _DISKS_OUT_MAX:
            there = [one for one in known if one.mode == IN_SERVICE and one.state == IN_SERVICE]
            if there:
                one = self._chance.choice(there)
                self._job = self._begin(DrainDisk(one.server, one.disk_id)) or self._job
        elif action == "disk-undrain" and out:
            one = self._chance.choice(out)
            self._ask(UndrainDisk(one.server, one.disk_id), Done, PreconditionFailed)
        elif action == "disk-forget":
            lost = [one for one in known if one.state == LOST]
            if lost:
                self._forget(self._chance.choice(lost))

    def _disks(self) -> tuple[DiskStanding, ...]:
        try:
            return self._user.cluster.operations.disks.all().items
        except GfsError as error:
            self._user.note(f"disks: {error.code}: {error.message}")
            return ()

    def _forget(self, lost: DiskStanding) -> None:
        try:
            found = self._user.cluster.operations.disks.forget(lost.server, lost.disk_id)
        except GfsError as error:
            self._user.note(f"forget {lost.disk_id:#x}: {error.code}: {error.message}")
            return
        self.begun["forgotten disk"] += 1
        self._user.note(f"forgot {lost.disk_id:#x} of {lost.server}: {found}")

    def _begin(self, request: DrainServer | StartRebalance | DrainDisk) -> int:
        """Return the number of the job that began; 0 when none did, as far as is known."""
        started = self._try(lambda calls: calls.ask(request, JobStarted), request)
        if not isinstance(started, JobStarted):
            return 0
        kind = next(kind for kind, letter in LETTERS.items() if started.id.startswith(letter))
        self.begun[kind] += 1
        return started.number

    def _change(self, number: int, action: str) -> None:
        jobs = self._user.cluster.operations.jobs
        self._try(lambda calls: jobs.change(number, action, "the caretaker"), action)

    def _ask(
        self, request: Request, kind: type[Done], enough: type[GfsError] | None = None
    ) -> bool:
        """Return whether it was done, or is so already: `enough` says that."""
        return self._try(lambda calls: calls.ask(request, kind), request, enough) is not None

    def _try(
        self,
        act: Callable[[ClusterCalls], Word],
        what: object,
        enough: type[GfsError] | None = None,
    ) -> Word | None:
        try:
            reply = act(self._user.calls)
        except GfsError as error:
            self._user.note(f"{what}: {error.code}: {error.message}")
            return Done() if enough is not None and isinstance(error, enough) else None
        self._user.note(f"{what}: {reply}")
        return reply

    def _put_in_order(self) -> bool:
        """Take one step towards it; return whether there was nothing left to do."""
        for name in self._names:
            if not self._ask(UndrainServer(name), Done, PreconditionFailed):
                return False
        if not self._undrain_disks():
            return False
        for name in sorted(self._resting):
            if not self._ask(ChangeMaintenance(name, 0), Done):
                return False
        try:
            left = list(self._user.cluster.operations.jobs.all(running=True))
        except GfsError:
            return False
        for row in left:
            number = job_number(row.id)
            assert number is not None and row.phase not in FINAL, row
            if row.kind != REBALANCE or self._chance.random() < 0.3 or row.phase == "paused":
                self._change(number, CANCEL)
        return not left

    def _undrain_disks(self) -> bool:
        if self._actions == _ACTIONS:
            return True
        try:
            known = self._user.cluster.operations.disks.all().items
        except GfsError:
            return False
        return all(
            self._ask(UndrainDisk(one.server, one.disk_id), Done, PreconditionFailed)
            for one in known
            if one.mode != IN_SERVICE
        )
