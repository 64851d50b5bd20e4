"""What is to be known of servers on their way out, in maintenance, or out and still registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gfs_ha.master.quorum import ERROR, WARNING
from gfs_ha.protocol.reports import Finding, ServerRow
from gfs_ha.protocol.server_modes import DECOMMISSIONED

_ENDS_SOON_MS = 5 * 60_000


@dataclass(frozen=True, slots=True)
class BlockedJob:
    """A job that empties a server and cannot go on with some chunks."""

    job: str
    server: str
    chunk_count: int
    why: str  # Of the first of them.
    ways: tuple[str, ...]
    disk: str = ""  # Of one disk of the server: which.


def standing_findings(
    servers: Sequence[ServerRow], blocked: Sequence[BlockedJob]
) -> Iterator[Finding]:
    """Yield what a person should know of how servers stand."""
    for job in blocked:
        chunks = "1 chunk" if job.chunk_count == 1 else f"{job.chunk_count:,} chunks"
        yield Finding(
            "DRAIN_BLOCKED",
            WARNING,
            f"job {job.job} cannot move {chunks} off {job.server}{job.disk and ':'}{job.disk}:"
            f" {job.why}",
            f"{'; or '.join(job.ways)} (gfsctl admin jobs show {job.job})",
            subject=job.server,
            facts=(("job", job.job), ("chunks", f"{job.chunk_count:,}"), ("why", job.why)),
        )
    for server in servers:
        if server.maintenance_left_ms:
            yield _maintenance(server)
        if server.mode == DECOMMISSIONED:
            yield Finding(
                "SERVER_DECOMMISSIONED",
                WARNING,
                f"chunkserver {server.name} is decommissioned and still registered",
                f"{'stop it, and ' * (server.state == 'live')}gfsctl admin chunkservers remove"
                f" {server.name}; or take it back: gfsctl admin chunkservers undrain {server.name}",
                subject=server.name,
                facts=(("state", server.state), ("emptied by", server.job or "-")),
            )


def _maintenance(server: ServerRow) -> Finding:
    left_s = server.maintenance_left_ms // 1000
    left = f"{-(-left_s // 60)} min" if left_s >= 60 else f"{left_s} s"
    facts = (
        ("time left", f"{left_s:,} s"),
        ("state", server.state),
        ("replicas by the tables", f"{server.replica_count:,}"),
    )
    off = f"gfsctl admin chunkservers maintenance off {server.name}"
    if server.state != "live" and server.maintenance_left_ms <= _ENDS_SOON_MS:
        return Finding(
            "MAINTENANCE_ENDS",
            ERROR,
            f"the maintenance of {server.name} ends in {left}, and it is {server.state}: its copies"
            " are made anew elsewhere then",
            f"start {server.name}, or give it longer: gfsctl admin chunkservers maintenance on"
            f" {server.name} --for 1h",
            subject=server.name,
            facts=facts,
        )
    return Finding(
        "SERVER_MAINTENANCE",
        WARNING,
        f"chunkserver {server.name} is in maintenance for {left}: nothing is copied because of it",
        f"{off}, when it is back",
        subject=server.name,
        facts=facts,
    )
