"""Who does how much, as operators ask for it."""

from __future__ import annotations

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.protocol.usage import BYTES, CLIENT, GetUsage, UsageReport
from gfs_ha.sketch_windows import MINUTE


class Usage:
    """What clients do, counted by the leader and the chunkservers. Thread-safe."""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls

    def top(
        self, by: str = CLIENT, window: str = MINUTE, sort: str = BYTES, limit: int = 20
    ) -> UsageReport:
        """Return who did most within a window, and all others as one row.

        Args: `by` is client, path or op; `window` 1m, 10m or 1h; `sort` bytes, ops or p99.

        Raises: InvalidArgument, NoLeader…
        """
        return self._calls.ask(GetUsage(by, window, sort, limit), UsageReport)
