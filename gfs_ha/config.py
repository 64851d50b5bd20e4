"""What one TOML file says: the cluster, this process, the client, the first settings."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gfs_ha import limits
from gfs_ha.contexts import choose
from gfs_ha.errors import ConfigError
from gfs_ha.strict_toml import Section, parse_address, read_root, read_text

MASTERS_MAX = 7
# Below this a snapshot of a busy cluster is overtaken by the log before it is installed.
_LOG_BYTES_MIN = 256 * limits.KIB

LOOPBACK = "loopback"  # Security modes: `none` opens the ports to the network, with --insecure.
NONE = "none"
TLS = "tls"
_SECURITY_MODES = (LOOPBACK, NONE, TLS)
# How the bytes of chunks travel with mode `tls`. `auto`: in clear where all servers of a chunk
# listen on loopback, else encrypted.
AUTO = "auto"
ENCRYPT = "encrypt"
INTEGRITY = "integrity"
DATA_LEVELS = (AUTO, ENCRYPT, INTEGRITY, NONE)


@dataclass(frozen=True, slots=True)
class MasterAddress:
    """One member of the masters: where clients reach it, and where its peers do."""

    name: str
    host: str
    port: int
    raft_port: int


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Which cluster this is, the same in every file of it."""

    id: str
    name: str
    masters: tuple[MasterAddress, ...]

    def master(self, name: str) -> MasterAddress | None:
        """Return the address of the master of that name, or None."""
        return next((one for one in self.masters if one.name == name), None)


@dataclass(frozen=True, slots=True)
class MasterConfig:
    """This process as a master; its addresses stand in `ClusterConfig.masters`."""

    name: str
    directory: Path
    map_bytes: int = limits.MAP_BYTES_DEFAULT
    dead_after_s: float = limits.DEAD_S  # Of silence; then the copies of a server are made anew.
    log_bytes: int = limits.RAFT_LOG_BYTES_MAX  # Kept for a master that is away (M7).


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """A data directory of a chunkserver."""

    directory: Path
    capacity: int = 0  # Bytes of the disk that it may take at most; 0: all of it.
    mounted: bool = False  # Only if something is mounted there: else its disk is missing.


@dataclass(frozen=True, slots=True)
class ChunkserverConfig:
    """This process as a chunkserver; `machine` and `rack` decide what lies near what."""

    name: str
    disks: tuple[DiskConfig, ...]
    host: str
    port: int
    rack: str
    machine: str


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Where a client runs, and how long it goes on without an answered command."""

    machine: str
    rack: str
    timeout_s: float = limits.OPERATION_TIMEOUT_S
    name: str = ""  # How it calls itself; empty: user@machine:process, of gfsctl user@machine.


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where this daemon answers machines that watch it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SettingsConfig:
    """What the first leader proposes in InitCluster; later changes are commands."""

    chunk_bytes: int = limits.CHUNK_BYTES_DEFAULT
    goal: int = limits.GOAL_DEFAULT
    min_copies: int = limits.MIN_COPIES_DEFAULT
    placement: str = limits.PLACEMENT_RULE_DEFAULT


@dataclass(frozen=True, slots=True)
class Config:
    """One file, checked. `security` is `loopback`, `none` or `tls`; `data` one of DATA_LEVELS."""

    path: Path
    cluster: ClusterConfig
    master: MasterConfig | None
    chunkserver: ChunkserverConfig | None
    client: ClientConfig
    settings: SettingsConfig
    security: str
    tls_directory: Path | None = None  # With mode `tls`: where key and certificates are.
    metrics: MetricsConfig | None = None  # None: it has no such port.
    data: str = AUTO


def find(explicit: str | None, environ: Mapping[str, str], context: str | None = None) -> Path:
    """Return the file to load; contexts.py says in which order it is looked for.

    Raises: ConfigError when nothing names one and none of the usual places has one; NotFound for a
    context that is not there.
    """
    return choose(environ, explicit, context).path


def load(path: str | Path) -> Config:
    """Return what the file says. Raises: ConfigError with file, line and key."""
    path = Path(path)
    return parse(read_text(path), path)


def parse(text: str, path: Path) -> Config:
    """Return what the text of a file says; relative directories count from the file's folder."""
    root = read_root(text, path)
    root.only("cluster", "master", "chunkserver", "client", "settings", "security", "metrics")
    cluster = _read_cluster(root.table("cluster", required=True))
    security, tls_directory, data = _read_security(root, path)
    return Config(
        path=path,
        cluster=cluster,
        master=_read_master(root.table("master"), cluster, path) if root.has("master") else None,
        chunkserver=_read_chunkserver(root.table("chunkserver"), path)
        if root.has("chunkserver")
        else None,
        client=_read_client(root.table("client")),
        settings=_read_settings(root.table("settings")),
        security=security,
        tls_directory=tls_directory,
        metrics=_read_metrics(root.table("metrics")) if root.has("metrics") else None,
        data=data,
    )


