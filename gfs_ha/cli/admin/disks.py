"""`gfsctl admin disks`: the disks of the chunkservers, one by one; how people name them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import click
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli.admin.chunkservers import in_order
from gfs_ha.cli.listing import listing
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, share_text, size_text, time_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.client.disks import DiskReport
from gfs_ha.errors import NotFound
from gfs_ha.ids import format_id
from gfs_ha.protocol.disks import FAILED, LOST, PLACES_COUNTED_MAX, SILENT, DiskStanding
from gfs_ha.protocol.server_modes import DRAINED, DRAINING

_ADMIN = "gfs_ha.cli.admin"
_STYLES = {FAILED: "red", LOST: "red", SILENT: "yellow", DRAINING: "yellow", DRAINED: "yellow"}
_NAMED_MAX = 12
_IDS_SHOWN = 2
_PREFIX_MIN = len("0x") + 4  # Shorter ones are more likely mistakes.
_ID = re.compile(r"0x[0-9a-f]{1,16}", re.IGNORECASE)

disks = Family(
    "disks",
    help="The disks of the chunkservers: how each is, out of service and back, changed.",
    examples="""
    gfsctl admin disks ls                         # all of them: how they stand, how full
    gfsctl admin disks drain cs7:0x3f2a --wait    # move everything off one; its server goes on
    gfsctl admin disks replace cs7:0x3f2a         # how to change an old or a dead one
    gfsctl admin disks replace cs7:/disks/b       # named by its directory
    """,
    rows={
        "ls": Row(f"{_ADMIN}.disks", "list_disks", "List the disks"),
        "drain": Row(f"{_ADMIN}.disk_drain", "drain_disk", "Move everything off a disk"),
        "undrain": Row(f"{_ADMIN}.disk_drain", "undrain_disk", "Take a disk back into service"),
        "replace": Row(f"{_ADMIN}.disk_replace", "replace_disk", "Change a disk, step by step"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin disks ls              # all of them
    gfsctl admin disks ls cs1 cs7      # those of two servers
    gfsctl admin disks ls -o wide      # with journals, scrubs, what is left on those that leave
    gfsctl admin disks ls -w           # again every two seconds
    """,
)
@click.argument("servers", metavar="SERVER...", nargs=-1)
@watched
@pass_session
def list_disks(session: Session, servers: tuple[str, ...]) -> None:
    """List the disks of all chunkservers, or of some: how each stands, where it is, how full.

    Chunks are what its server told of last, some seconds ago; Left is what the tables place there.
    Exit status 3: no such chunkserver.
    """
    rows = session.operations.disks.all().items
    known = {row.server for row in rows}
    for name in servers:
        if name not in known:
            there = ", ".join(sorted(known)) or "none yet"
            raise NotFound(f"there is no chunkserver {printable(name)!r}; there are {there}")
    wanted = [row for row in rows if not servers or row.server in servers]
    session.show(DiskReport(tuple(sorted(wanted, key=_order))))


def _order(row: DiskStanding) -> tuple[tuple[str | int, ...], str, int]:
    return in_order(row.server), row.directory, row.disk_id


def disk_name(row: DiskStanding) -> str:
    """Return how a disk is named in commands."""
    return f"{row.server}:{format_id(row.disk_id)}"


def short_name(row: DiskStanding, rows: Collection[DiskStanding]) -> str:
    """Return how people name a disk most easily: the end of its directory, if that is enough."""
    last = row.directory.rstrip("/").rpartition("/")[2]
    alike = [one for one in rows if one.server == row.server and _ends_with(one, last)]
    if not last or ":" in last or _ID.fullmatch(last) is not None or len(alike) != 1:
        return disk_name(row)
    return f"{row.server}:{last}"


def _ends_with(row: DiskStanding, last: str) -> bool:
    return row.directory.rstrip("/").endswith(f"/{last}")


def named_disks(
    rows: Collection[DiskStanding], wanted: Collection[str], whole: str = ""
) -> list[DiskStanding]:
    """Return the disks that words name: SERVER:ID, SERVER:/DIRECTORY, its last part, or an id.

    Args: `whole` is the command that is meant where a word names a whole server. Raises: NotFound.
    """
    found = {}
    for word in wanted:
        server, colon, which = word.partition(":") if ":" in word else ("", "", word)
        fitting = _fitting([row for row in rows if not colon or row.server == server], which, colon)
        if len(fitting) != 1:
            raise NotFound(_not_found(rows, word, server, fitting, whole))
        found[fitting[0].disk_id] = fitting[0]
    return list(found.values())


def _fitting(rows: list[DiskStanding], which: str, colon: str) -> list[DiskStanding]:
    """Return the disks that a name means: ids before directories, whole ones before parts of them.

    The first digits of an id do, too, where nothing else is meant.
    """
    directory = which.rstrip("/") or which
    ids = [row for row in rows if _is_id(which, row)]
    if ids or not directory:
        return ids
    whole = [row for row in rows if row.directory == directory] if colon else []
    if whole or directory.startswith("/"):
        return whole
    parts = [row for row in rows if _ends_with(row, directory)] if colon else []
    return parts or [row for row in rows if _begins_id(which, row)]


