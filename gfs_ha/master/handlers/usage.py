"""Who does how much, answered by the leader: its own sketches and those of all chunkservers."""

from __future__ import annotations

from gfs_ha.errors import InvalidArgument
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.observed import LIVE
from gfs_ha.master.state.view import View
from gfs_ha.protocol.usage import (
    KINDS,
    ROWS_MAX,
    SORTS,
    GetUsage,
    UsageReport,
    ranked,
    usage_row,
)
from gfs_ha.sketch import OPERATION_COST, Sketch
from gfs_ha.sketch_windows import WINDOWS

OTHERS = "(others)"
TOTAL = "(total)"


def get_usage(desk: Desk, view: View, request: GetUsage, slot: Slot) -> UsageReport:
    """Return who did most in a window, and all others as one row. Raises: NotLeader."""
    _check(request)
    reign = desk.leading()
    now_s = desk.now_s()
    key = (request.by, request.window)
    sketch, over_s = reign.board.usage(key).get(desk.now_s, lambda: _merged(desk, *key))
    order = ranked(sketch, request.sort)
    shown = order[: request.limit]
    observed = reign.observed
    states = [observed.state(server_id, now_s) for server_id in observed.servers]
    return UsageReport(
        by=request.by,
        window=request.window,
        sort=request.sort,
        over_ms=int(over_s * 1000),
        items=tuple(usage_row(name, tally) for name, tally in shown),
        others=usage_row(OTHERS, sketch.others(tally for _, tally in shown)),
        total=usage_row(TOTAL, sketch.total),
        others_count=len(order) - len(shown),
        operations_unlisted=sketch.floor // OPERATION_COST,
        bytes_unlisted=sketch.floor,
        servers=observed.usage.count(now_s),
        servers_live=states.count(LIVE),
        leader=desk.name,
        leader_ms=int((now_s - reign.elected_s) * 1000),
    )


def _check(request: GetUsage) -> None:
    for what, told, known in (
        ("counted by", request.by, KINDS),
        ("counted over", request.window, WINDOWS),
        ("sorted by", request.sort, SORTS),
    ):
        if told not in known:
            raise InvalidArgument(f"usage is {what} {', '.join(known)}, not {told!r}")
    if not 1 <= request.limit <= ROWS_MAX:
        raise InvalidArgument(f"a report has 1 to {ROWS_MAX} rows, not {request.limit}")


def _merged(desk: Desk, by: str, window: str) -> tuple[Sketch, float]:
    """Return what this master and all chunkservers saw, and over how many seconds at most."""
    merged, over_s = desk.usage.window(by, window)
    for sketch, theirs_s in desk.leading().observed.usage.sketches(by, window, desk.now_s()):
        merged.add(sketch)
        over_s = max(over_s, theirs_s)
    return merged, over_s
