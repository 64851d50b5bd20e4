"""The directory of a local cluster: one configuration for clients, one directory per process.

    D/gfs.toml          for clients (GFS_CONFIG)
    D/tls, D/ca         of a closed cluster: what its user shows, and its authority
    D/m1/gfs.toml       this process: its configuration,
    D/m1/data, tls      its state, and what it shows,
    D/m1/m1.log         its log, bounded,
    D/m1/pid, output    its pid file, and what the last run said on standard output and error
    D/cs9.log           of one that `add` did not get to run
    D/cs9.aside         moved there by a person: it is none of the cluster's
    D/complete          written once all processes had started; from then on the data count

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
from gfs_ha.limits import CAPACITY_BYTES_MIN, MIB
from gfs_ha.local.home import CHUNKSERVER, CONFIG_NAME, HOME_NAMES, MASTER, PARTIAL, Home
from gfs_ha.local.member_text import (
    HOST,
    disks_text,
    master_text,
    metrics_text,
    server_text,
    with_master,
)

_COMPLETE_NAME = "complete"
_LOCK_NAME = "lock"
_RACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
DISKS_MAX = 16  # Of a server; they share one file system anyway.


@dataclass(frozen=True, slots=True)
class Plan:
    """What a local cluster is to be."""

    masters: int = 3
    chunkservers: int = 4
    racks: tuple[str, ...] = ("r1", "r2")
    chunk_bytes: int = config.SettingsConfig().chunk_bytes
    capacities: tuple[int, ...] = (0,)  # Of the servers' disks, in turns; 0: all of the disk.
    disks: int = 1  # Data directories of each chunkserver.
    closed: bool = False  # Everybody shows a certificate.

    def check(self) -> None:
        """Raises: UsageError for what cannot be."""
        if not 1 <= self.masters <= config.MASTERS_MAX:
            raise UsageError(f"{self.masters} masters; a cluster has 1 to {config.MASTERS_MAX}")
        if self.masters % 2 == 0:
            raise UsageError(
                f"{self.masters} masters: no more of them may fail than of {self.masters - 1}; take"
                f" an odd number, {self.masters - 1} or {self.masters + 1}"
            )
        if not 0 <= self.chunkservers <= 100:
            raise UsageError(f"{self.chunkservers} chunkservers; a local cluster has 0 to 100")
        if not 1 <= self.disks <= DISKS_MAX:
            raise UsageError(
                f"{self.disks} disks; a server of a local cluster has 1 to {DISKS_MAX}"
            )
        if not self.racks:
            raise UsageError("no rack; name at least one")
        if not all(_RACK.fullmatch(rack) for rack in self.racks):
            raise UsageError(
                f"{','.join(self.racks)!r}: a rack is named by up to 32 letters, digits, - or _,"
                " and begins with a letter or digit"
            )
        if not self.capacities or any(
            0 < one < CAPACITY_BYTES_MIN or one < 0 for one in self.capacities
        ):
            least = CAPACITY_BYTES_MIN // MIB
            raise UsageError(
                f"a server's disk has at least {least} MiB; give 0 for all of the disk"
            )
        text = _cluster_text(self, "local", range(10_000, 10_000 + self.ports_needed()))
        try:
            config.parse(text, Path(CONFIG_NAME))
        except ConfigError as error:
            raise UsageError(error.message.partition(": ")[2]) from error

    def ports_needed(self) -> int:
        return 3 * self.masters + 2 * self.chunkservers


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the cluster, as its configuration says."""

    home: Home
    role: str  # MASTER or CHUNKSERVER.
    port: int
    rack: str  # Of a chunkserver, else empty.
    capacity: int = 0  # Bytes that a chunkserver may take of each of its disks; 0: all of it.
    disks: int = 1  # Data directories of a chunkserver.
    metrics_port: int = 0  # For who watches it; 0: laid out by a release without one.

    @property
    def name(self) -> str:
        return self.home.name


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A chunkserver that is to be laid out."""

    name: str
    rack: str
    capacity: int  # Bytes of each disk; 0: all of it.
    disks: int


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

    def claimed(self) -> bool:
        """Return whether the directory is that of a local cluster, even of one not laid out."""
        return self.lock.exists() and self.directory.is_dir()

    def holds(self, number: int) -> bool:
        """Return whether an open file is the lock that lies in the directory now."""
        try:
            return os.path.samestat(os.fstat(number), self.lock.stat())
        except FileNotFoundError:
            return False

    def complete(self) -> bool:
        """Return whether all its processes had started once: from then on its data count."""
        return self._complete.exists()

    def mark_complete(self) -> None:
        self._complete.touch()

    def mark_incomplete(self) -> None:
        """Have its data not count any more: however much of it is left, `up` begins anew."""
        self._complete.unlink(missing_ok=True)

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
        watched = ports[2 * plan.masters + plan.chunkservers :]
        for index in range(plan.masters):
            name = f"m{index + 1}"
            self._write_member(name, cluster + master_text(name, watched[index]))
        for index in range(plan.chunkservers):
            rack = plan.racks[index % len(plan.racks)]
            capacity = plan.capacities[index % len(plan.capacities)]
            one = Newcomer(f"cs{index + 1}", rack, capacity, plan.disks)
            own = (ports[2 * plan.masters + index], watched[plan.masters + index])
            self._write_server(cluster, one, own)
        _replace(self.client_config, cluster)

    def lay_out_servers(
        self, servers: Sequence[Newcomer], ports: Sequence[int]
    ) -> tuple[Member, ...]:
        """Write the configurations of further chunkservers; over those that bear their names.

        Args: `ports` are two for each: that for clients, that for who watches it.
        """
        cluster = self.client_config.read_text(encoding="utf-8")
        for index, one in enumerate(servers):
            self._write_server(cluster, one, ports[2 * index : 2 * index + 2])
        return tuple(read_member(Home(self.directory / one.name)) for one in servers)

    def newcomer(self) -> Member | None:
        """Return the master that the clients' configuration does not name yet, if there is one."""
        named = {master.name for master in config.load(self.client_config).cluster.masters}
        fresh = [m for m in self.members() if m.role == MASTER and m.name not in named]
        return fresh[0] if fresh else None

    def misses(self, new: Member) -> tuple[str, ...]:
        """Return the masters that a newcomer's configuration does not name any more: its places."""
        own = {master.name for master in config.load(new.home.config_path).cluster.masters}
        named = config.load(self.client_config).cluster.masters
        return tuple(master.name for master in named if master.name not in own)

    def replaced(self, old: str) -> str:
        """Return that a master was replaced already, or nothing if that is not so.

        Numbers go up and are never used again: who has a lower one than the last master and is not
        named any more was there once.
        """
        match = HOME_NAMES[MASTER].fullmatch(old)
        names = [master.name for master in config.load(self.client_config).cluster.masters]
        numbers = [int(one[1:]) for one in names if one[1:].isdigit()]
        if match is None or old in names or not 0 < int(match.group(1)) < max(numbers, default=0):
            return ""
        return f"{old} is replaced already; the masters are {', '.join(names)}"

    def lay_out_master(self, old: str, ports: Sequence[int]) -> Member:
        """Write the configuration of a new master that names it in the place of an old one.

        Args: `ports` are that for clients, that for the other masters, that for who watches it.
        """
        numbers = [int(home.name[1:]) for home in self.homes() if home.name[1:].isdigit()]
        name = f"m{max(numbers) + 1}"
        text = with_master(self.client_config.read_text(encoding="utf-8"), old, name, ports)
        self._write_member(name, text + master_text(name, ports[2]))
        return read_member(Home(self.directory / name))

    def put_in_place(self, old: str, new: Member) -> None:
        """Write the new master into all configurations, and forget the old one and its data."""
        address = config.load(new.home.config_path).cluster.master(new.name)
        assert address is not None, "a master's own file names it"
        ports = (address.port, address.raft_port)
        for path in (*(home.config_path for home in self.homes()), self.client_config):
            text = path.read_text(encoding="utf-8")
            if path.parent.name != old:
                _replace(path, with_master(text, old, new.name, ports))
        for home in self.homes():
            if home.name == old:
                home.discard()

    def voters(self) -> tuple[str, ...]:
        """Return the masters that clients know; one that is on its way into a place is none."""
        return tuple(one.name for one in config.load(self.client_config).cluster.masters)

    def ports(self) -> frozenset[int]:
        """Return every port of the cluster, of stopped processes too. Raises: ConfigError."""
        members = self.members()
        paths = (self.client_config, *(member.home.config_path for member in members))
        masters = [one for path in paths for one in config.load(path).cluster.masters]
        found = {port for one in masters for port in (one.port, one.raft_port)}
        return frozenset(found.union(*((one.port, one.metrics_port) for one in members)))

    def plan(self) -> Plan:
        """Return what the cluster is. Raises: ConfigError for a damaged configuration."""
        members = self.members()
        servers = [member for member in members if member.role == CHUNKSERVER]
        return Plan(
            masters=len(members) - len(servers),
            chunkservers=len(servers),
            racks=tuple(dict.fromkeys(member.rack for member in servers)),
            chunk_bytes=config.load(self.client_config).settings.chunk_bytes,
            capacities=_turns([member.capacity for member in servers]) or (0,),
            disks=max((member.disks for member in servers), default=1),
            closed=config.load(self.client_config).security == config.TLS,
        )

    def members(self) -> tuple[Member, ...]:
        """Return the processes, masters first. Raises: ConfigError for a damaged configuration."""
        return tuple(read_member(home) for home in self.homes())

    def homes(self) -> tuple[Home, ...]:
        """Return the directories of the processes, masters first; reads no configuration."""
        found = [
            (role != MASTER, int(match.group(1)), path)
            for path in self.directory.iterdir()
            for role, pattern in HOME_NAMES.items()
            if (match := pattern.fullmatch(path.name)) and path.is_dir()
        ]
        return tuple(Home(path) for _, _, path in sorted(found))

    def remove(self) -> None:
        """Remove what the cluster wrote; the directory too, if nothing else lies in it."""
        self.mark_incomplete()
        partial = [one for one in self.directory.iterdir() if PARTIAL.fullmatch(one.name)]
        for path in (*partial, *(home.directory for home in self.homes())):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in (self.client_config, self.lock):
            path.unlink(missing_ok=True)
        try:
            self.directory.rmdir()
        except OSError:
            pass  # Something lies in it that is not ours.

    def _write_server(self, cluster: str, server: Newcomer, ports: Sequence[int]) -> None:
        text = cluster + server_text(server.name, ports[0], server.rack)
        text += disks_text(server.disks, server.capacity) + metrics_text(ports[1])
        self._write_member(server.name, text)

    def _write_member(self, name: str, text: str) -> None:
        directory = self.directory / name
        if directory.exists():
            _replace(directory / CONFIG_NAME, text)
        else:
            Home(directory).make(text)


