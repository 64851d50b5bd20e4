"""Disks that fail below a master's store: at the n-th call it ends, and what is there counts.

    python -m power.failing_store DIRECTORY SEED STEPS SHARE     below the shim

Each call that writes, syncs, makes or renames fails in turn: with EIO or ENOSPC, from there on or
only once, or a write is cut short. The script must end with DiskFailed or DiskFull; on the healthy
disk the store must hold what was committed, and nothing that never was. Prints a summary as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import msgspec

from gfs_ha.errors import DiskFailed, DiskFull
from power.scripted_master import Committed, play
from power.store_look import EMPTY, look

# Errno (negative: cut the write short, then ENOSPC), and whether only one call fails.
WAYS = ((errno.EIO, 0), (errno.EIO, 1), (errno.ENOSPC, 0), (errno.ENOSPC, 1), (-1, 0))


class Failures(msgspec.Struct):
    """What the failing calls have shown."""

    calls: int = 0
    tried: int = 0
    errors: dict[str, int] = {}
    violations: list[str] = []


class _Trial:
    """One run of the script on an empty directory."""

    def __init__(self, directory: Path, seed: int, steps: int) -> None:
        self.commits: list[Committed] = []
        self.error: BaseException | None = None
        shutil.rmtree(directory, ignore_errors=True)
        try:
            play(directory, seed, steps, self._note)
        except Exception as error:  # Whatever it is, it is the finding.
            self.error = error

    def _note(self, text: bytes) -> None:
        self.commits.append(msgspec.json.decode(text, type=Committed))


def run(directory: Path, seed: int, steps: int, share: float) -> Failures:
    """Return what the failing of a share of all calls has shown."""
    shim = ctypes.CDLL(None)
    arm = shim.disk_shim_arm
    arm.argtypes, arm.restype = (ctypes.c_long, ctypes.c_int, ctypes.c_int), ctypes.c_long
    place = directory / "m1"
    arm(0, 0, 0)
    healthy = _Trial(place, seed, steps)
    if healthy.error is not None:
        raise healthy.error
    found = Failures(calls=arm(0, 0, 0))
    errors: Counter[str] = Counter()
    chance = random.Random(seed)
    for number in range(1, found.calls + 1):
        for error, once in WAYS:
            if chance.random() >= share:
                continue
            arm(number, error, once)
            trial = _Trial(place, seed, steps)
            arm(0, 0, 0)
            found.tried += 1
            errors[type(trial.error).__name__] += 1
            wrong = _wrong(place, trial, healthy.commits)
            full = isinstance(trial.error, DiskFull)
            if not wrong and error > 0 and full != (error == errno.ENOSPC):
                wrong = f"called it {trial.error}"
            if wrong:
                found.violations.append(f"call {number} errno {error} once {once}: {wrong}")
    found.errors = dict(errors)
    return found


def _wrong(place: Path, trial: _Trial, commits: list[Committed]) -> str:
    """Return what is not as promised; empty when all is."""
    if not isinstance(trial.error, DiskFailed | DiskFull):
        return f"the script ended with {type(trial.error).__name__}: {trial.error}"
    done = len(trial.commits)
    if [one.digest for one in trial.commits] != [one.digest for one in commits[:done]]:
        return "the script went another way"
    now = look(place)
    allowed = [one.digest for one in commits[max(0, done - 1) : done + 1]]
    if done == 0:
        allowed.append(EMPTY)
    if now.error:
        return f"afterwards ({trial.error}): {now.error}"
    if now.digest not in allowed:
        return f"{done} commits had returned, then another store was found ({trial.error})"
    return ""


def main(words: list[str]) -> None:
    """Run and print."""
    logging.disable(logging.ERROR)
    found = run(Path(words[0]), int(words[1]), int(words[2]), float(words[3]))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
