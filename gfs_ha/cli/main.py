"""The entry point of `gfsctl`: nothing is imported before the first signal can be answered."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    if "_GFSCTL_COMPLETE" in os.environ:
        from gfs_ha.cli.complete.run import run as complete

        leave(complete())
    try:
        from gfs_ha.cli.interrupt import Interrupted, listen

        listen()
        from gfs_ha.cli.shell import run

        try:
            status = run(sys.argv[1:])
        except Interrupted as interrupted:
            status = interrupted.exit_status
    except KeyboardInterrupt as stopped:
        # An `Interrupted` that came while the rest was imported knows its signal.
        status = getattr(stopped, "exit_status", 130)
    leave(status)


def leave(status: int) -> NoReturn:
    """Flush what is written and end; a reader that has gone is no error.

    The interpreter's own end is skipped: a worker that still waits for a dead peer must not hold
    the shell.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            status = status or (0 if stream is sys.stderr else 1)
    os._exit(status)
