"""What the files of a run may contain at each moment, as their writers were told.

Each name has one writer, whose changes come one after another, so what was acknowledged is certain.
A change whose outcome is unknown may have happened or may still happen for a while.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from gfs_ha.sim.checkers import Violation

LATE_S = 30.0  # So long a request of unknown outcome may still be on its way.
_FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are known by a number; size -1: there is no file."""

    tag: int
    size: int

    def data(self) -> bytes:
        return random.Random(self.tag).randbytes(max(0, self.size))

    def __str__(self) -> str:
        return "nothing" if self.size < 0 else f"#{self.tag} of {self.size} bytes"


ABSENT = Content(0, -1)


@dataclass(slots=True)
class _Period:
    """A content that could be seen from one moment to another."""

    content: Content
    from_s: float
    until_s: float = _FOR_EVER
    unsure: bool = False


@dataclass(slots=True)
class FileHistory:
    """One name. `certain` is what its writer was told last."""

    name: str
    certain: Content = ABSENT
    _periods: list[_Period] = field(default_factory=lambda: [_Period(ABSENT, 0.0)])

    def begins(self, content: Content, now_s: float) -> None:
        """Note that a change is on its way: from now on it may be seen."""
        self._periods.append(_Period(content, now_s))

    def acknowledged(self, content: Content, now_s: float) -> None:
        """Note that a change was acknowledged: what was before is seen no more."""
        self.certain = content
        for period in self._periods[:-1]:
            # What is not known to have happened may still come, for a while.
            period.until_s = min(period.until_s, now_s + (LATE_S if period.unsure else 0.0))

    def unknown(self) -> None:
        """Note that nobody knows whether the last change happened, or will."""
        self._periods[-1].unsure = True

    def not_applied(self) -> None:
        """Note that the last change certainly did not happen."""
        self._periods.pop()

    def contents(self) -> list[Content]:
        """Return all that it may ever have held, newest first."""
        return [one.content for one in reversed(self._periods)]

    def check(self, seen: Content, asked_s: float, answered_s: float) -> None:
        """Judge what somebody saw between two moments. Raises: Violation."""
        if not self.allows(seen, asked_s, answered_s):
            known = [str(one.content) for one in self._periods if one.until_s >= asked_s]
            raise Violation(
                f"wrong content: {self.name} shows {seen}, it can be {', '.join(known)}"
            )

    def allows(self, seen: Content, asked_s: float, answered_s: float) -> bool:
        """Return whether a content could be seen between two moments."""
        return any(
            one.content == seen and one.from_s <= answered_s and one.until_s >= asked_s
            for one in self._periods
        )
