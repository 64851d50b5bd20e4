"""The simulations that there are, as whoever runs them sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gfs_ha.errors import UsageError
from gfs_ha.sim.cluster import faults as cluster_faults
from gfs_ha.sim.cluster import search as cluster_search
from gfs_ha.sim.cluster import switches as cluster_switches
from gfs_ha.sim.cluster.run import ClusterRun
from gfs_ha.sim.masters import faults as masters_faults
from gfs_ha.sim.masters import search as masters_search
from gfs_ha.sim.masters import switches as masters_switches
from gfs_ha.sim.masters.figures import Report
from gfs_ha.sim.masters.run import PLAIN, MasterRun

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that can be switched off."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """One kind of simulated cluster.

    Fields:
        figures: the file below ~/.gfs-ha in which the sums of all runs are kept.
        replay: run a seed, with the name of a directed plan and of a rule that is off, or none.
        find: return the first of some seeds which shows that a rule matters.
    """

    figures: str
    run: Callable[[int], Report]
    replay: Callable[[int, str | None, str | None, Show | None], Report]
    find: Callable[[str, Iterable[int]], Report | None]
    faults: tuple[str, ...]
    plans: tuple[str, ...]
    rules: Mapping[str, Rule]

    def check_rule(self, name: str) -> None:
        """Raises: UsageError."""
        if name not in self.rules:
            raise UsageError(f"no rule {name!r} to switch off; there are: {', '.join(self.rules)}")


def _replay_masters(seed: int, plan: str | None, without: str | None, show: Show | None) -> Report:
    build = PLAIN if without is None else masters_switches.SWITCHES[without].build
    chosen = plan or (without if without in masters_search.plan_names() else None)
    directed = None if chosen is None else masters_search.plan_of(chosen, seed)
    return MasterRun(seed, build, directed, show).run()


def _replay_cluster(seed: int, plan: str | None, without: str | None, show: Show | None) -> Report:
    if without is not None:
        return cluster_search.run_without(without, seed, show)
    directed = None if plan is None else cluster_search.plan_of(plan, seed)
    return ClusterRun(seed, directed, show).run()


def _find_masters(name: str, seeds: Iterable[int]) -> Report | None:
    return masters_search.find(name, seeds, directed=True)


SIMULATIONS: dict[str, Simulation] = {
    "masters": Simulation(
        "simulation.json",
        lambda seed: MasterRun(seed).run(),
        _replay_masters,
        _find_masters,
        tuple(masters_faults.KINDS),
        masters_search.plan_names(),
        {name: Rule(one.rule, one.text) for name, one in masters_switches.SWITCHES.items()},
    ),
    "cluster": Simulation(
        "simulation-cluster.json",
        lambda seed: ClusterRun(seed).run(),
        _replay_cluster,
        cluster_search.find,
        tuple(cluster_faults.KINDS),
        cluster_search.plan_names(),
        {name: Rule(one.rule, one.text) for name, one in cluster_switches.SWITCHES.items()},
    ),
}
