"""How a plan of a rebalance and its progress look: a line a disk, a bar from before to after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.fill_bar import BarKey, Fill, Narrowing, WithBars, add_bars, bar_cells
from gfs_ha.cli.admin.job_screens import ended_how, phase_text, said_text
from gfs_ha.cli.admin.jobs_wait import progress_text
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.units import (
    count_text,
    duration_text,
    least_text,
    share_text,
    size_text,
    time_text,
)
from gfs_ha.ids import DiskId, format_id
from gfs_ha.protocol.jobs import DONE, FINAL, RUNNING, STUCK, JobRow
from gfs_ha.protocol.rebalance import BalanceRow, PlannedMove, RebalancePlan, RebalanceStatus

_MOVES_SHOWN = 5
_MOVE_TITLES = ("=Chunk", ">Length", "=From", "=To", "Why")
_LEFT_OUT_SHOWN = 8
_SHOWN_MAX = 24  # Disks that change little are left out of a long list.


@names.register
def _(report: RebalancePlan) -> Iterator[str]:
    for move in report.moves:
        yield format_id(move.chunk_id)


@names.register
def _(report: RebalanceStatus) -> Iterator[str]:
    for row in report.items:  # As the commands of disks take them.
        yield f"{row.name}:{format_id(row.disk_id)}"


@render.register
def _(report: RebalancePlan, wide: bool) -> RenderableType:
    parts: list[RenderableType] = [_headline(report)]
    if report.items:
        parts.append(WithBars(partial(_plan_table, report, wide)))
    parts += _left_out_lines(report.left_out)
    outside = [row for row in report.items if row.outside]
    parts += [
        Text(f"{disk_name(row)} stays at {_share(row.share_after)}: {row.outside}", "yellow")
        for row in outside[:_MOVES_SHOWN]
    ]
    if len(outside) > _MOVES_SHOWN:
        parts.append(Text(f"and {len(outside) - _MOVES_SHOWN} more stay outside", "yellow"))
    if report.moves:
        shown = report.moves if wide else report.moves[:_MOVES_SHOWN]
        parts.append(Narrowing(partial(_moves_table, shown), _MOVE_TITLES))
        left = report.move_count - len(shown)
        if left > 0:
            parts.append(Text(f"and {count_text(left, 'move')} more"))
    if report.running:
        known = f"{report.running} has not ended: gfsctl admin rebalance status"
        parts.append(Text(known, "yellow"))
    if report.waits and not report.balanced:
        parts.append(Text(f"nothing would begin now: {report.waits}", "yellow"))
    return Group(*parts)


def _headline(report: RebalancePlan) -> Text:
    near = f"within {report.threshold * 100:g} % of the mean, {_share(report.mean)}"
    if report.balanced:
        return Text(f"balanced: {count_text(len(report.items), 'disk')} {near}", "green")
    outside, disks = sum(bool(row.outside) for row in report.items), len(report.items)
    if not report.move_count:
        return Text(f"nothing can be moved: {outside} of {disks} disks not {near}", "yellow")
    text = Text(f"{size_text(report.moved_bytes)} in {count_text(report.move_count, 'move')}")
    if report.eta_ms >= 0:
        rate = f"{size_text(report.bytes_per_s)}/s"
        text.append(f", at least {least_text(report.eta_ms)} (at {rate})")
    brought = f"{disks - outside} of {disks}" if outside else "all"
    text.append(f", to bring {brought} disks {near}")
    if not report.whole:
        text.append("; it is more than could be played through in time", "yellow")
    return text


def _plan_table(report: RebalancePlan, wide: bool, bar: int) -> Table:
    table = listing(_disk_title(bar), "Rack", ">Size", ">Before", ">After")
    add_bars(table, BarKey(changing=True), bar)
    for title in ("In", "Out", *(("At most",) if wide else ())):
        table.add_column(title, justify="right", no_wrap=True)
    shown = report.items
    if not wide and len(shown) > _SHOWN_MAX:
        changed = [row for row in shown if row.bytes_in or row.bytes_out or row.outside]
        shown = tuple(sorted(changed, key=lambda row: -abs(row.share - report.mean))[:_SHOWN_MAX])
    for row in shown:
        cells: list[RenderableType] = [
            disk_name(row),
            row.rack,
            size_text(row.total_bytes),
            _share(row.share),
            _share(row.share_after),
            *bar_cells(Fill(row.share, row.share_after, report.mean), bar),
            size_text(row.bytes_in) if row.bytes_in else "-",
            size_text(row.bytes_out) if row.bytes_out else "-",
        ]
        if wide:
            cells.append(_share(row.most_bytes / row.total_bytes if row.total_bytes else 0.0))
        table.add_row(*cells)
    hidden = len(report.items) - len(shown)
    if hidden:
        table.add_row(f"and {hidden} more")
    return table


def _moves_table(moves: tuple[PlannedMove, ...], titles: Sequence[str]) -> Table:
    table = listing(*titles)
    for move in moves:
        cells = (
            format_id(move.chunk_id),
            size_text(move.length),
            _place(move.source, move.source_disk),
            _place(move.target, move.target_disk),
            move.why,
        )
        table.add_row(*cells[: len(titles)])
    return table


def _place(server: str, disk_id: DiskId) -> str:
    """Return a server, with the disk where it has several."""
    return f"{server}:{format_id(disk_id)}" if disk_id else server


@render.register
def _(report: RebalanceStatus, wide: bool) -> RenderableType:
    parts: list[RenderableType] = []
    if report.job is None:
        parts.append(Text("no rebalance was ever started: gfsctl admin rebalance"))
    else:
        parts += _job_lines(report.job)
    outside = [row for row in report.items if abs(row.share - report.mean) > report.threshold]
    near = f"within {report.threshold * 100:g} % of the mean, {_share(report.mean)}"
    if outside:
        disks = count_text(len(outside), "disk")
        of_all = f"{disks} of {len(report.items)} not {near}"
        if report.job is not None and STUCK in report.job.end:
            when = time_text(report.job.ended_ns)  # Servers may have come since.
            of_all += f"; {report.job.id} found no more to move at {when}"
        elif report.job is None or report.job.phase in FINAL:  # Else it is said of the job.
            of_all += f"; about {size_text(report.left_bytes)} to move"
        parts.append(Text(of_all, "yellow"))
    elif report.items:
        parts.append(Text(f"{count_text(len(report.items), 'disk')} {near}", "green"))
    parts.append(WithBars(partial(_status_table, report)))
    parts += [
        Text(f"{disk_name(row)}: {printable(row.trouble)}", "yellow")
        for row in report.items
        if row.trouble
    ]
    parts += _left_out_lines(report.left_out)
    return Group(*parts)


def _left_out_lines(left_out: tuple[str, ...]) -> list[RenderableType]:
    """Return which servers take no part, and why."""
    lines: list[RenderableType] = [
        Text(f"left out: {printable(one)}", "yellow") for one in left_out[:_LEFT_OUT_SHOWN]
    ]
    if len(left_out) > _LEFT_OUT_SHOWN:
        lines.append(Text(f"left out: {len(left_out) - _LEFT_OUT_SHOWN} more", "yellow"))
    return lines


def _job_lines(row: JobRow) -> list[RenderableType]:
    text = Text(f"{row.id} ").append_text(phase_text(row))
    if row.phase in FINAL:
        took = duration_text((row.ended_ns - row.made_ns) / 1e6)
        text.append(f" since {time_text(row.ended_ns)}, after {took}")
        how = ended_how(row)
        if row.phase != DONE or not how:
            moves = count_text(row.moves, "move")
            text.append(f": {size_text(row.moved_bytes)} in {moves}{_foreseen_text(row)}")
        return [text, Text(how)] if how else [text]
    text.append(f"  {share_text(row.share)}")
    if row.phase == RUNNING:
        text.append(f"  {size_text(row.bytes_per_s)}/s")
        text.append(f"  ETA {duration_text(row.eta_ms)}" if row.eta_ms >= 0 else "")
    far = Text(f"{progress_text(row)}{_foreseen_text(row)}")
    said = said_text(row)
    return [text, far, said] if said.plain else [text, far]


def _foreseen_text(row: JobRow) -> str:
    return f", {size_text(row.planned_bytes)} foreseen" if row.planned_bytes else ""


def _status_table(report: RebalanceStatus, bar: int) -> Table:
    table = listing(_disk_title(bar), "Rack", ">Size", ">Used", ">Off")
    add_bars(table, BarKey(changing=False), bar)
    for row in report.items:
        off = (row.share - report.mean) * 100
        style = "yellow" if abs(off) > report.threshold * 100 else ""
        table.add_row(
            disk_name(row),
            row.rack,
            size_text(row.total_bytes),
            _share(row.share),
            Text(f"{off:+.1f}", style),
            *bar_cells(Fill(row.share, row.share, report.mean), bar),
        )
    return table


def _disk_title(bar: int) -> str:
    """Return the title of the column of names, which people copy: whole, or there are no bars."""
    return "=Server" if bar else "Server"


def disk_name(row: BalanceRow) -> str:
    """Return the server's name, with the disk where it has several."""
    return _place(row.name, row.disk_id if row.several else DiskId(0))


def _share(share: float) -> str:
    return f"{share * 100:.1f} %"
