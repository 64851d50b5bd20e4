"""A walk through a tree in the order of its names, in bounded memory, while the tree changes.

A directory is read page by page. Of the pages that are held there is a limit: beyond it the
outermost directories are read again from the last name that was told. Directories that come next
are asked for together, so that a tree of small ones costs a request for many of them, not for each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gfs_ha.client.cluster import expect
from gfs_ha.errors import GfsError, InvalidPath, LimitExceeded, NotADirectory, NotFound
from gfs_ha.limits import LIST_PAGE_DEFAULT
from gfs_ha.protocol.calls import Asked, Reply
from gfs_ha.protocol.metadata import DIRECTORY, DirectoryEntry, ListDirectory, Listing

HELD_MAX = 20_000  # Entries in pages that wait for their turn, some 15 MB.
_AHEAD = 16  # Directories that are asked for together, and how much of each.
_AHEAD_PAGE = 64

# What a directory says that was there a moment ago.
_GONE = (NotFound, NotADirectory, InvalidPath, LimitExceeded)

ReadAll = Callable[[Sequence[Asked]], Sequence[Reply]]
Wanted = Callable[[DirectoryEntry], bool]


@dataclass(frozen=True, slots=True)
class Name:
    """A name below the top. `last`: no other one of its directory is told after it."""

    path: str
    entry: DirectoryEntry
    depth: int  # 1 = right in the top.
    last: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """All below a directory was told; the top itself has depth 0."""

    path: str
    depth: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A directory vanished before all of it was read; `Left` comes after it."""

    path: str
    depth: int
    error: GfsError


Step = Name | Left | Lost


@dataclass(slots=True)
class _Level:
    """A directory under way: what is read of it and not told yet."""

    path: str
    depth: int
    page: deque[DirectoryEntry] = field(default_factory=deque)
    more: bool = True  # On the master, after `read_to`.
    read_to: str = ""
    told_to: str = ""
    ahead: dict[str, Listing | GfsError] = field(default_factory=dict)  # By name, of directories.

    def held(self) -> int:
        listings = (one for one in self.ahead.values() if isinstance(one, Listing))
        return len(self.page) + sum(len(one.entries) for one in listings)

    def take(self, listing: Listing, wanted: Wanted) -> None:
        """Keep what is wanted of a page of this directory."""
        self.more = listing.more and bool(listing.entries)
        if listing.entries:
            self.read_to = listing.entries[-1].name
        self.page.extend(one for one in listing.entries if wanted(one))

    def forget(self) -> None:
        """Drop what is held; it is read again, from the last name that was told."""
        self.more = self.more or bool(self.page)
        self.page.clear()
        self.ahead.clear()
        self.read_to = self.told_to


class TreeWalk:
    """One walk; `steps` is to be read once.

    Args: `read_all` answers requests in their order; `depth_max` is how deep names are told, None
    for all; `wanted` says of which names.
    """

    def __init__(
        self,
        read_all: ReadAll,
        top: str,
        depth_max: int | None = None,
        wanted: Wanted = lambda entry: True,
    ) -> None:
        self._read_all = read_all
        self._depth_max = depth_max
        self._wanted = wanted
        self._stack = [_Level(top, 0)]

    def steps(self) -> Iterator[Step]:
        """Yield every name before what is below it, in byte order in each directory.

        A name that is made, moved or removed meanwhile is told or not; the others are told once.
        Raises: what the top itself says when it cannot be read, NoLeader…
        """
        if self._depth_max == 0:
            yield Left(self._stack.pop().path, 0)
            return
        self._first_page()
        while self._stack:
            level = self._stack[-1]
            lost = self._fill(level)
            if lost is not None:
                yield Lost(level.path, level.depth, lost)
            if not level.page:
                yield Left(level.path, level.depth)
                self._stack.pop()
                continue
            entry = level.page.popleft()
            level.told_to = entry.name
            lost = self._fill(level)  # Whether it is the last one.
            path = f"{level.path.rstrip('/')}/{entry.name}"
            depth = level.depth + 1
            yield Name(path, entry, depth, last=not level.page and lost is None)
            if lost is not None:
                yield Lost(level.path, level.depth, lost)
            if entry.status.kind == DIRECTORY and depth != self._depth_max:
                yield from self._enter(level, path, entry)

    def _first_page(self) -> None:
        """Read of the top, which is there: else there is nothing to walk through."""
        top = self._stack[0]
        (reply,) = self._read_all((Asked(ListDirectory(top.path)),))
        top.take(expect(reply, Listing), self._wanted)

    def _fill(self, level: _Level) -> GfsError | None:
        """Have a name of the directory at hand, if it has more; return why it cannot be read."""
        while level.more and not level.page:
            request = ListDirectory(level.path, level.read_to, LIST_PAGE_DEFAULT)
            try:
                (reply,) = self._read_all((Asked(request),))
                level.take(expect(reply, Listing), self._wanted)
            except _GONE as gone:
                level.more = False
                return gone
            self._bound()
        return None

    def _enter(self, level: _Level, path: str, entry: DirectoryEntry) -> Iterator[Step]:
        """Go into a directory that was just told."""
        if not entry.status.entry_count and entry.name not in level.ahead:
            yield Left(path, level.depth + 1)  # Empty when it was told.
            return
        if entry.name not in level.ahead:
            self._look_ahead(level, entry)
        found = level.ahead.pop(entry.name)
        below = _Level(path, level.depth + 1)
        if isinstance(found, GfsError):
            yield Lost(path, below.depth, found)
            yield Left(path, below.depth)
            return
        below.take(found, self._wanted)
        self._stack.append(below)
        self._bound()

    def _look_ahead(self, level: _Level, entry: DirectoryEntry) -> None:
        """Read the beginnings of a directory and of those that come next beside it.

        Raises: what is no matter of one directory.
        """
        names = [entry.name]
        for other in level.page:
            if len(names) == _AHEAD:
                break
            if other.status.kind == DIRECTORY and other.status.entry_count:
                names.append(other.name)
        limit = LIST_PAGE_DEFAULT if len(names) == 1 else _AHEAD_PAGE
        top = level.path.rstrip("/")
        asked = [Asked(ListDirectory(f"{top}/{name}", "", limit)) for name in names]
        for name, reply in zip(names, self._read_all(asked), strict=True):
            try:
                level.ahead[name] = expect(reply, Listing)
            except _GONE as gone:
                level.ahead[name] = gone

    def _bound(self) -> None:
        """Keep what is held within its limit; the innermost directories come first."""
        held = sum(level.held() for level in self._stack)
        for level in self._stack[:-1]:
            if held <= HELD_MAX:
                return
            held -= level.held()
            level.forget()
