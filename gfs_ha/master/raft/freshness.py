"""How old what a member shows may be: the moment that its store is at least as new as."""

from __future__ import annotations

from dataclasses import dataclass

NEVER_S = float("-inf")
AGE_UNKNOWN_MS = -1


@dataclass(frozen=True, slots=True)
class Freshness:
    """Both moments are of this member's own clock, which counts suspends.

    Every command that was acknowledged before `as_of_s` is in the store. At `led_s` somebody
    surely led: he answered something that was asked then.
    """

    as_of_s: float = NEVER_S
    led_s: float = NEVER_S

    def age_ms(self, now_s: float) -> int:
        """Return how old the store is at most, rounded up; -1 when nothing is known of it."""
        if self.as_of_s == NEVER_S:
            return AGE_UNKNOWN_MS
        return max(0, -int((self.as_of_s - now_s) * 1000 // 1))

    def within(self, bound_s: float, now_s: float) -> bool:
        """Return whether the store is surely not older than this."""
        return now_s - self.as_of_s <= bound_s

    def leaderless(self, patience_s: float, now_s: float) -> bool:
        """Return whether no leader is known to have led for longer than this."""
        return now_s - self.led_s > patience_s
