"""`gfsctl check`: a local tree compared with a remote one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, ParamSpec, TypeVar

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.copying import encodable
from gfs_ha.cli.data.sides import sides_of
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.comparison import (
    DIFFER,
    ERROR,
    MISSING_LOCAL,
    MISSING_REMOTE,
    SAME,
    SKIPPED,
    Comparison,
    ComparisonSummary,
    Finding,
)
from gfs_ha.client.globs import Globs
from gfs_ha.client.lanes import LANES_MAX
from gfs_ha.client.local_files import local_door
from gfs_ha.client.trees import TreeOptions
from gfs_ha.errors import GfsError, PartlyDone, Unhealthy
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DIRECTORY

P = ParamSpec("P")
R = TypeVar("R")

_WORDS = {
    SAME: "same",
    DIFFER: "differs",
    MISSING_REMOTE: "missing there",
    MISSING_LOCAL: "missing here",
    ERROR: "error",
    SKIPPED: "skipped",
}
_FILES = {
    DIFFER: ("--differ", "differ"),
    MISSING_REMOTE: ("--missing-on-remote", "are missing in the cluster"),
    MISSING_LOCAL: ("--missing-on-local", "are missing here"),
    SAME: ("--match", "are the same"),
    ERROR: ("--error", "could not be compared"),
}


class CheckItem(Word, frozen=True):
    """What one name was found to be; sizes in bytes, null where there is no file."""

    name: str
    state: str
    kind: str
    why: str
    local_size: int | None
    remote_size: int | None


def _name_files(function: Callable[P, R]) -> Callable[P, R]:
    """Give the verb an option for each state that writes its names to a file."""
    for state, (option, text) in reversed(_FILES.items()):
        help_text = f"Write the names that {text} to this file."
        give = click.option(option, state.replace("-", "_"), metavar="FILE", help=help_text)
        function = give(function)
    return function


@click.command(
    cls=Verb,
    examples="""
    gfsctl check src /backup/src                       # sizes, then CRC-32C of both sides
    gfsctl check --size-only src /backup/src           # faster: files of one size are the same
    gfsctl check --one-way src /backup/src             # the cluster may have more than src
    gfsctl check src /backup/src --missing-on-remote todo.txt
    """,
)
@click.argument("local")
@click.argument("remote")
@click.option(
    "--checksum/--size-only",
    "contents",
    default=True,
    help="Compare sizes and then CRC-32C (as usual), or sizes alone.",
)
@click.option("--one-way", is_flag=True, help="What is in the cluster alone does not matter.")
@click.option("--all", "everything", is_flag=True, help="Also list what is the same.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only files like these.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Nothing like these.")
@_name_files
@click.option(
    *("-j", "--jobs"),
    type=click.IntRange(1, LANES_MAX),
    envvar="GFS_JOBS",
    help="How many files are compared at once.",
)
@pass_session
def check(
    session: Session,
    /,
    local: str,
    remote: str,
    contents: bool,
    one_way: bool,
    everything: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    jobs: int | None,
    **files: str | None,
) -> None:
    """Compare a local file or tree with a remote one, and change nothing.

    Names come in sorted order. The CRC-32C of a remote file is stored with it, so only local files
    are read. Modes and times are not compared. Exit status 0: all is the same; 8: something differs
    or is missing; 11: nothing differs, but not all could be compared.
    """
    sides = sides_of(session, local, remote)
    options = TreeOptions(jobs, globs=Globs(include, exclude))
    run = session.cluster.trees.compare(
        *(sides.local, sides.remote, options), contents=contents, one_way=one_way
    )
    with ExitStack() as stack:
        sinks: dict[str, BinaryIO] = {}
        for state in _FILES:
            if (path := files[state.replace("-", "_")]) is not None:
                with local_door(path):
                    sinks[state] = stack.enter_context(open(path, "wb"))
        session.show_items(
            "CheckList",
            _items(run, sinks, everything),
            _lines,
            lambda item: item.name,
            lambda: {"summary": _facts(run.summary)},
        )
    output.flush()
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        output.write_lines([_told(run.summary)])
    error = _verdict(run.summary)
    if error is not None:
        raise error


def _items(run: Comparison, sinks: dict[str, BinaryIO], everything: bool) -> Iterator[CheckItem]:
    for one in run.findings():
        sink = sinks.get(one.state)
        if sink is not None:
            with local_door(sink.name):
                sink.write(_name(one).encode("utf-8", "surrogateescape") + b"\n")
        if one.state != SAME or everything:
            sizes = (one.local_size, one.remote_size)
            yield CheckItem(encodable(_name(one)), one.state, one.kind, one.why, *sizes)


def _name(one: Finding) -> str:
    name = one.name or "."
    return f"{name}/" if one.kind == DIRECTORY else name


def _lines(page: list[CheckItem]) -> Iterable[str]:
    for item in page:
        why = f"  ({printable(item.why)})" if item.why else ""
        yield f"{_WORDS[item.state]:<13}  {printable(item.name)}{why}"


def _facts(summary: ComparisonSummary) -> dict[str, Any]:
    states = {state: summary.states[state] for state in (*_FILES, SKIPPED)}
    return {**states, "same_bytes": summary.same_bytes, "equal": _verdict(summary) is None}


def _told(summary: ComparisonSummary) -> str:
    states = summary.states
    parts = [f"{states[SAME]:,} the same ({size_text(summary.same_bytes)})"]
    for state in (DIFFER, MISSING_REMOTE, MISSING_LOCAL, ERROR, SKIPPED):
        if states[state]:
            parts.append(f"{states[state]:,} {_WORDS[state]}")
    return ", ".join(parts)


def _verdict(summary: ComparisonSummary) -> GfsError | None:
    if summary.differences:
        differ = count_text(summary.differences, "name differs or is", "names differ or are")
        return Unhealthy(f"{differ} missing; gfsctl sync makes one side like the other")
    if summary.uncompared:
        what = count_text(summary.uncompared, "name was", "names were")
        return PartlyDone(f"{what} not compared; all others are the same")
    return None
