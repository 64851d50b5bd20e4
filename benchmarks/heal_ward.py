"""The cluster of `make heal`, who watches it, and the figures of one fault."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from heal_clients import BIG, RATES, Answers, Clients
from heal_files import Contents
from heal_hosts import Hosts
from heal_load import LOG_FILE, PUTS
from heal_watch import Watch
from stage import Failed, Stage

import gfs_ha
from gfs_ha import config
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster

BIG_BYTES = 32 << 20
HEAL_S = 180.0
MASTERS, SERVERS = 3, 8
COLUMNS = (
    *("fault", "detect s", "first copy s", "whole s", "rested s", "copies", "moved", "copied MB"),
    *("least MB", "ratio", "errors", "p99 ms put/get/append", "longest ms", "load"),
)


@dataclass
class Healed:
    """The figures of one fault; seconds count from it, `first_copy_s` from its detection."""

    name: str
    detect_s: float | None = None
    first_copy_s: float | None = None
    whole_s: float | None = None
    rested_s: float | None = None
    copies: int = 0
    moved: int = 0  # Copies beyond those that were missing: for the rule of placement.
    copied_bytes: int = 0
    least_bytes: int = 0
    errors: list[str] = field(default_factory=list)
    p99_ms: dict[str, float] = field(default_factory=dict)
    longest_ms: float = 0.0
    load: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return self.copied_bytes / self.least_bytes if self.least_bytes else 1.0

    def cells(self) -> tuple[str, ...]:
        p99 = "/".join(f"{self.p99_ms.get(kind, float('nan')):.0f}" for kind in RATES)
        return (
            self.name,
            *(_seconds(one) for one in (self.detect_s, self.first_copy_s, self.whole_s)),
            *(_seconds(self.rested_s), str(self.copies)),
            *(str(self.moved), f"{self.copied_bytes / 1e6:.1f}"),
            *(f"{self.least_bytes / 1e6:.1f}", f"{self.ratio:.2f}", str(len(self.errors))),
            *(p99, f"{self.longest_ms:.0f}", f"{self.load:.1f}"),
        )

    def told(self) -> str:
        return "  ".join(f"{k} {v}" for k, v in zip(COLUMNS[1:], self.cells()[1:], strict=True))

    def facts(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


class Ward:
    """The cluster, who watches it, and what the faults need."""

    watch: Watch
    clients: Clients

    def __init__(self, stage: Stage, dead_after_s: float, hosts: Hosts | None) -> None:
        self.cluster: LocalCluster = stage.cluster
        self.directory = Path(stage.cluster.directory)
        self.dead_after_s = dead_after_s
        self.hosts = hosts
        self.chance = random.Random(11)
        self.on_detected: Callable[[], object] = lambda: None

    def play(self, name: str, fault: Fault) -> Healed:
        """Wait for rest, do what the fault does, and return its figures."""
        if self.watch.wait(lambda now: now.rested, HEAL_S) is None:
            raise Failed(f"before {name}: no rest within {HEAL_S:.0f} s: {self.what_is_not()}")
        self.watch.begin()
        healed = Healed(name)
        begun_s = time.monotonic()
        fault(self, healed)
        if healed.rested_s is None:
            rested_s = self.watch.wait(lambda now: now.rested and now.healthy, HEAL_S)
            if rested_s is None:
                healed.wrong.append(f"{name}: no rest within {HEAL_S:.0f} s: {self.what_is_not()}")
            else:
                healed.rested_s = rested_s - begun_s
        ended_s = time.monotonic()
        self._measure(healed, begun_s, ended_s)
        return healed

    def _measure(self, healed: Healed, begun_s: float, ended_s: float) -> None:
        copies = self.watch.copies(begun_s, ended_s)
        lacked = self.watch.lacked()
        healed.copies = len(copies)
        healed.copied_bytes = sum(one.length for one in copies)
        healed.least_bytes = self.watch.least_bytes()
        detected_s = begun_s + (healed.detect_s or 0.0)
        after = [one for one in copies if one.at_s >= detected_s]
        if after:
            healed.first_copy_s = after[0].at_s - detected_s
        answers: Answers = self.clients.answers(begun_s, ended_s)
        healed.errors = answers.errors
        healed.p99_ms = {kind: answers.percentile_ms(kind, 0.99) for kind in RATES}
        healed.longest_ms = max(answers.percentile_ms(kind, 1.0) for kind in RATES)
        healed.load = os.getloadavg()[0]
        for chunk_id, most in lacked.items():
            # A copy that is placed while the best servers are away is moved once: never more.
            of_it = [one for one in copies if one.chunk_id == chunk_id]
            healed.moved += max(0, len(of_it) - most[0])
            if len(of_it) > 2 * most[0]:
                healed.wrong.append(
                    f"{healed.name}: {len(of_it)} copies of {chunk_id:#x}, which lacked {most[0]}"
                )
        healed.wrong += [f"{healed.name}: {error}" for error in healed.errors]

    # What faults do -------------------------------------------------------------------------

    def kill(self, *names: str) -> None:
        for name in names:
            self.cluster.kill(name, signal.SIGKILL)

    def start(self, *names: str) -> None:
        for name in names:
            self.cluster.start(name)

    def rack(self, rack: str) -> list[str]:
        members = [self.cluster.member(one.name) for one in self.cluster.status()]
        return [one.name for one in members if one.rack == rack]

    def leader(self) -> str:
        return self.watch.cluster.operations.status().leader

    def read_near(self, name: str) -> None:
        """Read all files as a client on the machine and in the rack of a server."""
        own = config.load(self.directory / name / "gfs.toml").chunkserver
        assert own is not None, f"{name} is no chunkserver"
        read = config.load(self.cluster.config_path)
        near = replace(read, client=config.ClientConfig(own.machine, own.rack))
        with gfs_ha.connect(near) as reader:
            for folder in (PUTS, BIG):
                for entry in reader.listdir(folder):
                    reader.read_bytes(f"{folder}/{entry.name}")

    def detected(self, healed: Healed, since_s: float, *names: str) -> None:
        """Note when the leader takes servers for dead."""
        at_s = self.watch.wait(
            lambda now: all(now.states.get(name) == "dead" for name in names),
            self.dead_after_s + 30.0,
        )
        if at_s is None:
            healed.wrong.append(f"{healed.name}: {names} never counted as dead")
        else:
            healed.detect_s = at_s - since_s
            self.on_detected()

    def whole(self, healed: Healed, since_s: float) -> None:
        """Note when every chunk has as many copies as its goal."""
        at_s = self.watch.wait(lambda now: now.under == 0, HEAL_S)
        if at_s is None:
            healed.wrong.append(f"{healed.name}: not whole after {HEAL_S:.0f} s")
        else:
            healed.whole_s = at_s - since_s

    def what_is_not(self) -> str:
        """Return what keeps the cluster from rest."""
        bad = [
            f"{row.chunk_id:#x} {row.state} {row.copies}/{row.goal} "
            + ",".join(f"{one.name}={one.health}" for one in row.replicas)
            for row in self.watch.newest.rows
            if row.state == "sealed"
            and (len(row.replicas) != row.goal or any(one.health != "live" for one in row.replicas))
        ]
        try:
            report = self.watch.cluster.operations.repair(5)
            findings = self.watch.cluster.operations.health().items
            bad.append(f"waiting {report.waiting} hold {report.hold!r} {report.failures}")
            bad += [f"{one.code}: {one.message}" for one in findings]
        except GfsError as error:
            bad.append(error.message)
        return f"{len(bad)}: " + " | ".join(bad[:12])


def prepare(
    stage: Stage,
    racks: tuple[str, ...],
    chunk_bytes: int,
    dead_after_s: float,
    hosts: Hosts | None = None,
) -> Ward:
    """Return a cluster that is up."""
    cluster = stage.cluster
    cluster.up(masters=MASTERS, chunkservers=SERVERS, racks=racks, chunk_bytes=chunk_bytes)
    if dead_after_s != 30.0:
        for number in range(1, MASTERS + 1):
            name = f"m{number}"
            with Path(cluster.directory, name, "gfs.toml").open("a") as file:
                file.write(f"dead_after_s = {dead_after_s}\n")
            cluster.kill(name, signal.SIGTERM)
            cluster.start(name)
        cluster.wait_serving()
    return Ward(stage, dead_after_s, hosts)


def fill(config_path: Path, count: int) -> None:
    """Put the files that are there before everything else."""
    contents = Contents()
    with gfs_ha.connect(config_path) as cluster:
        cluster.mkdir(PUTS)
        cluster.mkdir(BIG)
        cluster.write_bytes(LOG_FILE, b"")
        for number in range(1, count + 1):
            name = contents.name(number, BIG_BYTES)
            cluster.write_bytes(f"{BIG}/{name}", contents.data(name))


Fault = Callable[[Ward, Healed], None]
