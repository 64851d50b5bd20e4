"""How a demo runs and speaks: on a stage of its own, with the time, and proved at the end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from stage import Failed, Interrupted, Launch, Stage

from gfs_ha.errors import GfsError
from gfs_ha.local import launcher

_started_s = time.monotonic()


def run_demo(purpose: str, play: Callable[[Stage], str], launch: Launch = launcher.launch) -> int:
    """Play a demo; return 0 only if everything that it is to prove was proved, and nothing is left.

    Args: `play` returns the last line: what was proved; `launch` starts the daemons.
    """
    try:
        with Stage(purpose, launch=launch) as stage:
            line = play(stage)
        left = [one.name for one in stage.cluster.status()]
        if left or stage.directory.exists():
            raise Failed(f"something was left behind: {left or stage.directory}")
    except Interrupted as interrupted:
        print(f"demo stopped by {interrupted}; everything is taken down", file=sys.stderr)
        return interrupted.exit_status
    except (Failed, GfsError, OSError, subprocess.TimeoutExpired) as error:
        print(f"DEMO FAILED: {error}", file=sys.stderr)
        return 1
    print(line)
    return 0


def elapsed_s() -> float:
    """Return the seconds since the demo began."""
    return time.monotonic() - _started_s


def say(text: str) -> None:
    """Say a line, with the time."""
    print(f"{elapsed_s():6.1f} s  {text}", flush=True)
