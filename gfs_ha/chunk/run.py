"""A chunkserver as a process: built from its configuration, run until a signal ends it."""

from __future__ import annotations

import logging
import signal

from gfs_ha.chunk.server import Chunkserver
from gfs_ha.config import Config, check_exposure
from gfs_ha.errors import ConfigError, DeadlineExceeded, GfsError
from gfs_ha.notify import ServiceNotes, service_notes
from gfs_ha.runtime import Future, Runtime, ThreadedRuntime, watch_stop_signals

_LOOK_S = 0.2

logger = logging.getLogger(__name__)


def build_chunkserver(config: Config, runtime: Runtime) -> Chunkserver:
    """Return a chunkserver that holds its data directory and is not started yet.

    Raises: ConfigError, WrongDirectory (another cluster's, or in use), DiskFailed.
    """
    if config.chunkserver is None:
        raise ConfigError(f"{config.path}: has no [chunkserver]")
    return Chunkserver(config, config.chunkserver, runtime)


def run_chunkserver(config: Config, insecure: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Prints `ready name=… port=…` once the data port serves. Raises: the GfsError that ended it.
    """
    own = config.chunkserver
    if own is None:
        raise ConfigError(f"{config.path}: has no [chunkserver]")
    check_exposure(config, own.host, insecure)
    crashed: list[BaseException] = []

    def note_crash(task: str, error: BaseException) -> None:
        logger.critical("a task crashed task=%s", task, exc_info=error)
        crashed.append(error)

    runtime = ThreadedRuntime(note_crash)
    stop = watch_stop_signals(runtime)
    server = build_chunkserver(config, runtime)
    notes = service_notes(server.pulse, runtime)
    try:
        server.start()
        _wait_for_end(server, crashed, stop, notes)
    finally:
        notes.stopping("ends what is under way")
        clean = server.stop()
    if crashed:
        raise GfsError(f"a task of {own.name} crashed: {crashed[0]!r}") from crashed[0]
    if server.ended.done():
        raise server.ended.result(0.0)
    logger.info("stopped server=%s clean=%s", own.name, clean)
    return 0


def _wait_for_end(
    server: Chunkserver,
    crashed: list[BaseException],
    stop: Future[signal.Signals],
    notes: ServiceNotes,
) -> None:
    said = False
    while not crashed and not server.ended.done():
        if not said and server.ready.done():
            print(f"ready name={server.name} port={server.ready.result(0.0)}", flush=True)
            notes.ready(server.standing())
            said = True
        try:
            number = stop.result(_LOOK_S if said else _LOOK_S / 10)
        except DeadlineExceeded:
            if said:
                notes.look(server.standing())
            else:
                notes.starting(server.standing(), within_limit=not server.enrolling)
            continue
        logger.info("stopping signal=%s", number.name)
        return
