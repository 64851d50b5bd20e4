"""What `find` looks for: a name's facts against what was asked (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gfs_ha.cli.data.amounts import Signed, compare
from gfs_ha.cli.data.listing import FileItem

_DAY_S = 86_400
_QUOTED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Criteria:
    """All of them have to hold; None and empty ask nothing."""

    names: tuple[str, ...] = ()  # Patterns, any of them.
    names_folded: tuple[str, ...] = ()  # The same, without regard to case.
    paths: tuple[str, ...] = ()
    kind: str | None = None
    size: Signed | None = None
    ages: tuple[tuple[Signed, bool], ...] = ()  # Seconds; whether whole days count.
    newer_than_ns: int | None = None
    goal: Signed | None = None
    empty: bool = False
    now_ns: int = 0

    def hold(self, item: FileItem) -> bool:
        """Return whether a name is looked for."""
        if self.kind is not None and item.kind != self.kind:
            return False
        if self.names and not _matches(item.name, self.names):
            return False
        folded = item.name.casefold()
        if self.names_folded and not _matches(folded, self.names_folded):
            return False
        if self.paths and not _matches(item.path, self.paths):
            return False
        return self._size_holds(item) and self._time_holds(item)

    def _size_holds(self, item: FileItem) -> bool:
        if self.size is not None and (item.directory or not compare(*_pair(self.size, item.size))):
            return False
        if self.goal is not None and (item.directory or not compare(*_pair(self.goal, item.goal))):
            return False
        if not self.empty:
            return True
        return not (item.entry_count if item.directory else item.size or item.growing)

    def _time_holds(self, item: FileItem) -> bool:
        if self.newer_than_ns is not None and item.mtime_ns <= self.newer_than_ns:
            return False
        age_s = (self.now_ns - item.mtime_ns) / 1e9
        return all(_age_holds(age_s, wanted, days) for wanted, days in self.ages)


def _age_holds(age_s: float, wanted: Signed, days: bool) -> bool:
    """Whole days as find has them: +1 is two days and more, 0 is the last 24 hours."""
    if not days:
        return compare(wanted.sign, age_s, wanted.number)
    return compare(wanted.sign, age_s // _DAY_S, wanted.number // _DAY_S)


def _pair(wanted: Signed, found: int) -> tuple[str, int, int]:
    return wanted.sign, found, wanted.number


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text, _plain(pattern)) for pattern in patterns)


def _plain(pattern: str) -> str:
    """Return a pattern of find, where what comes after a backslash stands for itself, as one."""
    return _QUOTED.sub(lambda one: f"[{one[1]}]" if one[1] in "*?[\\" else one[1], pattern)
