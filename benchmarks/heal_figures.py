"""The figures of the faults of `make heal`, and how they are shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from heal_clients import RATES
from heal_copies import Copied, Sorted

COLUMNS = (
    *("fault", "detect s", "first copy s", "whole s", "rested s"),
    *("copies", "for rule", "unplanned", "failed", "copied MB", "least MB", "ratio"),
    *("errors", "p99 ms put/get/append", "longest ms", "load"),
)
_NAMED_MAX = 40  # Copies for the rule that the document names one by one.


@dataclass
class Healed:
    """The figures of one fault; seconds count from it, `first_copy_s` from its detection."""

    name: str
    detect_s: float | None = None
    first_copy_s: float | None = None
    whole_s: float | None = None
    rested_s: float | None = None
    copies: int = 0
    failed_copies: int = 0
    copied_bytes: int = 0
    least_bytes: int = 0  # Of the copies that made good what was missing.
    rule_bytes: int = 0  # What was copied because good copies lay against their rule.
    for_rule: list[str] = field(default_factory=list)
    unplanned: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    p99_ms: dict[str, float] = field(default_factory=dict)
    longest_ms: float = 0.0
    load: float = 0.0
    facts: dict[str, float] = field(default_factory=dict)  # What only this fault has.
    wrong: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Return the bytes copied by the least that was possible."""
        return self.copied_bytes / self.least_bytes if self.least_bytes else float(self.copies > 0)

    def take(self, found: Sorted) -> None:
        """Take the copies in, and name each one beyond those that were missing."""
        everything = [*found.needed, *found.for_rule, *(one for one, _ in found.unexplained)]
        self.copies = len(everything)
        self.copied_bytes = _total(everything)
        self.rule_bytes = _total(found.for_rule)
        self.for_rule = [_named(one) for one in found.for_rule]
        self.unplanned = [f"{_named(one)} ({lay})" for one, lay in found.unexplained]
        self.least_bytes = _total(found.needed)
        for name in self.unplanned:
            self.wrong.append(f"{self.name}: nothing explains the copy of {name}")

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        p99 = "/".join(f"{self.p99_ms.get(kind, float('nan')):.0f}" for kind in RATES)
        seconds = (self.detect_s, self.first_copy_s, self.whole_s, self.rested_s)
        counts = (self.copies, len(self.for_rule), len(self.unplanned), self.failed_copies)
        return (
            self.name,
            *(_seconds(one) for one in seconds),
            *(str(one) for one in counts),
            *(f"{self.copied_bytes / 1e6:.1f}", f"{self.least_bytes / 1e6:.1f}"),
            *(f"{self.ratio:.2f}", str(len(self.errors)), p99, f"{self.longest_ms:.0f}"),
            f"{self.load:.1f}",
        )

    def told(self) -> str:
        """Return all figures in one line."""
        told = [f"{k} {v}" for k, v in zip(COLUMNS[1:], self.cells()[1:], strict=True)]
        return "  ".join([*told, *(f"{k} {v:g}" for k, v in self.facts.items())])

    def document(self) -> dict[str, Any]:
        """Return all figures as they go into JSON."""
        facts = asdict(self)
        facts["for_rule"] = self.for_rule[:_NAMED_MAX]
        return {**facts, "for_rule_count": len(self.for_rule), "ratio": self.ratio}


def table(healed: list[Healed]) -> str:
    """Return the table of all faults."""
    rows = [COLUMNS, *(one.cells() for one in healed)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _total(copies: list[Copied]) -> int:
    return sum(one.length for one in copies)


def _named(copy: Copied) -> str:
    return f"{copy.chunk_id:#x} to {copy.server}, {copy.length} bytes"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
