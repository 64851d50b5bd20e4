"""The cluster of `make heal`, who watches it, and the figures of one fault."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from heal_clients import BIG, CUT, RATES, Answers, Clients
from heal_copies import lacking
from heal_figures import Healed
from heal_files import Contents
from heal_hosts import Hosts
from heal_load import LOG_FILE, PUTS
from heal_watch import Watch
from stage import Failed, Launch, Stage

import gfs_ha
from gfs_ha import config
from gfs_ha.errors import GfsError, UnknownChunk, WrongState
from gfs_ha.ids import ChunkId
from gfs_ha.local import launcher
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.home import MASTER, Home
from gfs_ha.local.processes import Process

BIG_BYTES = 32 << 20
HEAL_S = 180.0
MASTERS, SERVERS = 3, 8


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
        healed.take(self.watch.sort_copies(begun_s, ended_s))
        healed.failed_copies = len(self.watch.failures(begun_s))
        detected_s = begun_s + (healed.detect_s or 0.0)
        if copies:
            # The leader is asked now and then, and may have known and acted before it told.
            healed.first_copy_s = max(0.0, copies[0].at_s - detected_s)
        answers: Answers = self.clients.answers(begun_s, ended_s)
        healed.errors += answers.errors
        healed.p99_ms = {kind: answers.percentile_ms(kind, 0.99) for kind in RATES}
        healed.longest_ms = max(answers.percentile_ms(kind, 1.0) for kind in RATES)
        healed.load = os.getloadavg()[0]
        healed.wrong += [f"{healed.name}: {error}" for error in healed.errors]

    # What faults do -------------------------------------------------------------------------

    def kill(self, *names: str) -> None:
        for name in names:
            self.cluster.kill(name, signal.SIGKILL)

    def lose(self, *names: str) -> None:
        """Kill servers that stay away until all is whole without them."""
        self.watch.expect(*names)
        self.kill(*names)

    def start(self, *names: str) -> None:
        self.watch.expect()
        for name in names:
            self.cluster.start(name)

    def whole_before(self) -> set[int]:
        """Return the chunks that have all their copies now."""
        rows = self.watch.newest.rows
        return {row.chunk_id for row in rows if row.state == "sealed" and not lacking(row)}

    def untouched(self, healed: Healed, chunk_ids: set[int], since_s: float) -> None:
        """Hold it against the cluster when a chunk was copied that was whole before."""
        copied = [one for one in self.watch.copies(since_s) if one.chunk_id in chunk_ids]
        healed.facts["copies of what was whole"] = len(copied)
        for one in copied:
            healed.wrong.append(
                f"{healed.name}: {one.chunk_id:#x} was whole, and was copied to {one.server}"
            )

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

    def compare(self, chunk_id: int) -> None:
        """Have every copy of a chunk read and compared, if the chunk is still there."""
        try:
            self.watch.cluster.operations.verify_chunk(ChunkId(chunk_id))
        except (UnknownChunk, WrongState):
            pass  # It was of no file any more, or is open.

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


def burying(dead_after_s: float, launch: Launch = launcher.launch) -> Launch:
    """Return what starts masters that take a server for dead after so much silence."""

    def started(home: Home, role: str, options: Sequence[str] = ()) -> Process:
        text = home.config_path.read_text(encoding="utf-8")
        if role == MASTER and "dead_after_s" not in text:
            before, head, after = text.partition("[master]\n")
            text = f"{before}{head}dead_after_s = {dead_after_s}\n{after}"
            home.config_path.write_text(text, encoding="utf-8")
        return launch(home, role, options)

    return started


def prepare(
    stage: Stage,
    racks: tuple[str, ...],
    chunk_bytes: int,
    dead_after_s: float,
    hosts: Hosts | None = None,
) -> Ward:
    """Return a cluster that is up; its stage starts masters by `burying(dead_after_s)`."""
    cluster = stage.cluster
    cluster.up(masters=MASTERS, chunkservers=SERVERS, racks=racks, chunk_bytes=chunk_bytes)
    return Ward(stage, dead_after_s, hosts)


def fill(config_path: Path, count: int) -> None:
    """Put the files that are there before everything else."""
    contents = Contents()
    with gfs_ha.connect(config_path) as cluster:
        cluster.mkdir(PUTS)
        cluster.mkdir(BIG)
        cluster.mkdir(CUT)
        cluster.write_bytes(LOG_FILE, b"")
        for number in range(1, count + 1):
            name = contents.name(number, BIG_BYTES)
            cluster.write_bytes(f"{BIG}/{name}", contents.data(name))


Fault = Callable[[Ward, Healed], None]
