"""Faults on three real masters under a recorded load, judged as in the simulation.

    python benchmarks/chaos_masters.py [--seconds 300] [--seed 1] [--kinds kill,pause]

Needs root. Three master processes and six client processes, each on a host of its own; kills,
pauses, planned restarts, partitions, one-way cuts, slow, narrow and lossy links, a full disk, steps
of the wall clock, masters that are away until only a snapshot brings them back, masters replaced,
added and removed, also by two operators at once, by a schedule that the seed decides; the masters'
clocks run fast or slow. Exit status 1 when a promise was broken (the evidence is kept), 77 when
namespaces are not allowed here.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path

from chaos import leftovers, schedule
from chaos.lan import NotAllowed
from chaos.masters import Broken
from chaos.run import Run, Wish
from chaos.verdict import Verdict
from stage import CHECKOUT, Interrupted, Stage

PURPOSE = "chaos-masters"
NOT_ALLOWED_STATUS = 77
_EVIDENCE = ("*/*.log*", "*/output", "*.record", "*.errors", "events", "*/gfs.toml")


def run(wish: Wish, keep: bool = False) -> tuple[Verdict, Path | None]:
    """Return what one run has shown, and where its evidence lies, if it was kept."""
    leftovers.remove_leftovers(CHECKOUT / "build", PURPOSE)
    with Stage(PURPOSE) as stage:
        leftovers.claim(stage.directory)
        with Run(stage.directory, wish) as one:
            found = one.run()
        kept = None
        if found.violations or keep:
            kept = _keep(stage.directory, wish.seed)
    return found, kept


def _keep(directory: Path, seed: int) -> Path:
    """Copy what explains a run; return where it lies."""
    place = CHECKOUT / "build" / f"chaos-kept-{seed}-{directory.name.rpartition('-')[2]}"
    for pattern in _EVIDENCE:
        for path in directory.glob(pattern):
            target = place / path.relative_to(directory)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return place


def main() -> int:
    """Parse the options, run, say what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, help="default: a new one")
    parser.add_argument("--kinds", default=",".join(schedule.KINDS), help="which faults")
    parser.add_argument("--log", action="store_true", help="say every fault as it comes")
    parser.add_argument("--keep", action="store_true", help="keep logs and records in any case")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 20) if options.seed is None else options.seed
    kinds = tuple(options.kinds.split(","))
    unknown = sorted(set(kinds) - set(schedule.KINDS))
    if unknown:
        parser.error(f"no such faults: {', '.join(unknown)}; there are {', '.join(schedule.KINDS)}")
    try:
        found, kept = run(Wish(seed, options.seconds, kinds, options.log), options.keep)
    except NotAllowed as error:
        print(f"skipped: {error}", file=sys.stderr)
        return NOT_ALLOWED_STATUS
    except Interrupted as interrupted:
        return interrupted.exit_status
    except Broken as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    print(found.show())
    if kept is not None:
        print(f"logs, records and events are in {kept}")
    if found.violations:
        print(f"FAILED with seed {seed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
