"""Durable commands and linearizable reads beside a 3-member etcd, alternated in one run.

    python benchmarks/beside_etcd.py [--rounds 3] [--seconds 4] [--json FILE]

Needs `etcd` on the PATH and the package grpcio. Both systems keep three members on the checkout's
disk. Rows: commands (ours: one created file each; etcd: a put of 64 bytes) and reads (stat; range)
with 1, 8 and 64 in flight, from one client process each; `core` is our consensus room alone, driven
inside the leader's process. Exit status 8 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from comparison import compare, rounds_parser
from raft_beside_bulk import Master, free_addresses
from stage import Failed, Stage

LOAD = Path(__file__).with_name("etcd_load.py")
IN_FLIGHT = (1, 8, 64)
START_S = 30.0
# Kind and commands in flight -> the least share of etcd's rate that we want.
GOALS = {("write", 1): 1.0, ("write", 64): 1.5, ("read", 1): 3.0, ("read", 64): 3.0}


class Etcd:
    """Three members in child processes, gone at the end of the `with`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        clients, peers = free_addresses(3), free_addresses(3)
        self.endpoints = [f"127.0.0.1:{port}" for _, port in clients]
        self._peers = [f"http://127.0.0.1:{port}" for _, port in peers]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Etcd:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        cluster = ",".join(f"e{at}={peer}" for at, peer in enumerate(self._peers))
        for at, (endpoint, peer) in enumerate(zip(self.endpoints, self._peers, strict=True)):
            words = {
                "--name": f"e{at}",
                "--data-dir": str(self._directory / f"e{at}"),
                "--listen-client-urls": f"http://{endpoint}",
                "--advertise-client-urls": f"http://{endpoint}",
                "--listen-peer-urls": peer,
                "--initial-advertise-peer-urls": peer,
                "--initial-cluster": cluster,
                "--logger": "zap",
                "--log-level": "error",
            }
            flat = [word for pair in words.items() for word in pair]
            log = (self._directory / f"e{at}.log").open("wb")
            with log:
                self._processes.append(
                    subprocess.Popen(["etcd", *flat], stdout=log, stderr=log, process_group=0)
                )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def leader(self) -> str:
        """Return the endpoint that leads: asked there, a command takes one hop less."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            words = ["etcdctl", "--endpoints", ",".join(self.endpoints), "endpoint", "status"]
            done = subprocess.run(
                [*words, "-w", "json"],
                env={**os.environ, "ETCDCTL_API": "3"},
                capture_output=True,
                timeout=START_S,
                check=False,
            )
            if done.returncode == 0:
                for one in json.loads(done.stdout):
                    status = one["Status"]
                    if status.get("leader") == status["header"]["member_id"]:
                        return str(one["Endpoint"])
            time.sleep(0.2)
        raise Failed("etcd has no leader within 30 s")


class Core:
    """Three bare members of our consensus room."""

    def __init__(self, directory: Path) -> None:
        names = ["m1", "m2", "m3"]
        members = dict(zip(names, free_addresses(3), strict=True))
        self._masters = [Master(name, members, directory / name) for name in names]

    def __enter__(self) -> Core:
        return self

    def __exit__(self, *_: object) -> None:
        for master in self._masters:
            master.process.kill()
            master.process.communicate()

    def load(self, in_flight: int, seconds: float) -> dict[str, Any]:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            for master in self._masters:
                if master.order(do="status")["role"] == "leader":
                    found = master.order(do="load", in_flight=in_flight, seconds=seconds)
                    return {"per_s": found["commands_per_s"], **found}
            time.sleep(0.05)
        raise Failed("the bare members have no leader within 30 s")


def run_load(system: str, where: str, kind: str, in_flight: int, seconds: float) -> dict[str, Any]:
    """Run one client process; return its figures: per_s, p50_ms, p99_ms."""
    words = [system, where, kind, str(in_flight), str(seconds)]
    done = subprocess.run(
        [sys.executable, str(LOAD), *words],
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{system} {kind} {in_flight}: {done.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(stage: Stage, options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Return the figures of every row, one per round."""
    found: dict[str, list[dict[str, Any]]] = {}
    config = str(stage.cluster.config_path)
    for turn in range(options.rounds):
        for kind in ("write", "read"):
            for in_flight in IN_FLIGHT:
                figures: dict[str, dict[str, Any]] = {}
                for system in ("etcd", "ours") if turn % 2 == 0 else ("ours", "etcd"):
                    figures[system] = _one(stage, system, config, kind, in_flight, options.seconds)
                if kind == "write":
                    with Core(Path(_fresh(stage, "core"))) as core:
                        figures["core"] = core.load(in_flight, options.seconds)
                for system, one in figures.items():
                    found.setdefault(f"{kind} {in_flight} {system}", []).append(one)
                print(
                    f"  round {turn + 1} {kind} {in_flight}: "
                    + ", ".join(f"{name} {one['per_s']:.0f}/s" for name, one in figures.items()),
                    flush=True,
                )
    return found


def _one(
    stage: Stage, system: str, config: str, kind: str, in_flight: int, seconds: float
) -> dict[str, Any]:
    os.sync()
    if system == "ours":
        return run_load("ours", config, kind, in_flight, seconds)
    with Etcd(stage.directory / "etcd") as etcd:
        return run_load("etcd", etcd.leader(), kind, in_flight, seconds)


def _fresh(stage: Stage, name: str) -> str:
    directory = stage.directory / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return str(directory)


def report(found: dict[str, list[dict[str, Any]]]) -> bool:
    """Print the table; return whether every goal is met."""
    print(f"{'row':12}{'':6}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}  share of etcd (spread), goal")
    met = True
    for kind in ("write", "read"):
        for in_flight in IN_FLIGHT:
            beside = [one["per_s"] for one in found[f"{kind} {in_flight} etcd"]]
            for system in ("etcd", "ours", "core"):
                rounds = found.get(f"{kind} {in_flight} {system}")
                if rounds is None:
                    continue
                shares = [one["per_s"] / two for one, two in zip(rounds, beside, strict=True)]
                words = ""
                if system != "etcd":
                    words = f"{median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"
                    goal = GOALS.get((kind, in_flight))
                    if goal is not None:
                        good = median(shares) >= goal
                        met = met and good
                        words += f", >= {goal:g}: {'yes' if good else 'NO'}"
                figures = [median(one[key] for one in rounds) for key in _FIGURES]
                print(
                    f"{kind + ' ' + str(in_flight):12}{system:6}{figures[0]:9.0f}"
                    f"{figures[1]:9.2f}{figures[2]:9.2f}  {words}"
                )
    return met


_FIGURES = ("per_s", "p50_ms", "p99_ms")


def main() -> int:
    options = rounds_parser(__doc__).parse_args()
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        print("etcd is not installed (Debian: etcd-server, etcd-client)", file=sys.stderr)
        return 2
    return compare("beside-etcd", ("r1", "r2", "r1", "r2"), options, measure, report)


if __name__ == "__main__":
    sys.exit(main())
