"""What copying to and from the cluster tells its caller: progress, results, problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gfs_ha.client.lanes import Lanes
from gfs_ha.errors import Cancelled, GfsError


class Progress(Protocol):
    """Told by several threads what happens; must be quick and must not raise."""

    def expect(self, files: int, size: int) -> None:
        """Add so many files and bytes to what is going to be copied."""
        ...

    def moved(self, size: int) -> None:
        """Add bytes that are copied; a negative size takes back what has to be copied again."""
        ...

    def finished(self, path: str) -> None:
        """One file is copied whole."""
        ...


class Silent:
    """A Progress that nobody looks at."""

    def expect(self, files: int, size: int) -> None:
        pass

    def moved(self, size: int) -> None:
        pass

    def finished(self, path: str) -> None:
        pass


class Cancel:
    """A flag that ends a transfer soon: nothing half is left on either side. Thread-safe."""

    def __init__(self, parent: Cancel | None = None) -> None:
        """Args: `parent` is a wider flag; when it is set, this one is, too."""
        self._parent = parent
        self._set = False

    def set(self) -> None:
        self._set = True

    @property
    def is_set(self) -> bool:
        return self._set or (self._parent is not None and self._parent.is_set)

    def check(self) -> None:
        """Raise Cancelled when the flag is set."""
        if self.is_set:
            raise Cancelled("cancelled")


class Pace(Protocol):
    """How fast the bytes of one operation move."""

    def take(self, size: int) -> None:
        """Wait until `size` more bytes may have passed. Raises: Cancelled."""
        ...


class Unpaced:
    """A Pace that holds nothing up."""

    def take(self, size: int) -> None:
        pass


UNPACED = Unpaced()


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of an operation, what ends it early, and how much of it is under way at once."""

    progress: Progress
    cancel: Cancel
    lanes: Lanes
    pace: Pace = UNPACED


@dataclass(frozen=True, slots=True)
class PutOptions:
    """How content is stored.

    Args: `durability` is `disk` or `memory` (C1), `replicas` the goal of copies; empty and 0 = as
    the directory's policy says. `if_absent` refuses with AlreadyExists what would replace a file.
    """

    durability: str = ""
    replicas: int = 0
    if_absent: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """One file that was put: size in bytes, and how safe it is."""

    path: str
    size: int
    chunk_count: int = 0
    copies: int = 0  # The fewest copies that any of its chunks has; 0 for an empty file.
    goal: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a person should know, one line each; empty when all is as wanted."""
        if self.copies >= self.goal:
            return ()
        return (copies_warning(self.path, self.copies, self.goal),)


def copies_warning(what: str, copies: int, goal: int) -> str:
    """Return the line that says that something has fewer copies than wanted."""
    return (
        f"{what}: stored with {copies} of {goal} copies, because servers failed or are missing; "
        "repair adds the others once there is room for them (gfsctl admin repair status)"
    )


@dataclass(frozen=True, slots=True)
class Fetched:
    """One file that was got: where it lies on this machine, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A name in a tree that was skipped or could not be copied, and why."""

    path: str
    error: GfsError
    skipped: bool = False  # It is nothing that is copied; nothing went wrong.


@dataclass(slots=True)
class TreeResult:
    """What became of a tree, copied to `path`. It is complete when there are no problems."""

    path: str = ""
    file_count: int = 0
    directory_count: int = 0
    size: int = 0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.problems
