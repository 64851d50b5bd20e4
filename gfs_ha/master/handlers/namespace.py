"""Reads of names and contents, each from one moment of the state (M4)."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from gfs_ha.errors import InvalidArgument, SessionExpired
from gfs_ha.ids import ServerId
from gfs_ha.limits import LIST_PAGE_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.growing import (
    listed_with_growth,
    opened_with_tail,
    with_growth,
)
from gfs_ha.master.handlers.session_owners import check_owner
from gfs_ha.master.handlers.tickets import to_read
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import (
    ChunkLocations,
    Done,
    FileOpened,
    FileStatus,
    ListDirectory,
    Listing,
    Locate,
    Located,
    OpenFile,
    ReadExtents,
    Renew,
    Stat,
)

LOCATE_MAX = 1_000  # Chunks per question.


def stat(desk: Desk, view: View, request: Stat, slot: Slot) -> FileStatus:
    """Return the facts of a path."""
    return with_growth(desk, view, view.status(request.path))


def list_directory(desk: Desk, view: View, request: ListDirectory, slot: Slot) -> Listing:
    """Return one page of a directory."""
    if not 1 <= request.limit <= LIST_PAGE_MAX:
        raise InvalidArgument(f"a page has 1 to {LIST_PAGE_MAX} entries, not {request.limit}")
    page = view.list_page(request.path, request.after, request.limit)
    return listed_with_growth(desk, view, request.path, page)


def open_file(desk: Desk, view: View, request: OpenFile, slot: Slot) -> FileOpened:
    """Return a pinned content and where it lies."""
    opened = view.open_file(request.path, request.offset, min(request.limit, LIST_PAGE_MAX))
    opened = opened_with_tail(desk, view, opened, slot)
    if not request.offset:
        slot.concerns(opened.status.size)
    return replace(opened, chunks=to_read(desk, slot, with_liveness(desk, opened.chunks)))


def read_extents(desk: Desk, view: View, request: ReadExtents, slot: Slot) -> FileOpened:
    """Return the next extents of a pinned content."""
    pinned = (request.content_id, request.generation)
    opened = view.read_extents(
        request.inode_id, pinned, request.offset, min(request.limit, LIST_PAGE_MAX)
    )
    opened = opened_with_tail(desk, view, opened, slot)
    return replace(opened, chunks=to_read(desk, slot, with_liveness(desk, opened.chunks)))


def locate(desk: Desk, view: View, request: Locate, slot: Slot) -> Located:
    """Return where chunks lie now."""
    if len(request.chunk_ids) > LOCATE_MAX:
        raise InvalidArgument(f"{len(request.chunk_ids)} chunks in one question; at most 1000")
    return Located(to_read(desk, slot, with_liveness(desk, view.locate(request.chunk_ids))))


def renew(desk: Desk, view: View, request: Renew, slot: Slot) -> Done:
    """Say that a session is alive; that it was heard is noted with every request of it."""
    session = view.session(slot.session_id)
    if session is None:
        raise SessionExpired(f"session {slot.session_id:#x} is unknown or expired")
    check_owner(session, slot.session_id, slot)
    return Done()


def with_liveness(desk: Desk, chunks: Iterable[ChunkLocations]) -> tuple[ChunkLocations, ...]:
    """Return the locations with what the leader knows of the servers; all live costs nothing.

    A follower hears no heartbeats: it takes them for live, and the reader finds out.
    """
    reign = desk.reign
    if reign is None:
        return tuple(chunks)
    now_s = desk.now_s()
    known: dict[ServerId, bool] = {}
    marked = []
    for chunk in chunks:
        for place in chunk.replicas:
            if place.server_id not in known:
                known[place.server_id] = reign.observed.reached(place.server_id, now_s)
        if not all(known[place.server_id] for place in chunk.replicas):
            places = tuple(
                place if known[place.server_id] else replace(place, live=False)
                for place in chunk.replicas
            )
            chunk = replace(chunk, replicas=places)
        marked.append(chunk)
    return tuple(marked)
