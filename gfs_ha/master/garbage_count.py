"""What waits to be collected and why, counted from the tables and what the leader has heard.

Bounded: of each kind at most so many rows are looked at, and the report says when there are more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.ids import ServerId
from gfs_ha.limits import CLAIM_SILENCE_S, COMPACTION_RANGES_MAX, QUARANTINE_S
from gfs_ha.master.census import lost_disks
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.planners.compaction import AT_ONCE, GAIN_BYTES_MIN, why_it_waits
from gfs_ha.master.planners.orphans import quarantine_ends_ms
from gfs_ha.master.planners.plan import NO_CHUNK, cluster_ms
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.garbage import GarbageRow, GarbageServerRow
from gfs_ha.protocol.gone import bytes_of, unpack_blocks

WAITING_MAX = 1_000  # Rows of one kind that are counted: about 10 ms.
_SILENT_S = 40.0  # A client that lives says so every 30 s.

IN_HAND = "ordered; its server has not answered yet"
SCATTERED = f"what lives lies in over {COMPACTION_RANGES_MAX} places: stays until more of it dies"


@dataclass(slots=True)
class _Sum:
    count: int = 0
    bytes: int = 0
    now: bool = False


@dataclass(slots=True)
class GarbageCount:
    """One count; `rows` makes it."""

    view: View
    reign: Reign
    now_s: float
    more: bool = False
    _sums: dict[tuple[str, str], _Sum] = field(default_factory=dict)
    _names: dict[ServerId, str] = field(default_factory=dict)
    _servers: dict[ServerId, _Sum] = field(default_factory=dict)

    def rows(self) -> list[GarbageRow]:
        """Return what waits, by kind and reason."""
        self._count_names()
        self._count_claims()
        self._count_dead()
        self._count_busy()
        self._count_surplus()
        self._count_punching()
        self._count_walk()
        self._count_compactions()
        self._count_orphans()
        return [
            GarbageRow(kind, found.count, found.bytes, why, found.now)
            for (kind, why), found in self._sums.items()
        ]

    def servers(self) -> list[GarbageServerRow]:
        """Return which servers have what is to be deleted, as counted by `rows` or `held`."""
        return [
            GarbageServerRow(
                server_id=server_id,
                name=self.name(server_id),
                state=self.reign.observed.state(server_id, self.now_s),
                count=found.count,
                bytes=found.bytes,
            )
            for server_id, found in sorted(self._servers.items(), key=lambda one: -one[1].bytes)
        ]

    def held(self) -> list[GarbageServerRow]:
        """Return the servers that are dead and have what is to be deleted."""
        self._count_dead()
        self._count_busy()
        return [one for one in self.servers() if one.state == DEAD]

    def _on_server(self, server_id: ServerId, size: int) -> None:
        found = self._servers.setdefault(server_id, _Sum())
        found.count += 1
        found.bytes += max(0, size)

    def name(self, server_id: ServerId) -> str:
        """Return the name of a server, read once."""
        if server_id not in self._names:
            server = self.view.server(server_id)
            self._names[server_id] = server.name if server else f"#{server_id}"
        return self._names[server_id]

    def _add(self, kind: str, why: str, size: int, count: int = 1, now: bool = False) -> None:
        found = self._sums.setdefault((kind, why), _Sum(now=now))
        found.count += count
        found.bytes = -1 if size < 0 else found.bytes + size

    def _waits_for(self, server_id: ServerId) -> tuple[str, bool]:
        """Return why the deletion on a server is not done yet, and whether only its word lacks."""
        state = self.reign.observed.state(server_id, self.now_s)
        if state == LIVE:
            return IN_HAND, True
        return f"{self.name(server_id)} is {state}: it goes when that server is back", False

    def _count_names(self) -> None:
        waiting = self.view.counters().reapable
        if waiting:
            why = "removed trees, replaced contents and ended sessions are taken apart in steps"
            self._add("names", why, -1, waiting, now=True)

    def _count_claims(self) -> None:
        page = self.view.claims(None, WAITING_MAX)
        self.more |= len(page) == WAITING_MAX
        for session_id, _ in page:
            silence_s = self.reign.observed.session_silence_s(session_id, self.now_s)
            if silence_s > _SILENT_S:
                session = self.view.session(session_id)
                client = session.client if session is not None else f"session {session_id}"
                why = f"{client} is silent; its claims end after {CLAIM_SILENCE_S:.0f} s of it"
                self._add("claims", why, -1)

    def _count_dead(self) -> None:
        page = self.view.dead_chunks(NO_CHUNK, WAITING_MAX)
        self.more |= len(page) == WAITING_MAX
        lost = lost_disks(self.view)
        for _, chunk in page:
            for replica in chunk.replicas:
                if (replica.server_id, replica.disk_id) in lost:
                    continue
                why, now = self._waits_for(replica.server_id)
                self._add("dead", why, _stored(chunk), now=now)
                self._on_server(replica.server_id, _stored(chunk))

    def _count_busy(self) -> None:
        page = self.view.busy_chunks(NO_CHUNK, WAITING_MAX)
        self.more |= len(page) == WAITING_MAX
        for _, chunk in page:
            for order in chunk.deleting:
                why, now = self._waits_for(order.server_id)
                self._add("deleting", why, _stored(chunk), now=now)
                self._on_server(order.server_id, _stored(chunk))

    def _count_surplus(self) -> None:
        page = self.view.surplus_chunks(NO_CHUNK, WAITING_MAX)
        self.more |= len(page) == WAITING_MAX
        for _, chunk in page:
            extra = max(0, len(chunk.holders) - chunk.goal)
            why, now = self._why_surplus(chunk)
            if extra:
                self._add("surplus", why, extra * _stored(chunk), extra, now)
            if chunk.late:
                late = len(chunk.late)
                self._add("late", why, late * _stored(chunk), late, now)

    def _why_surplus(self, chunk: Chunk) -> tuple[str, bool]:
        """Return why a copy too many is not dropped yet (G3)."""
        if chunk.copying or chunk.deleting:
            return "another copy of the chunk is being made or deleted", False
        sure = [one for one in chunk.holders if self.reign.observed.settled(one, self.now_s)]
        if len(sure) < chunk.goal:
            return "fewer other copies than the goal are known to be there just now", False
        return "it is dropped with the next plans", True

    def _count_punching(self) -> None:
        page = self.view.punching_chunks(NO_CHUNK, WAITING_MAX)
        self.more |= len(page) == WAITING_MAX
        for _, chunk in page:
            for server_id in chunk.punching:
                why, now = self._waits_for(server_id)
                # What of it was given back before cannot be told from here.
                self._add("punching", why, -1, now=now)
                self._on_server(server_id, -1)

    def _count_walk(self) -> None:
        found = self.reign.garbage.walk.found
        for why, (chunks, size) in found.waits.items():
            self._add("dead blocks", why, size, chunks)
        if found.unpunchable_bytes:
            why = "they share blocks of 64 KiB with living bytes; sparse chunks are compacted"
            self._add("dead blocks", why, found.unpunchable_bytes, 0)

    def _count_compactions(self) -> None:
        under_way = self.view.compacting_chunks(NO_CHUNK, WAITING_MAX)
        for _, chunk in under_way:
            why = f"{self.name(chunk.compactor)} copies what lives of it elsewhere"
            self._add("compacting", why, -1)
        known = {chunk_id for chunk_id, _ in under_way}
        walk = self.reign.garbage.walk
        for one in walk.found.sparse:
            row = self.view.chunk(one.chunk_id)
            if one.chunk_id in known or row is None or row.state != SEALED:
                continue
            gain = one.length - one.alive_bytes
            rest = walk.resting.get(one.chunk_id)
            if gain < GAIN_BYTES_MIN:
                why = f"less than {GAIN_BYTES_MIN >> 10} KiB of a copy would be won"
            elif one.scattered:
                why = SCATTERED
            elif rest is not None and self.now_s < rest.until_s:
                why = f"tried a moment ago: {rest.why}"
            else:
                why = why_it_waits(row) or self._why_no_turn(len(known))
            self._add("sparse", why, gain * one.copies)

    def _why_no_turn(self, under_way: int) -> str:
        """Return why no compaction begins, or that this one is next."""
        if self.reign.hold:
            return f"after repair, which waits: {self.reign.hold}"
        if self.reign.queue.newest.makeable:
            return "after repair, which has copies to make"
        if under_way >= AT_ONCE:
            return f"{AT_ONCE} others are being compacted"
        return "it waits for its turn: one on each server"

    def _count_orphans(self) -> None:
        now_ms = cluster_ms(self.view.counters(), self.now_s - self.reign.elected_s)
        for (server_id, _, _), row in self.view.orphans(None, WAITING_MAX):
            if row.delete_index:
                why, now = self._waits_for(server_id)
                self._add("orphans", why, -1, now=now)
                self._on_server(server_id, -1)
            else:
                days = QUARANTINE_S / 86_400
                why = f"of masters of an older incarnation: kept for {days:.0f} days"
                over = quarantine_ends_ms(row) <= now_ms
                self._add("orphans", why, -1, now=over)


def _stored(chunk: Chunk) -> int:
    """Return how many bytes one copy of a chunk takes, as far as the tables know."""
    length = chunk.length or chunk.published_end
    return length - bytes_of(unpack_blocks(chunk.gone), length)
