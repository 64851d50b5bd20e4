"""The smallest façade: values by key."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from gfs_ha.client.filesystem import Cluster
from gfs_ha.client.namespace import check_path
from gfs_ha.config import Config, load
from gfs_ha.errors import InvalidPath


class StorageClient:
    """Reads and writes values by key; a key is a path below `/`. Thread-safe."""

    def __init__(self, config: Config | str | Path) -> None:
        """Args: a configuration, or the path of its file."""
        self._cluster = Cluster(config if isinstance(config, Config) else load(config))

    def read(self, key: str) -> bytes:
        """Return the value, verified. Raises: NotFound, IsADirectory, CorruptData…"""
        return self._cluster.read_bytes(_path(key))

    def write(self, key: str, value: bytes) -> None:
        """Replace the value in one step; on return it is safe on every replica's disk.

        Directories above it must exist. Raises: NotFound, NoServers, UnknownOutcome…
        """
        self._cluster.write_bytes(_path(key), value)

    def close(self) -> None:
        """End the session and hang up."""
        self._cluster.close()

    def __enter__(self) -> StorageClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _path(key: str) -> str:
    path = check_path("/" + key.lstrip("/"))
    if path == "/":
        raise InvalidPath("an empty key")
    return path
