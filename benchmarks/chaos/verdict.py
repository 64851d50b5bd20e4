"""What a run has shown: figures of its record, and every promise that was broken."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from chaos.record import Record
from gfs_ha.sim.masters import names_model
from gfs_ha.sim.masters.linear import judge

_WINDOW_S = 5.0  # After a kill: the gap that it tore begins within this time.
_SHOWN = 20


@dataclass
class Verdict:
    """The outcome of a run; without violations it is a good one."""

    figures: list[tuple[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def show(self) -> str:
        """Return it as a table."""
        width = max(len(name) for name, _ in self.figures)
        lines = [f"{name:<{width}}  {value}" for name, value in self.figures]
        lines.append(f"{'violations':<{width}}  {len(self.violations)}")
        lines += [f"  - {one}" for one in self.violations[:_SHOWN]]
        return "\n".join(lines)


def check_history(record: Record) -> tuple[list[str], int, int]:
    """Return what is not linearizable, how many groups of names were judged and how many not."""
    violations = []
    judged = undecided = 0
    for name, operations in sorted(record.history.groups().items()):
        found = judge(operations, names_model.EMPTY, names_model.step)
        judged += 1
        if not found.decided:
            undecided += 1
        elif not found.linearizable:
            violations.append(f"not linearizable: {name}: stuck at {found}")
    return violations, judged, undecided


def gaps_ms(acknowledged_s: Sequence[float], moments_s: Sequence[float]) -> list[float]:
    """Return for each moment the longest time between two acknowledgements that it met, sorted.

    Args: both are sorted; what follows the next moment, or comes 5 s later, counts no more.
    """
    found = []
    for moment_s, end_s in pairwise([*moments_s, float("inf")]):
        first = max(0, bisect_left(acknowledged_s, moment_s) - 1)
        last = bisect_right(acknowledged_s, min(end_s, moment_s + _WINDOW_S)) + 1
        met = [after - before for before, after in pairwise(acknowledged_s[first:last])]
        if met:
            found.append(max(met) * 1000)
    return sorted(found)


def percentiles(sorted_ms: Sequence[float]) -> str:
    """Return p50, p99 and the highest of sorted milliseconds, in words."""
    if not sorted_ms:
        return "none"
    middle = sorted_ms[len(sorted_ms) // 2]
    high = sorted_ms[min(len(sorted_ms) - 1, len(sorted_ms) * 99 // 100)]
    count = len(sorted_ms)
    return f"{count}: p50 {middle:.0f} ms, p99 {high:.0f} ms, max {sorted_ms[-1]:.0f} ms"


def describe(record: Record, seconds: float) -> list[tuple[str, str]]:
    """Return the rows about what the clients did."""
    counts = record.counts
    changes, reads = counts["changes"], counts["reads"]
    refused = ", ".join(
        f"{name.removeprefix('refused ')} {count}"
        for name, count in sorted(counts.items())
        if name.startswith("refused ")
    )
    return [
        ("acknowledged", f"{changes} changes, {reads} reads ({(changes + reads) / seconds:.0f}/s)"),
        ("unknown", str(counts["unknown"])),
        ("certainly not done", refused or "none"),
    ]
