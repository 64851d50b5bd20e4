"""How long things take, in classes whose middle is off by a twentieth at most (pure).

DDSketch (Masson et al., VLDB 2019): class n holds what took between GROWTH ** (n - 1) and GROWTH **
n microseconds, so a quantile that is told as the class's middle has a relative error of at most
ERROR, whatever the distribution. Counts by class of several places just add up. There are CLASSES
of them, of which few have anything: what took longer than eight minutes is in the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ERROR = 0.05
GROWTH = (1 + ERROR) / (1 - ERROR)
CLASSES = 202
_LOG_GROWTH = math.log(GROWTH)
LONGEST_US = GROWTH ** (CLASSES - 1)


def class_of(seconds: float) -> int:
    """Return the class of a time; the first one is for all up to a microsecond."""
    microseconds = seconds * 1e6
    if microseconds <= 1.0:
        return 0
    return min(math.ceil(math.log(microseconds) / _LOG_GROWTH), CLASSES - 1)


def quantile_us(counts: Mapping[int, int], share: float) -> int | None:
    """Return the time within which this share was done, in microseconds; None = nothing was."""
    total = sum(counts.values())
    if total <= 0:
        return None
    rank = max(1, math.ceil(share * total))
    passed, last = 0, 0
    for number in sorted(counts):
        passed, last = passed + counts[number], number
        if passed >= rank:
            break
    return round(2 * GROWTH**last / (GROWTH + 1)) if last else 1
