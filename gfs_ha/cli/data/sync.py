"""`gfsctl sync`: one-way copying of what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.copying import encodable, problem_facts
from gfs_ha.cli.data.several import line_of_problem
from gfs_ha.cli.data.sides import Sides, sides_of
from gfs_ha.cli.names import pasted, printable
from gfs_ha.cli.options import NAME, TABLE, WIDE, Size
from gfs_ha.cli.progress import Bar
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.globs import Globs
from gfs_ha.client.lanes import LANES_MAX
from gfs_ha.client.sync import Sync, SyncSummary
from gfs_ha.client.sync_steps import (
    CHANGES,
    COPY,
    DELETE,
    EQUAL,
    FAIL,
    KEEP,
    MAKE,
    SET,
    SKIP,
    SyncRule,
)
from gfs_ha.client.trees import TreeOptions
from gfs_ha.errors import PartlyDone, PreconditionFailed
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DIRECTORY, FILE

_WHY = {
    "new": "new",
    "size": "other size",
    "time": "other time",
    "content": "other bytes",
    "mode": "other mode",
}


class SyncItem(Word, frozen=True):
    """What is done with one name; `size` in bytes, of what is copied or deleted."""

    name: str
    action: str
    kind: str
    why: str
    size: int


class Rate(Size):
    """Bytes in a second: `10MiB`, also with `/s` behind it."""

    name = "size/s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = value.strip().removesuffix("/s") if isinstance(value, str) else value
        return super().convert(text, param, ctx)


@click.command(
    cls=Verb,
    examples="""
    gfsctl sync src /backup/src                   # copy into the cluster what differs
    gfsctl sync gfs://prod/backup/src restored    # and out of it
    gfsctl sync -n --delete src /backup/src       # only say what would be done
    gfsctl sync --delete -y src /backup/src       # in a script; ends what src does not have
    gfsctl sync --bwlimit 10MiB/s -j 8 --exclude '*.tmp' --exclude 'cache/' src /backup/src
    """,
)
@click.argument("source")
@click.argument("target")
@click.option("--delete", is_flag=True, help="Delete what the source does not have; at the end.")
@click.option("--checksum", is_flag=True, help="Compare bytes (size and CRC-32C), not times.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before deleting.")
@click.option("--bwlimit", type=Rate(), default=0, help="Bytes in a second, of all files together.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only files like these.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Nothing like these.")
@click.option(
    *("-j", "--jobs"),
    type=click.IntRange(1, LANES_MAX),
    envvar="GFS_JOBS",
    help="How many files are under way at once.",
)
@pass_session
def sync(
    session: Session,
    source: str,
    target: str,
    delete: bool,
    checksum: bool,
    dry_run: bool,
    yes: bool,
    bwlimit: int,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    jobs: int | None,
) -> None:
    """Make the directory TARGET like SOURCE: copy what differs in size or time.

    One of them is local and one remote: gfs://CLUSTER/... is remote, a path that is not absolute
    is local, and of two absolute ones the first is local. Directories (also empty ones), modes and
    times are kept; what is not copied is listed, exit status 11. A run that was broken off is run
    again and does the rest. With --delete, names that only TARGET has are deleted at the end, and
    none if anything failed; what --include and --exclude leave out is left alone on both sides.
    """
    if delete and not (yes or dry_run):
        session.check_can_ask("sync --delete asks before it deletes.")
    sides = sides_of(session, source, target)
    rule = SyncRule(sides.up, delete, checksum)
    globs = Globs(include, exclude)
    rest = "run it again: it does what is left"
    with Bar(session, "copied", shown=not dry_run, rest=rest) as bar:
        options = TreeOptions(jobs, bwlimit, globs, bar)
        run = session.cluster.trees.sync(sides.local, sides.remote, rule, options)
        if not dry_run:
            run.copy()
    if dry_run:
        _show_plan(session, run)
    elif not (yes and run.summary.empties):
        _delete(session, run, sides, yes)
        _conclude(session, run.finish(), sides)
    if yes and run.summary.empties:
        raise _source_empty(sides)


def _delete(session: Session, run: Sync, sides: Sides, yes: bool) -> None:
    deletions = run.deletions()
    if deletions and (yes or session.confirm(_question(run.summary, sides))):
        run.delete()


def _source_empty(sides: Sides) -> PreconditionFailed:
    """Return why nothing is deleted: what is missing may just not be mounted."""
    source, target = printable(_source(sides)), printable(_target(sides))
    remove = (
        f"gfsctl rm -r {pasted(sides.remote)}" if sides.up else f"rm -r -- {pasted(sides.local)}"
    )
    return PreconditionFailed(
        f"the source {source} is empty, and -y deletes nothing in {target} for that: is it the "
        f"right one, and mounted? If so, leave -y out and answer, or: {remove}"
    )


def _source(sides: Sides) -> str:
    return f"local {sides.local}" if sides.up else sides.remote


def _target(sides: Sides) -> str:
    return sides.remote if sides.up else sides.local


def _question(summary: SyncSummary, sides: Sides) -> str:
    files = summary.planned(DELETE) - summary.plan[DELETE, DIRECTORY]
    directories = summary.plan[DELETE, DIRECTORY]
    parts = [f"{count_text(files, 'file')} ({size_text(summary.delete_bytes)})"] if files else []
    if directories:
        parts.append(count_text(directories, "directory", "directories"))
    where = f"the cluster's {sides.remote}" if sides.up else f"the local {sides.local}"
    empty = " (the source is EMPTY)" if summary.empties else ""
    told = f"delete {' and '.join(parts)} in {printable(where)} that the source does not have"
    return f"{told}{empty}?"


def _show_plan(session: Session, run: Sync) -> None:
    """Show what would be done. Raises: PartlyDone when not all would be as in the source."""

    def items() -> Iterator[SyncItem]:
        for step in run.plan():
            if step.action in (*CHANGES, FAIL, SKIP):
                name = encodable(step.name or ".")
                name += "/" if step.kind == DIRECTORY else ""
                yield SyncItem(name, step.action, step.kind, encodable(step.why), step.size)

    session.show_items(
        "SyncPlan", items(), _lines, lambda item: item.name, lambda: {"summary": _plan(run.summary)}
    )
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        output.write_lines([_plan_text(run.summary)])
    output.flush()
    summary = run.summary
    deletions = summary.planned(DELETE)
    if wrong := summary.planned(FAIL) + summary.planned(SKIP):
        told = f"{count_text(wrong, 'name', 'names')} would not be as in the source"
        if deletions and summary.planned(FAIL):
            names = count_text(deletions, "name", "names")
            told += f"; {names} would not be deleted because of that"
        raise PartlyDone(told)


def _lines(page: list[SyncItem]) -> Iterable[str]:
    for item in page:
        facts = [_WHY.get(item.why, item.why)] if item.why else []
        if item.kind != DIRECTORY and item.action in (COPY, DELETE):
            facts.append(size_text(item.size))
        more = f"  ({printable(', '.join(facts))})" if facts else ""
        yield f"{item.action:<6}  {printable(item.name)}{more}"


def _plan(summary: SyncSummary) -> dict[str, Any]:
    return {
        "copy_files": summary.planned(COPY),
        "copy_bytes": summary.copy_bytes,
        "make_directories": summary.planned(MAKE),
        "set_attributes": summary.planned(SET),
        "delete_files": summary.planned(DELETE) - summary.plan[DELETE, DIRECTORY],
        "delete_directories": summary.plan[DELETE, DIRECTORY],
        "delete_bytes": summary.delete_bytes,
        "equal": summary.planned(EQUAL),
        "kept": summary.planned(KEEP),
        "skipped": summary.planned(SKIP),
        "failed": summary.planned(FAIL),
    }


def _plan_text(summary: SyncSummary) -> str:
    plan = _plan(summary)
    parts = []
    if plan["copy_files"]:
        files = count_text(plan["copy_files"], "file")
        parts.append(f"copy {files} ({size_text(plan['copy_bytes'])})")
    if plan["make_directories"]:
        parts.append(f"make {count_text(plan['make_directories'], 'directory', 'directories')}")
    if plan["set_attributes"]:
        parts.append(f"set mode or time of {plan['set_attributes']:,}")
    if summary.planned(DELETE):
        gone = f"delete {summary.planned(DELETE):,} ({size_text(plan['delete_bytes'])})"
        parts.append(f"{gone} as the source is EMPTY" if summary.empties else gone)
    if parts:
        told = f"would {', '.join(parts)}; {_equal(summary)} equal already"
    else:
        told = f"nothing to do: {_equal(summary)} equal"
    if kept := summary.planned(KEEP):
        told += f"; {count_text(kept, 'name', 'names')} that only the target has would stay"
        told += " (--delete ends them)"
    return told


def _equal(summary: SyncSummary) -> str:
    files, directories = summary.plan[EQUAL, FILE], summary.plan[EQUAL, DIRECTORY]
    told = count_text(files, "file")
    told += f" and {count_text(directories, 'directory', 'directories')}"
    return f"{told} {'is' if files + directories == 1 else 'are'}"


def _conclude(session: Session, summary: SyncSummary, sides: Sides) -> None:
    """Tell what was done. Raises: PartlyDone when something is not as it should be."""
    for warning in summary.warnings:
        session.warn(warning)
    problems = summary.problems
    done = {
        "copied_files": summary.copied_files,
        "copied_bytes": summary.copied_bytes,
        "deleted_files": summary.deleted_files,
        "deleted_directories": summary.deleted_directories,
        "deletions_withheld": summary.withheld,
    }
    if session.options.machine_readable:
        item = {"local": encodable(sides.local), "remote": sides.remote, "up": sides.up}
        item |= done | {"plan": _plan(summary), "warnings": summary.warnings}
        facts = [problem_facts(one) for one in problems]
        session.show_plain("Sync", [item], problems=facts)
    elif session.options.output != NAME and not session.options.quiet:
        output.write_lines([_done_text(summary)])
    if not problems:
        return
    output.flush()
    if not session.options.machine_readable:
        for problem in problems:
            output.say(line_of_problem(problem))
    what = count_text(len(problems), "name is", "names are")
    kept = ""
    if summary.withheld:
        kept = f"; {count_text(summary.planned(DELETE), 'name was', 'names were')} not deleted"
        kept += " because of that"
    raise PartlyDone(f"{what} not as in the source{kept}")


def _done_text(summary: SyncSummary) -> str:
    parts = []
    if summary.copied_files:
        files = count_text(summary.copied_files, "file")
        parts.append(f"copied {files} ({size_text(summary.copied_bytes)})")
    if made := summary.planned(MAKE):
        parts.append(f"made {count_text(made, 'directory', 'directories')}")
    if changed := summary.planned(SET):
        parts.append(f"set mode or time of {changed:,}")
    if gone := summary.deleted_files + summary.deleted_directories:
        parts.append(f"deleted {gone:,}")
    told = f"{', '.join(parts)}; {_equal(summary)} equal already"
    if not parts:
        told = f"nothing to do: {_equal(summary)} equal"
    left = summary.planned(DELETE) - gone
    if left and not summary.problems:
        told += f"; {count_text(left, 'name stays', 'names stay')} that only the target has"
    return told
