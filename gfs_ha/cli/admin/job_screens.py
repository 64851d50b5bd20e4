"""How jobs look: as a list, as what became of them, one on a screen of its own, its log."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gfs_ha.cli.admin.jobs_wait import progress_text
from gfs_ha.cli.blockers import alike
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.units import count_text, duration_text, share_text, size_text, time_text
from gfs_ha.ids import format_id
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DONE,
    FAILED,
    FINAL,
    PAUSED,
    RUNNING,
    JobEvent,
    JobLog,
    JobReport,
    JobRow,
    standing_error,
)

_GROUPS_SHOWN = 10
_CHUNKS_SHOWN = 4  # Of a group of blocked ones.
_STYLES = {RUNNING: "green", PAUSED: "yellow", DONE: "", FAILED: "bold red", CANCELLED: "yellow"}


class OneJob(msgspec.Struct, frozen=True):
    """-> kind JobList with a single job, which people see on a screen of its own."""

    items: tuple[JobRow]


class JobHistory(msgspec.Struct, frozen=True):
    """-> kind JobList, which people see as what was foreseen and what came of it."""

    items: tuple[JobRow, ...]


@names.register
def _(report: JobReport) -> Iterator[str]:
    for row in report.items:
        yield row.id


@names.register
def _(report: JobHistory) -> Iterator[str]:
    for row in report.items:
        yield row.id


@names.register
def _(report: OneJob) -> Iterator[str]:
    yield report.items[0].id


@names.register
def _(report: JobLog) -> Iterator[str]:
    for event in report.items:
        yield str(event.number)


@render.register
def _(report: JobReport, wide: bool) -> RenderableType:
    if not report.items:
        return Text("no jobs")
    table = listing("=Job", "Kind", "=Phase", ">Done", "Moved", ">Rate", ">ETA")
    if wide:
        for title in ("Moves", "Begun", "Ended", "Asked by"):
            table.add_column(title)
    notes = []
    for row in report.items:
        table.add_row(*_cells(row, wide))
        said = said_text(row)
        if said.plain:
            notes.append(Text(f"{row.id}: ").append_text(said))
    return Group(table, *notes)


@render.register
def _(report: JobHistory, wide: bool) -> RenderableType:
    if not report.items:
        return Text("no rebalance was ever started: gfsctl admin rebalance")
    table = listing("=Job", "=Phase", "=Begun", ">Took", ">Foreseen", ">Moved")
    if wide:
        for title in ("Moves", "Limits", "Asked by"):
            table.add_column(title)
    notes = []
    for row in report.items:
        took = duration_text((row.ended_ns - row.made_ns) / 1e6) if row.ended_ns else "-"
        cells: list[str | Text] = [
            *(row.id, phase_text(row), time_text(row.made_ns), took),
            size_text(row.planned_bytes) if row.planned_bytes else "-",
            size_text(row.moved_bytes),
        ]
        if wide:
            limits = "; ".join(value for _, value in _limits(row)) or "-"
            cells += [count_text(row.moves), limits, printable(row.asked_by)]
        table.add_row(*cells)
        said = Text(ended_how(row)) if row.phase in FINAL else said_text(row)
        if said.plain:
            notes.append(Text(f"{row.id}: ").append_text(said))
    return Group(table, *notes)


@render.register
def _(report: OneJob, wide: bool) -> RenderableType:
    return job_screen(report.items[0], wide)


def _cells(row: JobRow, wide: bool) -> list[str | Text]:
    active = row.phase == RUNNING
    cells: list[str | Text] = [
        row.id,
        _what_text(row),
        phase_text(row),
        share_text(row.share),
        progress_text(row) if row.phase in (RUNNING, PAUSED) else size_text(row.moved_bytes),
        f"{size_text(row.bytes_per_s)}/s" if active else "-",
        duration_text(row.eta_ms) if active and row.eta_ms >= 0 else "-",
    ]
    if wide:
        ended = time_text(row.ended_ns) if row.ended_ns else "-"
        cells += [count_text(row.moves), time_text(row.made_ns), ended, printable(row.asked_by)]
    return cells


def phase_text(row: JobRow) -> Text:
    """Return the phase of a job, in its colour."""
    return Text(row.phase, _STYLES.get(row.phase, ""))


def said_text(row: JobRow) -> Text:
    """Return what there is to say of a job on one line: blockers, waits, its last error."""
    if row.phase in FINAL:
        if row.phase == FAILED:
            return Text(printable(row.last_error or ended_how(row)), "red")
        return Text(ended_how(row) if standing_error(row) else "", "yellow")
    if row.blocked:
        return Text(f"{count_text(row.blocked, 'chunk')} blocked", "bold yellow")
    if row.phase == RUNNING and row.waits:
        return Text(printable(row.waits), "yellow")
    return Text(printable(standing_error(row)), "yellow")


def ended_how(row: JobRow) -> str:
    """Return what its log says of how a job ended; that it is done need not be said again."""
    return printable(row.end.removeprefix("is done: ").removeprefix("is done"))


def _what_text(row: JobRow) -> str:
    """Return what kind of job it is, and whose copies leave: of a server, of one of its disks."""
    disk = f":{format_id(row.disk_id)}" if row.disk_id else ""
    return f"{row.kind} {row.server}{disk}".rstrip()


def job_screen(row: JobRow, wide: bool) -> Group:
    """Return one job on a screen of its own."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    head = Text(f"{row.id} {_what_text(row)}  ").append_text(phase_text(row))
    for name, value in _facts(row):
        table.add_row(name, value)
    parts: list[RenderableType] = [head, table]
    if row.blocked:
        parts.append(Text(f"{count_text(row.blocked, 'chunk')} cannot be moved:", "bold yellow"))
        parts += _blocked_lines(row, wide)
    return Group(*parts)


