"""The cluster as it is now, for a screen that is refreshed: bounded, whatever the cluster's size.

What all servers do together and one page of them, sorted and filtered as asked. A master that does
not lead answers what the tables say, and says that it has heard no server.
"""

from __future__ import annotations

from gfs_ha.ids import ServerId
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.disk_counts import DiskCounts
from gfs_ha.protocol.jobs import JobRow
from gfs_ha.protocol.overview import Overview
from gfs_ha.protocol.rates import LoadRates
from gfs_ha.protocol.reports import StatusReport

SERVERS_PAGE_MAX = 250
FILTER_BYTES_MAX = 200
LISTED_MAX = 50  # Leases and jobs.
UNHEARD = "unheard"  # State of a server in the report of a master that does not lead.

# What servers are sorted by. Numbers begin with the greatest, words with the first.
NAME, RACK, STATE, HEARTBEAT, USED, CHUNKS = "name", "rack", "state", "heartbeat", "used", "chunks"
READ, WRITE, APPEND, QUEUE, LATENCY = "read", "write", "append", "queue", "latency"
SORTS = (NAME, RACK, STATE, HEARTBEAT, USED, CHUNKS, READ, WRITE, APPEND, QUEUE, LATENCY)


class GetLive(Word, frozen=True, tag="get_live"):
    """-> LiveReport. `wanted` are words that a server's name, rack, state or mode contains.

    Raises: InvalidArgument.
    """

    sort: str = NAME
    reverse: bool = False
    wanted: str = ""
    offset: int = 0
    limit: int = 100  # Of servers; 0: none.


class LiveServer(Word, frozen=True):
    """A chunkserver now. `heartbeat_age_ms`: -1 = never heard; `rates`: None = not measured.

    `disk_usage`, `free_bytes` and `total_bytes` are those of its disks in service,
    and 0 while it is not in service itself.
    """

    server_id: ServerId
    name: str
    rack: str
    state: str
    mode: str
    maintenance: bool
    reason: str
    disk_usage: float
    free_bytes: int
    total_bytes: int
    chunk_count: int
    heartbeat_age_ms: int
    disk_count: int
    failed_disks: int
    rates: LoadRates | None = None
    disk_counts: DiskCounts = DiskCounts()


class LiveReport(Word, frozen=True, tag="live_report"):
    """-> kind Live. `status` has no servers: those asked for are here, of `matching` that fit.

    `age_ms` is how old the tables may be that it shows: 0 of the leader, -1 = nobody knows.
    """

    status: StatusReport
    overview: Overview
    servers: tuple[LiveServer, ...]
    matching: int
    leases: tuple[LeaseRow, ...]  # Those that end next, if nobody renews them.
    jobs: tuple[JobRow, ...]  # That have not ended, then those that ended last.
    answered_by: str
    leads: bool
    age_ms: int = 0


LiveRequest = GetLive
LiveReply = LiveReport
