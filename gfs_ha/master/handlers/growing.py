"""Files with an open tail as readers see them: what is sealed, and what was reported (C10).

A follower hears no primaries: it knows that a file grows, and not how far it has grown.
"""

from __future__ import annotations

from msgspec.structs import replace

from gfs_ha.ids import ServerId
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.tickets import tail_tickets
from gfs_ha.master.state.locations import LocationReader
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.tables import TAILS_BY_DIRECTORY, below, id_key, read_pair
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.tail_records import Tail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import (
    FILE,
    FileOpened,
    FileStatus,
    FileTail,
    Listing,
    Location,
)


def with_growth(desk: Desk, view: View, status: FileStatus) -> FileStatus:
    """Return a file's facts with what was reported of its open tail, if it has one."""
    if status.kind != FILE:
        return status
    tail = tail_of(view, status.inode_id)
    if tail is None:
        return status
    return replace(status, growing=True, size=status.size + known_length(desk, tail))


def listed_with_growth(desk: Desk, view: View, path: str, page: Listing) -> Listing:
    """Return a page of a directory with what was reported of open tails."""
    if not view.counters().tails:
        return page
    below_it = below(id_key(view.resolve(path).inode_id))
    growing = {read_pair(key)[1] for key, _ in view.rows.scan(TAILS_BY_DIRECTORY, *below_it)}
    if not growing:
        return page
    entries = tuple(
        replace(one, status=with_growth(desk, view, one.status))
        if one.status.inode_id in growing
        else one
        for one in page.entries
    )
    return replace(page, entries=entries)


def opened_with_tail(desk: Desk, view: View, opened: FileOpened, slot: Slot) -> FileOpened:
    """Return a pinned content with its open tail, which comes with the last extents."""
    status = opened.status
    tail = tail_of(view, status.inode_id)
    if tail is None:
        return opened
    grown = replace(opened, status=with_growth(desk, view, status))
    chunk = view.chunk(tail.chunk_id)
    assert chunk is not None, f"the tail {tail.chunk_id:#x} is not there"
    if opened.more:
        return grown
    told = tail_tickets(desk, slot, file_tail(desk, view, tail, chunk), chunk, appends=False)
    return replace(grown, tail=told)


def known_length(desk: Desk, tail: Tail) -> int:
    """Return what the primary of a tail reported last of its length."""
    if desk.reign is None:
        return 0
    led = desk.reign.observed.led(tail.chunk_id, (tail.server_id, tail.start_id))
    return 0 if led is None else led.length


def file_tail(desk: Desk, view: View, tail: Tail, chunk: Chunk) -> FileTail:
    """Return an open tail as clients are told of it."""
    return FileTail(
        chunk_id=tail.chunk_id,
        birth=chunk.birth,
        file_offset=tail.file_offset,
        known_length=known_length(desk, tail),
        primary=tail.server_id,
        start_id=tail.start_id,
        granted_index=tail.granted_index,
        replicas=_with_liveness(desk, LocationReader(view.rows).replicas(chunk)),
    )


def _with_liveness(desk: Desk, places: tuple[Location, ...]) -> tuple[Location, ...]:
    if desk.reign is None:
        return places
    now_s, observed = desk.now_s(), desk.reign.observed

    def live(server_id: ServerId) -> bool:
        return observed.reached(server_id, now_s)

    return tuple(place if live(place.server_id) else replace(place, live=False) for place in places)
