"""How well repair uses its budget, whether it says rightly how long it takes, what clients feel.

    python repair_figures.py [--budget 48] [--big 16] [--json FILE] [--keep]

A chunkserver of eight is killed while clients put, get and append; all servers together may copy
--budget MiB per second. Goals: at least 90 % of the budget is used from the first byte to the last,
the time to go that is told is right within 15 %. Latencies are shown beside those before.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from statistics import median

import heal_ward
from heal import CHUNK_BYTES, RACKS
from heal_clients import RATES, Clients
from heal_watch import Watch
from stage import Failed, Interrupted, Stage

from gfs_ha.errors import GfsError
from gfs_ha.protocol.repair import SetBudget

DEAD_AFTER_S = 8.0
VICTIM = "cs3"
BEFORE_S = 20.0
_QUIET = 10  # Times that nothing is missing, one after another: then it is over.
USE_GOAL, ETA_GOAL = 0.90, 0.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=48, help="MiB per second of all servers")
    parser.add_argument("--big", type=int, default=16, help="files of 32 MiB")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", action="store_true", help="leave the files behind")
    options = parser.parse_args()
    try:
        with Stage("repair-figures", options.keep) as stage:
            return measure(stage, options)
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status


def measure(stage: Stage, options: argparse.Namespace) -> int:
    """Lose a server, follow the repair, print the figures; 1 when a goal is missed."""
    heal_ward.prepare(stage, RACKS, CHUNK_BYTES, DEAD_AFTER_S)
    config = stage.cluster.config_path
    heal_ward.fill(config, options.big)
    clients = Clients(stage.directory, config, RATES, stage.environment)
    with clients, Watch(config, stage.cluster.directory) as watch:
        budget = SetBudget(cluster_bytes_per_s=options.budget << 20, server_bytes_per_s=0)
        watch.cluster.operations.set_repair_budget(budget)
        clients.start()
        begun_s = time.monotonic()
        time.sleep(BEFORE_S)
        killed_s = time.monotonic()
        before = clients.answers(begun_s + 5.0, killed_s)
        stage.cluster.kill(VICTIM, signal.SIGKILL)
        dead_s = watch.wait(lambda now: now.states.get(VICTIM) == "dead", DEAD_AFTER_S + 30.0)
        if dead_s is None:
            raise Failed(f"{VICTIM} was never taken for dead")
        told = _follow(watch, dead_s)
        ended_s = time.monotonic()
        during = clients.answers(dead_s, ended_s)
        copies = watch.copies(dead_s, ended_s)
        wrong = clients.stop()
    if len(copies) < 2 or not told:
        raise Failed(f"{len(copies)} copies, {len(told)} times to go were told: nothing to judge")
    first_s = min(at_s for at_s, _ in told)
    end_s = copies[-1].at_s
    copied = sum(one.length for one in copies)
    use = copied / (end_s - first_s) / (options.budget << 20)
    # The last second is too short to be told in parts of a second.
    off = [abs(eta_s - (end_s - at_s)) / (end_s - at_s) for at_s, eta_s in told if end_s - at_s > 1]
    error = median(off) if off else float("nan")
    print(f"copied       {copied / 1e6:.0f} MB in {end_s - first_s:.1f} s, {len(copies)} copies")
    print(f"budget       {options.budget} MiB/s, {use:.0%} of it used (goal: {USE_GOAL:.0%})")
    print(f"time to go   off by {error:.0%}, median of {len(off)} (goal: {ETA_GOAL:.0%})")
    for kind in RATES:
        was, now = before.percentile_ms(kind, 0.99), during.percentile_ms(kind, 0.99)
        print(f"{kind:13}p99 {was:.0f} ms before, {now:.0f} ms while it runs")
    wrong += during.errors
    print(f"client errors {len(wrong)}; load average {os.getloadavg()[0]:.1f}")
    if options.json:
        facts = {"use": use, "eta_error": error, "copied_bytes": copied, "wrong": wrong}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0 if use >= USE_GOAL and error <= ETA_GOAL and not wrong else 1


def _follow(watch: Watch, since_s: float) -> list[tuple[float, float]]:
    """Return when a time to go was told, and which, from the first copy until all is whole."""
    told: list[tuple[float, float]] = []
    begun_s = None
    quiet = 0
    while time.monotonic() - since_s < heal_ward.HEAL_S:
        at_s = time.monotonic()
        try:
            report = watch.cluster.operations.repair(1)
        except GfsError:
            continue
        if report.copying and begun_s is None:
            begun_s = at_s
        if begun_s is not None and report.eta_ms > 0 and report.copying:
            told.append((at_s, report.eta_ms / 1000))
        idle = begun_s is not None and not report.copying and not report.chunk_count
        quiet = quiet + 1 if idle and not watch.newest.under else 0
        if quiet >= _QUIET:
            break
        time.sleep(0.2)
    return [(begun_s, told[0][1]), *told] if begun_s is not None and told else []


if __name__ == "__main__":
    sys.exit(main())