def _blocked_lines(row: JobRow, wide: bool) -> Iterator[RenderableType]:
    """Yield what is in the way, once for all chunks that it holds, and the ways out."""
    shown = 0
    least = "at least " * (row.blocked > len(row.blockers))  # Only the first are known by name.
    for group in alike(row.blockers)[: None if wide else _GROUPS_SHOWN]:
        ids = [format_id(one) for one in group.chunk_ids]
        shown += len(ids)
        if len(ids) == 1:
            yield _indented(f"{ids[0]}{group.whose} {group.why}", 2)
        else:
            yield _indented(f"{least}{len(ids)} chunks{group.whose}, each {group.why}", 2)
            listed = ids if wide or len(ids) <= _CHUNKS_SHOWN + 1 else ids[:_CHUNKS_SHOWN]
            more = f" and {len(ids) - len(listed)} more" if len(ids) > len(listed) else ""
            yield _indented(f"{', '.join(listed)}{more}", 6)
        ways = enumerate(group.ways)
        yield from (_indented(f"{'or: ' if at else ''}{way}", 6) for at, way in ways)
    if row.blocked > shown:
        rest = "" if wide or shown == len(row.blockers) else " (-o wide)"
        whose = ", of these files or of others" if least and shown == len(row.blockers) else ""
        yield _indented(f"and {count_text(row.blocked - shown, 'chunk')} more{whose}{rest}", 2)


def _indented(text: str, columns: int) -> Padding:
    return Padding(Text(text), (0, 0, 0, columns))


def _facts(row: JobRow) -> Iterator[tuple[str, str]]:
    yield "done", f"{share_text(row.share)}, {progress_text(row)}"
    yield "moves", f"{count_text(row.moves)} done{_left_text(row)}"
    if row.planned_bytes:
        moves = count_text(row.planned_moves, "move")
        yield "planned", f"{size_text(row.planned_bytes)}, {moves}"
    if row.phase == RUNNING:
        unknown = "not known while it waits" if row.waits else "not known yet"
        unknown = "not before what is blocked can go" if row.blocked else unknown
        eta = duration_text(row.eta_ms) if row.eta_ms >= 0 else unknown
        yield "rate", f"{size_text(row.bytes_per_s)}/s, time to go: {eta}"
    if row.waits and row.phase == RUNNING:
        yield "waits", printable(row.waits)
    yield from _limits(row)
    who = f" by {printable(row.asked_by)}" if row.asked_by else ""
    yield "begun", f"{time_text(row.made_ns)}{who}"
    if row.ended_ns:
        took = duration_text((row.ended_ns - row.made_ns) / 1e6)
        yield "ended", f"{time_text(row.ended_ns)}, after {took}"
    if row.phase == PAUSED:
        yield "to go on", f"gfsctl admin jobs resume {row.id}"
    if ended_how(row) and row.phase in FINAL:
        yield "how", ended_how(row)
    if row.last_error and row.last_error not in row.end:
        name = "last error" if standing_error(row) else "got over"
        yield name, f"{printable(row.last_error)} ({time_text(row.last_error_ns)})"


def _left_text(row: JobRow) -> str:
    return f", {count_text(row.left_moves)} left" if row.left_moves >= 0 else ""


def _limits(row: JobRow) -> Iterator[tuple[str, str]]:
    options = row.options
    if options.threshold:
        yield "threshold", f"within {options.threshold * 100:g} % of the mean"
    limits = []
    if options.bytes_per_s:
        limits.append(f"{size_text(options.bytes_per_s)}/s")
    if options.moves_max:
        limits.append(f"{count_text(options.moves_max, 'move')} at once")
    if options.window:
        limits.append(f"moves begin from {options.window} (the leader's clock)")
    if limits:
        yield "limits", ", ".join(limits)


@render.register
def _(report: JobLog, wide: bool) -> Table:
    table = listing("=When", report.id)
    for event in report.items:
        table.add_row(*_event_cells(event))
    return table


def _event_cells(event: JobEvent) -> tuple[str, str]:
    return time_text(event.wall_ns), printable(event.text)