def read_member(home: Home) -> Member:
    """Return a process as its own configuration says. Raises: ConfigError, WrongDirectory."""
    read = config.load(home.config_path)
    watched = read.metrics.port if read.metrics is not None else 0
    if read.chunkserver is not None:
        own = read.chunkserver
        disks = (own.disks[0].capacity, len(own.disks))
        return Member(home, CHUNKSERVER, own.port, own.rack, *disks, metrics_port=watched)
    address = read.cluster.master(read.master.name) if read.master else None
    if address is None:
        raise WrongDirectory(f"{home.config_path} is neither a master's nor a chunkserver's")
    return Member(home, MASTER, address.port, "", metrics_port=watched)


def _cluster_text(plan: Plan, cluster_id: str, ports: Sequence[int]) -> str:
    raft = ports[plan.masters : 2 * plan.masters]
    lines = [f'security = "{config.TLS}"', ""] if plan.closed else []
    lines += ["[cluster]", f'id = "{cluster_id}"', 'name = "local"']
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


def _turns(values: Sequence[int]) -> tuple[int, ...]:
    """Return the shortest row of values that gives these when it is taken in turns."""
    for length in range(1, len(values)):
        if all(value == values[index % length] for index, value in enumerate(values)):
            return tuple(values[:length])
    return tuple(values)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where a local cluster lies when nobody says: $GFS_LOCAL_DIR, ~/.gfs-ha/local."""
    named = environ.get("GFS_LOCAL_DIR")
    return Path(named) if named else Path.home() / ".gfs-ha" / "local"
