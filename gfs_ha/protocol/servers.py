"""All that is known of one chunkserver, as it is asked, sent, shown and printed as JSON."""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId, StartId
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.control import CopyProgress
from gfs_ha.protocol.metadata import Location
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.scrub import ScrubFacts

LISTED_MAX = 100  # Of copies, damage and leases; the counts are of all.
PLACES_PAGE = 2_000  # Places that one request counts: some 10 ms of the leader's door.

# What a place of a chunk on a server is.
HOLDER = "holder"  # Of a sealed chunk; it counts.
LATE = "late"  # Of a sealed chunk, and does not count: it came late, or was lost before.
COPYING = "copying"  # A copy is ordered there.
DELETING = "deleting"  # There are enough elsewhere.
OPEN = "open"  # The chunk is not sealed yet.
DEAD = "dead"  # The chunk is, and the replica is being deleted.
PLACE_STATES = (HOLDER, OPEN, COPYING, LATE, DELETING, DEAD)


class DamagedReplica(Word, frozen=True):
    chunk_id: ChunkId
    why: str


class ServerDetail(Word, frozen=True, tag="server_detail"):
    """One chunkserver. Times of the leader's own clock are ages; -1 = never."""

    row: ServerRow
    start_id: StartId  # 0: this leader has not heard it.
    boot_id: int
    beating_ms: int  # For how long without a pause.
    clock_ahead_ms: int
    streams: int
    copies: tuple[CopyProgress, ...] = ()  # That it is making.
    damage: tuple[DamagedReplica, ...] = ()
    damage_count: int = 0
    leases: tuple[LeaseRow, ...] = ()  # Of tails whose appends it orders.
    lease_count: int = 0  # At least, if there are very many.
    scrub: tuple[ScrubFacts, ...] = ()
    lease_left_ms: int = 0  # Of the server; 0 = it holds none.


class ShowServer(Word, frozen=True, tag="show_server"):
    """-> ServerDetail, by the name for people. Raises: NotFound."""

    name: str


class CountPlaces(Word, frozen=True, tag="count_places"):
    """-> PlacesCounted: what chunks have on a server by the tables, one page.

    Raises: InvalidArgument.
    """

    server_id: ServerId
    after: tuple[DiskId, ChunkId] = (DiskId(0), ChunkId(0))
    rows: int = PLACES_PAGE


class PlaceCount(Word, frozen=True):
    state: str
    count: int
    length: int  # Bytes of sealed chunks.


class PlacesCounted(Word, frozen=True, tag="places_counted"):
    items: tuple[PlaceCount, ...]
    after: tuple[DiskId, ChunkId]
    more: bool


class ListServers(Word, frozen=True, tag="list_servers"):
    """-> ServersListed: the servers that are available now."""


class ServersListed(Word, frozen=True, tag="servers_listed"):
    servers: tuple[Location, ...]


ServersRequest = ShowServer | CountPlaces | ListServers
ServersReply = ServerDetail | PlacesCounted | ServersListed
