"""`gfsctl admin disks drain|undrain`: single disks emptied while their servers go on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import click
from msgspec.structs import replace

from gfs_ha.cli import output
from gfs_ha.cli.admin import job_screens as job_screens  # What reports of jobs look like.
from gfs_ha.cli.admin.changed_servers import telling
from gfs_ha.cli.admin.disks import disk_name, named_disks
from gfs_ha.cli.admin.drain import Emptying, ask_to_drain, bwlimit_option, show_plan
from gfs_ha.cli.admin.drain_plan import DrainPlan, Part, gather, least_eta_ms, plan_of, usable
from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.jobs_wait import wait_for_job
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.jobs import own_name
from gfs_ha.errors import PreconditionFailed
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import MIN_COPIES_DEFAULT
from gfs_ha.master.placement import HIGH_WATER
from gfs_ha.protocol.disks import FAILED, LOST, SILENT, DiskStanding
from gfs_ha.protocol.jobs import JobReport, JobStarted
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE, LEAVING, PlaceRow

DISK_CHANGED = "DiskChanged"  # Kind of the documents that programs get.
_STAYS = "a disk leaves"  # What becomes of a server that goes on with others,
_FATES = ("leaves", "stays")  # in the place of these.


@click.command(
    "drain",
    cls=Verb,
    examples="""
    gfsctl admin disks drain cs7:0x3f2a -n      # what would be moved, what cannot
    gfsctl admin disks drain cs7:0x3f2a         # begin; prints the job's id
    gfsctl admin disks drain cs7:/disks/b       # named by its directory, or the end of it: cs7:b
    gfsctl admin disks drain 0x3f2a --wait      # with a bar; Ctrl-C only ends the waiting
    """,
)
@click.argument("disks", metavar="DISK...", nargs=-1, required=True)
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be moved.")
@click.option("--wait", is_flag=True, help="Come back when it is done; Ctrl-C detaches.")
@bwlimit_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask, also if chunks cannot be moved.")
@pass_session
def drain_disk(session: Session, /, **more: Any) -> None:
    """Move everything off a disk, which takes nothing new; its server goes on with the others.

    Each copy is made elsewhere before the old one goes. `replace` says what to do when it is empty.
    Exit status 4: it is empty already, failed or lost, or a job empties it; with -n also: it would
    not begin without -y, since chunks cannot be moved.
    """
    known = session.operations.disks.all().items
    rows = named_disks(known, more.pop("disks"), "gfsctl admin chunkservers drain")
    how = Emptying(**more)
    check_drainable(rows, session.operations.servers().items)
    found, parts = plan_disks(session, rows, known)
    plan = how.limited(found)
    if how.dry_run:
        show_plan(session, plan, how.yes)
        return
    ask_to_drain(session, plan, how.yes)
    started = [begin_drain(session, row, parts[disk_name(row)], how) for row in rows]
    if session.options.output not in (TABLE, WIDE):
        jobs = [session.operations.jobs.get(one.number) for one in started]
        session.show(JobReport(tuple(jobs)))
    if how.wait:
        for one in started:
            wait_for_job(session, one.id)


def begin_drain(session: Session, row: DiskStanding, part: Part, how: Emptying) -> JobStarted:
    """Begin the job that empties a disk, say so, and return it."""
    who, disks = own_name(session.config.client.machine), session.operations.disks
    asked = disks.drain(row.server, row.disk_id, part, who, how.bwlimit or 0)
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        what = f"{count_text(part[1], 'copy', 'copies')}, {size_text(part[0])}"
        how_far = "" if how.wait else f"; how far it is: gfsctl admin jobs show {asked.id}"
        output.write_lines([f"{asked.id}  {disk_name(row)} is being drained: {what}{how_far}"])
    return asked


def check_drainable(rows: Collection[DiskStanding], servers: Collection[ServerRow]) -> None:
    """Raises: PreconditionFailed when the drain of one of these disks would not begin."""
    emptied = {one.server_id: one.job for one in servers if one.mode in LEAVING}
    for row in rows:
        name = disk_name(row)
        if row.server_id in emptied:
            job = emptied[row.server_id]
            raise PreconditionFailed(
                f"job {job} is emptying all of {row.server} already: gfsctl admin jobs show {job}"
            )
        if row.state in (FAILED, LOST):
            gone = "has failed" if row.state == FAILED else "is lost"
            raise PreconditionFailed(
                f"disk {name} {gone} ({row.why}): what it held is made anew from other"
                f" copies, and nothing can be moved off it; what to do: gfsctl admin disks"
                f" replace {name}"
            )
        if row.mode == DRAINED:
            raise PreconditionFailed(
                f"disk {name} is drained already; how to change it: gfsctl admin disks replace"
                f" {name}, to take it back: gfsctl admin disks undrain {name}"
            )
        if row.mode in LEAVING:
            raise PreconditionFailed(
                f"job {row.job} is emptying disk {name} already: gfsctl admin jobs show {row.job}"
            )


def plan_disks(
    session: Session, rows: list[DiskStanding], known: Collection[DiskStanding]
) -> tuple[DrainPlan, Mapping[str, Part]]:
    """Return the plan of emptying disks together, and (bytes, copies) to move by disk.

    Args: `known`: all disks. A copy goes to another disk of its server while there is room.
    """
    rooms = OwnRooms(rows, known)
    elsewhere: dict[ChunkId, PlaceRow] = {}
    parts = {}
    bare = left_without(rows)
    leaving = set(bare)  # Servers that are no targets: of one that has room copies do not leave.
    for row in rows:
        there: dict[ChunkId, PlaceRow] = {}
        places = session.operations.server_modes.places(row.server_id, row.disk_id)
        parts[disk_name(row)] = gather(places, there)
        out = {key: one for key, one in there.items() if not rooms.take(row, one)}
        leaving |= {row.server_id} if out else set()
        elsewhere |= out
    servers = session.operations.servers().items
    plan = plan_of(session, servers, (tuple(parts), frozenset(leaving)), elsewhere)
    staying = {row.server for row in rows if row.server_id not in bare}
    stay = sum(usable(one) for one in servers if one.server_id not in bare)
    least = max((one.min_copies for one in elsewhere.values()), default=MIN_COPIES_DEFAULT)
    items = tuple(
        replace(one, fate=_STAYS) if one.name in staying and one.fate in _FATES else one
        for one in plan.items
    )
    plan = replace(
        plan,
        items=items,
        servers=tuple(dict.fromkeys(row.server for row in rows)),
        disks=tuple(parts),
        left_in_service=stay,
        writable=stay >= least,
        move_count=plan.move_count + rooms.count,
        move_bytes=plan.move_bytes + rooms.size,
        eta_ms=least_eta_ms(session.operations.repair(1).budget, rooms.coming(plan)),
        within_count=rooms.count,
        within_bytes=rooms.size,
    )
    return replace(plan, ways=tuple(ways_out(rows, known)) if plan.doubtful else ()), parts


def ways_out(leaving: Collection[DiskStanding], known: Collection[DiskStanding]) -> Iterator[str]:
    """Yield what would let copies stay on their servers: these back, or other disks of them."""
    names, owners = {disk_name(row) for row in leaving}, {row.server_id for row in leaving}
    for why, server in {row.why: row.server for row in leaving if row.state == SILENT}.items():
        show = f"gfsctl admin chunkservers show {server}"
        yield f"{why}: its other disks take nothing until it is back: {show}"
    for row in known:
        out = row.state in (DRAINED, DRAINING) and disk_name(row) not in names
        if out and row.server_id in owners:
            name = disk_name(row)
            yield f"{name} is {row.state} and could take them: gfsctl admin disks undrain {name}"


class OwnRooms:
    """The room on the disks that stay, by server, and what copies take of it."""

    def __init__(self, leaving: Collection[DiskStanding], known: Collection[DiskStanding]) -> None:
        gone = {one.disk_id for one in leaving}
        self._disks: dict[ServerId, list[list[int]]] = {}  # [free, total] of each.
        self.count = self.size = 0
        self._within: dict[str, int] = {}
        for one in known:
            if one.state == IN_SERVICE and one.disk_id not in gone and one.total_bytes:
                room = [one.free_bytes, one.total_bytes]
                self._disks.setdefault(one.server_id, []).append(room)

    def take(self, row: DiskStanding, place: PlaceRow) -> bool:
        """Return whether a copy goes to another disk of its server, and take the room."""
        disks = self._disks.get(row.server_id, [])
        if place.state != "sealed" or not place.holds or not disks:
            return False
        room = max(disks)
        if room[0] < place.length or 1 - room[0] / room[1] >= HIGH_WATER:
            return False
        room[0] -= place.length
        self.count += 1
        self.size += place.length
        self._within[row.server] = self._within.get(row.server, 0) + place.length
        return True

    def coming(self, plan: DrainPlan) -> dict[str, int]:
        """Return the bytes that come to each server: by a plan, and from its own disks."""
        found = {row.name: row.bytes_in for row in plan.items}
        for name, size in self._within.items():
            found[name] = found.get(name, 0) + size
        return found


def left_without(rows: list[DiskStanding]) -> frozenset[ServerId]:
    """Return the servers that would be left without any disk in service."""
    counts: dict[ServerId, int] = {}
    for row in rows:
        counts[row.server_id] = counts.get(row.server_id, 0) + (row.mode == IN_SERVICE)
    return frozenset(row.server_id for row in rows if row.serving + 1 <= counts[row.server_id])


@click.command(
    "undrain",
    cls=Verb,
    examples="""
    gfsctl admin disks undrain cs7:0x3f2a       # it takes new chunks again; its job is cancelled
    gfsctl admin disks undrain cs7:0x3f2a -n    # only say which job that would be
    """,
)
@click.argument("disks", metavar="DISK...", nargs=-1, required=True)
@dry_run_option
@pass_session
def undrain_disk(session: Session, disks: tuple[str, ...], dry_run: bool) -> None:
    """Take a disk back into service that is drained, or being drained.

    What was moved stays where it is. Exit status 4: one of them is in service; the others are
    taken back all the same.
    """
    who = own_name(session.config.client.machine)
    idle: list[str] = []
    states: set[str] = set()
    known = session.operations.disks.all().items
    rows = named_disks(known, disks, "gfsctl admin chunkservers undrain")
    with telling(session, dry_run, DISK_CHANGED) as tell:
        for row in rows:
            name = disk_name(row)
            job = f"; {row.job} is cancelled, what was moved stays" if row.mode in LEAVING else ""
            if row.mode == IN_SERVICE:
                idle.append(name)
                states.add(row.state)
            elif dry_run:
                tell(name, f"would take back {name}, {row.mode}{job}")
            else:
                session.operations.disks.undrain(row.server, row.disk_id, who)
                tell(name, f"{name} {back_text(row)}{job}")
    if idle:
        _refuse_idle(idle, states)


def back_text(row: DiskStanding) -> str:
    """Return how a disk stands that is not to be emptied any more."""
    if row.state in (FAILED, LOST):
        return f"is not drained any more, and {'has failed' if row.state == FAILED else 'is lost'}"
    return f"is in service once it is back: {row.why}" if row.state == SILENT else "is in service"


def _refuse_idle(idle: list[str], states: set[str]) -> None:
    are = "is" if len(idle) == 1 else "are"
    if states != {IN_SERVICE}:
        how = f"no drain of it to take back ({', '.join(sorted(states))})"
        raise PreconditionFailed(f"{', '.join(idle)}: {how}; see gfsctl admin disks ls")
    raise PreconditionFailed(f"{', '.join(idle)} {are} in service already")
