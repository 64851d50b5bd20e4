"""`gfsctl admin chunkservers ok-to-stop`: what would be out of reach if servers stopped now."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import click
import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli.admin.drain_plan import named_rows, usable
from gfs_ha.cli.admin.simulate import candidates_of
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import NotFound, Unhealthy, UsageError
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.limits import MIN_COPIES_DEFAULT
from gfs_ha.master.foresight import Change, KnownChunk, foresee
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import PlaceRow

NO_COPY = "no live copy"
BELOW_MIN = "below min_copies"
APPENDED = "is appended to"
_SHOWN = 20
_KEPT = 1_000  # Chunks that are named; all are counted.


class StopRow(msgspec.Struct, frozen=True):
    """A chunk that would suffer, or a tail that has to move."""

    chunk_id: ChunkId
    what: str
    copies: int  # That are left then.
    goal: int
    path: str = ""


class StopVerdict(msgspec.Struct, frozen=True):
    """-> kind StopVerdict. `ok`: nothing would be out of reach, and writing goes on."""

    items: tuple[StopRow, ...]
    servers: tuple[str, ...]
    ok: bool
    reasons: tuple[str, ...]
    no_copy_count: int
    below_min_count: int
    tail_count: int  # Files whose next appends go to other servers: they notice nothing but that.
    open_count: int  # Chunks that are being written: their writers go on in others.
    copy_count: int  # Copies that repair would make if they stayed away,
    copy_bytes: int
    unrepaired_count: int  # and chunks that it could not bring back to their goal.
    left_in_service: int
    paused: tuple[str, ...] = ()  # In maintenance: they count as stopped, too.


def judge(
    rows: Collection[ServerRow], stopping: list[ServerRow], chunks: Collection[PlaceRow]
) -> StopVerdict:
    """Return what would become of chunks if servers stopped now; each chunk is given once.

    Who is in maintenance may be stopped at any moment, so that is reckoned with.
    """
    wanted = frozenset(row.server_id for row in stopping)
    pausing = [row for row in rows if row.maintenance_left_ms and row.server_id not in wanted]
    paused = frozenset(row.server_id for row in pausing)
    gone = wanted | paused
    items: list[StopRow] = []
    counts = dict.fromkeys((NO_COPY, BELOW_MIN, APPENDED), 0)
    opened = 0
    for one in chunks:
        left = sum(server not in gone for server in one.good)
        was = sum(server not in paused for server in one.good)
        if one.path or one.primary:
            what = APPENDED
        elif one.state == "sealed" and was and not left:
            what = NO_COPY
        elif one.state == "sealed" and left < one.min_copies and left < was:
            what = BELOW_MIN
        elif one.state != "sealed":
            opened += 1
            # Its writer has the bytes, or a copy stays: only the last servers are missed.
            what = "" if left or not was else NO_COPY
        else:
            what = ""
        if what:
            counts[what] += 1
            if len(items) < _KEPT:
                items.append(StopRow(one.chunk_id, what, left, one.goal, one.path))
    stay = sum(usable(row) for row in rows if row.server_id not in gone)
    least = max((one.min_copies for one in chunks), default=MIN_COPIES_DEFAULT)
    reasons = []
    if counts[NO_COPY]:
        reasons.append(f"{count_text(counts[NO_COPY], 'chunk')} would have no live copy")
    if counts[BELOW_MIN]:
        reasons.append(f"{count_text(counts[BELOW_MIN], 'chunk')} would fall below min_copies")
    if stay < least:
        reasons.append(
            f"{count_text(stay, 'server')} would take new chunks, {least} are needed to write"
        )
    known = [
        KnownChunk(one.chunk_id, one.length, one.goal, one.rule, one.good)
        for one in chunks
        if one.state == "sealed"
    ]
    later = foresee(candidates_of(tuple(rows)), known, Change(lost=wanted))
    order = {NO_COPY: 0, BELOW_MIN: 1, APPENDED: 2}
    items.sort(key=lambda row: (order[row.what], row.chunk_id))
    return StopVerdict(
        items=tuple(items),
        servers=tuple(row.name for row in stopping),
        ok=not reasons,
        reasons=tuple(reasons),
        no_copy_count=counts[NO_COPY],
        below_min_count=counts[BELOW_MIN],
        tail_count=counts[APPENDED],
        open_count=opened,
        copy_count=later.copy_count,
        copy_bytes=later.copy_bytes,
        unrepaired_count=later.below_goal + later.lost_count,
        left_in_service=stay,
        paused=tuple(sorted(row.name for row in pausing)),
    )


@click.command(
    "ok-to-stop",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers ok-to-stop cs7          # exit 0: yes, 8: no, and why not
    gfsctl admin chunkservers ok-to-stop cs7 cs8      # both at once
    gfsctl admin chunkservers ok-to-stop --rack r2    # a whole rack
    gfsctl admin chunkservers ok-to-stop cs7 -q && ssh cs7 reboot
    """,
)
@click.argument("servers", metavar="[SERVER...]", nargs=-1)
@click.option("--rack", multiple=True, metavar="RACK", help="All servers of this rack.")
@click.option("--machine", multiple=True, metavar="HOST", help="All servers of this machine.")
@pass_session
def ok_to_stop(
    session: Session, servers: tuple[str, ...], rack: tuple[str, ...], machine: tuple[str, ...]
) -> None:
    """Say whether servers may stop now, all of them at once. Exit status 0: yes, 8: no.

    No is: a chunk would have no live copy, or fewer than it may be written with (min_copies), or
    too few servers would be left to write. Servers in maintenance count as stopped, too. Looks at
    every chunk there, page by page.
    """
    if not (servers or rack or machine):
        raise UsageError("name servers, or say --rack or --machine")
    rows = session.operations.servers().items
    stopping = _chosen(rows, servers, rack, machine)
    chunks: dict[ChunkId, PlaceRow] = {}
    for row in stopping:
        for place in session.operations.server_modes.places(row.server_id):
            chunks[place.chunk_id] = place
    verdict = judge(rows, stopping, chunks.values())
    session.show(verdict)
    if not verdict.ok:
        why = [f"while {', '.join(verdict.paused)} may be stopped"] if verdict.paused else []
        why += verdict.reasons
        raise Unhealthy(f"{', '.join(verdict.servers)}: not now; {'; '.join(why)}")


