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
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfs_ha import config
from gfs_ha.errors import UsageError, WrongDirectory
from gfs_ha.local.processes import ProcessFiles

HOST = "127.0.0.1"
CONFIG_NAME = "gfs.toml"
MASTER = "master"
CHUNKSERVER = "chunkserver"
_COMPLETE_NAME = "complete"
_LOCK_NAME = "lock"


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
        return self.directory / "data"


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
        cluster = "\n".join(lines) + "\n"
        settings = f"\n[settings]\nchunk_size = {plan.chunk_bytes}\n"
        for index in range(plan.masters):
            name = f"m{index + 1}"
            self._write_member(name, f'{cluster}{settings}\n[master]\nname = "{name}"\n')
        for index, port in enumerate(ports[2 * plan.masters :]):
            name = f"cs{index + 1}"
            rack = plan.racks[index % len(plan.racks)]
            self._write_member(
                name,
                f'{cluster}\n[chunkserver]\nname = "{name}"\nlisten = "{HOST}:{port}"\n'
                f'rack = "{rack}"\n',
            )
        _replace(self.client_config, f"{cluster}{settings}")

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
        _replace(directory / CONFIG_NAME, f'{text}directory = "data"\n')

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
