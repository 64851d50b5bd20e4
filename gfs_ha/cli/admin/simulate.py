"""`gfsctl admin placement simulate`: what would be copied if servers were lost or came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.listing import listing
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, share_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import NotFound, UsageError
from gfs_ha.ids import DiskId, ServerId
from gfs_ha.limits import GOAL_MAX, MIN_COPIES_DEFAULT, PLACEMENT_RULES
from gfs_ha.master.foresight import Change, KnownChunk, foresee
from gfs_ha.master.placement import Candidate, Wanted
from gfs_ha.protocol.placement import FillRow, PlacementSimulation
from gfs_ha.protocol.reports import ChunkRow, ServerRow
from gfs_ha.protocol.server_modes import IN_SERVICE
from gfs_ha.strict_toml import parse_size

_NEW_MAX = 1_000_000
_ADDED_MAX = 1_000


class _Added(NamedTuple):
    rack: str
    servers: int
    size: int  # 0: as the biggest server that there is.


@click.command(
    "simulate",
    cls=Verb,
    examples="""
    gfsctl admin placement simulate --lose cs3                       # what is copied then, where
    gfsctl admin placement simulate --lose-rack r1                   # what stays below its goal?
    gfsctl admin placement simulate --add rack=r5,count=2,size=1TiB  # what is moved to new servers
    gfsctl admin placement simulate --chunks 1000 --rule spread      # where new chunks would go
    """,
)
@click.option("--lose", multiple=True, metavar="SERVER", help="This server is gone for good.")
@click.option("--lose-rack", multiple=True, metavar="RACK", help="All servers of this rack are.")
@click.option(
    "--add", multiple=True, metavar="rack=R[,count=N][,size=SIZE]", help="Empty servers come."
)
@click.option("--chunks", type=click.IntRange(0, _NEW_MAX), default=0, help="New chunks come.")
@click.option("--replicas", type=click.IntRange(1, GOAL_MAX), help="Copies of each new chunk.")
@click.option("--rule", type=click.Choice(PLACEMENT_RULES), help="The rule of new chunks.")
@pass_session
def simulate_placement(
    session: Session,
    lose: tuple[str, ...],
    lose_rack: tuple[str, ...],
    add: tuple[str, ...],
    chunks: int,
    replicas: int | None,
    rule: str | None,
) -> None:
    """Play what the planners would do with the chunks as they are now; nothing is changed.

    Looks at every chunk. A copy that is placed fills its server, so the high-water mark counts. Of
    more than 2,000 new chunks some are placed together.
    """
    operations = session.operations
    status = operations.status()
    usual = session.cluster.policies.get("/")  # Of new files at the top.
    rows = status.servers
    lost = _lost(rows, lose, lose_rack)
    wanted = Wanted(
        goal=replicas or usual.goal,
        min_copies=min(MIN_COPIES_DEFAULT, replicas or usual.goal),
        capacity=usual.chunk_bytes,
        machine="",
        rack="",
        failed=frozenset(),
        spread=0,
        rule=rule or usual.rule,
    )
    added = _added(rows, [_read_added(text) for text in add])
    change = Change(lost, added, wanted, chunks)
    known = (
        _known(row)
        for row in (operations.chunks() if lost or added else ())
        if row.state == "sealed"
    )
    session.show(foresee(candidates_of(rows), known, change))


def _lost(
    rows: tuple[ServerRow, ...], lose: tuple[str, ...], racks: tuple[str, ...]
) -> frozenset[ServerId]:
    by_name = {row.name: row.server_id for row in rows}
    for name in lose:
        if name not in by_name:
            raise NotFound(f"there is no server {name!r}; there are {', '.join(sorted(by_name))}")
    there = {row.rack for row in rows}
    for rack in racks:
        if rack not in there:
            raise NotFound(f"there is no rack {rack!r}; there are {', '.join(sorted(there))}")
    named = {by_name[name] for name in lose}
    return frozenset(named | {row.server_id for row in rows if row.rack in racks})


def _read_added(text: str) -> _Added:
    """Return what `--add` names. Raises: UsageError."""
    found = dict.fromkeys(("rack", "count", "size"), "")
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not value or key not in found or found[key]:
            raise UsageError(f"--add {text!r}: say rack=NAME[,count=N][,size=SIZE]")
        found[key] = value
    count = found["count"] or "1"
    if not found["rack"] or not count.isdecimal() or not 1 <= int(count) <= _ADDED_MAX:
        raise UsageError(f"--add {text!r}: it needs a rack, and a count of 1 to {_ADDED_MAX}")
    try:
        size = parse_size(found["size"]) if found["size"] else 0
    except ValueError as error:
        raise UsageError(f"--add {text!r}: {error}") from error
    return _Added(found["rack"], int(count), size)


def _added(rows: tuple[ServerRow, ...], wanted: list[_Added]) -> tuple[Candidate, ...]:
    """Return empty servers, each on a machine of its own, under names that are free."""
    biggest = max((row.total_bytes for row in rows), default=0)
    taken, made = {row.name for row in rows}, []
    number = 0
    for one in wanted:
        for _ in range(one.servers):
            number += 1
            while f"new{number}" in taken:
                number += 1
            size = one.size or biggest
            server_id = ServerId(-number)  # No real server has such an id.
            name = f"new{number}"
            made.append(
                Candidate(server_id, DiskId(0), name, one.rack, f"+{name}", 0.0, size, size)
            )
    return tuple(made)


def candidates_of(rows: tuple[ServerRow, ...]) -> list[Candidate]:
    """Return the servers as placement sees them; a machine that all share says nothing."""
    found = [_candidate(row) for row in rows]
    if len({one.machine for one in found}) > 1:
        return found
    return [replace(one, machine="") for one in found]


def _candidate(row: ServerRow) -> Candidate:
    used = 1 - row.free_bytes / row.total_bytes if row.total_bytes else 1.0
    return Candidate(
        server_id=row.server_id,
        disk_id=DiskId(0),
        name=row.name,
        rack=row.rack,
        machine=row.machine,
        used_share=used,
        free_bytes=row.free_bytes,
        total_bytes=row.total_bytes,
        trouble=_trouble(row),
    )


def _trouble(row: ServerRow) -> str:
    if row.mode != IN_SERVICE:
        return f"is {row.mode}"
    if row.maintenance_left_ms:
        return "is in maintenance"
    return "" if row.state == "live" else f"is {row.state}"


def _known(row: ChunkRow) -> KnownChunk:
    holders = tuple(one.server_id for one in row.replicas if one.health == "live")
    return KnownChunk(row.chunk_id, row.length, row.goal, row.rule, holders)


@names.register
def _(report: PlacementSimulation) -> Iterator[str]:
    for row in report.items:
        yield row.name


@render.register
def _(report: PlacementSimulation, wide: bool) -> Group:
    parts: list[RenderableType] = [Text(line) for line in _lines(report)]
    parts.append(fills_table(report.items))
    return Group(*parts)


def fills_table(rows: Iterable[FillRow]) -> Table:
    """Return how full servers are, and would be then, as a table; `-`: no disk of it counts."""
    table = listing("Server", "Rack", "", ">Used", ">Then", ">Gets", ">Gives")
    for row in rows:
        table.add_row(
            row.name,
            row.rack,
            "" if row.fate == "stays" else row.fate,
            share_text(row.used_before) if row.total_bytes else "-",
            share_text(row.used_after) if row.total_bytes and row.fate != "lost" else "-",
            size_text(row.bytes_in) if row.bytes_in else "",
            size_text(row.bytes_out) if row.bytes_out else "",
        )
    return table


def _lines(report: PlacementSimulation) -> Iterator[str]:
    if report.chunk_count:
        copies = count_text(report.copy_count, "copy", "copies")
        yield (
            f"{count_text(report.chunk_count, 'chunk')}: {copies} to make "
            f"({size_text(report.copy_bytes)}), {count_text(report.moved_count)} to move for the "
            f"rule ({size_text(report.moved_bytes)})"
        )
    if report.lost_count:
        yield f"lost: {count_text(report.lost_count, 'chunk')} ({size_text(report.lost_bytes)})"
    if report.below_goal:
        yield f"below the goal: {count_text(report.below_goal, 'chunk')}"
    if report.against_rule:
        yield f"against the rule: {count_text(report.against_rule, 'chunk')}"
    if report.new_count or report.refused_count:
        yield (
            f"new: {count_text(report.new_count, 'chunk')} placed, "
            f"{count_text(report.refused_count)} refused"
        )
    for reason in report.reasons:
        yield f"  {reason}"
