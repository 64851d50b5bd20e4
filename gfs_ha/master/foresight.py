"""What would become of chunks if servers were lost or added: the planners' choices, played through.

Pure, and nothing is asked of any server. Each copy that is placed fills its server a little more,
as it would, so the high-water mark counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gfs_ha.errors import NoServers, NoSpace
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.placement import (
    Candidate,
    CopyWanted,
    Wanted,
    place,
    place_better,
    place_copy,
)
from gfs_ha.master.rules import breaks
from gfs_ha.protocol.placement import FillRow, PlacementSimulation

_REASONS_MAX = 10
_BELOW_MAX = 20
_PLAYED_MAX = 2_000  # Placements of new chunks; of more than that, some go together.
_PRIME = 2_654_435_761  # Spreads the numbers of new chunks.


@dataclass(frozen=True, slots=True)
class KnownChunk:
    """A chunk and the servers whose copies are there; `rule` is its own or the usual one."""

    chunk_id: ChunkId
    length: int
    goal: int
    rule: str
    holders: tuple[ServerId, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What is played: servers that are lost, leave or come, and so many new chunks."""

    lost: frozenset[ServerId] = frozenset()
    added: tuple[Candidate, ...] = ()
    new: Wanted | None = None
    new_count: int = 0
    leaving: frozenset[ServerId] = frozenset()  # They are copied from, and keep nothing.


@dataclass(slots=True)
class _Play:
    servers: dict[ServerId, Candidate]
    lost: frozenset[ServerId]
    leaving: frozenset[ServerId] = frozenset()
    below: list[ChunkId] = field(default_factory=list)
    bytes_in: Counter[ServerId] = field(default_factory=Counter)
    bytes_out: Counter[ServerId] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, None] = field(default_factory=dict)

    def fill(self, server_id: ServerId, size: int) -> None:
        """Let a server have so many bytes more, or fewer."""
        (self.bytes_in if size > 0 else self.bytes_out)[server_id] += abs(size)
        one = self.servers[server_id]
        free = max(0, one.free_bytes - size)
        used = 1 - free / one.total_bytes if one.total_bytes else one.used_share
        self.servers[server_id] = replace(one, free_bytes=free, used_share=used)

    def because(self, reason: str) -> None:
        """Keep a reason, the first few of them."""
        if len(self.reasons) < _REASONS_MAX:
            self.reasons[reason] = None


def foresee(
    servers: Iterable[Candidate], chunks: Iterable[KnownChunk], change: Change
) -> PlacementSimulation:
    """Return what would be copied and moved, what stays below its goal, and how full disks get."""
    before = {one.server_id: one for one in (*servers, *change.added)}
    now = {
        one: replace(server, trouble="is lost") if one in change.lost else server
        for one, server in before.items()
    }
    for one in change.leaving & now.keys():
        now[one] = replace(now[one], trouble="leaves")
    play = _Play(now, change.lost, change.leaving)
    for chunk in chunks:
        play.counts["chunks"] += 1
        _restore(play, chunk)
    at_once = -(-change.new_count // _PLAYED_MAX)
    for number in range(0, change.new_count, max(1, at_once)):
        assert change.new is not None, "new chunks of no kind"
        many = min(at_once, change.new_count - number)
        size = many * change.new.capacity
        _place_new(play, replace(change.new, spread=number * _PRIME, capacity=size), many)
    return _report(play, before, {one.server_id for one in change.added})


def _restore(play: _Play, chunk: KnownChunk) -> None:
    """Make the copies that a chunk lacks, and then move what lies against its rule."""
    there = [one for one in chunk.holders if one not in play.lost and one in play.servers]
    kept = [one for one in there if one not in play.leaving]
    if not there:
        if chunk.holders:
            play.counts["lost"] += 1
            play.counts["lost bytes"] += chunk.length
        return
    while len(kept) < chunk.goal:
        target, remarks = place_copy(play.servers.values(), _wanted(play, chunk, kept))
        if target is None:
            play.counts["below"] += 1
            play.because(remarks[0])
            if len(play.below) < _BELOW_MAX:
                play.below.append(chunk.chunk_id)
            return
        kept.append(target.server_id)
        play.fill(target.server_id, chunk.length)
        play.counts["copies"] += 1
        play.counts["copy bytes"] += chunk.length
    for one in there:
        if one in play.leaving:
            play.fill(one, -chunk.length)
    for _ in range(chunk.goal):  # Each turn moves one copy, and some stay.
        wanted = _wanted(play, chunk, kept)
        better = place_better(play.servers.values(), wanted)
        if better is None:
            play.counts["against"] += bool(breaks(chunk.rule, chunk.goal, wanted.kept))
            return
        target, out = better
        kept = [*(one for one in kept if one != out.server_id), target.server_id]
        play.fill(target.server_id, chunk.length)
        play.fill(out.server_id, -chunk.length)
        play.counts["moved"] += 1
        play.counts["moved bytes"] += chunk.length


def _wanted(play: _Play, chunk: KnownChunk, kept: list[ServerId]) -> CopyWanted:
    return CopyWanted(
        goal=chunk.goal,
        length=chunk.length,
        kept=tuple(play.servers[one] for one in kept),
        taken=frozenset((*kept, *chunk.holders)),
        failed=frozenset(),
        spread=chunk.chunk_id,
        rule=chunk.rule,
    )


def _place_new(play: _Play, wanted: Wanted, many: int) -> None:
    """Place so many new chunks together, as if they were a big one."""
    try:
        chosen = place(play.servers.values(), wanted)
    except (NoServers, NoSpace) as error:
        play.counts["refused"] += many
        play.because(error.message)
        return
    play.counts["new"] += many
    for one in chosen.chosen:
        play.fill(one.server_id, wanted.capacity)
    if len(chosen.chosen) < wanted.goal:
        play.counts["below"] += many
    for remark in chosen.remarks:
        play.because(remark)


def _report(
    play: _Play, before: dict[ServerId, Candidate], added: set[ServerId]
) -> PlacementSimulation:
    rows = []
    for server_id, one in sorted(before.items(), key=lambda known: known[1].name):
        fate = "added" if server_id in added else one.trouble or "stays"
        fate = "leaves" if server_id in play.leaving else fate
        rows.append(
            FillRow(
                name=one.name,
                rack=one.rack,
                fate="lost" if server_id in play.lost else fate,
                total_bytes=one.total_bytes,
                used_before=round(one.used_share, 4),
                used_after=round(play.servers[server_id].used_share, 4),
                bytes_in=play.bytes_in[server_id],
                bytes_out=play.bytes_out[server_id],
            )
        )
    counts = play.counts
    return PlacementSimulation(
        items=tuple(rows),
        chunk_count=counts["chunks"],
        copy_count=counts["copies"],
        copy_bytes=counts["copy bytes"],
        moved_count=counts["moved"],
        moved_bytes=counts["moved bytes"],
        below_goal=counts["below"],
        against_rule=counts["against"],
        lost_count=counts["lost"],
        lost_bytes=counts["lost bytes"],
        new_count=counts["new"],
        refused_count=counts["refused"],
        reasons=tuple(play.reasons),
        below=tuple(play.below),
    )
