"""Which names of a tree take part: --include and --exclude globs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gfs_ha.errors import UsageError

PATTERN_LENGTH_MAX = 4096


@dataclass(frozen=True, slots=True)
class _Glob:
    """One pattern: with a slash inside it is of the whole name, else of the last part alone."""

    expression: re.Pattern[str]
    anchored: bool
    directories_only: bool

    def fits(self, name: str, directory: bool) -> bool:
        if self.directories_only and not directory:
            return False
        tested = name if self.anchored else name.rpartition("/")[2]
        return self.expression.fullmatch(tested) is not None


class Globs:
    """The names that take part.

    `*` and `?` stand for anything but a slash, `**` for anything, `[a-z]` for one letter, what
    comes after a backslash for itself. A slash at the end means directories only, one at the
    beginning or inside the place in the tree. What fits an exclude does not take part, nor what is
    below it; with includes, files take part that fit one of them.
    """

    def __init__(self, includes: Sequence[str] = (), excludes: Sequence[str] = ()) -> None:
        """Raises: UsageError for a pattern that cannot be meant."""
        self._includes = [_glob(one) for one in includes]
        self._excludes = [_glob(one) for one in excludes]

    @property
    def all(self) -> bool:
        """Return whether everything takes part."""
        return not self._includes and not self._excludes

    def takes(self, name: str, directory: bool) -> bool:
        """Return whether a name takes part; of a directory above it nobody asks again."""
        if any(one.fits(name, directory) for one in self._excludes):
            return False
        if directory or not self._includes:
            return True
        return any(one.fits(name, directory) for one in self._includes)


def _glob(pattern: str) -> _Glob:
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise UsageError(f"a pattern of {len(pattern)} letters; {PATTERN_LENGTH_MAX} are possible")
    directories_only = pattern.endswith("/")
    text = pattern.rstrip("/")
    anchored = "/" in text
    text = text.lstrip("/")
    if not text:
        raise UsageError(f"{pattern!r} is no pattern; '*.tmp', 'cache/' or 'docs/**/old' are some")
    try:
        return _Glob(re.compile(_translated(text), re.DOTALL), anchored, directories_only)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no pattern: {error.msg}") from error


def _translated(text: str) -> str:
    """Return a glob as a regular expression."""
    found: list[str] = []
    at = 0
    while at < len(text):
        letter = text[at]
        if text.startswith("**/", at):
            found.append("(?:.*/)?")
            at += 3
        elif text.startswith("**", at):
            found.append(".*")
            at += 2
        elif letter == "*":
            found.append("[^/]*")
            at += 1
        elif letter == "?":
            found.append("[^/]")
            at += 1
        elif letter == "[" and (end := text.find("]", at + 2)) > 0:
            inside = text[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            inside = "^" + inside[1:] if inside[0] in "!^" else inside
            found.append(f"(?!/)[{inside}]")
            at = end + 1
        elif letter == "\\" and at + 1 < len(text):
            found.append(re.escape(text[at + 1]))
            at += 2
        else:
            found.append(re.escape(letter))
            at += 1
    return "".join(found)
