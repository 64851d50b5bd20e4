"""A guard beside a run of the tests: however that ends, no process that it started lives on.

Daemons of a local cluster have sessions of their own, and a run that is interrupted may be killed
amid its teardown. All of them inherit a mark in their environment, and the guard, a process of its
own, ends whatever carries it once the run is gone.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "RUN_GUARD_MARK"  # Tests start programs without what begins with GFS.
_SWEEPS_MAX = 200
_SWEEP_S = 0.05


def unmarked() -> dict[str, str]:
    """Return the environment for a process that sees by itself when the run is gone."""
    return {name: value for name, value in os.environ.items() if name != MARK}


def watch() -> None:
    """Mark what this process starts from now on, and have it ended when this process is gone."""
    mark = f"{os.getpid()}-{secrets.token_hex(8)}"
    command = [sys.executable, "-IS", __file__, str(os.getpid()), mark]
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(command[0], command, unmarked(), file_actions=silent, setsid=True)
    os.environ[MARK] = mark


def marked(mark: str) -> dict[int, str]:
    """Return the command lines of the processes that were started with a mark, by their pids."""
    wanted, found = f"{MARK}={mark}".encode(), {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        with suppress(OSError):  # It is gone, or somebody else's.
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(place.name)] = words.decode(errors="replace").strip()
    return found


def mine() -> dict[int, str]:
    """Return what this process started, and what that started, as `marked` does."""
    return marked(os.environ[MARK])


def _end_all(mark: str) -> None:
    for _ in range(_SWEEPS_MAX):  # One that was about to fork is caught by the next sweep.
        left = marked(mark)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_SWEEP_S)


def _wait_gone(pid: int) -> None:
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.poll()


if __name__ == "__main__":
    _wait_gone(int(sys.argv[1]))
    _end_all(sys.argv[2])
