"""How many copies chunks have: counted page by page, and the chunks with too few found by index.

A count over all chunks never happens in one question: a census walks the table in small steps and
keeps the result of its last whole round.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import GOAL_MAX
from gfs_ha.master.state.records import DEAD, SEALED, Chunk
from gfs_ha.master.state.view import View

Live = Callable[[ServerId], bool]
# Of an index: the chunks above an id, so many.
PageOf = Callable[[ChunkId, int], list[tuple[ChunkId, Chunk]]]
LostDisks = frozenset[tuple[ServerId, DiskId]]
Damaged = frozenset[tuple[ChunkId, ServerId]]

FIRST = ChunkId(0)  # Below every id.
BUCKETS = ("0", "1", "2", "3+")
_PAGE = 200
_EXAMINED_MAX = 10_000  # Rows that one question for chunks with too few copies looks at.


def counted(chunk: Chunk) -> tuple[ServerId, ...]:
    """Return the servers whose copies count: holders once sealed, the whole set before."""
    if chunk.state == SEALED:
        return chunk.holders
    return tuple(replica.server_id for replica in chunk.replicas)


def lost_disks(view: View) -> LostDisks:
    """Return the disks that their servers came back without."""
    return frozenset(
        (server_id, disk.disk_id)
        for server_id, server in view.servers()
        for disk in server.disks
        if disk.lost
    )


@dataclass(frozen=True, slots=True)
class Presence:
    """What counts as there: live servers, without the disks that they lost and what is damaged."""

    live: Live
    lost: LostDisks
    damaged: Damaged = frozenset()

    def copies(self, chunk_id: ChunkId, chunk: Chunk) -> int:
        """Return how many copies of a chunk can be read now."""
        holders = counted(chunk)
        return sum(
            1
            for replica in chunk.replicas
            if replica.server_id in holders
            and self.live(replica.server_id)
            and (replica.server_id, replica.disk_id) not in self.lost
            and (chunk_id, replica.server_id) not in self.damaged
        )


@dataclass(slots=True)
class Census:
    """The chunks by goal and live copies, as of the last whole round. Empty before the first.

    Counted are those with 0, 1, 2… copies, at last with GOAL_MAX and more.
    """

    goals: dict[int, list[int]] = field(default_factory=dict)
    _running: dict[int, list[int]] = field(default_factory=dict)
    _after: ChunkId = FIRST

    def step(self, view: View, presence: Presence, limit: int) -> bool:
        """Count the next `limit` chunks; return True at the end of a round."""
        page = view.chunks_after(self._after, limit)
        for chunk_id, chunk in page:
            if chunk.state != DEAD:
                counts = self._running.setdefault(chunk.goal, [0] * (GOAL_MAX + 1))
                counts[min(GOAL_MAX, presence.copies(chunk_id, chunk))] += 1
        if len(page) == limit:
            self._after = page[-1][0]
            return False
        self.goals, self._running = self._running, {}
        self._after = FIRST
        return True

    @property
    def below(self) -> int:
        """Return of how many chunks fewer copies can be read than are wanted."""
        return sum(sum(counts[:goal]) for goal, counts in self.goals.items())

    @property
    def result(self) -> dict[str, int]:
        """Return the chunks by live copies, whatever their goal."""
        counts = [bucketed(one) for one in self.goals.values()]
        return {name: sum(one[at] for one in counts) for at, name in enumerate(BUCKETS)}


def bucketed(counts: Sequence[int]) -> tuple[int, ...]:
    """Return counts by copies as BUCKETS are ordered: what has many is counted together."""
    last = len(BUCKETS) - 1
    return (*counts[:last], sum(counts[last:]))


def under_goal(
    view: View, presence: Presence, after: ChunkId, limit: int
) -> tuple[list[tuple[ChunkId, Chunk]], bool]:
    """Return chunks with fewer live copies than their goal above `after`, and if there are more."""
    found: list[tuple[ChunkId, Chunk]] = []
    for examined, chunk_id in enumerate(suspicious(view, presence, after)):
        if examined >= _EXAMINED_MAX:
            return found, True
        chunk = view.chunk(chunk_id)
        if chunk is None or chunk.state == DEAD or presence.copies(chunk_id, chunk) >= chunk.goal:
            continue
        if len(found) == limit:
            return found, True
        found.append((chunk_id, chunk))
    return found, False


def suspicious(view: View, presence: Presence, after: ChunkId) -> Iterator[ChunkId]:
    """Yield the chunks above `after` that may be below their goal, by id.

    Merges the index of chunks that have too few copies by the tables with what lies on servers
    that are not live or on lost disks, and what is damaged: nothing else can be below its goal.
    """
    hurt = sorted({chunk_id for chunk_id, _ in presence.damaged if chunk_id > after})
    sources = [each_marked(view.under_goal, after), iter(hurt)]
    for server_id, server in view.servers():
        gone = not presence.live(server_id)
        sources += [
            _on_disk(view, server_id, disk.disk_id, after)
            for disk in server.disks
            if gone or (server_id, disk.disk_id) in presence.lost
        ]
    yield from merged(sources, after)


def merged(sources: Iterable[Iterator[ChunkId]], after: ChunkId) -> Iterator[ChunkId]:
    """Yield what several walks yield, each of them by id above `after`; every chunk once."""
    last = after
    for chunk_id in heapq.merge(*sources):
        if chunk_id != last:
            last = chunk_id
            yield chunk_id


def each_marked(page_of: PageOf, after: ChunkId) -> Iterator[ChunkId]:
    """Yield the chunks above `after` that an index of the tables names, by id."""
    while True:
        page = page_of(after, _PAGE)
        for chunk_id, _ in page:
            yield chunk_id
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def _on_disk(view: View, server_id: ServerId, disk_id: DiskId, after: ChunkId) -> Iterator[ChunkId]:
    while True:
        page = view.replicas_of(server_id, (disk_id, after), _PAGE)
        for found_disk, chunk_id in page:
            if found_disk != disk_id:
                return
            yield chunk_id
        if len(page) < _PAGE:
            return
        after = page[-1][1]
