"""The copies of a repair over time, by the logs of the chunkservers that made them."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

BIN_S = 0.1
_COPIED = re.compile(
    r"^(\S+)Z INFO (\S+) \S+: copied chunk=(0x[0-9a-f]+) order_index=(\d+) bytes=(\d+) "
    r"source=(\d+) took_ms=(\d+)"
)


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy; times of the monotonic clock."""

    begun_s: float
    ended_s: float
    server: str
    source: int
    length: int


def copies_made(directory: Path, since_s: float) -> list[Copy]:
    """Return the copies that ended since a moment, each once: an order may be answered twice."""
    clock_s = time.time() - time.monotonic()
    found: dict[tuple[str, str, str], Copy] = {}
    for log in directory.glob("cs*/*.log*"):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            match = _COPIED.match(line)
            if match is None:
                continue
            ended_s = datetime.fromisoformat(f"{match[1]}+00:00").timestamp() - clock_s
            key = (match[2], match[3], match[4])
            if ended_s >= since_s and (key not in found or ended_s < found[key].ended_s):
                begun_s = ended_s - int(match[7]) / 1000
                found[key] = Copy(begun_s, ended_s, match[2], int(match[6]), int(match[5]))
    return sorted(found.values(), key=lambda one: one.ended_s)


def spread(copies: list[Copy], begun_s: float) -> dict[int, dict[str, float]]:
    """Return bytes by tenth of a second and server; of each copy as if it went evenly."""
    bins: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for copy in copies:
        first = int((copy.begun_s - begun_s) / BIN_S)
        last = max(first, int((copy.ended_s - begun_s) / BIN_S))
        for number in range(first, last + 1):
            bins[number][copy.server] += copy.length / (last - first + 1)
    return bins


def most_in_a_second(copies: list[Copy], begun_s: float) -> float:
    """Return the most bytes of any second."""
    bins = spread(copies, begun_s)
    width = int(1 / BIN_S)
    totals = {number: sum(by.values()) for number, by in bins.items()}
    first, last = min(totals), max(totals)
    return max(
        sum(totals.get(one, 0.0) for one in range(start, start + width))
        for start in range(first, max(first, last - width + 1) + 1)
    )


def show(copies: list[Copy], begun_s: float, budget: int) -> None:
    """Print what every server got, each tenth of a second, and what share of the budget it was."""
    bins = spread(copies, begun_s)
    servers = sorted({copy.server for copy in copies})
    print(f"{'s':>5} {'used':>5}  " + " ".join(f"{one:>6}" for one in servers) + "  (KiB)")
    for number in range(min(bins), max(bins) + 1):
        by = bins.get(number, {})
        share = sum(by.values()) / (budget * BIN_S)
        cells = " ".join(f"{by.get(one, 0.0) / 1024:6.0f}" for one in servers)
        print(f"{number * BIN_S:5.1f} {share:5.0%}  {cells}")
    print("copies: to, from, seconds, bytes")
    for one in copies:
        span = f"{one.begun_s - begun_s:6.2f}-{one.ended_s - begun_s:6.2f}"
        print(f"  {one.server:>4} {one.source:>4} {span} {one.length:>9}")
