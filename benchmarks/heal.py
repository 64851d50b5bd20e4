"""A cluster under constant load heals by itself: one fault after another, each with its figures.

    python heal.py [--only NAME ...] [--dead-after 30] [--big 12] [--json FILE] [--keep]

3 masters and 8 chunkservers on 4 racks serve clients that put, get and append all the time and
check what they get. For each fault: the time to detect it, to the first copy, to full health; the
errors that clients saw and the bytes that were lost (both must be 0); the bytes copied beside the
least that was possible. A copy that was not missing is right only if the good ones lay against
their rule of placement; any other is named, and is wrong. At the end a reader that knows nothing of
the writers reads everything. Exit status 1 when anything of that does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import heal_ward
from chaos.lan import NotAllowed
from chaos.leftovers import claim, remove_leftovers
from heal_clients import RATES, Answers, Clients, Verified, verify
from heal_cut import APART
from heal_faults import FAULTS, ON_HOSTS
from heal_figures import Healed, table
from heal_hosts import Hosts
from heal_watch import Watch
from stage import CHECKOUT, Failed, Interrupted, Stage

from gfs_ha.local import launcher

CHUNK_BYTES = 8 << 20
PURPOSE, BUILD = "heal", CHECKOUT / "build"
RACKS = ("r1", "r2", "r3", "r4")
CALM_S = 20.0  # Before the first fault: how the clients fare without one.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), help="only these faults")
    parser.add_argument("--dead-after", type=float, default=30.0, help="seconds of silence")
    parser.add_argument("--big", type=int, default=12, help="files of 32 MiB that are there before")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", action="store_true", help="leave the files behind")
    options = parser.parse_args()
    for name in remove_leftovers(BUILD, PURPOSE):
        print(f"removed what {name} left behind")
    try:
        return staged(options)
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_status


def staged(options: argparse.Namespace) -> int:
    """Run it on hosts of its own where they are needed and allowed; return the exit status."""
    names = options.only or list(FAULTS)
    with ExitStack() as stack:
        hosts = None
        if any(name in ON_HOSTS for name in names):
            try:
                hosts = stack.enter_context(Hosts(APART))
            except NotAllowed as error:
                names = [name for name in names if name not in ON_HOSTS]
                print(f"SKIPPED {', '.join(ON_HOSTS)}: {error}")
        launch = launcher.launch if hosts is None else hosts.launch
        launch = heal_ward.burying(options.dead_after, launch)
        stage = stack.enter_context(Stage(PURPOSE, options.keep, launch))
        claim(stage.directory)
        return run(stage, options, names, hosts)


def run(stage: Stage, options: argparse.Namespace, names: list[str], hosts: Hosts | None) -> int:
    """Play all faults, verify, print the table, and return the exit status."""
    ward = heal_ward.prepare(stage, RACKS, CHUNK_BYTES, options.dead_after, hosts)
    config = stage.cluster.config_path
    heal_ward.fill(config, options.big)
    clients = Clients(stage.directory, config, RATES, stage.environment)
    wrong: list[str] = []
    healed: list[Healed] = []
    with clients, Watch(config, stage.cluster.directory) as watch:
        ward.watch, ward.clients = watch, clients
        clients.start()
        calm = _calm(clients)
        for name in names:
            print(f"{name}: {FAULTS[name].__doc__}", flush=True)
            one = ward.play(name, FAULTS[name])
            healed.append(one)
            print(f"{'':10}{one.told()}", flush=True)
            wrong += one.wrong
        wrong += clients.stop()
        _say(f"verifying all files and records, load {os.getloadavg()[0]:.1f}")
        verified = verify(config, clients, stage.directory)
    wrong += verified.wrong
    print(table(healed))
    _show(calm, verified)
    if options.json:
        faults = [one.document() for one in healed]
        document = {"faults": faults, **_facts(calm, verified), "wrong": wrong}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    for line in wrong[:30]:
        print(f"WRONG: {line}")
    print("FAILED" if wrong else "everything healed by itself, and nothing was lost")
    return 1 if wrong else 0


def _calm(clients: Clients) -> Answers:
    begun_s = time.monotonic()
    time.sleep(CALM_S)
    calm = clients.answers(begun_s + 5.0, time.monotonic())
    if not calm.count:
        raise Failed(f"the clients do nothing: {clients.stop()}")
    return calm


def _show(calm: Answers, verified: Verified) -> None:
    before = "  ".join(f"{kind} {calm.percentile_ms(kind, 0.99):.0f}" for kind in RATES)
    print(f"p99 in ms before the first fault: {before}")
    print(
        f"verified: {verified.files:,} files, {verified.records:,} records, "
        f"{verified.bytes_read / 1e6:,.0f} MB; {verified.bytes_lost:,} bytes lost"
    )


def _facts(calm: Answers, verified: Verified) -> dict[str, object]:
    return {
        "p99_before_ms": {kind: calm.percentile_ms(kind, 0.99) for kind in RATES},
        "files": verified.files,
        "records": verified.records,
        "bytes_lost": verified.bytes_lost,
        "load": os.getloadavg()[0],
    }


def _say(text: str) -> None:
    print(f"{'':10}{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
