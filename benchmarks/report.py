"""The table of a benchmark run: ours beside its floor, as a share, with medians and spread."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(slots=True)
class Goal:
    """What a row is to reach. `higher` says which side of `value` is the good one."""

    value: float
    higher: bool
    text: str

    def met(self, reached: float) -> bool:
        return reached >= self.value if self.higher else reached <= self.value


@dataclass(slots=True)
class Row:
    """One line: each round adds one value of ours and one of the floor, measured side by side.

    `reached` makes of a round's pair (ours, floor) the figure that the goal speaks of.
    """

    name: str
    unit: str
    goal: Goal
    floor_name: str = ""
    share: bool = True  # False: the goal speaks of our own figure.
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    goals: list[float] = field(default_factory=list)  # Per round, where the floor makes the goal.

    @property
    def reached(self) -> list[float]:
        if self.share and self.floor:
            return [one / two for one, two in zip(self.ours, self.floor, strict=True)]
        return self.ours

    def met(self) -> bool:
        if self.goals:
            return median(self.ours) <= median(self.goals)
        return self.goal.met(median(self.reached))

    def facts(self) -> dict[str, Any]:
        """Return the row as JSON has it: every value, the medians, the verdict."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "floor_name": self.floor_name,
            "floor": self.floor,
            "ours_median": median(self.ours),
            "floor_median": median(self.floor) if self.floor else None,
            "share_median": median(self.reached) if self.share and self.floor else None,
            "goal": self.goal.text,
            "met": self.met(),
        }


def spread(values: list[float]) -> str:
    """Return `median (lowest-highest)`, each with about three digits."""
    if not values:
        return "-"
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(rows: list[Row]) -> str:
    """Return the table of the rows as Markdown, which is also readable as it is."""
    lines = [("what", "ours", "floor", "ours / floor", "goal", "met")]
    for row in rows:
        floor = f"{spread(row.floor)} {row.unit}, {row.floor_name}" if row.floor else "-"
        share = spread([one / two for one, two in zip(row.ours, row.floor, strict=False)])
        met = "yes" if row.met() else "NO"
        lines.append((row.name, f"{spread(row.ours)} {row.unit}", floor, share, row.goal.text, met))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [_line(line, widths) for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"
