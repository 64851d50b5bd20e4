"""`gfsctl setrep`: how many copies files want of what they hold."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.document import plain
from gfs_ha.cli.names import pasted, printable
from gfs_ha.cli.options import NAME, TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, duration_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.goal_watch import GoalLook, GoalWatch
from gfs_ha.client.room_for_copies import RoomForCopies
from gfs_ha.errors import DeadlineExceeded, GfsError, IsADirectory
from gfs_ha.limits import GOAL_MAX
from gfs_ha.protocol.metadata import DIRECTORY, FileStatus
from gfs_ha.runtime import ThreadedRuntime

LOOK_S = 0.25  # Between two looks at how far it is.
_SET_AT_ONCE = 1_000


@click.command(
    cls=Verb,
    examples="""
    gfsctl setrep 2 /logs/old.log        # fewer copies of one file
    gfsctl setrep -w 5 /db/ledger        # more, and wait until they are there
    gfsctl setrep -R 2 /logs             # of all files that are below it now
    gfsctl setrep -R -n 2 /logs          # only say how many, and how many bytes
    """,
)
@click.argument("replicas", metavar="N", type=click.IntRange(0, GOAL_MAX))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-R", "--recursive", is_flag=True, help="Directories: all files below them.")
@click.option("-w", "--wait", is_flag=True, help="Wait until every file has its copies.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be changed.")
@pass_session
def setrep(
    session: Session,
    replicas: int,
    paths: tuple[str, ...],
    recursive: bool,
    wait: bool,
    dry_run: bool,
) -> None:
    """Let files want N copies of all their bytes; 0: as many as the cluster's setting says.

    More copies are made by repair, within its budget; those beyond are dropped once the others are
    sure. Bytes that several files share are kept in as many copies as the one wants that wants
    most. With -w it ends with 0 only when all have theirs, and gives up once nothing moved for
    --timeout. New files are kept as `gfsctl policy` says. More copies than there are servers in
    service are taken with a warning: they are made once servers come (JSON: `copies_possible`).
    """
    several = Several(session)
    found: dict[str, FileStatus] = {}
    for text in paths:
        path = session.path(text)
        several.attempt(path, lambda path=path: _gather(session, path, recursive, found))  # type: ignore[misc]
    several.done_count = 0
    possible = _possible(session, found, replicas) if found else 0
    if dry_run:
        several.done_count = len(found)
        _show_plan(session, found, replicas, possible)
        several.conclude("looked at")
        return
    wanted = list(found)
    done: list[str] = []
    for start in range(0, len(wanted), _SET_AT_ONCE):
        some = wanted[start : start + _SET_AT_ONCE]
        outcomes = session.cluster.policies.set_replication_all(some, replicas)
        for path, refused in zip(some, outcomes, strict=True):
            if several.attempt(path, lambda refused=refused: _raise(refused)) is not None:  # type: ignore[misc]
                done.append(path)
    if wait and done:
        _wait(session, done)
    _show_done(session, done, possible)
    if recursive:
        _tell_done(session, [found[path] for path in done], replicas)
    several.conclude("changed")


def _gather(session: Session, path: str, recursive: bool, found: dict[str, FileStatus]) -> None:
    status = session.cluster.stat(path)
    if status.kind != DIRECTORY:
        found[path] = status
        return
    if not recursive:
        raise IsADirectory(f"{printable(path)} is a directory; -R takes all files below it")
    for full, entry in session.cluster.walk(path):
        if entry.status.kind != DIRECTORY:
            found[full] = entry.status


def _raise(refused: GfsError | None) -> bool:
    if refused is not None:
        raise refused
    return True


def _possible(session: Session, found: dict[str, FileStatus], replicas: int) -> int:
    """Return how many of the copies there can be; a person is warned of a goal above that."""
    goal = replicas or session.operations.status().goal
    room = RoomForCopies.of_servers(session.operations.servers().items)
    named = pasted(next(iter(found))) if len(found) == 1 else "PATH..."
    if said := room.warning(goal, lambda possible: f"gfsctl setrep {possible} {named}"):
        session.warn(said)
    return room.copies(goal)


def _show_plan(
    session: Session, found: dict[str, FileStatus], replicas: int, possible: int
) -> None:
    """Say how many files would change, and how many bytes of copies come or go."""
    if session.options.machine_readable or session.options.output == NAME:
        _tell(session, [FileItem.of(path, status) for path, status in found.items()], possible)
        return
    usual = session.operations.status().goal
    goal = replicas or usual
    more = sum(max(0, goal - one.goal) * one.size for one in found.values())
    less = sum(max(0, one.goal - goal) * one.size for one in found.values())
    changed = sum(one.goal != goal for one in found.values())
    output.write_lines(
        [
            f"would let {count_text(changed, 'file')} want {count_text(goal, 'copy', 'copies')}: "
            f"up to {size_text(more)} to copy, {size_text(less)} to drop"
        ]
    )


def _show_done(session: Session, paths: list[str], possible: int) -> None:
    if session.options.output not in (TABLE, WIDE):
        items = [FileItem.of(path, session.cluster.stat(path)) for path in paths]
        _tell(session, items, possible)


def _tell(session: Session, items: list[FileItem], possible: int) -> None:
    """Tell programs of the files, and how many copies servers in service can hold of each."""
    if session.options.output == NAME:
        session.done("FileList", items)
        return
    session.show_plain("FileList", [{**plain(one), "copies_possible": possible} for one in items])


def _tell_done(session: Session, before: list[FileStatus], replicas: int) -> None:
    """Say how many files there were below what was named, and of how many that was news."""
    if session.options.output not in (TABLE, WIDE) or session.options.quiet:
        return
    goal = replicas or session.operations.status().goal
    changed = sum(one.goal != goal for one in before)
    already = f", as {len(before) - changed:,} of them did before" if changed < len(before) else ""
    files, copies = count_text(len(before), "file"), count_text(goal, "copy", "copies")
    output.write_lines([f"{files} want{'s' * (len(before) == 1)} {copies} now{already}"])


def _wait(session: Session, paths: list[str]) -> None:
    """Wait until the files have their copies. Raises: DeadlineExceeded when nothing moves."""
    runtime = ThreadedRuntime()
    limit_s = session.operations.timeout_s
    watch = GoalWatch(session.operations, paths)
    shown = output.stderr_is_terminal() and not session.options.quiet
    before: tuple[int, ...] = ()
    moved_s = runtime.monotonic_s()
    try:
        while True:
            look = watch.look()
            if look.reached:
                break
            repair = session.operations.repair()
            copied = sum(one.bytes_done for one in repair.copying) + repair.made_count
            now = (look.files_left, look.lacking_copies, look.surplus_copies, copied)
            if now != before:
                before, moved_s = now, runtime.monotonic_s()
            if runtime.monotonic_s() - moved_s > limit_s:
                raise DeadlineExceeded(_stuck(look, limit_s, session))
            if shown:
                output.overwrite(_progress(look, len(paths), repair.bytes_per_s))
            runtime.sleep(LOOK_S)
    finally:
        if shown:
            output.overwrite("")
    _say_what_is_shared(session, watch)


def _progress(look: GoalLook, total: int, rate: int) -> str:
    parts = [f"{total - look.files_left:,}/{total:,} files"]
    if look.lacking_copies:
        copies = count_text(look.lacking_copies, "copy", "copies")
        parts.append(f"{copies} ({size_text(look.lacking_bytes)}) to make")
        if rate:
            eta = duration_text(look.lacking_bytes / rate * 1000)
            parts.append(f"{size_text(rate)}/s, ETA {eta}")
    if look.surplus_copies:
        parts.append(f"{count_text(look.surplus_copies, 'copy', 'copies')} to drop")
    return "  ".join(parts)


def _stuck(look: GoalLook, limit_s: float, session: Session) -> str:
    """Return why it does not go on, as far as repair says."""
    repair = session.operations.repair()
    why = repair.hold or next((one.reason for one in repair.waiting), "")
    because = f": {why}" if why else ""
    goes_on = "it goes on by itself, see gfsctl admin repair status"
    if not repair.hold and repair.unplaced_copies and not repair.copying:
        ways = ", or ".join(repair.ways)
        goes_on = f"ways out: {ways} (gfsctl admin repair status)"
    return (
        f"{count_text(look.files_left, 'file')} of those asked for still lack copies, and nothing "
        f"moved for {limit_s:.0f} s{because}; {goes_on}"
    )


def _say_what_is_shared(session: Session, watch: GoalWatch) -> None:
    if watch.shared:
        chunks = count_text(len(watch.shared), "chunk")
        session.warn(f"shared with files that want more copies, and kept in those: {chunks}")
    if watch.unsealed:
        chunks = count_text(len(watch.unsealed), "chunk")
        session.warn(f"still written to, and to follow once sealed: {chunks}")
    for path in watch.gone:
        session.warn(f"{printable(path)} was removed meanwhile")
