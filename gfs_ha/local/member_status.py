"""Whether a process of a local cluster is there, and what `up` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gfs_ha.errors import ConfigError, NotFound, WrongDirectory
from gfs_ha.local import launcher
from gfs_ha.local.home import Home
from gfs_ha.local.layout import read_member

RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One process: is it there? `pid` is 0 when it is stopped."""

    name: str
    role: str
    state: str  # RUNNING, PAUSED (by SIGSTOP) or STOPPED.
    pid: int
    port: int
    rack: str
    log: Path
    metrics_port: int = 0  # 0: it has none.
    error: str = ""  # What is wrong with its configuration; then port and rack are not known.


@dataclass(frozen=True, slots=True)
class UpReport:
    """What `up` found running, and what it started."""

    directory: Path
    config: Path
    created: bool
    running: tuple[str, ...]
    started: tuple[str, ...]


def status_of(home: Home) -> MemberStatus:
    """Return a process; also of one whose configuration is wrong, since it may well run."""
    process = launcher.find(home)
    state = STOPPED if process is None else PAUSED if process.paused() else RUNNING
    pid, log = process.pid if process else 0, home.files.log
    try:
        member = read_member(home)
    except (ConfigError, WrongDirectory, NotFound) as error:
        return MemberStatus(home.name, home.role, state, pid, 0, "", log, error=error.message)
    where = (member.port, member.rack, log, member.metrics_port)
    return MemberStatus(member.name, member.role, state, pid, *where)
