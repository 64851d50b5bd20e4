"""The network of a simulated cluster: raft's links and clients' calls go over the same cuts."""

from __future__ import annotations

import random
from collections.abc import Callable

from gfs_ha.sim.masters.trace import Trace
from gfs_ha.sim.network import Network
from gfs_ha.sim.scheduler import Scheduler


class ClusterNetwork(Network):
    """The links' network, which notes in the trace what it carries when."""

    def __init__(self, scheduler: Scheduler, chance: random.Random, trace: Trace) -> None:
        super().__init__(scheduler, chance)
        self._trace = trace

    def carry(self, source: str, target: str, when_s: float, arrival: Callable[[], None]) -> None:
        self._trace.count(b"%s%s%.9f" % (source.encode(), target.encode(), when_s))
        super().carry(source, target, when_s, arrival)


class Way:
    """One direction of a connection: in order, delayed, held up by cuts."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._last_arrival_s = 0.0

    def carry(self, from_s: float, arrival: Callable[[], None]) -> None:
        """Run `arrival` at the other end of what leaves at a time."""
        when_s = max(from_s + self._network.delay_s(), self._last_arrival_s)
        self._last_arrival_s = when_s
        self._network.carry(self._source, self._target, when_s, arrival)
