"""What the files of a run may contain at each moment, as their writers were told.

Each name has one writer, whose changes come one after another, so what was acknowledged is certain.
A change whose outcome is unknown may have happened or may still happen for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.sim.checkers import Violation

LATE_S = 30.0  # So long a request of unknown outcome may still be on its way.
_FOR_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file; None: there is no file."""

    label: str
    data: bytes | None

    def __str__(self) -> str:
        return self.label if self.data is None else f"{self.label} of {len(self.data)} bytes"


ABSENT = Content("nothing", None)


@dataclass(slots=True)
class _Period:
    """A content that could be seen from one moment to another."""

    content: Content
    from_s: float
    until_s: float = _FOR_EVER
    unsure: bool = False


@dataclass(slots=True)
class FileHistory:
    """One name. `newest` is what its writer was told last, if `sure`."""

    name: str
    newest: Content = ABSENT
    sure: bool = True
    _periods: list[_Period] = field(default_factory=lambda: [_Period(ABSENT, 0.0)])

    def begins(self, content: Content, now_s: float) -> None:
        """Note that a change is on its way: from now on it may be seen."""
        self._periods = [one for one in self._periods if one.until_s >= now_s - 4 * LATE_S]
        self._periods.append(_Period(content, now_s))

    def acknowledged(self, content: Content, now_s: float) -> None:
        """Note that the last change was acknowledged: what was before is seen no more."""
        self.newest, self.sure = content, True
        for period in self._periods[:-1]:
            # What is not known to have happened may still come, for a while.
            period.until_s = min(period.until_s, now_s + (LATE_S if period.unsure else 0.0))

    def unknown(self) -> None:
        """Note that nobody knows whether the last change happened, or will."""
        self.sure = False
        self._periods[-1].unsure = True

    def not_applied(self) -> None:
        """Note that the last change certainly did not happen."""
        self._periods.pop()

    def check(self, data: bytes | None, asked_s: float, answered_s: float) -> Content:
        """Return which content somebody saw between two moments. Raises: Violation."""
        for period in reversed(self._periods):
            then = period.from_s <= answered_s and period.until_s >= asked_s
            if then and period.content.data == data:
                return period.content
        before = [str(one.content) for one in self._periods if one.content.data == data]
        seen = before[-1] if before else f"{len(data or b'')} bytes that nobody wrote"
        known = [str(one.content) for one in self._periods if one.until_s >= asked_s]
        raise Violation(f"wrong content: {self.name} shows {seen}, it can be {', '.join(known)}")

    def allows_absence(self, now_s: float) -> bool:
        """Return whether the name may be missing now."""
        return any(one.content == ABSENT and one.until_s >= now_s for one in self._periods)
