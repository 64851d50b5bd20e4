"""One chunkserver with all that is known of it: asked at once, its places counted by pages."""

from __future__ import annotations

import msgspec

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.protocol.servers import (
    PLACE_STATES,
    CountPlaces,
    PlaceCount,
    PlacesCounted,
    ServerDetail,
    ShowServer,
)

_PAGES_MAX = 500  # A million places: some 20 s.


class ChunkserverReport(msgspec.Struct, frozen=True):
    """-> kind Chunkserver. `places_more`: there are more places than were counted."""

    detail: ServerDetail
    places: tuple[PlaceCount, ...]
    places_more: bool


def show_server(calls: ClusterCalls, name: str) -> ChunkserverReport:
    """Return all that is known of a server. Raises: NotFound, NoLeader…"""
    detail = calls.ask(ShowServer(name), ServerDetail)
    totals = {state: [0, 0] for state in PLACE_STATES}
    request = CountPlaces(detail.row.server_id)
    more = True
    for _ in range(_PAGES_MAX):
        page = calls.ask(request, PlacesCounted)
        for one in page.items:
            totals[one.state][0] += one.count
            totals[one.state][1] += one.length
        more = page.more
        if not more:
            break
        request = CountPlaces(detail.row.server_id, page.after)
    places = tuple(PlaceCount(state, *counts) for state, counts in totals.items())
    return ChunkserverReport(detail, places, more)
