"""What a run that was killed left behind: found by its own records, ended and removed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from gfs_ha.local.processes import end_processes, find_process, start_ticks
from gfs_ha.runtime import ThreadedRuntime, boot_id

_RUNNER = "runner"


def claim(directory: Path) -> None:
    """Note in the directory of a run who runs it."""
    pid = os.getpid()
    note = f"{pid} {start_ticks(pid)} {boot_id()}\n"
    (directory / _RUNNER).write_text(note, encoding="ascii")


def remove_leftovers(build: Path, purpose: str) -> list[str]:
    """Remove the runs of this purpose whose runner is gone; return their names."""
    removed = []
    for note in sorted(build.glob(f"{purpose}-*/{_RUNNER}")):
        if find_process(note) is not None:
            continue
        directory = note.parent
        notes = [*directory.rglob("pid"), *directory.glob("*.pid")]
        processes = [found for one in notes if (found := find_process(one)) is not None]
        for process in processes:
            process.send(signal.SIGKILL)
        end_processes(processes, ThreadedRuntime(), 0.0)
        shutil.rmtree(directory, ignore_errors=True)
        removed.append(directory.name)
    return removed
