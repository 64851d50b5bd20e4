"""What operators ask about single disks: how each stands, out of service and back, the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from gfs_ha.errors import Busy, InvalidArgument, NotFound, PreconditionFailed
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX
from gfs_ha.master.handlers.call import Slot
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.mutations import once_visible
from gfs_ha.master.handlers.server_modes import (
    ASKED_BY_BYTES_MAX,
    ORPHANS_FORGOTTEN,
    check_place,
    missed_places,
    named_server,
    orphans_end,
    propose_asked,
    propose_then,
    removed_by,
)
from gfs_ha.master.muting import disk_key
from gfs_ha.master.observed import DEAD as GONE
from gfs_ha.master.observed import LIVE
from gfs_ha.master.repairing import scene_now
from gfs_ha.master.scrub_health import kept_text
from gfs_ha.master.state.bounds import U64_MAX, check_range, fitting_text
from gfs_ha.master.state.commands import LeaderCommand
from gfs_ha.master.state.events import noted
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.records import Disk, Server
from gfs_ha.master.state.server_mode_commands import ForgetDisk, ForgetPlaces, SetDiskMode
from gfs_ha.master.state.server_mode_records import ServerMode
from gfs_ha.master.state.tables import below, pair_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol import disks as words
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.disks import (
    DISKS_PAGE,
    PLACES_COUNTED_MAX,
    DisksListed,
    DiskStanding,
    DrainDisk,
    ListDisks,
    RemoveDisk,
    UndrainDisk,
)
from gfs_ha.protocol.jobs import CANCELLED, DISK_DRAIN, JobOptions, job_id
from gfs_ha.protocol.measures import seconds_text
from gfs_ha.protocol.scrub import ScrubFacts
from gfs_ha.protocol.server_modes import (
    IN_SERVICE,
    KEPT_SHOWN,
    LEAVING,
    PLACES_PAGE,
    RemovalStep,
)

_COUNTED_MAX = 20_000  # Places that one page counts, of all its disks.
_REPLACE = "gfsctl admin disks replace"


# How they stand ---------------------------------------------------------------------------------


def list_disks(desk: Desk, view: View, request: ListDisks, slot: Slot) -> DisksListed:
    """Return the disks of some servers, those of one together. Raises: InvalidArgument."""
    if not 1 <= request.rows <= DISKS_PAGE:
        raise InvalidArgument(f"a page lists 1 to {DISKS_PAGE} disks, not {request.rows}")
    check_range("server", request.after, 0, U64_MAX)
    lister = _Lister(desk, view)
    items: list[DiskStanding] = []
    after = request.after
    for server_id, server in view.servers():
        if server_id <= after:
            continue
        if items and len(items) + len(server.disks) > request.rows:
            return DisksListed(tuple(items), after, more=True)
        items += lister.rows(server_id, server)
        after = server_id
    return DisksListed(tuple(items), after, more=False)


@dataclass(slots=True)
class _Lister:
    """Turns disks into rows for people; what it counts for that is bounded."""

    desk: Desk
    view: View
    counted: int = 0

    def rows(self, server_id: ServerId, server: Server) -> Iterator[DiskStanding]:
        """Yield the disks of a server: those of the tables, and others that it says failed."""
        reign, now_s = self.desk.leading(), self.desk.now_s()
        facts = reign.observed.servers.get(server_id)
        state = reign.observed.state(server_id, now_s)
        told = {one.disk_id: one for one in facts.disks} if facts is not None else {}
        scrubs = {one.disk_id: one for one in facts.scrub} if facts is not None else {}
        served = [
            one.disk_id
            for one in server.disks
            if not one.lost
            and self.view.disk_mode(server_id, one.disk_id) is None
            and not (one.disk_id in told and told[one.disk_id].failed)
        ]
        known_ids = {one.disk_id for one in server.disks}
        failed = [Disk(one, 0, lost=True) for one in told if one not in known_ids]
        for disk in (*server.disks, *(one for one in failed if told[one.disk_id].failed)):
            others = sum(one != disk.disk_id for one in served)
            known = (told.get(disk.disk_id), scrubs.get(disk.disk_id))
            yield self._row((server_id, server, state), disk, known, others)

    def _row(
        self,
        owner: tuple[ServerId, Server, str],
        disk: Disk,
        known: tuple[DiskFacts | None, ScrubFacts | None],
        serving: int,
    ) -> DiskStanding:
        server_id, server, server_state = owner
        facts, scrub = known
        mode = self.view.disk_mode(server_id, disk.disk_id)
        state, why = _state_of(server, server_state, disk, facts)
        if why and state == words.SILENT and server_state != LIVE:
            observed, now_s = self.desk.leading().observed, self.desk.now_s()
            why += f" (no heartbeat for {seconds_text(observed.age_s(server_id, now_s))})"
        if not state and not why and scrub is not None:
            why = kept_text(scrub)
        stands = self.view.server_mode(server_id)
        if not state and not why:
            why = self._why_no_room(server, stands)
        places = -1
        if mode is not None or state in (words.FAILED, words.LOST):
            places = self._count(server_id, disk.disk_id)
        job = get_job(self.view, mode.job) if mode is not None else None
        share = -1.0
        if job is not None and not job.ended and places >= 0:
            planned = max(job.planned_moves, job.moves + places)
            share = min(0.999, 1 - places / planned) if planned else 0.999
        if mode is not None and not state:
            state = mode.mode
        since_ns = mode.since_wall_ns if mode is not None else 0
        if state == words.FAILED:
            row = noted(self.view, disk_key(server.name, disk.disk_id))
            since_ns = row.since_wall_ns or since_ns
        return DiskStanding(
            server_id=server_id,
            server=server.name,
            rack=server.rack,
            server_state=server_state,
            disk_id=disk.disk_id,
            directory=(facts.directory if facts is not None else "") or disk.directory,
            state=state or IN_SERVICE,
            why=why,
            mode=mode.mode if mode is not None else IN_SERVICE,
            job=self._job_name(stands.job if mode is None else mode.job),
            job_share=share,
            since_ns=since_ns,
            total_bytes=facts.total_bytes if facts is not None else disk.total_bytes,
            free_bytes=facts.free_bytes if facts is not None else 0,
            chunk_count=facts.chunk_count if facts is not None else 0,
            places=places,
            journal_bytes=facts.journal_bytes if facts is not None else 0,
            journal_used_bytes=facts.journal_used_bytes if facts is not None else 0,
            journal_trouble=facts.journal_trouble if facts is not None else "",
            scrub=scrub,
            serving=serving,
            server_mode=stands.mode,
        )

    def _job_name(self, number: int) -> str:
        job = get_job(self.view, number)
        return job_id(job.kind, number) if job is not None else ""

    def _why_no_room(self, server: Server, stands: ServerMode) -> str:
        """Return why a disk that works takes nothing new all the same: its server leaves."""
        if stands.mode == IN_SERVICE:
            return ""
        name = self._job_name(stands.job)
        by = f" by {name}" if name else ""
        return f"{server.name} is {stands.mode}{by}: it takes nothing new on any disk"

    def _count(self, server_id: ServerId, disk_id: DiskId) -> int:
        if self.counted >= _COUNTED_MAX:
            return -1
        found = self.view.replicas_of(server_id, (disk_id, ChunkId(0)), PLACES_COUNTED_MAX)
        self.counted += len(found)
        return sum(one == disk_id for one, _ in found)


def _state_of(
    server: Server, server_state: str, disk: Disk, facts: DiskFacts | None
) -> tuple[str, str]:
    """Return how a disk is if that is more than its mode, and why."""
    if facts is not None and facts.failed:  # Its server goes on without it, and so it is lost, too.
        return words.FAILED, facts.failed
    if disk.lost:
        return words.LOST, f"{server.name} came back without it"
    if server_state != LIVE:
        return words.SILENT, f"{server.name} is {server_state}"
    if facts is None:
        return words.SILENT, f"{server.name} has not told of it yet"
    if facts.ailing:
        return "", f"it is looked whether it works: {facts.ailing}"
    return "", facts.journal_trouble and f"its journal takes nothing: {facts.journal_trouble}"


def named_disk(server: Server, disk_id: DiskId) -> Disk:
    """Return the disk of a server. Raises: NotFound."""
    for disk in server.disks:
        if disk.disk_id == disk_id:
            return disk
    there = ", ".join(_short_name(server, one) for one in server.disks)
    raise NotFound(f"{server.name} has no disk {format_id(disk_id)}; there are {there}")


def _short_name(server: Server, disk: Disk) -> str:
    """Return a disk as people name it: by the end of its directory, where that is enough."""
    ends = [one.directory.rstrip("/").rpartition("/")[2] for one in server.disks]
    last = disk.directory.rstrip("/").rpartition("/")[2]
    return f"{server.name}:{last if last and ends.count(last) == 1 else format_id(disk.disk_id)}"


# Out of service and back ------------------------------------------------------------------------


def drain_disk(desk: Desk, request: DrainDisk, slot: Slot) -> None:
    """Begin the job that empties a disk."""
    desk.leading()
    once_visible(desk, slot, partial(_drain_disk, desk, request, slot))


def _drain_disk(desk: Desk, request: DrainDisk, slot: Slot) -> None:
    check_range("disk", request.disk_id, 0, U64_MAX)
    server_id, server = named_server(desk, request.server)
    why = _told_failed(desk, server_id, request.disk_id)
    lost = not why and named_disk(server, request.disk_id).lost
    if why or lost:
        shown = f"{server.name}:{format_id(request.disk_id)}"
        raise PreconditionFailed(
            f"disk {shown} {'is lost' if lost else why}: what it held is made anew from other"
            f" copies, and nothing can be moved off it; what to do: {_REPLACE} {shown}"
        )
    command = StartJob(
        DISK_DRAIN,
        JobOptions(bytes_per_s=request.bytes_per_s),
        server_id,
        request.disk_id,
        planned_bytes=request.planned_bytes,
        planned_moves=request.planned_moves,
        asked_by=fitting_text(request.asked_by, ASKED_BY_BYTES_MAX),
    )
    propose_asked(desk, command, slot)


def _told_failed(desk: Desk, server_id: ServerId, disk_id: DiskId) -> str:
    """Return why a server does without a disk that it still has in its file; else empty."""
    facts = desk.leading().observed.servers.get(server_id)
    for told in facts.disks if facts is not None else ():
        if told.disk_id == disk_id and told.failed:
            return f"failed ({told.failed})"
    return ""


def undrain_disk(desk: Desk, request: UndrainDisk, slot: Slot) -> None:
    """Take a disk back into service, whatever became of the job that was to empty it."""
    desk.leading()
    once_visible(desk, slot, partial(_undrain_disk, desk, request, slot))


def _undrain_disk(desk: Desk, request: UndrainDisk, slot: Slot) -> None:
    check_range("disk", request.disk_id, 0, U64_MAX)
    server_id, server = named_server(desk, request.server)
    disk = named_disk(server, request.disk_id)
    name = f"disk {format_id(disk.disk_id)} of {server.name}"
    with desk.kv.read() as reader:
        view = View(reader)
        row = view.disk_mode(server_id, disk.disk_id)
        job = get_job(view, row.job) if row is not None else None
    if row is None:
        raise PreconditionFailed(f"{name} is in service already")
    command: LeaderCommand
    if row.mode in LEAVING and job is not None and not job.ended:
        by = fitting_text(request.asked_by, ASKED_BY_BYTES_MAX)
        said = f"{name} was taken back into service" + (f" by {by}" if by else "")
        command = SetJobPhase(row.job, job.phase, CANCELLED, said)
    else:
        command = SetDiskMode(server_id, disk.disk_id, row.mode, IN_SERVICE, 0, row.job)
    propose_asked(desk, command, slot)


# The end of one ---------------------------------------------------------------------------------


def remove_disk(desk: Desk, request: RemoveDisk, slot: Slot) -> None:
    """Do one step of the end of a lost disk."""
    desk.leading()
    once_visible(desk, slot, partial(_remove_disk, desk, request, slot))


def _remove_disk(desk: Desk, request: RemoveDisk, slot: Slot) -> None:
    check_place((request.disk_id, request.after))
    server_id, server = named_server(desk, request.server)
    disk_id = request.disk_id
    with desk.kv.read() as reader:
        view = View(reader)
        scene = scene_now(desk, view)
        row = view.disk_mode(server_id, disk_id)
        _check_removal(desk, view, (server_id, server), disk_id)
        if scene.repair.young:
            raise Busy("this leader is new and still hears its servers", retry_ms=1000)
        found = view.replicas_of(server_id, (disk_id, request.after), PLACES_PAGE // 2)
        page = [one for one in found if one[0] == disk_id]
        whole = orphans_end(view, below(pair_key(server_id, disk_id)))
        free, kept = missed_places(view, scene, server_id, page)
    step = RemovalStep(
        places=len(page),
        kept_count=len(kept),
        kept=tuple(kept[:KEPT_SHOWN]),
        after=page[-1] if page else (disk_id, request.after),
        more=len(page) == PLACES_PAGE // 2,
    )
    if request.dry_run or (page and not free):
        slot.reply(step)
        return
    places = tuple(free[:ITEMS_PER_COMMAND_MAX])
    forget = ForgetPlaces(server_id, places, ORPHANS_FORGOTTEN, disk_id)
    last = ForgetDisk(server_id, disk_id, IN_SERVICE if row is None else row.mode)
    whole &= not request.after and not step.more and len(places) == len(page)

    def removed() -> None:
        slot.reply(removed_by(step))

    def forgotten() -> None:
        if whole:
            propose_then(desk, last, slot, removed)
        else:
            slot.reply(step)

    propose_then(desk, forget, slot, forgotten)


def _check_removal(desk: Desk, view: View, owner: tuple[ServerId, Server], disk_id: DiskId) -> None:
    """Raises: PreconditionFailed when a disk is not to be forgotten (now)."""
    server_id, server = owner
    shown = f"{server.name}:{format_id(disk_id)}"
    failed = _told_failed(desk, server_id, disk_id)
    if failed:
        raise PreconditionFailed(
            f"disk {shown} {failed}, and {server.name} still has it in its file: take it out there,"
            f" and start {server.name} again; how: {_REPLACE} {shown}"
        )
    disk = named_disk(server, disk_id)
    row = view.disk_mode(server_id, disk_id)
    job = get_job(view, row.job) if row is not None else None
    if row is not None and row.mode in LEAVING and job is not None:
        name = job_id(job.kind, row.job)
        raise PreconditionFailed(
            f"job {name} is emptying disk {shown}; wait for it (gfsctl admin jobs wait {name}),"
            f" or cancel it: gfsctl admin disks undrain {shown}"
        )
    if disk.lost:
        return
    if desk.leading().observed.state(server_id, desk.now_s()) == GONE:
        raise PreconditionFailed(
            f"disk {shown} is not lost: {server.name} is dead, and may come back with it; a server"
            f" that does not come back goes whole: gfsctl admin chunkservers remove {server.name}"
        )
    mode = IN_SERVICE if row is None else row.mode
    raise PreconditionFailed(
        f"disk {shown} is {mode}, and {server.name} still has it: only a disk that its server came"
        f" back without is forgotten; how to take it out: {_REPLACE} {shown}"
    )
