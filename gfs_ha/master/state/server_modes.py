"""How servers and disks stand: in service, on their way out, in maintenance; and what they bear.

Nothing is destroyed here: a mode only says where new chunks and copies go. That a server is empty
is written down only while the tables place nothing there, and from then on no command places
anything there, so it is never said too early (G2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from gfs_ha.errors import (
    InvalidArgument,
    LimitExceeded,
    PreconditionFailed,
    StaleCommand,
    UnknownServer,
)
from gfs_ha.ids import DiskId, ServerId, format_id
from gfs_ha.limits import LABEL_BYTES_MAX, LABELS_MAX, MAINTENANCE_MS_MAX
from gfs_ha.master.state.bounds import U64_MAX, check_count, check_range, check_text
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.records import Server
from gfs_ha.master.state.server_mode_commands import (
    SetDiskMode,
    SetLabels,
    SetMaintenance,
    SetServerMode,
)
from gfs_ha.master.state.server_mode_records import IN_SERVICE_ROW, DiskMode, ServerMode
from gfs_ha.master.state.tables import (
    BUSY_CHUNKS,
    CHUNKS,
    DISK_MODES,
    REPLICAS_BY_SERVER,
    RUNNING_JOBS,
    SERVER_MODES,
    below,
    id_key,
    pair_key,
    read_id,
    read_pair,
)
from gfs_ha.master.state.view import View
from gfs_ha.protocol import server_modes as words
from gfs_ha.protocol.events import DISK, SERVER
from gfs_ha.protocol.jobs import DECOMMISSION, DISK_DRAIN, DONE, DRAIN, job_id
from gfs_ha.protocol.metadata import Done

LABEL_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?")
_JOB_MAX = (1 << 63) - 1
_LEAVING = {  # How a server stands while a job of a kind runs, and when it is done.
    DRAIN: (words.DRAINING, words.DRAINED),
    DECOMMISSION: (words.DECOMMISSIONING, words.DECOMMISSIONED),
    DISK_DRAIN: (words.DRAINING, words.DRAINED),
}


@step(SetServerMode)
def set_server_mode(draft: Draft, command: SetServerMode) -> Done:
    """Write down how a server stands. Refuses: UnknownServer, StaleCommand, InvalidArgument."""
    server = known_server(draft, command.server_id)
    _check_mode(command.mode, words.SERVER_MODES, command.job)
    row = draft.view.server_mode(command.server_id)
    if (row.mode, row.job) != (command.seen, command.seen_job):
        raise StaleCommand(f"{server.name} is {row.mode} by now, not {command.seen}")
    _check_no_job(draft, server.name, row.job)
    count = draft.view.replica_count(command.server_id)
    if command.mode in words.EMPTY and count:
        raise StaleCommand(f"{server.name} has {count} places of chunks still")
    changed = msgspec.structs.replace(
        row, mode=command.mode, job=command.job, since_wall_ns=draft.stamp.wall_ns
    )
    _put(draft, command.server_id, changed)
    if changed.mode != row.mode:
        note_event(draft, SERVER, server.name, f"is {changed.mode}")
    return Done()


@step(SetDiskMode)
def set_disk_mode(draft: Draft, command: SetDiskMode) -> Done:
    """Write down how a disk stands. Refuses: UnknownServer, StaleCommand, InvalidArgument."""
    server = known_server(draft, command.server_id)
    name = f"disk {format_id(command.disk_id)} of {server.name}"
    _check_mode(command.mode, words.DISK_MODES, command.job)
    if all(disk.disk_id != command.disk_id for disk in server.disks):
        raise UnknownServer(f"{server.name} has no disk {format_id(command.disk_id)}")
    row = draft.view.disk_mode(command.server_id, command.disk_id)
    mode, job = (words.IN_SERVICE, 0) if row is None else (row.mode, row.job)
    if (mode, job) != (command.seen, command.seen_job):
        raise StaleCommand(f"{name} is {mode} by now, not {command.seen}")
    _check_no_job(draft, name, job)
    key = pair_key(command.server_id, command.disk_id)
    if command.mode in words.EMPTY and _in_use(draft, command.server_id, command.disk_id):
        raise StaleCommand(f"{name} has places of chunks still")
    if command.mode == words.IN_SERVICE:
        draft.rows.delete(DISK_MODES, key)
    else:
        draft.rows.put(DISK_MODES, key, DiskMode(command.mode, command.job, draft.stamp.wall_ns))
    if command.mode != mode:
        _tell_disk(draft, server, command.disk_id, command.mode)
    return Done()


@step(SetMaintenance)
def set_maintenance(draft: Draft, command: SetMaintenance) -> Done:
    """Begin or end the maintenance of a server.

    Refuses: UnknownServer, StaleCommand, InvalidArgument.
    """
    server = known_server(draft, command.server_id)
    check_range("for_ms", command.for_ms, 0, MAINTENANCE_MS_MAX)
    row = draft.view.server_mode(command.server_id)
    if command.seen_until_ms not in (-1, row.maintenance_until_ms):
        raise StaleCommand(f"the maintenance of {server.name} was changed meanwhile")
    until_ms = draft.counters.cluster_ms + command.for_ms if command.for_ms else 0
    changed = msgspec.structs.replace(row, maintenance_until_ms=until_ms)
    _put(draft, command.server_id, changed)
    said = f"in maintenance for {command.for_ms // 60_000} min" if until_ms else "maintenance ends"
    if until_ms or row.maintenance_until_ms:
        note_event(draft, SERVER, server.name, said)
    return Done()


@step(SetLabels)
def set_labels(draft: Draft, command: SetLabels) -> Done:
    """Set and take away labels. Refuses: UnknownServer, InvalidArgument, LimitExceeded."""
    known_server(draft, command.server_id)
    check_count("labels", command.labels, LABELS_MAX)
    check_count("labels", command.removed, LABELS_MAX)
    row = draft.view.server_mode(command.server_id)
    labels = {key: value for key, value in row.labels if key not in command.removed}
    for key, value in command.labels:
        check_text("label", key, LABEL_BYTES_MAX)
        check_text("value", value, LABEL_BYTES_MAX, bytes_min=0)
        if not LABEL_KEY.fullmatch(key):
            raise InvalidArgument(f"label {key!r} is not made of letters, digits, '.', '_', '-'")
        labels[key] = value
    if len(labels) > LABELS_MAX:
        raise LimitExceeded(f"{len(labels)} labels, at most {LABELS_MAX} are kept")
    changed = msgspec.structs.replace(row, labels=tuple(sorted(labels.items())))
    _put(draft, command.server_id, changed)
    return Done()


def begin_leaving(draft: Draft, number: int, job: Job) -> None:
    """Let a server or disk stand as the job that begins says.

    In the command that begins the job: neither is there without the other. Raises: UnknownServer,
    PreconditionFailed.
    """
    if job.kind not in _LEAVING:
        return
    server = known_server(draft, job.server_id)
    since_ns = draft.stamp.wall_ns
    if job.disk_id:
        if all(disk.disk_id != job.disk_id for disk in server.disks):
            raise UnknownServer(f"{server.name} has no disk {format_id(job.disk_id)}")
        key = pair_key(job.server_id, job.disk_id)
        disk_row = draft.rows.get(DISK_MODES, key)
        if disk_row is not None and disk_row.mode in words.EMPTY:
            name = f"disk {format_id(job.disk_id)} of {server.name}"
            raise PreconditionFailed(f"{name} is {disk_row.mode} already")
        draft.rows.put(DISK_MODES, key, DiskMode(words.DRAINING, number, since_ns))
        _tell_disk(draft, server, job.disk_id, words.DRAINING, job_id(job.kind, number))
        return
    row = draft.view.server_mode(job.server_id)
    leaving, empty = _LEAVING[job.kind]
    if row.mode in (empty, words.DECOMMISSIONED):
        raise PreconditionFailed(f"{server.name} is {row.mode} already")
    changed = msgspec.structs.replace(row, mode=leaving, job=number, since_wall_ns=since_ns)
    _put(draft, job.server_id, changed)


def end_leaving(draft: Draft, number: int, job: Job) -> None:
    """Let a server or disk stand as the end of its job says: empty, or in service again.

    Raises: StaleCommand when it is to be empty and is not (G2).
    """
    server = draft.view.server(job.server_id)
    if job.kind not in _LEAVING or server is None:
        return
    since_ns = draft.stamp.wall_ns
    done = job.phase == DONE
    if job.disk_id:
        key = pair_key(job.server_id, job.disk_id)
        disk = draft.rows.get(DISK_MODES, key)
        if disk is None or disk.job != number:
            return
        if not done:
            draft.rows.delete(DISK_MODES, key)
        elif _in_use(draft, job.server_id, job.disk_id):
            raise StaleCommand(f"disk {format_id(job.disk_id)} has places of chunks still")
        else:
            draft.rows.put(DISK_MODES, key, DiskMode(words.DRAINED, number, since_ns))
        mode = words.DRAINED if done else words.IN_SERVICE
        _tell_disk(draft, server, job.disk_id, mode, job_id(job.kind, number))
        return
    row = draft.view.server_mode(job.server_id)
    if row.job != number:
        return
    count = draft.view.replica_count(job.server_id)
    if done and count:
        raise StaleCommand(f"server {job.server_id} has {count} places of chunks still")
    mode = _LEAVING[job.kind][1] if done else words.IN_SERVICE
    changed = msgspec.structs.replace(
        row, mode=mode, job=number if done else 0, since_wall_ns=since_ns
    )
    _put(draft, job.server_id, changed)


def _tell_disk(draft: Draft, server: Server, disk_id: DiskId, mode: str, job: str = "") -> None:
    """Tell how a disk stands from now on, among what happened to its server."""
    is_now = "is in service again" if mode == words.IN_SERVICE else f"is {mode}"
    by = f", by job {job}" if job else ""
    note_event(draft, DISK, server.name, f"disk {format_id(disk_id)} {is_now}{by}")


def known_server(draft: Draft, server_id: ServerId) -> Server:
    """Return a server's row. Raises: UnknownServer, InvalidArgument."""
    check_range("server", server_id, 0, U64_MAX)
    server = draft.view.server(server_id)
    if server is None:
        raise UnknownServer(f"there is no chunkserver {server_id} (any more)")
    return server


