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
_RECOVERY_S = 3.0
_SHOWN = 20
_STEPS_MAX = 2_000_000  # Answers from the past may be of many moments.


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
        found = judge(operations, names_model.EMPTY, names_model.step, _STEPS_MAX)
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


@dataclass(frozen=True, slots=True)
class Trouble:
    """A master had a fault in this time; `everyone` for what concerns all of them."""

    name: str
    begin_s: float
    end_s: float
    everyone: bool = False


def longest_silence_ms(acknowledged_s: Sequence[float], troubles: Sequence[Trouble]) -> float:
    """Return the longest time without an acknowledgement while at most one master had trouble.

    A quorum could have served then. Trouble ends 3 s after the fault: processes have to start,
    logs to be caught up.
    """
    longest_s = 0.0
    for before_s, after_s in pairwise(acknowledged_s):
        if after_s - before_s <= longest_s:
            continue
        met = [
            one for one in troubles if one.begin_s < after_s and one.end_s + _RECOVERY_S > before_s
        ]
        cuts = {before_s, after_s}
        cuts |= {min(max(one.begin_s, before_s), after_s) for one in met}
        cuts |= {min(max(one.end_s + _RECOVERY_S, before_s), after_s) for one in met}
        free_s = 0.0  # The length of the piece so far in which one may be silent for no reason.
        for low_s, high_s in pairwise(sorted(cuts)):
            names = {
                "*" if one.everyone else one.name
                for one in met
                if one.begin_s <= low_s and one.end_s + _RECOVERY_S >= high_s
            }
            free_s = 0.0 if len(names) > 1 or "*" in names else free_s + high_s - low_s
            longest_s = max(longest_s, free_s)
    return longest_s * 1000


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
    ages = sorted(record.ages_ms)
    dated = f"{counts['dated']}, {len(ages)} from the past, {counts['degraded']} degraded"
    if ages:
        dated += f"; age p50 {ages[len(ages) // 2]} ms, max {ages[-1]} ms"
    return [
        ("dated answers", dated),
        ("acknowledged", f"{changes} changes, {reads} reads ({(changes + reads) / seconds:.0f}/s)"),
        ("unknown", str(counts["unknown"])),
        ("certainly not done", refused or "none"),
    ]
