"""`gfsctl admin trace`: the way of one command through masters and chunkservers."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.admin.log_lines import Told, check_any, item_of, moment, warn_of_gaps
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.logs import merged, of_trace
from gfs_ha.errors import NotFound, UsageError
from gfs_ha.ids import format_trace, parse_trace

_CLIENT = " client="


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin trace 3f2a9c0e51d7b846        # what became of the command that said so
    gfsctl -v put big /data/                   # an error of it names its trace with -v
    """,
)
@click.argument("trace", metavar="ID")
@pass_session
def trace(session: Session, trace: str) -> None:
    """Show what masters and chunkservers logged for one command of a client, in order.

    The times are those at which each was done with its part, by its own clock, counted from the
    first line; `ms` in a line says how long it took. The newest lines of every process are asked
    for, as with `admin logs`: of what is older look into the files. On a busy cluster some lines
    may have been left out.
    """
    trace_id = parse_trace(trace.removeprefix("0x").removeprefix("trace="))
    if trace_id is None:
        raise UsageError(f"{printable(trace)!r} is no trace id; one has 16 hexadecimal digits")
    sources, no_servers = session.cluster.logs.sources()
    found = session.cluster.logs.read(sources, of_trace(trace_id))
    check_any(found)
    warn_of_gaps(session, found, no_servers)
    lines = merged(found)
    if not lines:
        silent = [one.source.name for one in found if one.error is not None]
        behind = f"; nothing is known of {', '.join(silent)}" if silent else ""
        raise NotFound(
            f"no process keeps a line of trace {format_trace(trace_id)}: it is too old, or nothing"
            f" was changed, failed or slow{behind}"
        )
    if session.options.machine_readable:
        items = [item_of(*told) for told in lines]
        session.show_plain("Trace", items, trace=format_trace(trace_id))
        return
    output.write_lines(printable(line) for line in way_lines(lines, format_trace(trace_id)))


def way_lines(lines: list[Told], trace: str) -> list[str]:
    """Return the lines of a screen: who asked and when, then each step beside its time."""
    first, last = lines[0][1], lines[-1][1]
    clients = sorted({client_of(line.text) for _, line in lines} - {"", "-"})
    nodes = sorted({node for node, _ in lines})
    told = [
        f"trace   {trace}",
        f"client  {', '.join(clients) or 'unknown'}",
        f"began   {moment(first)}, {last.time_ms - first.time_ms} ms to the last line",
        f"nodes   {', '.join(nodes)}",
        "",
    ]
    width = max(len(node) for node in nodes)
    for node, line in lines:
        mark = "" if line.level in ("debug", "info") else f"{line.level.upper()} "
        text = _first_line(line.text)  # A traceback is for `admin logs`.
        text = _without_client(text) if len(clients) == 1 else text
        told.append(f"{line.time_ms - first.time_ms:>7} ms  {node:<{width}}  {mark}{text}")
    return told


def client_of(text: str) -> str:
    """Return who asked, as a line says it; empty when it does not.

    The last mention counts: names of files stand before it, and may hold anything.
    """
    _, mark, after = _first_line(text).rpartition(_CLIENT)
    return after.partition(" ")[0] if mark else ""


def _without_client(text: str) -> str:
    before, mark, after = text.rpartition(_CLIENT)
    return before + "".join(after.partition(" ")[1:]) if mark else text


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
