"""The names of a cluster: what is there and what it is like, and changes of that."""

from __future__ import annotations

from collections.abc import Iterator

from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.namespace import check_path
from gfs_ha.client.tree_walk import Step, Wanted
from gfs_ha.protocol.metadata import DirectoryEntry, FileStatus, Location, SetAttributes


class Names:
    """The part of a cluster's façade that moves no bytes of files. Thread-safe."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection
        self._names = connection.namespace

    def listdir(self, path: str) -> Iterator[DirectoryEntry]:
        """Yield the entries of a directory in byte order of their names, page by page."""
        return self._names.entries(path)

    def walk(self, path: str) -> Iterator[tuple[str, DirectoryEntry]]:
        """Yield (path, entry) of everything below a directory, a directory before its content."""
        return self._names.walk(path)

    def steps(
        self, path: str, depth_max: int | None = None, wanted: Wanted | None = None
    ) -> Iterator[Step]:
        """Yield what a walk meets, in bounded memory; `depth_max` is how deep, `wanted` what."""
        return self._names.steps(path, depth_max, wanted)

    def stat(self, path: str, *, exact: bool = False) -> FileStatus:
        """Return kind, size, mode, owner, times of a name. Raises: NotFound, NotADirectory.

        The size of a file that grows is what was reported last; `exact` asks who appends to it.
        """
        status = self._names.stat(path)
        if exact and status.growing:
            return self._connection.openings.exact(check_path(path))
        return status

    def exists(self, path: str) -> bool:
        """Return whether there is such a name."""
        return self._names.find(path) is not None

    def mkdir(self, path: str, *, mode: int = 0o777, parents: bool = False) -> FileStatus:
        """Make a directory. With `parents`, also those above it, and one that exists is fine."""
        return self._names.mkdir(path, mode, parents)

    def rename(self, source: str, target: str, *, replace: bool = True) -> None:
        """Move a name, in one step. It replaces a file, or an empty directory by a directory."""
        self._names.rename(source, target, replace)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file or an empty directory; with `recursive` a whole tree, in one step."""
        self._names.remove(path, recursive)

    def set_attributes(
        self,
        path: str,
        *,
        mode: int | None = None,
        owner: str | None = None,
        group: str | None = None,
        mtime_ns: int | None = None,
    ) -> FileStatus:
        """Change what is given, and return the status after it."""
        request = SetAttributes(check_path(path), mode, owner, group, mtime_ns)
        return self._names.set_attributes(request)

    def servers(self) -> tuple[Location, ...]:
        """Return the chunkservers that are available now, as the leader says."""
        return self._connection.locations.servers()
