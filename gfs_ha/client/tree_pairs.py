"""Two trees side by side, one here and one in the cluster: every name once, in sorted order.

Sorted by the parts of the path; a directory comes before what is below it. Of the local tree the
directories on the way down are held in memory, of the remote one a page of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gfs_ha.client.crew import fatal
from gfs_ha.client.globs import Globs
from gfs_ha.client.local_files import shown
from gfs_ha.client.local_tree import LocalDirectory, LocalOther, LocalThing, listing
from gfs_ha.client.namespace import Namespace, join
from gfs_ha.client.transfers import Problem
from gfs_ha.errors import GfsError
from gfs_ha.protocol.metadata import DIRECTORY, FILE, FileStatus

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Pair:
    """One name and what it is on either side; None: it is not there."""

    name: str  # Below both roots, with slashes; "" is the roots themselves.
    local: LocalThing | None
    remote: FileStatus | None

    @property
    def local_kind(self) -> str:
        """Return "file", "directory", "other", or nothing."""
        if self.local is None:
            return ""
        if isinstance(self.local, LocalDirectory):
            return DIRECTORY
        return OTHER if isinstance(self.local, LocalOther) else FILE

    @property
    def remote_kind(self) -> str:
        return "" if self.remote is None else self.remote.kind

    @property
    def local_size(self) -> int:
        return getattr(self.local, "size", 0) or 0

    @property
    def remote_size(self) -> int:
        return self.remote.size if self.remote is not None and self.remote.kind == FILE else 0

    @property
    def descends(self) -> bool:
        """Return whether something lies below: a directory, and nothing else in its place."""
        kinds = {self.local_kind, self.remote_kind}
        return kinds - {""} == {DIRECTORY}


class TreePairs:
    """Walks two trees; each walk is used by one thread.

    Args: `exact` finds the true size of a file that grows.
    """

    def __init__(
        self,
        names: Namespace,
        exact: Callable[[str], FileStatus],
        remote: str,
        globs: Globs,
    ) -> None:
        self._names = names
        self._exact = exact
        self._remote = remote
        self._globs = globs

    def walk(self, root: Pair) -> Iterator[Pair | Problem]:
        """Yield every name below a pair of roots that takes part, each directory before its own.

        A directory that cannot be listed on one side is a problem, and nothing below it is told:
        what is there and what is missing is not known. Raises: NoLeader…
        """
        waiting = [self._side_by_side(root)]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
                continue
            yield found
            if isinstance(found, Pair) and found.descends:
                waiting.append(self._side_by_side(found))

    def _side_by_side(self, above: Pair) -> Iterator[Pair | Problem]:
        local: list[LocalThing] = []
        if isinstance(above.local, LocalDirectory):
            try:
                local = listing(above.local)
            except GfsError as error:
                yield Problem(shown(above.local.path), error)
                return
        here = (thing for thing in local if self._takes(thing.name, thing))
        if above.remote is None:
            yield from (Pair(thing.name, thing, None) for thing in here)
            return
        path = self.remote_path(above.name)
        try:
            yield from self._merged(here, self._remote_below(path, above.name))
        except GfsError as error:
            if fatal(error):
                raise
            yield Problem(path, error)  # It was removed meanwhile.

    def remote_path(self, name: str) -> str:
        """Return where a name lies in the cluster."""
        return join(self._remote, name) if name else self._remote

    def _takes(self, name: str, thing: LocalThing) -> bool:
        return self._globs.takes(name, isinstance(thing, LocalDirectory))

    def _remote_below(self, path: str, above: str) -> Iterator[tuple[str, FileStatus]]:
        for entry in self._names.entries(path):
            name = f"{above}/{entry.name}" if above else entry.name
            status = entry.status
            if not self._globs.takes(name, status.kind == DIRECTORY):
                continue
            if status.growing:
                status = self._exact_status(self.remote_path(name), status)
            yield name, status

    def _exact_status(self, path: str, listed: FileStatus) -> FileStatus:
        try:
            return self._exact(path)
        except GfsError as error:
            if fatal(error):
                raise
            return listed  # Who reads the file is told what is wrong with it.

    @staticmethod
    def _merged(
        here: Iterator[LocalThing], there: Iterator[tuple[str, FileStatus]]
    ) -> Iterator[Pair]:
        thing = next(here, None)
        entry = next(there, None)
        while thing is not None or entry is not None:
            if entry is None or (thing is not None and thing.name < entry[0]):
                assert thing is not None
                yield Pair(thing.name, thing, None)
                thing = next(here, None)
            elif thing is None or entry[0] < thing.name:
                yield Pair(entry[0], None, entry[1])
                entry = next(there, None)
            else:
                yield Pair(thing.name, thing, entry[1])
                thing, entry = next(here, None), next(there, None)
