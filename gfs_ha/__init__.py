"""A distributed file system in the line of GFS, whose master is no single point of failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gfs_ha.version import VERSION

if TYPE_CHECKING:
    from os import PathLike

    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.client.storage import StorageClient
    from gfs_ha.config import Config

__version__ = VERSION

__all__ = ["Cluster", "StorageClient", "__version__", "connect"]


def connect(
    config: Config | str | PathLike[str] | None = None,
    *,
    timeout_s: float | None = None,
    consistency: str = "linearizable",
) -> Cluster:
    """Return a cluster as a file system; nothing is dialled before its first operation.

    Args: `config` is a configuration, the path of its file, or None to find one as `gfsctl` does
    (GFS_CONFIG, GFS_CONTEXT, ./gfs.toml, the current context…: see contexts.py); `timeout_s` is the
    longest time without an answered command or an acknowledged packet (30 s, or the file's);
    `consistency` of reads is `linearizable`, `bounded:MS` or `local`: see Cluster.
    Raises: ConfigError, UsageError.
    """
    import os

    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.config import Config, find, load

    if not isinstance(config, Config):
        config = load(find(None if config is None else os.fspath(config), os.environ))
    return Cluster(config, timeout_s, consistency=consistency)


def __getattr__(name: str) -> object:
    """Import the heavy parts when they are asked for: `import gfs_ha` itself is instant."""
    if name == "Cluster":
        from gfs_ha.client.filesystem import Cluster

        return Cluster
    if name == "StorageClient":
        from gfs_ha.client.storage import StorageClient

        return StorageClient
    raise AttributeError(f"module 'gfs_ha' has no attribute {name!r}")
