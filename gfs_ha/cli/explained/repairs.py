"""What repair does about chunks, in words: what is under way, what waits, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gfs_ha.cli.explained.explanation import eta_text
from gfs_ha.cli.names import pasted
from gfs_ha.cli.units import count_text, share_text
from gfs_ha.ids import format_id
from gfs_ha.protocol.placement import PlacementExplained
from gfs_ha.protocol.repair import RepairReport
from gfs_ha.protocol.reports import ChunkRow

_NAMED_MAX = 5
_NO_TARGET = "no server can take a copy: "


def chunk_troubles(rows: Sequence[ChunkRow]) -> list[str]:
    """Return what is not as it should be with chunks; the first few by name."""
    found = []
    for row in rows:
        name = format_id(row.chunk_id)
        if row.blocked:
            found.append(f"chunk {name} cannot be sealed: {row.blocked}")
        elif row.state == "sealed" and row.copies == 0:
            had = ", ".join(f"{one.name} ({one.health})" for one in row.replicas) or "nobody"
            found.append(f"chunk {name} has no good copy on a live server; it was on {had}")
        elif row.state == "sealed" and row.copies < row.goal:
            found.append(f"chunk {name} has {row.copies} of {row.goal} copies{_away(row)}")
        elif row.troubles:
            found.append(f"chunk {name}: {', '.join(row.troubles)}{_away(row)}")
    more = len(found) - _NAMED_MAX
    return found[:_NAMED_MAX] + ([f"and {count_text(more, 'chunk')} more"] if more > 0 else [])


def repair_coming(rows: Sequence[ChunkRow], repair: RepairReport, path: str = "") -> Iterator[str]:
    """Yield what repair does about chunks below their goal, and when it is through."""
    lacking = {row.chunk_id for row in rows if row.state == "sealed" and row.copies < row.goal}
    if not lacking:
        return
    copying = [one for one in repair.copying if one.chunk_id in lacking]
    for copy in copying[:_NAMED_MAX]:
        share = copy.bytes_done / copy.bytes_total if copy.bytes_total else 0.0
        how = f"{share_text(share)} there" if copy.running else "ordered"
        yield f"{copy.server} gets a copy of {format_id(copy.chunk_id)}: {how}"
    stuck = {row.chunk_id for row in stuck_rows(rows, repair)}
    waiting = {one.chunk_id: (at, one) for at, one in enumerate(repair.waiting, 1)}
    for chunk_id in sorted(lacking - {one.chunk_id for one in copying})[:_NAMED_MAX]:
        if chunk_id in stuck:
            why = waiting[chunk_id][1].reason.removeprefix(_NO_TARGET)
            yield f"{format_id(chunk_id)} waits for a server: {why}"
        elif chunk_id in waiting:
            at, row = waiting[chunk_id]
            yield f"{format_id(chunk_id)} waits, number {at} of {len(waiting)}: {row.reason}"
        else:
            yield f"{format_id(chunk_id)} is found by the next round of repair"
    left = repair.copy_count - repair.unplaced_copies
    if stuck and repair.ways:
        ways = ", or ".join([repair.ways[0], f"want fewer copies: {fewer(rows, repair, path)}"])
        yield f"that does not change by itself: {ways}"
    if repair.hold:
        yield f"no copy begins now: {repair.hold}"
    elif left and stuck != lacking:
        copies = count_text(left, "copy", "copies")
        yield f"repair of all ({copies} lacking) is through {eta_text(repair.eta_ms)}"


def stuck_rows(rows: Sequence[ChunkRow], repair: RepairReport) -> list[ChunkRow]:
    """Return the chunks that want copies which no server can take."""
    stuck = {one.chunk_id for one in repair.waiting if one.stuck}
    return [
        row
        for row in rows
        if row.chunk_id in stuck and row.state == "sealed" and row.copies < row.goal
    ]


def fewer(rows: Sequence[ChunkRow], repair: RepairReport, path: str = "") -> str:
    """Return the command by which no more copies are wanted than there can be now."""
    known = {one.chunk_id: one for one in repair.unplaced}
    stuck = stuck_rows(rows, repair)
    possible = min(
        known[row.chunk_id].possible if row.chunk_id in known else row.copies for row in stuck
    )
    paths = [path, *(known[row.chunk_id].path for row in stuck if row.chunk_id in known)]
    named = next((pasted(one) for one in paths if one), "FILE")
    return f"gfsctl setrep {max(1, possible)} {named}"


def ways_text(placed: PlacementExplained, path: str = "") -> str:
    """Return the ways out of copies that nobody can take, now or after a death; empty: none."""
    if not placed.way:
        return ""
    copies = (
        f"want fewer copies: gfsctl setrep {placed.possible} {pasted(path) if path else 'FILE'}"
    )
    if placed.chunk.copies < placed.chunk.goal:
        return f"ways out: {placed.way}, or {copies}"
    return f"ways out, unless who dies comes back: {placed.way}, or {copies}"


def _away(row: ChunkRow) -> str:
    away = [f"{one.name} is {one.health}" for one in row.replicas if one.health != "live"]
    return f" ({', '.join(away)})" if away else ""