def check_exposure(config: Config, host: str, insecure: bool) -> None:
    """Refuse to listen beyond this machine without TLS unless it is asked for (M10).

    Raises: ConfigError.
    """
    if config.metrics is not None:
        _check_host(config, config.metrics.host, insecure)
    _check_host(config, host, insecure)


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_host(config: Config, host: str, insecure: bool) -> None:
    if is_loopback(host) or config.security == TLS or (insecure and config.security == NONE):
        return
    raise ConfigError(
        f"{config.path}: {host} is reachable from the network and security is"
        f' "{config.security}"; listen on 127.0.0.1, set mode = "tls", or give both security ='
        ' "none" in the file and --insecure'
    )


def _read_cluster(section: Section) -> ClusterConfig:
    section.only("id", "name", "masters")
    cluster_id = section.name("id")
    name = section.name("name", default=cluster_id)
    masters: list[MasterAddress] = []
    taken: set[tuple[str, int]] = set()
    for one in section.tables("masters"):
        one.only("name", "host", "port", "raft_port")
        master = MasterAddress(
            name=one.name("name"),
            host=one.text("host"),
            port=one.integer("port", 1, 65535),
            raft_port=one.integer("raft_port", 1, 65535),
        )
        if any(master.name == other.name for other in masters):
            one.fail("name", f"{master.name!r} is given twice")
        for key, port in (("port", master.port), ("raft_port", master.raft_port)):
            if (master.host, port) in taken:
                one.fail(key, f"{master.host}:{port} is given twice")
            taken.add((master.host, port))
        masters.append(master)
    if not 1 <= len(masters) <= MASTERS_MAX:
        section.fail("masters", f"{len(masters)} masters; a cluster has 1 to {MASTERS_MAX}")
    return ClusterConfig(cluster_id, name, tuple(masters))


