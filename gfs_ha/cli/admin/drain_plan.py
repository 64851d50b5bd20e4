"""What would be moved if servers were emptied now: bytes, where to, how long, what stands still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli.admin.simulate import candidates_of, fills_table
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text, least_text, size_text
from gfs_ha.errors import NotFound
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.limits import MIN_COPIES_DEFAULT
from gfs_ha.master.foresight import Change, KnownChunk, foresee
from gfs_ha.protocol.placement import FillRow
from gfs_ha.protocol.repair import RepairBudgetReport
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import IN_SERVICE, PlaceRow

_NAMED = 5
_KEPT = 20  # Chunks that are named, of those that cannot be moved.
_REASONS = 3


class DrainPlan(msgspec.Struct, frozen=True):
    """-> kind DrainPlan; an item is a server before and after. Nothing of it is done."""

    items: tuple[FillRow, ...]
    servers: tuple[str, ...]  # That are emptied, or whose disks are.
    move_count: int  # Copies that are made elsewhere, be it on another disk of their server.
    move_bytes: int
    open_count: int  # Chunks that are being written: they are waited for, or handed on.
    blocked_count: int  # Chunks that cannot be moved: they keep their server.
    blocked: tuple[ChunkId, ...]
    reasons: tuple[str, ...]
    eta_ms: int  # At what repair may take; -1: there is no limit to reckon with.
    left_in_service: int  # Servers that take new chunks then.
    writable: bool  # They are enough for new chunks.
    within_count: int = 0  # Of these copies: only to another disk of their server.
    within_bytes: int = 0
    disks: tuple[str, ...] = ()  # That are emptied, if it is single ones.
    ways: tuple[
        str, ...
    ] = ()  # What would let those go that cannot be moved, if anything is known.

    @property
    def names(self) -> tuple[str, ...]:
        """Return what is emptied, as commands take it."""
        return self.disks or self.servers

    @property
    def doubtful(self) -> str:
        """Return why a person is asked before it is begun; empty: nothing speaks against it."""
        if self.blocked_count:
            return f"{count_text(self.blocked_count, 'chunk')} cannot be moved"
        return "" if self.writable else _unwritable(self)


def named_rows(rows: Collection[ServerRow], wanted: Collection[str]) -> list[ServerRow]:
    """Return the rows of servers, in the order they are named. Raises: NotFound."""
    known = {row.name: row for row in rows}
    for name in wanted:
        if name not in known:
            there = ", ".join(sorted(known)) or "none yet"
            raise NotFound(f"there is no chunkserver {name!r}; there are {there}")
    return [known[name] for name in dict.fromkeys(wanted)]


def usable(row: ServerRow) -> bool:
    """Return whether a server takes new chunks."""
    return row.state == "live" and row.mode == IN_SERVICE and not row.maintenance_left_ms


Part = tuple[int, int]


def plan_drain(session: Session, wanted: Collection[str]) -> tuple[DrainPlan, dict[str, Part]]:
    """Return the plan of emptying servers together, and (bytes, copies) to move by server."""
    rows = session.operations.servers().items
    chosen = named_rows(rows, wanted)
    chunks: dict[ChunkId, PlaceRow] = {}
    parts = {}
    for row in chosen:
        places = session.operations.server_modes.places(row.server_id)
        parts[row.name] = gather(places, chunks)
    leaving = frozenset(row.server_id for row in chosen)
    return plan_of(session, rows, (tuple(row.name for row in chosen), leaving), chunks), parts


def gather(places: Iterable[PlaceRow], chunks: dict[ChunkId, PlaceRow]) -> Part:
    """Add the chunks of places to others; return (bytes, copies) of those that count."""
    size = copies = 0
    for place in places:
        chunks[place.chunk_id] = place
        copies += place.holds
        size += place.length * place.holds
    return size, copies


def plan_of(
    session: Session,
    rows: tuple[ServerRow, ...],
    what: tuple[tuple[str, ...], frozenset[ServerId]],
    chunks: Mapping[ChunkId, PlaceRow],
) -> DrainPlan:
    """Return the plan of moving chunks off servers; `what`: the names, and the servers."""
    shown, leaving = what
    sealed = [one for one in chunks.values() if one.state == "sealed"]
    others = sum(row.mode == IN_SERVICE for row in rows if row.server_id not in leaving)
    wide = [one for one in sealed if one.goal > others]  # Where everybody else has one already.
    known = (
        KnownChunk(one.chunk_id, one.length, one.goal, one.rule, one.good)
        for one in sealed
        if one.goal <= others
    )
    found = foresee(candidates_of(rows), known, Change(leaving=leaving))
    stay = sum(usable(row) for row in rows if row.server_id not in leaving)
    budget = session.operations.repair(1).budget
    least = max((one.min_copies for one in chunks.values()), default=MIN_COPIES_DEFAULT)
    return DrainPlan(
        items=found.items,
        servers=shown,
        move_count=found.copy_count,
        move_bytes=found.copy_bytes,
        open_count=len(chunks) - len(sealed),
        blocked_count=len(wide) + found.below_goal,
        blocked=(*(one.chunk_id for one in wide[:_KEPT]), *found.below)[:_KEPT],
        reasons=(*_too_wide(wide, others), *found.reasons[:_REASONS]),
        eta_ms=least_eta_ms(budget, {row.name: row.bytes_in for row in found.items}),
        left_in_service=stay,
        writable=stay >= least,
    )


def _too_wide(wide: list[PlaceRow], others: int) -> Iterator[str]:
    """Yield why chunks stay that want more copies than there are other servers."""
    servers = count_text(others, "other server")
    for goal, count in sorted(Counter(one.goal for one in wide).items()):
        what = "1 chunk wants" if count == 1 else f"{count_text(count)} chunks want"
        yield f"{what} {goal} copies (goal {goal}): only {servers} would be in service"


def least_eta_ms(budget: RepairBudgetReport, coming: Mapping[str, int]) -> int:
    """Return how long copies take at least, at what repair may take; -1: nothing limits it.

    Args: `coming` are the bytes that come to each server, also from another one of its disks.
    """
    total, most = sum(coming.values()), max(coming.values(), default=0)
    if not total:
        return 0
    rates = ((total, budget.cluster_bytes_per_s), (most, budget.server_bytes_per_s))
    return max((-(-size * 1000 // rate) for size, rate in rates if rate), default=-1)


def lines_of(plan: DrainPlan) -> Iterator[str]:
    """Yield what people read of a plan before its table."""
    copies = count_text(plan.move_count, "copy", "copies")
    size = size_text(plan.move_bytes)
    eta = f", at least {least_text(plan.eta_ms)}" if plan.eta_ms > 0 and plan.move_count else ""
    yield f"to move from {', '.join(plan.names)}: {copies} ({size}){eta}"
    if plan.within_count:
        within = size_text(plan.within_bytes)
        yield f"of them to other disks of their server: {count_text(plan.within_count)} ({within})"
    if plan.open_count:
        yield f"being written: {count_text(plan.open_count, 'chunk')}, waited for or handed on"
    if plan.blocked_count:
        named = ", ".join(format_id(one) for one in plan.blocked[:_NAMED])
        more = ", …" if plan.blocked_count > _NAMED else ""
        yield f"cannot be moved: {count_text(plan.blocked_count, 'chunk')} ({named}{more})"
        yield from (f"  {reason}" for reason in plan.reasons)
        less = "server or a disk more, or one" if plan.disks else "server more, or one"
        yield (
            f"  they keep the job waiting until there is a {less} less to be emptied,"
            " or until fewer copies are wanted: gfsctl setrep N FILE, or setrep -R N DIR for all"
            " below a directory (gfsctl admin jobs show names them)"
        )
    if not plan.writable:
        yield _unwritable(plan)
    yield from plan.ways


def _unwritable(plan: DrainPlan) -> str:
    left = count_text(plan.left_in_service, "server")
    return f"only {left} would take new chunks: nothing could be written any more"


@names.register
def _(report: DrainPlan) -> Iterator[str]:
    yield from report.names


@render.register
def _(report: DrainPlan, wide: bool) -> Group:
    parts: list[RenderableType] = [Text(line) for line in lines_of(report)]
    if report.move_count > report.within_count or not report.within_count:
        parts.append(fills_table(report.items))
    return Group(*parts)
