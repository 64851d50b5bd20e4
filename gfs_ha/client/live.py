"""The cluster as it is now, looked at again and again: by the leader, or by whoever is there."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.consistency import Consistency
from gfs_ha.client.namespace import check_path
from gfs_ha.errors import DeadlineExceeded, GfsError, NoLeader, NotLeader, NotReady, Unreachable
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.calls import LOCAL
from gfs_ha.protocol.damage import TROUBLES, ChunkDetail, ChunkDetails, ShowChunks
from gfs_ha.protocol.events import EventItem, EventReport, GetEvents
from gfs_ha.protocol.jobs import GetJob, GetJobLog, JobEvent, JobLog, JobReport, JobRow
from gfs_ha.protocol.live import GetLive, LiveReport
from gfs_ha.protocol.overview import MasterClock
from gfs_ha.protocol.reports import (
    ChunkReport,
    GetChunks,
    GetPlacement,
    MasterFacts,
    PlacementReport,
)
from gfs_ha.protocol.servers import ServerDetail, ShowServer

LEADER_WITHIN_S = 1.5  # Then what another master knows is better than nothing.
DETAIL_WITHIN_S = 3.0
LISTED = 200  # Chunks or extents; there may be more.

_ABSENCE = (NoLeader, NotLeader, NotReady, Unreachable, DeadlineExceeded)


class LiveView:
    """One call for each look, whatever the cluster's size. Thread-safe."""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls
        limit_s = min(LEADER_WITHIN_S, calls.timeout_s)
        self._anyone = calls.beside(Consistency(LOCAL), limit_s)

    def look(self, asked: GetLive, timeout_s: float | None = None) -> LiveReport:
        """Return how the cluster is: what the leader says, or else what any master knows.

        Raises: NoLeader… when no master answers.
        """
        try:
            return self._calls.ask(asked, LiveReport, timeout_s or LEADER_WITHIN_S)
        except _ABSENCE as error:
            try:
                return self._anyone.read(asked, LiveReport)
            except GfsError:
                raise error from None

    # One thing of it, as a screen shows it: one page, as it is within a moment. ------------------

    def server(self, name: str) -> ServerDetail:
        """Return one chunkserver, without counting its places. Raises: NotFound, NoLeader…"""
        return self._calls.ask(ShowServer(name), ServerDetail, DETAIL_WITHIN_S)

    def chunk(self, chunk_id: ChunkId) -> ChunkDetail:
        """Return one chunk. Raises: UnknownChunk, NoLeader…"""
        return self._calls.ask(ShowChunks((chunk_id,)), ChunkDetails, DETAIL_WITHIN_S).items[0]

    def file(self, path: str) -> PlacementReport:
        """Return where the beginning of a file lies. Raises: NotFound, IsADirectory, NoLeader…"""
        asked = GetPlacement(check_path(path), 0, LISTED)
        return self._calls.ask(asked, PlacementReport, DETAIL_WITHIN_S)

    def job(self, number: int) -> tuple[JobRow, tuple[JobEvent, ...]]:
        """Return one job with its blockers, and the newest of what happened to it.

        Raises: NotFound, NoLeader…
        """
        row = self._calls.ask(GetJob(number), JobReport, DETAIL_WITHIN_S).items[0]
        return row, self._calls.ask(GetJobLog(number), JobLog, DETAIL_WITHIN_S).items

    def troubled(self) -> ChunkReport:
        """Return the first chunks that are not as they should be. Raises: NoLeader…"""
        asked = GetChunks(limit=LISTED, kinds=TROUBLES)
        return self._calls.ask(asked, ChunkReport, DETAIL_WITHIN_S)

    def events(self) -> tuple[EventItem, ...]:
        """Return the newest events, the newest first. Raises: NoLeader…"""
        page = self._calls.ask(GetEvents(limit=LISTED), EventReport, DETAIL_WITHIN_S)
        return tuple(sorted(page.items, key=lambda one: -one.number))

    def masters(self) -> tuple[dict[str, MasterFacts | GfsError], tuple[MasterClock, ...]]:
        """Return what each master says of itself, and how their clocks differ; needs no leader."""
        runtime = self._calls.runtime
        begun_s = runtime.monotonic_s()
        said = self._calls.facts()
        return said, clocks_of(said, runtime.monotonic_s() - begun_s)


def clocks_of(said: Mapping[str, MasterFacts | GfsError], took_s: float) -> tuple[MasterClock, ...]:
    """Return how far clocks are ahead of the leader's, of masters that were asked at once."""
    told = {name: one for name, one in said.items() if isinstance(one, MasterFacts) and one.wall_ns}
    leader = next((one for one in told.values() if one.role == "leader"), None)
    if leader is None:
        return ()
    return tuple(
        MasterClock(name, (one.wall_ns - leader.wall_ns) // 1000, int(took_s * 1e6))
        for name, one in told.items()
        if one is not leader
    )


def with_clocks(report: LiveReport, clocks: tuple[MasterClock, ...]) -> LiveReport:
    """Return the report with what is known of the masters' clocks."""
    return replace(report, overview=replace(report.overview, clocks=clocks))
