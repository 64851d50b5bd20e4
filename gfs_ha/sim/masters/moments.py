"""Whether an answer that any master may give is of the moment that it names, and young enough."""

from __future__ import annotations

from gfs_ha.client.consistency import Consistency
from gfs_ha.protocol.calls import BOUNDED, AsOf
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.history import Operation
from gfs_ha.sim.masters.timeline import Timeline


def check_moment(
    operation: Operation, consistency: Consistency, seen_index: int, timeline: Timeline
) -> None:
    """Judge a read by the true state at the index that it names, and by true time.

    Args: `seen_index` is what the client had seen when it asked.

    Raises: Violation.
    """
    as_of = operation.as_of
    if as_of is None:
        raise Violation(f"undated: {operation}")
    timeline.shows(as_of.index)
    wrong = _wrong(operation, as_of, consistency, seen_index, timeline)
    if wrong:
        raise Violation(f"{wrong}: {operation}")


def _wrong(
    operation: Operation,
    as_of: AsOf,
    consistency: Consistency,
    seen_index: int,
    timeline: Timeline,
) -> str:
    called_s, age_ms = operation.called_s, as_of.age_ms
    value = timeline.value(operation.name, as_of.index)
    if operation.answer != value:
        return f"false answer, it was {value}"
    if as_of.index < seen_index:
        return f"back in time, {seen_index} was seen before"
    if consistency.kind == BOUNDED and not 0 <= age_ms <= consistency.bound_ms:
        return f"beyond the bound of {consistency.bound_ms} ms"
    if age_ms >= 0 and as_of.index < timeline.required(called_s, age_ms):
        return f"older than it says, {timeline.required(called_s, age_ms)} was known by then"
    if not as_of.degraded and age_ms and not timeline.led_before(called_s):
        return "not called degraded, and nobody led"
    return ""