def _begins_id(text: str, row: DiskStanding) -> bool:
    if len(text) < _PREFIX_MIN or _ID.fullmatch(text) is None:
        return False
    return format_id(row.disk_id).startswith(text.lower())


def _is_id(text: str, row: DiskStanding) -> bool:
    return _ID.fullmatch(text) is not None and int(text, 16) == row.disk_id


def _not_found(
    rows: Collection[DiskStanding],
    word: str,
    server: str,
    fitting: list[DiskStanding],
    whole: str,
) -> str:
    shown = printable(word)
    if fitting:
        several = ", ".join(short_name(row, rows) for row in fitting[:_NAMED_MAX])
        return f"{shown} names {len(fitting)} disks; say which one: {several}"
    servers = dict.fromkeys(row.server for row in sorted(rows, key=_order))
    if server and server not in servers:
        return f"there is no chunkserver {printable(server)!r}; there are {', '.join(servers)}"
    own = [row for row in rows if row.server == (server or word)]
    known = [short_name(row, rows) for row in sorted(own or rows, key=_order)]
    more = f" and {len(known) - _NAMED_MAX} more" if len(known) > _NAMED_MAX else ""
    there = ", ".join(known[:_NAMED_MAX]) + more
    if word in servers:
        meant = f"; for all of it: {whole} {shown}" if whole else ""
        return f"{shown} is a chunkserver, and no disk; there are {there}{meant}"
    forgotten = (
        f"; of one that was forgotten tells gfsctl admin events --subject {server} --kind disk"
        if server in servers
        else ""
    )
    return f"there is no disk {shown}; there are {there or 'none yet'}{forgotten}"


def disk_state_text(row: DiskStanding) -> Text:
    """Return how a disk stands, with the job that empties it."""
    text = f"{row.state}"
    if row.job and row.job_share >= 0:
        text += f" {row.job} {share_text(row.job_share)}"
    return Text(text, _STYLES.get(row.state, ""))


def places_text(row: DiskStanding) -> str:
    """Return how many chunks have a place on a disk that is not in service."""
    if row.places < 0:
        return "-"
    return f"{count_text(row.places)}{'+' * (row.places >= PLACES_COUNTED_MAX)}"


@names.register
def _(report: DiskReport) -> Iterator[str]:
    for row in report.items:
        yield disk_name(row)


@render.register
def _(report: DiskReport, wide: bool) -> RenderableType:
    if not report.items:
        return Text("no disks")
    leaving = any(row.places >= 0 for row in report.items)
    titles = ["Server", "=Disk", "=State", ">Used", ">Chunks", *([">Left"] * leaving)]
    titles += ["Rack", ">Size", ">Free", "Since", "Journal", "Scrub"] * wide
    titles.append("Directory")  # The longest folds at the end of the line.
    table = listing(*titles)
    for row in report.items:
        table.add_row(*_cells(row, leaving, wide))
    # Below the table, whole: beside it there is no room for a sentence. What is the same of all
    # disks of a server is said once.
    alike: dict[tuple[str, str, str], list[DiskStanding]] = {}
    for row in report.items:
        if row.why:
            alike.setdefault((row.server, row.state, row.why), []).append(row)
    return Group(
        table,
        *(
            Text(printable(f"{_disks_text(rows)}: {why}"), _STYLES.get(state, ""))
            for (_, state, why), rows in alike.items()
        ),
    )


def _disks_text(rows: list[DiskStanding]) -> str:
    ids = ", ".join(format_id(row.disk_id) for row in rows[:_IDS_SHOWN])
    more = f" and {len(rows) - _IDS_SHOWN} more" if len(rows) > _IDS_SHOWN else ""
    return f"{rows[0].server}:{ids}{more}"


def _cells(row: DiskStanding, leaving: bool, wide: bool) -> list[str | Text]:
    cells: list[str | Text] = [
        row.server,
        format_id(row.disk_id),
        disk_state_text(row),
        _used_text(row),
        count_text(row.chunk_count),
    ]
    if leaving:
        cells.append(places_text(row))
    if wide:
        since = time_text(row.since_ns) if row.since_ns else "-"
        size, free = size_text(row.total_bytes), size_text(row.free_bytes)
        cells += [row.rack, *((size, free) if row.total_bytes else ("-", "-"))]
        cells += [since, _journal_text(row), _scrub_text(row)]
    return [*cells, printable(row.directory) or "-"]


def _used_text(row: DiskStanding) -> str:
    if row.state in (LOST, SILENT) or not row.total_bytes:
        return "-"
    return share_text(1 - row.free_bytes / row.total_bytes)


def _journal_text(row: DiskStanding) -> str:
    if row.journal_trouble:
        return "takes nothing"
    if not row.journal_bytes:
        return "none yet"
    used = share_text(row.journal_used_bytes / row.journal_bytes)
    return f"{used} of {size_text(row.journal_bytes)}"


def _scrub_text(row: DiskStanding) -> str:
    if row.scrub is None:
        return "-"
    if row.scrub.state == "idle" or not row.scrub.bytes_total:
        return row.scrub.state
    return f"{row.scrub.state} {share_text(row.scrub.bytes_done / row.scrub.bytes_total)}"