def require_service(draft: Draft, server_id: ServerId, disk_id: DiskId) -> None:
    """Refuse a place on a server or disk that was emptied. Raises: UnknownServer.

    Who chose it did so before that was written down.
    """
    mode = draft.view.server_mode(server_id).mode
    disk = draft.view.disk_mode(server_id, disk_id)
    if mode in words.EMPTY:
        raise UnknownServer(f"server {server_id} is {mode} by now, and takes nothing")
    if disk is not None and disk.mode in words.EMPTY:
        raise UnknownServer(f"disk {format_id(disk_id)} of server {server_id} is {disk.mode}")


def server_modes(view: View) -> dict[ServerId, ServerMode]:
    """Return how the servers stand that have a row."""
    return {ServerId(read_id(key)): row for key, row in view.rows.scan(SERVER_MODES)}


def disk_modes(view: View) -> dict[tuple[ServerId, DiskId], DiskMode]:
    """Return how the disks stand that are not simply in service."""
    found = {}
    for key, row in view.rows.scan(DISK_MODES):
        server_id, disk_id = read_pair(key)
        found[ServerId(server_id), DiskId(disk_id)] = row
    return found


def check_modes(view: View) -> Iterator[str]:
    """Yield what is wrong: modes of nobody, modes that are none, rows that say nothing."""
    for server_id, row in server_modes(view).items():
        if view.server(server_id) is None:
            yield f"server {server_id} is {row.mode}, and there is none"
        if row == IN_SERVICE_ROW or row.mode not in words.SERVER_MODES:
            yield f"server {server_id} stands as {row}"
        if tuple(sorted(dict(row.labels).items())) != row.labels or len(row.labels) > LABELS_MAX:
            yield f"server {server_id} has labels {row.labels}"
    for (server_id, disk_id), disk in disk_modes(view).items():
        server = view.server(server_id)
        disks = () if server is None else server.disks
        if all(one.disk_id != disk_id for one in disks) or disk.mode not in words.DISK_MODES[1:]:
            yield f"disk {disk_id:#x} of server {server_id} stands as {disk}"


