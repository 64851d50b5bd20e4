"""Names: stat, list, make, move, remove and change attributes, each one request to the leader."""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

from gfs_ha.client.account import own_account
from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.client.session import Session
from gfs_ha.client.tree_walk import Step, TreeWalk, Wanted
from gfs_ha.errors import GfsError, InvalidPath, LimitExceeded, NotFound
from gfs_ha.limits import LIST_PAGE_DEFAULT, NAME_BYTES_MAX, PATH_BYTES_MAX, REQUESTS_PER_CALL_MAX
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    DirectoryEntry,
    Done,
    FileStatus,
    ListDirectory,
    Listing,
    Mkdir,
    Remove,
    Removed,
    Rename,
    SetAttributes,
    Stat,
)

T = TypeVar("T")


def check_path(path: str) -> str:
    """Return a remote path without doubled or trailing slashes.

    Raises: InvalidPath for a path that is not absolute or has a name that cannot exist, before
    anything is sent; LimitExceeded for one that is too long.
    """
    if not path.startswith("/"):
        raise InvalidPath(f"{path!r} is not absolute; remote paths begin with /")
    names = [name for name in path.split("/") if name]
    for name in names:
        if name in (".", "..") or "\0" in name:
            raise InvalidPath(f"{path!r} has a name that cannot exist: {name!r}")
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            raise InvalidPath(f"{path!r} is not UTF-8") from None
        if size > NAME_BYTES_MAX:
            raise LimitExceeded(f"a name of {size} bytes; the limit is {NAME_BYTES_MAX}: {name!r}")
    clean = "/" + "/".join(names)
    if len(clean.encode()) > PATH_BYTES_MAX:
        raise LimitExceeded(f"a path of more than {PATH_BYTES_MAX} bytes: {clean[:64]!r}…")
    return clean


def join(directory: str, name: str) -> str:
    """Return the path of a name in a directory."""
    return posixpath.join(directory, name)


class Namespace:
    """The names of the cluster; every path is checked before it is sent. Thread-safe.

    Args: `led` has the leader answer all reads: for who decides what to change by them.
    """

    def __init__(self, calls: ClusterCalls, session: Session, led: bool = False) -> None:
        self._session = session
        self._read_all = calls.settle if led else calls.read_all

    def stat(self, path: str) -> FileStatus:
        return self._read(Stat(check_path(path)), FileStatus)

    def stat_all(self, paths: Sequence[str]) -> list[FileStatus | GfsError]:
        """Return the status of each path, or why there is none; one look for all of them."""
        found: list[FileStatus | GfsError] = []
        for start in range(0, len(paths), REQUESTS_PER_CALL_MAX):
            asked = [Asked(Stat(p)) for p in paths[start : start + REQUESTS_PER_CALL_MAX]]
            for reply in self._read_all(asked):
                if isinstance(reply, FileStatus):
                    found.append(reply)
                else:
                    assert isinstance(reply, Failure), reply
                    found.append(reply.raised())
        return found

    def find(self, path: str) -> FileStatus | None:
        """Return the status, or None when there is no such name."""
        try:
            return self.stat(path)
        except NotFound:
            return None

    def entries(self, path: str) -> Iterator[DirectoryEntry]:
        """Yield the entries in byte order of their names, page by page.

        A name that is made or removed meanwhile is seen or not; the others are seen once.
        """
        path = check_path(path)
        after = ""
        while True:
            page = self._read(ListDirectory(path, after, LIST_PAGE_DEFAULT), Listing)
            yield from page.entries
            if not page.more or not page.entries:
                return
            after = page.entries[-1].name

    def walk(self, path: str) -> Iterator[tuple[str, DirectoryEntry]]:
        """Yield (path, entry) of everything below a directory, each directory before its own."""
        waiting = deque([check_path(path)])
        while waiting:
            directory = waiting.popleft()
            for entry in self.entries(directory):
                full = join(directory, entry.name)
                yield full, entry
                if entry.status.kind == DIRECTORY:
                    waiting.append(full)

    def steps(
        self, path: str, depth_max: int | None = None, wanted: Wanted | None = None
    ) -> Iterator[Step]:
        """Yield what a walk in the order of the names meets; see client/tree_walk.py."""
        walk = TreeWalk(self._read_all, check_path(path), depth_max, wanted or (lambda entry: True))
        return walk.steps()

    def mkdir(self, path: str, mode: int = 0o777, parents: bool = False) -> FileStatus:
        request = Mkdir(check_path(path), mode, *own_account(), parents)
        return self._session.change(request, FileStatus)

    def rename(self, source: str, target: str, replace: bool = True) -> None:
        request = Rename(check_path(source), check_path(target), replace)
        self._session.change(request, Done)

    def remove(self, path: str, recursive: bool = False) -> None:
        self._session.change(Remove(check_path(path), recursive), Removed)

    def set_attributes(self, request: SetAttributes) -> FileStatus:
        return self._session.change(request, FileStatus)

    def _read(self, request: Request, kind: type[T]) -> T:
        return expect(self._read_all((Asked(request),))[0], kind)

    def change_all(self, requests: Sequence[Request]) -> list[GfsError | None]:
        """Send independent changes in bounded calls; return for each what refused it, or None."""
        outcomes: list[GfsError | None] = []
        for start in range(0, len(requests), REQUESTS_PER_CALL_MAX):
            for reply in self._session.change_all(requests[start : start + REQUESTS_PER_CALL_MAX]):
                outcomes.append(reply.raised() if isinstance(reply, Failure) else None)
        return outcomes
