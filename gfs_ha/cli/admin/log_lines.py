"""Log lines of several processes as screens and JSON show them, and who could not be asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from gfs_ha.cli import output
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import JSONL
from gfs_ha.cli.session import Session
from gfs_ha.client.logs import NodeLines
from gfs_ha.errors import Denied, GfsError
from gfs_ha.ids import format_trace
from gfs_ha.protocol.logs import LogLine

Told = tuple[str, LogLine]  # The name of who wrote it, and the line.


def line_of(node: str, line: LogLine, traced: bool = True) -> str:
    """Return a line as it stands in a log file; a traceback below it is indented."""
    first, _, rest = line.text.partition("\n")
    text = f"{moment(line)} {line.level.upper()} {node} {line.module}: {first}"
    if traced and line.trace_id:
        text += f" trace={format_trace(line.trace_id)}"
    return "\n".join([text, *(f"    {one}" for one in rest.split("\n") if one)])


def item_of(node: str, line: LogLine) -> dict[str, Any]:
    """Return a line for programs."""
    return {
        "node": node,
        "time_ms": line.time_ms,
        "level": line.level,
        "module": line.module,
        "text": line.text,
        "trace": format_trace(line.trace_id) if line.trace_id else None,
        "number": line.number,
    }


def moment(line: LogLine) -> str:
    """Return when a line was written, in UTC as in log files."""
    when = datetime.fromtimestamp(line.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return f"{when[:-6]}Z"


def show_lines(session: Session, lines: Iterable[Told], streamed: bool = False) -> None:
    """Write lines in the wanted form; `streamed`: each by itself, as they come."""
    if not session.options.machine_readable:
        for node, line in lines:
            output.write_lines(printable(one) for one in line_of(node, line).split("\n"))
    elif streamed:
        from gfs_ha.cli.document import json_bytes

        output.write(*(json_bytes(item_of(*told), JSONL) for told in lines))
    else:
        session.show_plain("LogList", [item_of(*told) for told in lines])


def check_any(found: list[NodeLines]) -> None:
    """Raise why nobody told anything, if nobody did."""
    failed = [(one.source.name, one.error) for one in found if one.error is not None]
    if not failed or len(failed) < len(found):
        return
    name, error = failed[0]
    further = ", ".join(other for other, _ in failed[1:])
    if not further:
        others = ""
    elif all(isinstance(one, Denied) for _, one in failed):
        others = f" (so did {further})"
    else:
        others = f" (nor is there anything of {further})"
    raise type(error)(f"{name} {_how(error)}{others}: {error.message}", **error.details)


def warn_of_gaps(session: Session, found: Iterable[NodeLines], no_servers: GfsError | None) -> None:
    """Say whose lines are missing, and why."""
    if no_servers is not None:
        session.warn(f"no chunkserver was asked: {no_servers.message}")
    for one in found:
        if one.error is not None:
            session.warn(f"{one.source.name} {_how(one.error)}: {one.error.message}")
        elif one.lost:
            session.warn(f"{one.source.name}: {one.lost} lines came too fast and are gone")


def _how(error: GfsError) -> str:
    return "refused" if isinstance(error, Denied) else "did not answer"
