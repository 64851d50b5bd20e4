"""What goes wrong with one disk of a machine that has several; its server goes on without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from gfs_ha.sim.cluster.bay import Bay
from gfs_ha.sim.cluster.damage import is_spare
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.cluster.truth import Truth
from gfs_ha.sim.masters.world import World

_READ_ONLY = 0.3
_LAST_ONE = 0.2  # The server ends with its last disk.
_RENEWED = 0.4
_LEFT_OUT = 0.3  # Works again, and nobody starts the server anew.

# Does something later, between so many seconds, unless all is mended before.
Later = Callable[[float, float, Callable[[], None]], None]


class DiskFaults:
    """Breaks disks and mends them. `count` says how often each came."""

    def __init__(self, world: World, truth: Truth, later: Later) -> None:
        self._world = world
        self._chance = world.chance
        self._truth = truth
        self._later = later
        self.count: Counter[str] = Counter()

    def dies(self, server: SimServer) -> None:
        """A disk refuses everything, or every change; later it is back, or another one is there."""
        bay = self._to_break(server)
        if bay is not None:
            self._fail(bay)
            self.count["died"] += 1
            longest_s = self._chance.choice([6.0, 12.0, 30.0])
            self._later(4.0, longest_s, partial(self._care_for, server, bay))

    def blinks(self, server: SimServer) -> None:
        """A disk refuses everything for a moment, perhaps too shortly to be given up."""
        bay = self._to_break(server)
        if bay is not None:
            self._fail(bay)
            self.count["blinked"] += 1
            self._later(0.1, 4.0, partial(self._works_again, server, bay))

    def hangs(self, server: SimServer) -> None:
        """A disk answers nothing, perhaps too shortly to be given up; what waits is done then."""
        bay = self._to_break(server)
        if bay is not None:
            bay.hang(self._world.scheduler.now_s)
            self._world.trace.note(f"the disk of {bay.name} hangs")
            self.count["hung"] += 1
            longest_s = self._chance.choice([5.0, 60.0, 100.0])
            self._later(1.0, longest_s, partial(self._care_for, server, bay))

    def absent(self, server: SimServer) -> None:
        """The machine starts without one of its disks, and finds it at a later start."""
        bay = self._to_break(server)
        if bay is None or sum(one.works for one in server.bays) < 2:
            return
        server.kill()
        bay.pull()
        self._world.trace.note(f"{bay.name} is not there")
        self.count["absent"] += 1
        self._later(0.05, 2.0, partial(self._start, server))
        self._later(3.0, self._chance.choice([6.0, 25.0]), partial(self._start_anew, server, bay))

    def mend(self, server: SimServer) -> None:
        """Have all disks of a machine work, and its server know them."""
        # Also one that starts just now: it may have met the disk as it was.
        known = all(bay.works and not server.left_out(bay) for bay in server.bays)
        for bay in server.bays:
            server.mend_disk(bay)
        if server.running and not known:
            server.kill()

    def _to_break(self, server: SimServer) -> Bay | None:
        working = [bay for bay in server.bays if server.serves(bay)]
        if not working or (len(working) == 1 and self._chance.random() > _LAST_ONE):
            return None
        return self._chance.choice(working)

    def _fail(self, bay: Bay) -> None:
        bay.fail(read_only=self._chance.random() < _READ_ONLY)
        self._world.trace.note(f"the disk of {bay.name} fails")

    def _care_for(self, server: SimServer, bay: Bay) -> None:
        if bay.works:
            return
        if server.left_out(bay):
            self.count["given up"] += 1
        if self._chance.random() < _RENEWED and is_spare(self._truth, server, bay.disk):
            server.lose_disk(bay)
            self.count["renewed"] += 1
            self._later(0.05, 2.0, partial(self._start, server))
        elif self._chance.random() < _LEFT_OUT:
            self._works_again(server, bay)
        else:
            self._start_anew(server, bay)

    def _works_again(self, server: SimServer, bay: Bay) -> None:
        server.mend_disk(bay)
        self._later(1.0, 20.0, partial(self._start, server))

    def _start_anew(self, server: SimServer, bay: Bay) -> None:
        server.kill()
        server.mend_disk(bay)
        self._later(0.05, 2.0, partial(self._start, server))

    def _start(self, server: SimServer) -> None:
        if server.process is None:
            server.start()
