"""Two trees side by side, one here and one in the cluster: every name once, in sorted order.

Sorted by the parts of the path; a directory comes before what is below it. Of the local tree the
directories on the way down are held in memory, of the remote one some pages (tree_walk.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from gfs_ha.client.crew import fatal
from gfs_ha.client.globs import Globs
from gfs_ha.client.local_files import shown
from gfs_ha.client.local_tree import LocalDirectory, LocalOther, LocalThing, listing
from gfs_ha.client.namespace import join
from gfs_ha.client.transfers import Problem
from gfs_ha.client.tree_walk import Lost, Name, Step
from gfs_ha.errors import GfsError
from gfs_ha.protocol.metadata import DIRECTORY, FILE, FileStatus

OTHER = "other"

T = TypeVar("T")


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

    Args: `steps` walks through a remote tree, `exact` finds the true size of a file that grows.
    """

    def __init__(
        self,
        steps: Callable[[str], Iterator[Step]],
        exact: Callable[[str], FileStatus],
        remote: str,
        globs: Globs,
    ) -> None:
        self._steps = steps
        self._exact = exact
        self._remote = remote
        self._globs = globs

    def remote_path(self, name: str) -> str:
        """Return where a name lies in the cluster."""
        return join(self._remote, name) if name else self._remote

    def walk(self, root: Pair) -> Iterator[Pair | Problem]:
        """Yield every name below a pair of roots that takes part, each directory before its own.

        A directory that cannot be listed on one side is a problem, and nothing more below it is
        told: what is there and what is missing is not known. Nor is anything below a directory that
        is something else on the other side. Raises: NoLeader…
        """
        here: _Head[LocalThing] = _Head(self._here(root.local))
        there: _Head[FileStatus] = _Head(self._there(root.remote is not None))
        closed: _Key | None = None  # Nothing below it is told.
        while not (here.ended and there.ended):
            key = min(here.place, there.place)[1]
            local, remote = here.take(key), there.take(key)
            if isinstance(local, _Unknown) or isinstance(remote, _Unknown):
                for unknown in (local, remote):
                    if isinstance(unknown, _Unknown) and not _within(unknown.below, closed):
                        closed = unknown.below
                        yield unknown.problem
                continue
            if _within(key, closed):
                continue
            pair = Pair("/".join(key), local, remote)
            if not pair.descends:
                closed = key
            if self._takes(pair):
                yield pair
            else:
                closed = key

    def _takes(self, pair: Pair) -> bool:
        return self._globs.takes(pair.name, DIRECTORY in (pair.local_kind, pair.remote_kind))

    def _here(self, root: LocalThing | None) -> Iterator[tuple[_Key, LocalThing | _Unknown]]:
        """Yield what is below a local directory; one that takes no part is not read."""
        thing: LocalThing | None = None
        waiting: list[Iterator[LocalThing]] = []
        directory = root
        while True:
            if isinstance(directory, LocalDirectory):
                try:
                    waiting.append(iter(listing(directory)))
                except GfsError as error:
                    key = _key(directory.name)
                    unknown = _Unknown(Problem(shown(directory.path), error), key)
                    yield (*key, ""), unknown
            while waiting and (thing := next(waiting[-1], None)) is None:
                waiting.pop()
            if not waiting:
                return
            assert thing is not None
            yield _key(thing.name), thing
            directory = thing if self._globs.takes(thing.name, directory=True) else None

    def _there(self, exists: bool) -> Iterator[tuple[_Key, FileStatus | _Unknown]]:
        """Yield what is below the remote root."""
        if not exists:
            return
        top = len(self._remote.rstrip("/")) + 1
        told: _Key = ()
        for step in self._steps(self._remote):
            if isinstance(step, Lost):
                above = _key(step.path[top:])
                # After the last of its names that was told; those that follow are not known.
                unknown = _Unknown(Problem(step.path, step.error), above)
                yield max((*above, ""), (*told, "")), unknown
            elif isinstance(step, Name):
                told = _key(step.path[top:])
                status = step.entry.status
                yield told, self._exact_status(step.path, status) if status.growing else status

    def _exact_status(self, path: str, listed: FileStatus) -> FileStatus:
        try:
            return self._exact(path)
        except GfsError as error:
            if fatal(error):
                raise
            return listed  # Who reads the file is told what is wrong with it.


_Key = tuple[str, ...]  # The parts of a name: in their order a directory comes before its own.


def _key(name: str) -> _Key:
    return tuple(name.split("/")) if name else ()


def _within(key: _Key, directory: _Key | None) -> bool:
    return directory is not None and key[: len(directory)] == directory


@dataclass(frozen=True, slots=True)
class _Unknown:
    """From here on nobody knows what is below a directory."""

    problem: Problem
    below: _Key


class _Head(Generic[T]):
    """The next of some things in the order of their names."""

    def __init__(self, things: Iterator[tuple[_Key, T | _Unknown]]) -> None:
        self._things = things
        self._next = next(things, None)

    @property
    def ended(self) -> bool:
        return self._next is None

    @property
    def place(self) -> tuple[bool, _Key]:
        """Return where the next one stands; behind everything at the end."""
        return (True, ()) if self._next is None else (False, self._next[0])

    def take(self, key: _Key) -> T | _Unknown | None:
        """Return the next one if it is of that name."""
        if self._next is None or self._next[0] != key:
            return None
        found = self._next[1]
        self._next = next(self._things, None)
        return found
