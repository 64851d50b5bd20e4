"""What the machines of one run share: virtual time, the network, chance, and how they are built."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gfs_ha.client.session import Session
from gfs_ha.config import (
    LOOPBACK,
    ClientConfig,
    ClusterConfig,
    Config,
    MasterAddress,
    SettingsConfig,
)
from gfs_ha.limits import CHUNK_BYTES_MIN, DEAD_S
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.proposals import Proposer
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.state.machine import Machine
from gfs_ha.sim.guards import SimNode
from gfs_ha.sim.masters.ledger import Ledger
from gfs_ha.sim.masters.tasks import TaskScheduler
from gfs_ha.sim.masters.trace import Trace
from gfs_ha.sim.network import Network


@dataclass(frozen=True, slots=True)
class Build:
    """Which code the machines run: the product's own, or one with a rule switched off."""

    calls_type: type[Any]
    node_type: type[RaftNode] = SimNode
    machine_type: type[Machine] = Machine
    proposer_type: type[Proposer] = Proposer
    session_type: type[Session] = Session


@dataclass
class World:
    """One run."""

    scheduler: TaskScheduler
    network: Network
    chance: random.Random
    ledger: Ledger
    trace: Trace
    config: Config
    build: Build
    plan_limits: PlanLimits
    timeout_max_s: float
    dead_s: float = DEAD_S  # Of silence of a chunkserver; then its copies are made anew.
    _tags: int = field(default=0)

    def next_tag(self) -> int:
        """Return a number that no other put of the run has."""
        self._tags += 1
        return self._tags


def cluster_config(master_count: int) -> Config:
    """Return the configuration file of a simulated cluster: every master is a host of its name."""
    names = [f"m{number}" for number in range(1, master_count + 1)]
    masters = tuple(MasterAddress(name, name, 1, 2) for name in names)
    return Config(
        path=Path("sim.toml"),
        cluster=ClusterConfig("sim", "sim", masters),
        master=None,
        chunkserver=None,
        client=ClientConfig("here", "rack"),
        settings=SettingsConfig(CHUNK_BYTES_MIN),
        security=LOOPBACK,
    )


def config_with(config: Config, name: str) -> Config:
    """Return the file of one master: it names itself, also when the others' files do not."""
    if config.cluster.master(name) is not None:
        return config
    masters = (*config.cluster.masters, MasterAddress(name, name, 1, 2))
    return replace(config, cluster=replace(config.cluster, masters=masters))
