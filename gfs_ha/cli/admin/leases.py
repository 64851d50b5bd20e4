"""`gfsctl admin leases`: which server orders the appends to which file, until when, and since."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table

from gfs_ha.cli import output
from gfs_ha.cli.listing import listing
from gfs_ha.cli.live.words import brief_age
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.render import names, render
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import count_text, duration_text, size_text, time_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import NotFound, UsageError
from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.limits import LEASE_EVENTS_MAX
from gfs_ha.protocol.append import LeaseHistory, LeaseList, LeaseRow

_HERE = "gfs_ha.cli.admin.leases"
_NAMED_MAX = 3

leases = Family(
    "leases",
    help="Which server orders the appends to which file.",
    rows={
        "ls": Row(_HERE, "list_leases", "List the files that are appended to, and who orders it"),
        "show": Row(_HERE, "show_lease", "Show that of one chunk or file"),
        "history": Row(_HERE, "history", "Who was granted what, and why it ended"),
        "revoke": Row(_HERE, "revoke", "Take the appends from a server; they go on at another"),
    },
)


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl admin leases ls              # chunk, file, holder, until when, granted by which epoch
    gfsctl admin leases ls -o wide      # also where it begins in the file, and how long it is held
    gfsctl admin leases ls -w           # kept up to date
    """,
)
@click.option("--server", metavar="NAME", help="Only those that this server holds.")
@watched
@pass_session
def list_leases(session: Session, server: str | None) -> None:
    """List the open tails of files: which server orders the appends to each, and for how long.

    A lease lasts 60 s and is renewed while its server lives; the appends of a file stay with one
    server for the whole life of the chunk.
    """
    holder = None if server is None else _server_id(session, server)
    rows = tuple(
        row for row in session.operations.leases() if holder is None or row.server_id == holder
    )
    session.show(LeaseList(rows, False, len(rows)))


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl admin leases show /log             # by the file
    gfsctl admin leases show 0x1000000000007  # by the chunk
    """,
)
@click.argument("what", metavar="CHUNK|PATH")
@watched
@pass_session
def show_lease(session: Session, what: str) -> None:
    """Show who orders the appends to one chunk, or to one file."""
    rows = _named(session, what)
    session.show(LeaseList(rows, False, len(rows)))


@click.command(
    "history",
    cls=Verb,
    examples="""
    gfsctl admin leases history          # the newest 100 grants and ends, with reasons
    gfsctl admin leases history -w       # kept up to date
    gfsctl admin leases history --limit 1000 -o jsonl
    """,
)
@click.option("--limit", type=click.IntRange(1, LEASE_EVENTS_MAX), default=100, show_default=True)
@watched
@pass_session
def history(session: Session, limit: int) -> None:
    """Show what happened to leases, the newest first; the last 1,000 events are kept."""
    session.show(session.operations.lease_history(limit))


@click.command(
    "revoke",
    cls=Verb,
    examples="""
    gfsctl admin leases revoke 0x1000000000007   # of one chunk; asks
    gfsctl admin leases revoke /log -y           # of one file, in a script
    gfsctl admin leases revoke --server cs2 -n   # only say what would be taken from a server
    """,
)
@click.argument("what", metavar="[CHUNK|PATH]", required=False)
@click.option("--server", metavar="NAME", help="All that this server holds.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be revoked.")
@pass_session
def revoke(
    session: Session, what: str | None, server: str | None, yes: bool, dry_run: bool
) -> None:
    """Take the right to order appends from a server: its tails are fenced and sealed.

    Nothing that was acknowledged is lost, and no writer sees an error: the next record goes to a
    new chunk, on any server. It returns when the chunks are sealed.
    """
    if (what is None) == (server is None):
        raise UsageError("name a chunk, a file, or a server with --server")
    if what is not None:
        rows = _named(session, what)
        chunk_id, server_id = rows[0].chunk_id, ServerId(0)
    else:
        server_id = _server_id(session, server or "")
        rows = tuple(row for row in session.operations.leases() if row.server_id == server_id)
        chunk_id = ChunkId(0)
        if not rows:
            raise NotFound(f"{server} orders the appends to no file")
    text = _what(rows)
    if dry_run:
        if session.options.output in (TABLE, WIDE):
            output.write_lines([f"would revoke {text}"])
        sealed: tuple[ChunkId, ...] = tuple(row.chunk_id for row in rows)
    elif not yes and not session.confirm(f"revoke {text}?"):
        return
    else:
        sealed = session.operations.revoke_lease(chunk_id, server_id)
        if session.options.output in (TABLE, WIDE) and not session.options.quiet:
            output.write_lines([f"{count_text(len(sealed), 'chunk')} sealed"])
    if session.options.machine_readable:
        items = [{"chunk_id": format_id(one)} for one in sealed]
        session.show_plain("RevokedLeaseList", items, dry_run=dry_run)
    elif session.options.output == NAME:
        output.write_lines(format_id(one) for one in sealed)


def _named(session: Session, what: str) -> tuple[LeaseRow, ...]:
    """Return the rows of a chunk or a file. Raises: NotFound when nobody orders its appends."""
    rows = session.operations.leases()
    if what.startswith("/") or "://" in what:
        path = session.file_path(what)
        inode_id = session.cluster.stat(path).inode_id
        found = tuple(row for row in rows if row.inode_id == inode_id)
    else:
        try:
            chunk_id = int(what, 0)
        except ValueError:
            raise UsageError(
                f"{what!r} is neither a chunk like 0x1000000000007 nor a path"
            ) from None
        found = tuple(row for row in rows if row.chunk_id == chunk_id)
    if not found:
        raise NotFound(f"{printable(what)} has no open tail: nobody appends to it now")
    return found


def _server_id(session: Session, name: str) -> ServerId:
    rows = session.operations.servers().items
    for row in rows:
        if row.name == name:
            return row.server_id
    known = ", ".join(sorted(row.name for row in rows))
    raise NotFound(f"there is no chunkserver {name!r}; there are {known}")


def _what(rows: tuple[LeaseRow, ...]) -> str:
    holders = ", ".join(sorted({row.holder for row in rows}))
    paths = ", ".join(printable(row.path) for row in rows[:_NAMED_MAX])
    more = f" and {len(rows) - _NAMED_MAX} more" if len(rows) > _NAMED_MAX else ""
    size = size_text(sum(row.length for row in rows))
    files = count_text(len(rows), "file")
    return (
        f"the lease of {holders} on the appends to {files} ({paths}{more}; {size} in open chunks)"
    )


@names.register
def _(report: LeaseList) -> Iterator[str]:
    for row in report.items:
        yield format_id(row.chunk_id)


@render.register
def _(report: LeaseList, wide: bool) -> Table:
    table = listing("=Chunk", "File", "Holder", ">Ends in", "=Epoch", ">Idle")
    if wide:
        for title in ("Length", "Renewed", "At", "Index", "Held for", "Start id"):
            table.add_column(title)
    for row in report.items:
        cells = [
            format_id(row.chunk_id),
            printable(row.path),
            row.holder,
            duration_text(row.left_ms),
            str(row.epoch),
            brief_age(row.idle_ms) if row.idle_ms >= 0 else "-",
        ]
        if wide:
            cells += [
                size_text(row.length),
                str(row.renewed),
                count_text(row.file_offset),
                str(row.granted_index),
                duration_text(row.held_ms),
                format_id(row.start_id),
            ]
        table.add_row(*cells)
    return table


@names.register
def _(report: LeaseHistory) -> Iterator[str]:
    for event in report.items:
        yield str(event.index)


@render.register
def _(report: LeaseHistory, wide: bool) -> Table:
    table = listing("=Time", "What", "=Chunk", "File", "Holder", "=Epoch", "Why")
    if wide:
        table.add_column("Index")
    for event in report.items:
        cells = [
            time_text(event.wall_ns),
            event.kind,
            format_id(event.chunk_id),
            printable(event.path),
            event.holder,
            str(event.epoch),
            event.reason,
        ]
        table.add_row(*cells, *([str(event.index)] if wide else []))
    return table
