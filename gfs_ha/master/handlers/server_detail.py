"""All that the leader knows of one chunkserver, and what chunks have there, counted by pages."""

from __future__ import annotations

from itertools import islice

from gfs_ha.errors import InvalidArgument, NotFound
from gfs_ha.ids import InodeId, ServerId, StartId
from gfs_ha.master.handlers.admin import server_row
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.leases import lease_row
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.state.records import DEAD, SEALED, Chunk, Server
from gfs_ha.master.state.server_modes import disk_modes
from gfs_ha.master.state.tail_reads import lease_of, tails_of_server
from gfs_ha.master.state.view import View
from gfs_ha.protocol import servers
from gfs_ha.protocol.servers import (
    LISTED_MAX,
    PLACES_PAGE,
    CountPlaces,
    DamagedReplica,
    PlaceCount,
    PlacesCounted,
    ServerDetail,
    ShowServer,
)

_LEASES_COUNTED_MAX = 1_000
_FIRST = InodeId(0)


def show_server(desk: Desk, view: View, request: ShowServer, slot: Slot) -> ServerDetail:
    """Return all that is known of a server. Raises: NotFound."""
    server_id, server = _named(view, request.name)
    reign, now_s = desk.leading(), desk.now_s()
    facts = reign.observed.servers.get(server_id)
    damage = [
        DamagedReplica(chunk_id, why)
        for (chunk_id, where), why in list(reign.observed.damage.items())
        if where == server_id
    ]
    tails = tails_of_server(view, server_id, _FIRST, _LEASES_COUNTED_MAX)
    rows = [lease_row(desk, view, inode_id, tail) for inode_id, tail in tails[:LISTED_MAX]]
    lease = lease_of(view, server_id)
    now_ms = cluster_ms(view.counters(), now_s - reign.elected_s)
    heard = facts is not None and facts.beat > 0
    return ServerDetail(
        row=server_row(reign, view, (server_id, server), now_s, disk_modes(view)),
        start_id=facts.start_id if facts else StartId(0),
        boot_id=facts.boot_id if facts else 0,
        beating_ms=int((now_s - facts.since_s) * 1000) if facts and heard else -1,
        clock_ahead_ms=facts.clock_ahead_ms if facts else 0,
        streams=facts.streams if facts else 0,
        copies=tuple(islice(facts.copies, LISTED_MAX)) if facts else (),
        damage=tuple(damage[:LISTED_MAX]),
        damage_count=len(damage),
        leases=tuple(rows),
        lease_count=len(tails),
        scrub=facts.scrub if facts else (),
        lease_left_ms=max(0, lease.until_ms - now_ms) if lease else 0,
    )


def _named(view: View, name: str) -> tuple[ServerId, Server]:
    known = view.servers()
    for server_id, server in known:
        if server.name == name:
            return server_id, server
    there = ", ".join(sorted(server.name for _, server in known)[:LISTED_MAX])
    raise NotFound(f"there is no chunkserver {name!r}; there are {there or 'none yet'}")


def count_places(desk: Desk, view: View, request: CountPlaces, slot: Slot) -> PlacesCounted:
    """Return what chunks have on a server, one page. Raises: InvalidArgument."""
    if not 1 <= request.rows <= PLACES_PAGE:
        raise InvalidArgument(f"a page counts 1 to {PLACES_PAGE} places, not {request.rows}")
    page = view.replicas_of(request.server_id, request.after, request.rows)
    found: dict[str, list[int]] = {}
    for _, chunk_id in page:
        chunk = view.chunk(chunk_id)
        if chunk is not None:
            counted = found.setdefault(place_state(chunk, request.server_id), [0, 0])
            counted[0] += 1
            counted[1] += chunk.length if chunk.state == SEALED else 0
    items = tuple(PlaceCount(state, *counts) for state, counts in sorted(found.items()))
    after = page[-1] if page else request.after
    return PlacesCounted(items, after, len(page) == request.rows)


def place_state(chunk: Chunk, server_id: ServerId) -> str:
    """Return what the place of a chunk on a server is."""
    if chunk.state == DEAD:
        return servers.DEAD
    if chunk.state != SEALED:
        return servers.OPEN
    if any(one.server_id == server_id for one in chunk.copying):
        return servers.COPYING
    if any(one.server_id == server_id for one in chunk.deleting):
        return servers.DELETING
    return servers.HOLDER if server_id in chunk.holders else servers.LATE
