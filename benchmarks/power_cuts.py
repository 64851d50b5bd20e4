"""Power cuts and failing disks below the masters, many of them.

    python benchmarks/power_cuts.py [--seeds 3] [--cuts 30] [--seed 1]

First in a model: every crash point of recorded runs, and every call of a run failing in turn
(needs a C compiler). Then three real masters on loop ext4 disks that lose power, all at once or one
(needs root). Exit status 1 when a promise was broken, 77 when a part cannot be done here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
from chaos import leftovers
from power.crash_points import HERE, CrashPoints, judge, record
from power.failing_store import Failures
from power.real_cuts import RealCuts, Violated
from power.recorded_disk import NoCompiler, compile_shim
from stage import CHECKOUT, Interrupted, Stage

PURPOSE = "power-cuts"
NOT_ALLOWED_STATUS = 77
_STEPS = 45
_FAILING_S = 3600.0


def crash_points(place: Path, shim: Path, seed: int) -> list[str]:
    """Look at every point of one record; return the violations."""
    log = record(place, shim, seed, _STEPS)
    verdict = judge(CrashPoints(log, place / "disk", seed), place)
    print(
        f"crash points: seed {seed}, {verdict.commits} commits, {verdict.operations} calls,"
        f" {verdict.points} different points, {len(verdict.violations)} violations",
        flush=True,
    )
    return verdict.violations


def failing_calls(place: Path, shim: Path, seed: int) -> list[str]:
    """Have every call of one run fail in every way; return the violations."""
    words = [sys.executable, "-m", "power.failing_store", str(place), str(seed), str(_STEPS)]
    done = subprocess.run(
        [*words, "1"],
        env={**os.environ, "LD_PRELOAD": str(shim), "DISK_SHIM_DIR": str(place)},
        cwd=HERE.parent, stdout=subprocess.PIPE, check=True, timeout=_FAILING_S,
    )  # fmt: skip
    found = msgspec.json.decode(done.stdout, type=Failures)
    print(
        f"failing calls: {found.calls} calls, {found.tried} failures, ended with {found.errors},"
        f" {len(found.violations)} violations",
        flush=True,
    )
    return found.violations


def real_cuts(place: Path, seed: int, cuts: int) -> None:
    """Cut all disks, and single ones in between. Raises: Violated, OSError."""
    with RealCuts(place, seed) as cluster:
        for number in range(cuts):
            if number % 3 == 2:
                cluster.cut_one()
            else:
                cluster.cut_all()
        names = len(cluster.acknowledged)
    print(f"real cuts: {cuts} cuts, {names} acknowledged names, 0 lost", flush=True)


def run(directory: Path, seed: int, seeds: int, cuts: int) -> int:
    """Do all of it; return the exit status."""
    violations: list[str] = []
    status = 0
    try:
        shim = compile_shim(directory)
    except NoCompiler as error:
        print(f"no crash points: {error}", file=sys.stderr)
        status = NOT_ALLOWED_STATUS
    else:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        for part in (*[crash_points] * seeds, failing_calls):
            with tempfile.TemporaryDirectory(prefix="gfs-ha-power-", dir=memory) as name:
                violations += part(Path(name), shim, seed)
            seed += 1
    try:
        real_cuts(directory / "real", seed, cuts)
    except OSError as error:
        print(f"no real cuts: {error}", file=sys.stderr)
        status = NOT_ALLOWED_STATUS
    except Violated as error:
        violations.append(str(error))
    for line in violations:
        print(f"VIOLATION {line}", file=sys.stderr)
    return 1 if violations else status


def main() -> int:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="recorded runs")
    parser.add_argument("--cuts", type=int, default=30, help="real cuts")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    options = parser.parse_args()
    leftovers.remove_leftovers(CHECKOUT / "build", PURPOSE)
    try:
        with Stage(PURPOSE) as stage:
            leftovers.claim(stage.directory)
            return run(stage.directory, options.seed, options.seeds, options.cuts)
    except Interrupted as error:
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
