"""Starts the daemons of a local cluster, and finds every run of them again."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import gfs_ha
from gfs_ha.local import processes
from gfs_ha.local.home import Home
from gfs_ha.local.processes import Process
from gfs_ha.runtime import Runtime

BOOTSTRAP = "--bootstrap"


def launch(home: Home, role: str, options: Sequence[str] = ()) -> Process:
    """Start a daemon with the configuration in its home. Raises: GfsError."""
    # -P: a file of the user's working directory must not stand in for one of Python's.
    command = [sys.executable, "-P", "-m", "gfs_ha.cli.daemons", role, *_mark(home), *options]
    environ = dict(os.environ)
    package = str(Path(gfs_ha.__file__).parent.parent)
    # The same code as ours, installed or not.
    environ["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [environ.get("PYTHONPATH")])])
    return processes.start_process(command, home.files, environ)


def find(home: Home) -> Process | None:
    """Return the run of a daemon, also when its pid file was lost."""
    named = processes.find_process(home.files.pid)
    if named is not None:
        return named
    strays = _find_strays(home)
    return strays[0] if strays else None


def end_all(homes: Sequence[Home], runtime: Runtime, grace_s: float) -> tuple[str, ...]:
    """End every run of these daemons, and return the names that ran. Raises: DeadlineExceeded."""
    ended = []
    running: list[Process] = []
    for home in homes:
        runs = _find_strays(home)
        named = processes.find_process(home.files.pid)
        if named is not None and named not in runs:
            runs.append(named)
        running += runs
        if runs:
            ended.append(home.name)
    processes.end_processes(running, runtime, grace_s)
    for home in homes:
        home.files.pid.unlink(missing_ok=True)
    return tuple(ended)


def _find_strays(home: Home) -> list[Process]:
    return processes.find_strays(_mark(home))


def _mark(home: Home) -> tuple[str, ...]:
    """Return the arguments that only this daemon has; an editor of its file has not."""
    return "--config", str(home.config_path), "--log-file", str(home.files.log)
