"""Which chunks are in trouble, of which kind, and where a page of them goes on.

Nothing here looks at all chunks: what may be in trouble is found by indexes of the tables and by
what the leader has heard of its servers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.census import Presence, each_marked, merged, suspicious
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import OpenReplica
from gfs_ha.protocol.damage import BLOCKED, CORRUPT, MISSING, ORPHAN, SHORT, UNDER

EXAMINED_MAX = 10_000  # Chunks that one page looks at; the next one goes on there.
TOMBSTONE = "tombstone"  # No replica: a promise to take none.
_SHORT_STATES = ("open", "fenced", "damaged")

Listed = Mapping[ChunkId, list[tuple[ServerId, OpenReplica]]]
Strays = Mapping[ChunkId, Collection[ServerId]]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the leader knows beyond the tables.

    Fields:
        listed: replicas that servers list as not settled, by chunk.
        blocked: chunks that cannot be sealed, and why.
        strays: finds sealed replicas of chunks without a row, as comparisons of tallies did. It
            looks at thousands of rows when there are so many, and only who asks for that pays.
    """

    listed: Listed = field(default_factory=dict)
    blocked: Mapping[ChunkId, str] = field(default_factory=dict)
    strays: Callable[[], Strays] = dict


def listed_by_chunk(
    unsettled: Mapping[ServerId, Mapping[ChunkId, OpenReplica]],
) -> dict[ChunkId, list[tuple[ServerId, OpenReplica]]]:
    """Return what servers list as not settled, by chunk; tombstones are no replicas."""
    found: dict[ChunkId, list[tuple[ServerId, OpenReplica]]] = {}
    for server_id, replicas in unsettled.items():
        for chunk_id, replica in replicas.items():
            if replica.state != TOMBSTONE:
                found.setdefault(chunk_id, []).append((server_id, replica))
    return found


def strays_by_chunk(places: Iterable[tuple[ChunkId, ServerId]]) -> Strays:
    """Return on which servers each stray is."""
    found: dict[ChunkId, set[ServerId]] = {}
    for chunk_id, server_id in places:
        found.setdefault(chunk_id, set()).add(server_id)
    return found


def troubles_of(
    chunk_id: ChunkId, chunk: Chunk | None, presence: Presence, heard: Heard
) -> tuple[str, ...]:
    """Return the kinds of trouble that a chunk is in, in the order of their weight."""
    if chunk is None or chunk.state == DEAD:
        held = chunk.replicas if chunk is not None else ()
        there = held or chunk_id in heard.listed
        return (ORPHAN,) if there or chunk_id in heard.strays() else ()
    copies = presence.copies(chunk_id, chunk)
    places = [replica.server_id for replica in chunk.replicas]
    found = []
    if not copies:
        found.append(MISSING)
    if copies < chunk.goal:
        found.append(UNDER)
    if any(is_short(chunk, *listed) for listed in heard.listed.get(chunk_id, ())):
        found.append(SHORT)
    if any((chunk_id, server_id) in presence.damaged for server_id in places):
        found.append(CORRUPT)
    if chunk_id in heard.blocked:
        found.append(BLOCKED)
    return tuple(found)


def is_short(chunk: Chunk, server_id: ServerId, replica: OpenReplica) -> bool:
    """Return whether a listed replica of a sealed chunk has fewer bytes than it (C7).

    What a holder listed before it was told of the seal says nothing: it may be older than its last
    bytes. If they are gone, it says so when it is to stamp them.
    """
    if server_id in chunk.holders and replica.state == "open":
        return False
    same = replica.birth == chunk.birth and chunk.state == SEALED
    return same and replica.state in _SHORT_STATES and replica.end < chunk.length


def chunks_in_trouble(
    view: View,
    wanted: Collection[str],
    known: tuple[Presence, Heard],
    page: tuple[ChunkId, int],
) -> tuple[list[tuple[ChunkId, Chunk | None]], ChunkId, bool]:
    """Return chunks with any wanted kind of trouble, how far was looked, and if there are more.

    Args: `page` is (after, limit).
    """
    after, limit = page
    presence, heard = known
    found: list[tuple[ChunkId, Chunk | None]] = []
    last = after
    for examined, chunk_id in enumerate(_candidates(view, wanted, known, after)):
        if examined >= EXAMINED_MAX or len(found) == limit:
            return found, last, True
        last = chunk_id
        chunk = view.chunk(chunk_id)
        if any(kind in wanted for kind in troubles_of(chunk_id, chunk, presence, heard)):
            found.append((chunk_id, chunk))
    return found, last, False


def _candidates(
    view: View, wanted: Collection[str], known: tuple[Presence, Heard], after: ChunkId
) -> Iterator[ChunkId]:
    """Yield the chunks above `after` that may have a wanted kind of trouble, by id."""
    presence, heard = known
    sources: list[Iterator[ChunkId]] = []

    def add(chunk_ids: Collection[ChunkId]) -> None:
        sources.append(iter(sorted(one for one in chunk_ids if one > after)))

    if MISSING in wanted or UNDER in wanted:
        sources.append(suspicious(view, presence, after))
    if SHORT in wanted or ORPHAN in wanted:
        add(heard.listed.keys())
    if CORRUPT in wanted:
        add({chunk_id for chunk_id, _ in presence.damaged})
    if BLOCKED in wanted:
        add(heard.blocked.keys())
    if ORPHAN in wanted:
        add(heard.strays().keys())
        sources.append(each_marked(view.dead_chunks, after))
    yield from merged(sources, after)