def _chosen(
    rows: Collection[ServerRow],
    servers: tuple[str, ...],
    racks: tuple[str, ...],
    machines: tuple[str, ...],
) -> list[ServerRow]:
    found = named_rows(rows, servers)
    for kind, wanted, of in (("rack", racks, "rack"), ("machine", machines, "machine")):
        there = {getattr(row, of) for row in rows}
        for one in wanted:
            if one not in there:
                raise NotFound(f"there is no {kind} {one!r}; there are {', '.join(sorted(there))}")
        found += [row for row in rows if getattr(row, of) in wanted]
    ids: dict[ServerId, ServerRow] = {row.server_id: row for row in found}
    return list(ids.values())


@names.register
def _(report: StopVerdict) -> Iterator[str]:
    for row in report.items:
        yield format_id(row.chunk_id)


@render.register
def _(report: StopVerdict, wide: bool) -> Group:
    who = ", ".join(report.servers)
    parts: list[RenderableType] = [
        Text(
            f"{who}: {'may stop' if report.ok else 'may not stop'}", "" if report.ok else "bold red"
        )
    ]
    parts += [Text(f"  {line}") for line in _lines(report)]
    shown = report.items if wide else report.items[:_SHOWN]
    if shown:
        named = any(row.path for row in shown)
        table = listing("=Chunk", "Then", ">Copies left", ">Goal")
        if named:
            table.add_column("File")
        for row in shown:
            cells = [format_id(row.chunk_id), row.what, str(row.copies), str(row.goal)]
            table.add_row(*cells, *([printable(row.path) or "-"] if named else ()))
        parts += [Text(), table]
    more = report.no_copy_count + report.below_min_count + report.tail_count - len(shown)
    if more > 0:
        parts.append(Text(f"and {count_text(more)} more{'' if wide else ' (-o wide)'}"))
    return Group(*parts)


def _lines(report: StopVerdict) -> Iterator[str]:
    if report.paused:
        yield f"counted as stopped, for they are in maintenance: {', '.join(report.paused)}"
    yield from report.reasons
    if report.tail_count:
        files = count_text(report.tail_count, "file")
        yield f"{files} appended to: the next records go to other servers"
    if report.open_count:
        yield f"{count_text(report.open_count, 'chunk')} being written: writers go on in others"
    if report.copy_count:
        copies = count_text(report.copy_count, "copy", "copies")
        yield f"if they stay away: {copies} to make ({size_text(report.copy_bytes)})"
    if report.unrepaired_count:
        yield (
            f"if they stay away: {count_text(report.unrepaired_count, 'chunk')} could not be"
            " brought back to the goal"
        )
