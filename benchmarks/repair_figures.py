"""How well repair uses its budget, whether it says rightly how long it takes, what clients feel.

    python repair_figures.py [--budget 48] [--big 40] [--timeline] [--json FILE] [--keep]

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
from repair_timeline import copies_made, most_in_a_second, show
from stage import Failed, Interrupted, Stage

from gfs_ha.errors import GfsError
from gfs_ha.protocol.repair import SetBudget

DEAD_AFTER_S = 8.0
VICTIM = "cs3"
BEFORE_S = 20.0
_ANSWERS, _START_S = 10, 120.0  # The first ones meet a cluster that is new to them.
_QUIET = 10  # Times that nothing is missing, one after another: then it is over.
USE_GOAL, ETA_GOAL = 0.90, 0.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=48, help="MiB per second of all servers")
    parser.add_argument("--big", type=int, default=40, help="files of 32 MiB")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--timeline", action="store_true", help="print it, by tenths of a second")
    parser.add_argument("--keep", action="store_true", help="leave the files behind")
    options = parser.parse_args()
    try:
        launch = heal_ward.burying(DEAD_AFTER_S)
        with Stage("repair-figures", options.keep, launch) as stage:
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
        begun_s = _wait_for_answers(clients)
        time.sleep(BEFORE_S)
        killed_s = time.monotonic()
        before = clients.answers(begun_s, killed_s)
        stage.cluster.kill(VICTIM, signal.SIGKILL)
        dead_s = watch.wait(lambda now: now.states.get(VICTIM) == "dead", DEAD_AFTER_S + 30.0)
        if dead_s is None:
            raise Failed(f"{VICTIM} was never taken for dead")
        told, whole_s, backed_off = _follow(watch, dead_s)
        during = clients.answers(dead_s, whole_s)
        copies = [
            one
            for one in copies_made(Path(stage.cluster.directory), dead_s)
            if one.ended_s <= whole_s
        ]
        wrong = clients.stop()
    if len(copies) < 2 or not told:
        raise Failed(f"{len(copies)} copies, {len(told)} times to go were told: nothing to judge")
    first_s, last_s = min(one.begun_s for one in copies), copies[-1].ended_s
    copied = sum(one.length for one in copies)
    use = copied / (last_s - first_s) / (options.budget << 20)
    most = most_in_a_second(copies, first_s) / (options.budget << 20)
    if options.timeline:
        show(copies, first_s, options.budget << 20)
        print("told, s since the first byte: " + _told(told, first_s, whole_s))
    # From a tenth of the work on; the last second is too short to be told in parts of a second.
    begun_s = first_s + 0.1 * (whole_s - first_s)
    off = [
        abs(eta_s - (whole_s - at_s)) / (whole_s - at_s)
        for at_s, eta_s in told
        if at_s >= begun_s and whole_s - at_s > 1
    ]
    error = median(off) if off else float("nan")
    print(f"copied       {copied / 1e6:.0f} MB in {last_s - first_s:.1f} s, {len(copies)} copies")
    print(f"budget       {options.budget} MiB/s, {use:.0%} of it used (goal: {USE_GOAL:.0%})")
    print(f"most         {most:.0%} of the budget in any second; backed off {backed_off:.0%}")
    print(f"time to go   off by {error:.0%}, median of {len(off)} (goal: {ETA_GOAL:.0%})")
    for kind in RATES:
        was, now = before.percentile_ms(kind, 0.99), during.percentile_ms(kind, 0.99)
        print(f"{kind:13}p99 {was:.0f} ms before, {now:.0f} ms while it runs")
    wrong += during.errors
    print(f"client errors {len(wrong)}; load average {os.getloadavg()[0]:.1f}")
    if options.json:
        facts = {
            "use": use,
            "most": most,
            "backed_off": backed_off,
            "eta_error": error,
            "copied_bytes": copied,
            "wrong": wrong,
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 0 if use >= USE_GOAL and error <= ETA_GOAL and not wrong else 1


def _wait_for_answers(clients: Clients) -> float:
    """Wait until every client is answered; return when that was."""
    since_s = time.monotonic()
    while time.monotonic() - since_s < _START_S:
        found = clients.answers(since_s, time.monotonic()).latencies_ms
        if all(len(found.get(kind, ())) >= _ANSWERS for kind in RATES):
            return time.monotonic()
        time.sleep(0.2)
    raise Failed(f"the clients are not answered within {_START_S:.0f} s")


def _follow(watch: Watch, since_s: float) -> tuple[list[tuple[float, float]], float, float]:
    """Return which times to go were told and when, when all was whole, how often it backed off."""
    told: list[tuple[float, float]] = []
    whole_s = 0.0
    begun = False
    quiet = backed_off = asked = 0
    while time.monotonic() - since_s < heal_ward.HEAL_S and quiet < _QUIET:
        at_s = time.monotonic()
        try:
            report = watch.cluster.operations.repair(1)
        except GfsError:
            continue
        begun = begun or bool(report.copying)
        if report.copying:
            asked += 1
            backed_off += bool(report.budget.backed_off)
            if report.eta_ms > 0:
                told.append((at_s, report.eta_ms / 1000))
        if begun and not report.copying and not report.chunk_count:
            whole_s = whole_s or at_s
            quiet += 1
        else:
            whole_s, quiet = 0.0, 0
        time.sleep(0.1)
    return told, whole_s or time.monotonic(), backed_off / max(1, asked)


def _told(told: list[tuple[float, float]], first_s: float, whole_s: float) -> str:
    """Return some of the times to go, each with the right one."""
    return ", ".join(
        f"{at_s - first_s:.1f}: {eta_s:.1f} ({whole_s - at_s:.1f})" for at_s, eta_s in told[::5]
    )


if __name__ == "__main__":
    sys.exit(main())