def _check_mode(mode: str, modes: tuple[str, ...], job: int) -> None:
    if mode not in modes:
        raise InvalidArgument(f"{mode!r} is none of {', '.join(modes)}")
    check_range("job", job, 0, _JOB_MAX)


def _in_use(draft: Draft, server_id: ServerId, disk_id: DiskId) -> bool:
    """Return whether a chunk has its place on a disk, or is to get it there from another one."""
    places = draft.rows.scan(REPLICAS_BY_SERVER, *below(pair_key(server_id, disk_id)))
    if next(places, None) is not None:
        return True
    busy = (draft.rows.get(CHUNKS, key) for key, _ in draft.rows.scan(BUSY_CHUNKS))
    return any(
        (one.server_id, one.disk_id) == (server_id, disk_id)
        for chunk in busy
        if chunk is not None
        for one in chunk.copying
    )


def _check_no_job(draft: Draft, name: str, job: int) -> None:
    """Refuse to say how something stands while a job says so. Raises: StaleCommand.

    It would be given copies that the job takes away again, for ever.
    """
    if job and draft.rows.get(RUNNING_JOBS, id_key(job)) is not None:
        raise StaleCommand(f"job {job} is emptying {name}: its end says how that stands")


def _put(draft: Draft, server_id: ServerId, row: ServerMode) -> None:
    """Write a row; one that says nothing is none."""
    if row.mode == words.IN_SERVICE and not (row.maintenance_until_ms or row.labels):
        draft.rows.delete(SERVER_MODES, id_key(server_id))
    else:
        draft.rows.put(SERVER_MODES, id_key(server_id), row)
