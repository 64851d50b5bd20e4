"""`gfsctl bench`: a quick measurement from this machine, of a cluster that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.room import fitting_bytes
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE, NumberRange, Size
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import duration_text, size_text
from gfs_ha.cli.verb import HELP, Family, Row, Verb
from gfs_ha.client.bench import GET, META, PUT, Bench, BenchPlan, BenchResult, left_overs
from gfs_ha.client.lanes import LANES_MAX
from gfs_ha.errors import NoSpace
from gfs_ha.limits import GIB, GOAL_MAX, MIB
from gfs_ha.protocol.metadata import DISK, MEMORY
from gfs_ha.runtime import ThreadedRuntime

BYTES_DEFAULT = GIB  # Of a measurement whose number of files nobody gave.
SHARE_MAX = 10  # Of what fits, a measurement takes at most one part in so many.
FILES_MAX = 1_000_000
META_FILES = FILES_MAX
F = TypeVar("F", bound=Callable[..., Any])

_HERE = "gfs_ha.cli.bench"


def _measured(size: bool) -> Callable[[F], F]:
    """Give a measurement its options."""

    def decorate(function: F) -> F:
        options = [
            click.option("--seconds", type=NumberRange(0.1, 600), default=5.0, help="How long."),
            click.option(
                *("-j", "--jobs"),
                type=click.IntRange(1, LANES_MAX),
                default=4,
                envvar="GFS_JOBS",
                help="How many at once (4).",
            ),
            click.option(
                *("--dir", "directory"),
                metavar="DIR",
                default="/",
                help="Where the scratch goes (/).",
            ),
        ]
        if size:
            options += [
                click.option("--size", type=Size(), default=MIB, help="Of each file (1MiB)."),
                click.option(
                    "--files", type=click.IntRange(1, FILES_MAX), help="How many at most."
                ),
                click.option("--durability", type=click.Choice([DISK, MEMORY]), help="As put."),
                click.option("--replicas", type=click.IntRange(0, GOAL_MAX), help="As put."),
            ]
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command(
    cls=Verb,
    examples="""
    gfsctl bench put                              # files of 1 MiB, 4 at once, for 5 s
    gfsctl bench put --size 64MiB -j 2            # big ones
    gfsctl bench put --size 4KiB -j 32 -o json    # small ones, for programs
    """,
)
@_measured(size=True)
@pass_session
def put(session: Session, /, **how: Any) -> None:
    """Measure how fast files go in: each is acknowledged before its worker begins the next one."""
    _run(session, PUT, how)


@click.command(
    cls=Verb,
    examples="""
    gfsctl bench get                        # files of 1 MiB, 4 at once, for 5 s
    gfsctl bench get --size 256MiB -j 1     # one big one after the other
    """,
)
@_measured(size=True)
@pass_session
def get(session: Session, /, **how: Any) -> None:
    """Measure how fast files come out, every byte verified; they are put before, unmeasured."""
    _run(session, GET, how)


@click.command(
    cls=Verb,
    examples="""
    gfsctl bench meta          # create, stat, rename, remove of empty files, 4 at once, for 5 s
    gfsctl bench meta -j 32    # what the masters do for many at once
    """,
)
@_measured(size=False)
@pass_session
def meta(session: Session, /, **how: Any) -> None:
    """Measure names: create, stat, rename and remove of empty files, one after the other."""
    _run(session, META, how)


@click.command(
    cls=Verb,
    examples="""
    gfsctl bench cleanup       # remove what measurements left that were killed; asks
    """,
)
@click.option(
    *("--dir", "directory"), metavar="DIR", default="/", help="Where the scratch was (/)."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@pass_session
def cleanup(session: Session, directory: str, yes: bool, dry_run: bool) -> None:
    """Remove the scratch directories of measurements that could not do so themselves."""
    paths = left_overs(session.cluster, session.path(directory))
    names = printable(", ".join(paths))
    told = session.options.output in (TABLE, WIDE)
    if not paths and told:
        output.write_lines(["there is nothing to remove"])
    if paths and dry_run and told:
        output.write_lines([f"would remove {names}"])
    if paths and not dry_run:
        if not yes and not session.confirm(f"remove {names}, also of measurements under way?"):
            return
        for path in paths:
            session.cluster.remove(path, recursive=True)
        if told:
            output.write_lines([f"removed {names}"])
    if session.options.machine_readable:
        session.show_plain("BenchCleanup", [{"path": path} for path in paths], dry_run=dry_run)


bench = Family(
    "bench",
    help="Measure from here, in a scratch directory that is removed afterwards.",
    examples="""
    gfsctl bench put                    # files of 1 MiB, 4 at once, for 5 s
    gfsctl bench get --size 64MiB -j 2  # big files out again
    gfsctl bench meta -j 32             # names alone
    """,
    rows={
        "put": Row(_HERE, "put", "How fast files go in"),
        "get": Row(_HERE, "get", "How fast files come out"),
        "meta": Row(_HERE, "meta", "How fast names are made, moved and removed"),
        "cleanup": Row(_HERE, "cleanup", "Remove what killed measurements left"),
    },
    context_settings=HELP,
)


def _run(session: Session, kind: str, how: dict[str, Any]) -> None:
    """Measure as the options say, and show it."""
    above = session.path(how["directory"])
    size, files, jobs = how.get("size", 0), how.get("files"), how["jobs"]
    durability, replicas = how.get("durability") or "", how.get("replicas") or 0
    count = META_FILES
    if kind != META:
        if kind == GET and files is None:
            files = jobs * 2 if size >= MIB else jobs * 16
        count = _bounded(session, above, size, files, replicas)
    plan = BenchPlan(kind, size, count, how["seconds"], jobs, above, durability, replicas)
    progress = _Progress(session, kind)
    run = Bench(session.cluster, ThreadedRuntime(), plan, progress.show)
    try:
        result = run.run()
    finally:
        progress.clear()
        if run.left_over:
            session.warn(
                f"could not remove {run.left_over}; gfsctl bench cleanup --dir {above} does"
            )
    _show(session, result, session.cluster.policies.durability(above, durability))


def _bounded(session: Session, directory: str, size: int, files: int | None, replicas: int) -> int:
    """Return how many files may be written. Raises: NoSpace when that would be too much."""
    policy = session.cluster.policies.get(directory)
    goal = replicas or policy.goal
    servers = session.operations.servers().items
    fits = fitting_bytes(servers, min(goal, len(servers)), policy.rule)
    allowed = fits // SHARE_MAX
    each = max(size, 1)
    count = files if files is not None else max(1, min(BYTES_DEFAULT // each, FILES_MAX))
    if count * size > allowed and files is None:
        count = allowed // each
    if count < 1 or count * size > allowed:
        raise NoSpace(
            f"{size_text(max(count, 1) * size)} would be more than a tenth of the {size_text(fits)}"
            " that fit (gfsctl df): measure with fewer or smaller files"
        )
    return count


class _Progress:
    """One line on a terminal's standard error."""

    def __init__(self, session: Session, kind: str) -> None:
        self._shown = output.stderr_is_terminal() and not session.options.quiet
        self._kind = kind

    def show(self, what: str, share: float) -> None:
        if self._shown:
            output.overwrite(f"bench {self._kind}: {what}, {share * 100:.0f} %")

    def clear(self) -> None:
        if self._shown:
            output.overwrite("")


