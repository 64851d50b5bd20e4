"""One chunk verified: every holder reads its copy, and is asked until it has or time is over."""

from __future__ import annotations

from msgspec import structs

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.damage import UNREACHABLE, WAITING, VerifiedChunk, VerifyChunk


def verify_chunk(calls: ClusterCalls, chunk_id: ChunkId) -> VerifiedChunk:
    """Return what every holder found. Raises: UnknownChunk, WrongState, NoLeader…

    Who gives no answer for as long as the timeout is unreachable.
    """
    moved_s = calls.runtime.monotonic_s()
    before = -1
    while True:
        report = calls.ask(VerifyChunk(chunk_id), VerifiedChunk)
        waiting = sum(row.verdict == WAITING for row in report.replicas)
        now_s = calls.runtime.monotonic_s()
        if waiting != before:
            before, moved_s = waiting, now_s
        if not waiting or now_s - moved_s >= calls.timeout_s:
            return _final(report, calls.timeout_s)


def _final(report: VerifiedChunk, timeout_s: float) -> VerifiedChunk:
    why = f"its server gave no answer for {timeout_s:.0f} s"
    rows = tuple(
        structs.replace(row, verdict=UNREACHABLE, why=why) if row.verdict == WAITING else row
        for row in report.replicas
    )
    return structs.replace(report, replicas=rows)
