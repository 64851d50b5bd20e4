"""A rebalance under load: what the plan said beside what came of it, and what clients felt.

    python rebalance.py [--capacity 512] [--bwlimit 24] [--kill] [--json FILE] [--keep]

8 chunkservers in 4 racks are filled unevenly, from a fifth to nine tenths: in turns servers are in
maintenance and take nothing. Then clients put, get and append all the time and check what they get;
first without, then with a rebalance. With --kill the leader is killed twice on the way, and once a
server that is being filled, for good. Figures: bytes and moves by the plan and by the job, how full
every server was at most at any moment (by its heartbeats), p99 of the clients before and during.
Exit status 1 when a server was above the high-water mark, a disk is outside the threshold in the
end, a client saw an error, or anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from heal_clients import BIG, CUT, Answers, Clients, Verified, verify
from heal_files import Contents
from heal_load import LOG_FILE, PUTS
from heal_ward import burying
from stage import Failed, Interrupted, Stage

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.limits import GIB, MIB
from gfs_ha.protocol.jobs import FINAL, JobOptions, JobRow
from gfs_ha.protocol.rebalance import RebalancePlan, RebalanceStatus

PURPOSE = "rebalance"
RACKS = ("r1", "r2", "r3", "r4")
SERVERS = 8
CHUNK_BYTES = 4 * MIB
RATES = {"put": 0.5, "get": 6.0, "append": 15.0}  # Per second.
LEVELS = {"cs8": 0.2, "cs7": 0.3, "cs6": 0.4, "cs5": 0.5, "cs4": 0.6}  # The others: FULL.
FULL = 0.88
FILE_BYTES = 6 * MIB
CALM_S = 15.0
LEADER_KILLS = (0.2, 0.6)  # At which share of the bytes.
SERVER_KILL = 0.4
VICTIM = "cs8"
DEAD_AFTER_S = 10.0
JOB_S = 400.0
REST_S = 120.0


@dataclass
class Fill:
    """How full servers were at any moment, as a thread asks again and again."""

    cluster: gfs_ha.Cluster
    most: dict[str, float] = field(default_factory=dict)
    newest: RebalanceStatus | None = None
    looks: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stopping.wait(0.2):
            try:
                self.newest = self.cluster.operations.rebalance.status()
            except GfsError:
                continue  # No leader for a moment: the next look tells.
            self.looks += 1
            for row in self.newest.items:
                used = row.used_bytes / row.total_bytes
                self.most[row.name] = max(self.most.get(row.name, 0.0), used)

    def stop(self) -> None:
        self._stopping.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capacity", type=int, default=512, help="MiB of each server's disk")
    parser.add_argument("--bwlimit", type=int, default=24, help="MiB per second of all moves")
    parser.add_argument("--kill", action="store_true", help="kill leaders, and a target")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", action="store_true", help="leave the files behind")
    options = parser.parse_args()
    try:
        with Stage(PURPOSE, options.keep, burying(DEAD_AFTER_S)) as stage:
            return run(stage, options)
    except (Failed, GfsError) as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status


def run(stage: Stage, options: argparse.Namespace) -> int:
    """Play all of it, print the figures, and return the exit status."""
    stage.cluster.up(
        masters=3,
        chunkservers=SERVERS,
        racks=RACKS,
        chunk_bytes=CHUNK_BYTES,
        capacities=(options.capacity * MIB,),
    )
    config = stage.cluster.config_path
    with gfs_ha.connect(config, timeout_s=60.0) as cluster:
        _fill(stage, cluster, options.capacity * MIB)
        clients = Clients(stage.directory, config, RATES, stage.environment)
        fill = Fill(cluster)
        watcher = threading.Thread(target=fill.run, daemon=True)
        with clients:
            clients.start()
            watcher.start()
            calm_s = time.monotonic()
            time.sleep(CALM_S)
            before = clients.answers(calm_s + 3.0, time.monotonic())
            plan, job, began_s, ended_s = _rebalance(stage, cluster, options)
            during = clients.answers(began_s, ended_s)
            wrong = clients.stop()
            _rest(stage, cluster)
            fill.stop()
            watcher.join(10.0)
            verified = verify(config, clients, stage.directory)
        status = cluster.operations.rebalance.status()
    wrong += _judge(fill, status, job, (before, during), verified)
    facts = _facts(plan, job, fill, status, ended_s - began_s)
    facts["p99_ms"] = {
        kind: [before.percentile_ms(kind, 0.99), during.percentile_ms(kind, 0.99)] for kind in RATES
    }
    facts["answers"] = [before.count, during.count]
    facts["verified"] = [verified.files, verified.records, verified.bytes_lost]
    facts["killed"] = options.kill
    facts["wrong"] = wrong
    _show(facts)
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


# Before -------------------------------------------------------------------------------------------


def _fill(stage: Stage, cluster: gfs_ha.Cluster, capacity: int) -> None:
    """Fill all servers to the lowest level, then all but one to the next, and so on."""
    for folder in (PUTS, BIG, CUT):
        cluster.mkdir(folder)
    cluster.write_bytes(LOG_FILE, b"")
    contents, number = Contents(), 0
    taking = [f"cs{at}" for at in range(1, SERVERS + 1)]
    for resting, level in (*LEVELS.items(), ("", FULL)):
        while True:
            rows = cluster.operations.rebalance.status().items
            used = [row.used_bytes for row in rows if row.name in taking]
            missing = (len(taking) * level * capacity - sum(used)) / 3
            if len(used) == len(taking) and missing < FILE_BYTES:
                break
            for _ in range(max(1, int(missing / FILE_BYTES / 2))):
                number += 1
                name = contents.name(number, FILE_BYTES)
                cluster.write_bytes(f"{BIG}/{name}", contents.data(name))
            time.sleep(1.2)  # The servers tell of it with their next heartbeats.
        if resting:
            stage.run("admin", "chunkservers", "maintenance", "on", resting, "--for", "1h")
            taking.remove(resting)
    for resting in LEVELS:
        stage.run("admin", "chunkservers", "maintenance", "off", resting)
    shares = _shares(cluster.operations.rebalance.status())
    print(f"filled: {shares}; load {os.getloadavg()[0]:.1f}", flush=True)


def _shares(status: RebalanceStatus) -> str:
    return "  ".join(f"{row.name} {row.used_bytes / row.total_bytes:.0%}" for row in status.items)


# The rebalance ------------------------------------------------------------------------------------


def _rebalance(
    stage: Stage, cluster: gfs_ha.Cluster, options: argparse.Namespace
) -> tuple[RebalancePlan, JobRow, float, float]:
    how = JobOptions(0.05, options.bwlimit * MIB)
    plan = cluster.operations.rebalance.plan(how)
    print(
        f"plan: {plan.moved_bytes / GIB:.2f} GiB in {plan.move_count} moves, "
        f"{plan.eta_ms / 1000:.0f} s",
        flush=True,
    )
    began_s = time.monotonic()
    job = cluster.operations.rebalance.start(plan, how, "benchmark")
    kills = [*((at, "") for at in LEADER_KILLS), (SERVER_KILL, VICTIM)] if options.kill else []
    kills.sort()
    while time.monotonic() - began_s < JOB_S:
        row = cluster.operations.jobs.get(job.number)
        if row.phase in FINAL:
            return plan, row, began_s, time.monotonic()
        if kills and row.moved_bytes >= kills[0][0] * plan.moved_bytes:
            _, victim = kills.pop(0)
            _kill(stage, cluster, victim)
        time.sleep(0.2)
    raise Failed(f"the job does not end: {cluster.operations.jobs.get(job.number)}")


def _kill(stage: Stage, cluster: gfs_ha.Cluster, victim: str) -> None:
    """Kill a server for good, or the leader for a few seconds."""
    name = victim or cluster.operations.status().leader
    stage.cluster.kill(name, signal.SIGKILL)
    print(f"killed {name}", flush=True)
    if not victim:
        time.sleep(2.0)
        stage.cluster.start(name)


def _rest(stage: Stage, cluster: gfs_ha.Cluster) -> None:
    """Wait until all chunks have their copies, and nothing is under way."""
    until_s = time.monotonic() + REST_S
    while time.monotonic() < until_s:
        repair = cluster.operations.repair(5)
        under = next(cluster.operations.chunks(("under",)), None)
        if under is None and not repair.copying and not _deleting(cluster):
            return
        time.sleep(0.5)
    raise Failed(f"no rest: {cluster.operations.repair(5)}")


def _deleting(cluster: gfs_ha.Cluster) -> bool:
    """Return whether a server deletes something; one that is dead does so when it is back."""
    live = {row.name for row in cluster.operations.servers().items if row.state == "live"}
    return any(
        replica.name in live and replica.health == "deleting"
        for row in cluster.operations.chunks()
        for replica in row.replicas
    )


# Figures ------------------------------------------------------------------------------------------


def _judge(
    fill: Fill,
    status: RebalanceStatus,
    job: JobRow,
    answers: tuple[Answers, Answers],
    verified: Verified,
) -> list[str]:
    wrong = [f"a client saw {error}" for one in answers for error in one.errors]
    wrong += verified.wrong
    wrong += [f"{name} was {most:.1%} full" for name, most in fill.most.items() if most > 0.95]
    if job.phase != "done" or job.last_error.startswith("nothing more"):
        wrong.append(f"{job.id} is {job.phase}: {job.end or job.last_error}")
    off = {row.name: abs(row.share - status.mean) for row in status.items}
    # What the clients put meanwhile moves the mean after the job has ended.
    wrong += [f"{name} is {one:.1%} off the mean" for name, one in off.items() if one > 0.06]
    return wrong


def _facts(
    plan: RebalancePlan, job: JobRow, fill: Fill, status: RebalanceStatus, took_s: float
) -> dict[str, object]:
    return {
        "plan_bytes": plan.moved_bytes,
        "plan_moves": plan.move_count,
        "plan_eta_s": plan.eta_ms / 1000,
        "moved_bytes": job.moved_bytes,
        "moves": job.moves,
        "took_s": took_s,
        "phase": job.phase,
        "said": job.end or job.last_error,
        "mean": status.mean,
        "before": {row.name: row.share for row in plan.items},
        "foreseen": {row.name: row.share_after for row in plan.items},
        "after": {row.name: row.share for row in status.items},
        "most": {name: round(most, 4) for name, most in sorted(fill.most.items())},
        "looks": fill.looks,
        "load": os.getloadavg()[0],
    }


def _show(facts: dict[str, object]) -> None:
    print(f"{'server':8}{'before':>8}{'foreseen':>10}{'after':>8}{'at most':>9}")
    columns = [facts[one] for one in ("before", "foreseen", "after", "most")]
    for name in columns[3]:  # type: ignore[attr-defined]
        cells = [one.get(name, float("nan")) for one in columns]  # type: ignore[attr-defined]
        print(f"{name:8}{cells[0]:8.1%}{cells[1]:10.1%}{cells[2]:8.1%}{cells[3]:9.1%}")
    for key, value in facts.items():
        if not isinstance(value, dict) or key == "p99_ms":
            print(f"{key:14} {value}")


if __name__ == "__main__":
    sys.exit(main())