def _show(session: Session, result: BenchResult, durability: str) -> None:
    if session.options.machine_readable:
        session.show_plain("Bench", [_facts(result, durability)])
    elif session.options.output == "name":
        output.write_lines([result.plan.kind])
    else:
        output.write_lines(_text(result, durability))


def _facts(result: BenchResult, durability: str) -> dict[str, Any]:
    plan = result.plan
    return {
        "kind": plan.kind,
        "file_bytes": plan.size,
        "jobs": plan.jobs,
        "took_ms": result.took_ns / 1e6,
        "bytes": result.size,
        "bytes_per_s": result.per_second(result.size),
        "durability": durability,
        "copies": result.copies,
        "goal": result.goal,
        "operations": [
            {
                "name": row.name,
                "count": row.count,
                "per_s": result.per_second(row.count),
                "p50_ms": row.p50_ns / 1e6,
                "p99_ms": row.p99_ns / 1e6,
                "max_ms": row.max_ns / 1e6,
            }
            for row in result.rows
        ],
    }


def _text(result: BenchResult, durability: str) -> list[str]:
    plan = result.plan
    took = duration_text(result.took_ns / 1e6)
    lines = []
    if plan.kind != META:
        rate = size_text(result.per_second(result.size))
        lines.append(f"{plan.kind}: {rate}/s ({size_text(result.size)} in {took})")
    else:
        rate = f"{result.per_second(sum(row.count for row in result.rows)):,.0f}"
        lines.append(f"meta: {rate} operations/s in all ({took})")
    width = max((len(row.name) for row in result.rows), default=0)
    for row in result.rows:
        lines.append(
            f"  {row.name:<{width}}  {row.count:>9,}  {result.per_second(row.count):>9,.1f}/s"
            f"   p50 {row.p50_ns / 1e6:8.2f} ms   p99 {row.p99_ns / 1e6:8.2f} ms"
            f"   max {row.max_ns / 1e6:8.2f} ms"
        )
    lines.append(_measured_text(result, durability))
    return lines


def _measured_text(result: BenchResult, durability: str) -> str:
    """Say what the figures are of."""
    plan = result.plan
    at_once = f"{plan.jobs} at once from this machine"
    if plan.kind == META:
        return f"measured: {at_once}; each change was on the disks of most masters when it counted"
    copies = f"{result.copies} of {result.goal} copies"
    files = f"files of {size_text(plan.size)}, {at_once}"
    if not result.goal:
        return f"measured: {files}; without bytes, masters alone do the work"
    if plan.kind == GET:
        return (
            f"measured: {files}; {copies}, just written: from the servers' memory, not their disks;"
            " every byte verified"
        )
    where = "disk" if durability == DISK else "memory"
    return f"measured: {files}; a file counted when {copies} had it in full on {where}"