def _read_master(section: Section, cluster: ClusterConfig, file: Path) -> MasterConfig:
    section.only("name", "directory", "map_bytes", "dead_after_s", "log_bytes")
    name = section.name("name")
    if cluster.master(name) is None:
        known = ", ".join(one.name for one in cluster.masters)
        section.fail("name", f"{name!r} is none of the cluster's masters ({known})")
    map_bytes = section.size("map_bytes", limits.MAP_BYTES_DEFAULT)
    if not 64 * limits.MIB <= map_bytes <= 1 << 44:
        section.fail("map_bytes", f"{map_bytes} is not between 64 MiB and 16 TiB")
    most = min(limits.RAFT_LOG_BYTES_MAX, map_bytes // 4)
    log_bytes = section.size("log_bytes", most)
    if not _LOG_BYTES_MIN <= log_bytes <= most:
        section.fail(
            "log_bytes",
            f"{log_bytes} is not between 256 KiB and {most}, the smaller of 1 GiB and a quarter"
            " of map_bytes",
        )
    return MasterConfig(
        name=name,
        directory=section.directory("directory", file),
        map_bytes=map_bytes,
        dead_after_s=section.number(
            "dead_after_s", limits.DEAD_MIN_S, limits.DEAD_MAX_S, limits.DEAD_S
        ),
        log_bytes=log_bytes,
    )


def _read_chunkserver(section: Section, file: Path) -> ChunkserverConfig:
    section.only("name", "directory", "listen", "rack", "machine", "capacity", "mounted", "disks")
    disks = _read_disks(section, file)
    host, port = _read_listen(section)
    return ChunkserverConfig(
        name=section.name("name"),
        disks=disks,
        host=host,
        port=port,
        rack=section.name("rack", default="default"),
        machine=section.name("machine", default=os.uname().nodename),
    )


def _read_disks(section: Section, file: Path) -> tuple[DiskConfig, ...]:
    """Return the data directories: one by `directory`, or several by `disks`."""
    if not section.has("disks"):
        return (_read_disk(section, file),)
    for key in ("directory", "capacity", "mounted"):
        if section.has(key):
            section.fail(key, "goes into each of `disks`, when these are given")
    most = limits.DISKS_PER_SERVER_MAX // 2  # The others are kept for disks that are lost.
    tables = section.tables("disks")
    if not 1 <= len(tables) <= most:
        section.fail("disks", f"{len(tables)} disks; a server has 1 to {most}")
    disks: list[DiskConfig] = []
    for one in tables:
        disk = _read_disk(one.only("directory", "capacity", "mounted"), file)
        for other in disks:
            if why := _why_not_both(disk.directory, other.directory):
                one.fail("directory", why)
        disks.append(disk)
    return tuple(disks)


def _why_not_both(one: Path, other: Path) -> str:
    """Return why two directories are no two disks, also by way of links; else empty."""
    if one == other:
        return f"{one} is given twice"
    real, real_other = (Path(os.path.realpath(directory)) for directory in (one, other))
    if real == real_other:
        return f"{one} and {other} are the same directory: give each disk its own"
    if real_other in real.parents:
        return f"{one} lies in {other}: give each disk a directory outside of the others"
    if real in real_other.parents:
        return f"{other} lies in {one}: give each disk a directory outside of the others"
    return ""


def _read_disk(section: Section, file: Path) -> DiskConfig:
    capacity = section.size("capacity", 0)
    if section.has("capacity") and capacity < limits.CAPACITY_BYTES_MIN:
        least = limits.CAPACITY_BYTES_MIN // limits.MIB
        section.fail("capacity", f"{capacity} bytes; a disk has at least {least} MiB")
    mounted = section.boolean("mounted", default=False)
    return DiskConfig(section.directory("directory", file), capacity, mounted)


def _read_client(section: Section) -> ClientConfig:
    section.only("machine", "rack", "timeout_s", "name")
    return ClientConfig(
        machine=section.name("machine", default=os.uname().nodename),
        rack=section.name("rack", default=""),
        timeout_s=section.number("timeout_s", 0.1, 86_400, limits.OPERATION_TIMEOUT_S),
        name=section.name("name", default=""),
    )


def _read_metrics(section: Section) -> MetricsConfig:
    section.only("listen")
    return MetricsConfig(*_read_listen(section))


def _read_listen(section: Section) -> tuple[str, int]:
    try:
        return parse_address(section.text("listen"))
    except ValueError as error:
        section.fail("listen", str(error))


def _read_settings(section: Section) -> SettingsConfig:
    section.only("chunk_size", "goal", "min_copies", "placement")
    chunk_bytes = section.size("chunk_size", limits.CHUNK_BYTES_DEFAULT)
    low, high = limits.CHUNK_BYTES_MIN, limits.CHUNK_BYTES_MAX
    if not low <= chunk_bytes <= high or chunk_bytes % limits.BLOCK_BYTES:
        section.fail(
            "chunk_size",
            f"{chunk_bytes} bytes; a chunk has {low // limits.MIB} to {high // limits.MIB} MiB, "
            f"in whole blocks of {limits.BLOCK_BYTES // limits.KIB} KiB",
        )
    goal = section.integer("goal", 1, limits.GOAL_MAX, limits.GOAL_DEFAULT)
    usual = min(limits.MIN_COPIES_DEFAULT, goal)
    min_copies = section.integer("min_copies", 1, limits.GOAL_MAX, usual)
    if min_copies > goal:
        section.fail("min_copies", f"{min_copies} is more than the goal of {goal} copies")
    rule = section.text("placement", default=limits.PLACEMENT_RULE_DEFAULT)
    if rule not in limits.PLACEMENT_RULES:
        section.fail("placement", f"{rule!r} is none of {', '.join(limits.PLACEMENT_RULES)}")
    return SettingsConfig(chunk_bytes, goal, min_copies, rule)


def _read_security(root: Section, file: Path) -> tuple[str, Path | None, str]:
    if isinstance(root.raw("security"), str):
        holder, key = root, "security"  # security = "none", without a table.
    else:
        holder, key = root.table("security").only("mode", "directory", "data"), "mode"
    mode = holder.text(key, default=LOOPBACK)
    if mode not in _SECURITY_MODES:
        holder.fail(key, f"{mode!r} is none of {', '.join(_SECURITY_MODES)}")
    given = {one for one in ("directory", "data") if holder is not root and holder.has(one)}
    if given and mode != TLS:
        holder.fail(min(given), f"is for mode {TLS!r}, not for {mode!r}")
    if mode != TLS:
        return mode, None, AUTO
    data = holder.text("data") if "data" in given else AUTO
    if data not in DATA_LEVELS:
        holder.fail("data", f"{data!r} is none of {', '.join(DATA_LEVELS)}")
    beside = file.absolute().parent / "tls"
    return mode, holder.directory("directory", file) if "directory" in given else beside, data
