"""The directory of a local cluster: one configuration for clients, one directory per process.

    D/gfs.toml          for clients (GFS_CONFIG)
    D/m1/gfs.toml       this process: its configuration,
    D/m1/data           its state,
    D/m1/m1.log         its log, bounded,
    D/m1/pid, output    its pid file, and what the last run said on standard output and error
    D/complete          written when the cluster was ready for the first time

The configurations are the only record of names, ports and racks.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfs_ha import config
from gfs_ha.errors import ConfigError, UsageError, WrongDirectory
from gfs_ha.local.processes import ProcessFiles

HOST = "127.0.0.1"
CONFIG_NAME = "gfs.toml"
MASTER = "master"
CHUNKSERVER = "chunkserver"
_COMPLETE_NAME = "complete"
_LOCK_NAME = "lock"
_DATA_NAME = "data"
_RACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a local cluster is to be."""

    masters: int = 3
    chunkservers: int = 4
    racks: tuple[str, ...] = ("r1", "r2")
    chunk_bytes: int = config.SettingsConfig().chunk_bytes

    def check(self) -> None:
        """Raises: UsageError for what cannot be."""
        if not 1 <= self.masters <= config.MASTERS_MAX:
            raise UsageError(f"{self.masters} masters; a cluster has 1 to {config.MASTERS_MAX}")
        if not 0 <= self.chunkservers <= 100:
            raise UsageError(f"{self.chunkservers} chunkservers; a local cluster has 0 to 100")
        if not self.racks:
            raise UsageError("no rack; name at least one")
        if not all(_RACK.fullmatch(rack) for rack in self.racks):
            raise UsageError(
                f"{','.join(self.racks)!r}: a rack is named by letters, digits, - or _"
            )
        text = _cluster_text(self, "local", range(10_000, 10_000 + self.ports_needed()))
        try:
            config.parse(text, Path(CONFIG_NAME))
        except ConfigError as error:
            raise UsageError(error.message.partition(": ")[2]) from error

    def ports_needed(self) -> int:
        return 2 * self.masters + self.chunkservers


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the cluster, as its configuration says."""

    name: str
    role: str  # MASTER or CHUNKSERVER.
    port: int
    rack: str  # Of a chunkserver, else empty.
    directory: Path
    files: ProcessFiles

    @property
    def config_path(self) -> Path:
        return self.directory / CONFIG_NAME

    @property
    def data(self) -> Path:
        return self.directory / _DATA_NAME


class Layout:
    """The files of one local cluster below its directory."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory).expanduser().absolute()
        self.client_config = self.directory / CONFIG_NAME
        self.lock = self.directory / _LOCK_NAME
        self._complete = self.directory / _COMPLETE_NAME

    def exists(self) -> bool:
        """Return whether a cluster was laid out here."""
        return self.client_config.exists()

    def complete(self) -> bool:
        """Return whether it was ready once: from then on its data are somebody's."""
        return self._complete.exists()

    def mark_complete(self) -> None:
        self._complete.touch()

    def claim(self) -> None:
        """Make the directory. Raises: WrongDirectory when it holds something else."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.exists() or self.lock.exists():
            return
        if any(self.directory.iterdir()):
            raise WrongDirectory(
                f"{self.directory} is not empty and holds no local cluster; choose another --dir"
            )
        self.lock.touch()

    def write(self, plan: Plan, cluster_id: str, ports: Sequence[int]) -> None:
        """Write all configurations; the clients' one comes last and makes the cluster exist."""
        cluster = _cluster_text(plan, cluster_id, ports)
        for index in range(plan.masters):
            name = f"m{index + 1}"
            own = f'\n[master]\nname = "{name}"\ndirectory = "{_DATA_NAME}"\n'
            self._write_member(name, cluster + own)
        for index, port in enumerate(ports[2 * plan.masters :]):
            name = f"cs{index + 1}"
            rack = plan.racks[index % len(plan.racks)]
            self._write_member(name, cluster + _server_text(name, port, rack))
        _replace(self.client_config, cluster)

    def plan(self) -> Plan:
        """Return what the cluster is. Raises: ConfigError for a damaged configuration."""
        members = self.members()
        servers = [member for member in members if member.role == CHUNKSERVER]
        return Plan(
            masters=len(members) - len(servers),
            chunkservers=len(servers),
            racks=tuple(dict.fromkeys(member.rack for member in servers)),
            chunk_bytes=config.load(self.client_config).settings.chunk_bytes,
        )

    def members(self) -> tuple[Member, ...]:
        """Return the processes, masters first. Raises: ConfigError for a damaged configuration."""
        found = [
            self._read_member(path.parent)
            for path in sorted(self.directory.glob(f"*/{CONFIG_NAME}"), key=_natural)
        ]
        return tuple(sorted(found, key=lambda one: one.role != MASTER))

    def remove(self) -> None:
        """Remove what the cluster wrote; the directory too, if nothing else lies in it."""
        for path in self.directory.glob(f"*/{CONFIG_NAME}"):
            shutil.rmtree(path.parent)
        # Half-written layouts have directories without a configuration: they are ours if empty.
        for path in (self.client_config, self._complete, self.lock):
            path.unlink(missing_ok=True)
        for path in (*self.directory.iterdir(), self.directory):
            try:
                path.rmdir()
            except OSError:
                pass  # Not empty, or no directory: not ours.

    def _write_member(self, name: str, text: str) -> None:
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        _replace(directory / CONFIG_NAME, text)

    def _read_member(self, directory: Path) -> Member:
        read = config.load(directory / CONFIG_NAME)
        name = directory.name
        files = ProcessFiles(
            pid=directory / "pid", output=directory / "output", log=directory / f"{name}.log"
        )
        if read.chunkserver is not None:
            server = read.chunkserver
            return Member(name, CHUNKSERVER, server.port, server.rack, directory, files)
        address = read.cluster.master(read.master.name) if read.master else None
        if address is None:
            raise WrongDirectory(f"{directory / CONFIG_NAME} is neither a master nor a chunkserver")
        return Member(name, MASTER, address.port, "", directory, files)


def _cluster_text(plan: Plan, cluster_id: str, ports: Sequence[int]) -> str:
    raft = ports[plan.masters : 2 * plan.masters]
    lines = ["[cluster]", f'id = "{cluster_id}"', 'name = "local"']
    for index in range(plan.masters):
        lines += [
            "",
            "[[cluster.masters]]",
            f'name = "m{index + 1}"',
            f'host = "{HOST}"',
            f"port = {ports[index]}",
            f"raft_port = {raft[index]}",
        ]
    lines += ["", "[settings]", f"chunk_size = {plan.chunk_bytes}", ""]
    return "\n".join(lines)


def _server_text(name: str, port: int, rack: str) -> str:
    return (
        f'\n[chunkserver]\nname = "{name}"\ndirectory = "{_DATA_NAME}"\n'
        f'listen = "{HOST}:{port}"\nrack = "{rack}"\n'
    )


def _natural(path: Path) -> tuple[str, int]:
    name = path.parent.name
    letters = name.rstrip("0123456789")
    number = name[len(letters) :]
    return letters, int(number) if number else 0


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where a local cluster lies when nobody says: $GFS_LOCAL_DIR, ~/.gfs-ha/local."""
    named = environ.get("GFS_LOCAL_DIR")
    return Path(named) if named else Path.home() / ".gfs-ha" / "local"
