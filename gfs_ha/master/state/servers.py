"""Which chunkservers there are: their ids, addresses and disks (D6)."""

from __future__ import annotations

import msgspec

from gfs_ha.errors import InvalidArgument, LimitExceeded, WrongDirectory
from gfs_ha.ids import DiskId, ServerId, format_id
from gfs_ha.limits import DISKS_PER_SERVER_MAX, SERVER_NAME_BYTES_MAX, SERVERS_MAX
from gfs_ha.master.state.bounds import SIZE_MAX, U64_MAX, check_range, check_text
from gfs_ha.master.state.commands import EnrollServer
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event, note_often
from gfs_ha.master.state.records import Disk, DiskOwner, Server, ServerName
from gfs_ha.master.state.tables import (
    DISK_MODES,
    DISKS,
    REPLICAS_BY_SERVER,
    SERVER_NAMES,
    SERVERS,
    below,
    id_key,
    pair_key,
)
from gfs_ha.protocol.control import ServerRegistered
from gfs_ha.protocol.events import DISK, INFO, SERVER, WARNING

DIRECTORY_BYTES_MAX = 512  # Of a disk; what is longer is told by its end.
_TEXT_BYTES_MAX = 255
_PORT_MAX = 65535


@step(EnrollServer)
def enroll_server(draft: Draft, command: EnrollServer) -> ServerRegistered:
    """Return the server's id, given once to a name; its address and disks are as it says now.

    A disk that it does not name any more is lost, its replicas stay in the tables: nothing is
    destroyed by a wrong mount, and the disk counts again when it comes back. A lost disk without
    replicas is forgotten. Refuses:
    WrongDirectory, LimitExceeded, InvalidArgument.
    """
    _check(command)
    server_id = _identify(draft, command)
    before = draft.view.server(server_id)
    server = Server(
        name=command.name,
        host=command.host,
        port=command.port,
        rack=command.rack,
        machine=command.machine,
        start_id=command.start_id,
        boot_id=command.boot_id,
        disks=_disks(draft, server_id, command, before),
    )
    draft.rows.put(SERVERS, id_key(server_id), server)
    _tell(draft, before, server)
    for old in before.disks if before else ():
        if old.disk_id not in {kept.disk_id for kept in server.disks}:
            _tell_forgotten(draft, server_id, server.name, old)
            draft.rows.delete(DISKS, id_key(old.disk_id))
            draft.rows.delete(DISK_MODES, pair_key(server_id, old.disk_id))
    if before is None:
        draft.rows.put(SERVER_NAMES, command.name.encode(), ServerName(server_id))
        draft.counters.servers += 1
    for disk in command.disks:
        draft.rows.put(DISKS, id_key(disk.disk_id), DiskOwner(server_id))
    return ServerRegistered(server_id, draft.epoch, sum(one.lost for one in server.disks))


def _identify(draft: Draft, command: EnrollServer) -> ServerId:
    """Return the id of the server, a fresh one for a name that nobody bears."""
    named = draft.rows.get(SERVER_NAMES, command.name.encode())
    owner = _owner(draft, command)
    if command.server_id:
        known = draft.view.server(command.server_id)
        if known is None or known.name != command.name:
            if known is None:
                raise WrongDirectory(
                    f"{command.name} says it is server {command.server_id}, which is unknown here:"
                    " it was removed, or its data directory belongs to another cluster; with an"
                    " empty one it comes as a new server"
                )
            raise WrongDirectory(
                f"{command.name} says it is server {command.server_id}, which is that of"
                f" {known.name}; its data directory belongs to another server"
            )
    if owner is not None and (named is None or named.server_id != owner):
        other = draft.view.server(owner)
        raise WrongDirectory(
            f"{command.name} came with a disk of {other.name if other else owner};"
            " its data directory belongs to another server"
        )
    if named is not None:
        return named.server_id
    if draft.counters.servers >= SERVERS_MAX:
        raise LimitExceeded(f"{draft.counters.servers} chunkservers are registered already")
    draft.counters.last_server += 1
    return ServerId(draft.counters.last_server)


def _tell(draft: Draft, before: Server | None, server: Server) -> None:
    """Tell of a server that is new, started again, or has other disks than before."""
    if before is None:
        where = f"rack {server.rack}, {len(server.disks)} disk{'s'[: len(server.disks) != 1]}"
        note_event(draft, SERVER, server.name, f"joins: {server.host}:{server.port}, {where}")
        return
    if before.start_id == server.start_id:
        return
    note_often(draft, SERVER, server.name, "started again")
    known = {disk.disk_id: disk for disk in before.disks}
    lost = sum(disk.lost for disk in server.disks)
    if lost and all(disk.lost or disk.disk_id not in known for disk in server.disks):
        whose = "its disk" if lost == 1 else f"its {lost} disks"
        text = f"came with new directories only, without {whose}: mount them if they are not"
        note_often(draft, SERVER, server.name, text, WARNING)
    for disk in server.disks:
        said = ""
        if disk.lost and not known[disk.disk_id].lost:
            said = f"came back without disk {format_id(disk.disk_id)}"
        elif disk.disk_id not in known:
            said = f"came with the new disk {format_id(disk.disk_id)}"
        elif known[disk.disk_id].lost and not disk.lost:
            said = f"came with disk {format_id(disk.disk_id)} again"
        if said:
            note_often(draft, DISK, server.name, said, WARNING if disk.lost else INFO)


def _tell_forgotten(draft: Draft, server_id: ServerId, name: str, disk: Disk) -> None:
    """Tell of a disk that a server came back without, and of which nothing was missed."""
    row = draft.view.disk_mode(server_id, disk.disk_id)
    how = "on which nothing lay" if row is None else f"which was {row.mode}"
    said = f"came back without disk {format_id(disk.disk_id)}, {how}: it is forgotten"
    note_often(draft, DISK, name, said)


def _owner(draft: Draft, command: EnrollServer) -> ServerId | None:
    """Return whose the disks are, None when all are new. Raises: WrongDirectory on a mixture."""
    owner: ServerId | None = None
    for disk in command.disks:
        row = draft.rows.get(DISKS, id_key(disk.disk_id))
        if row is None:
            continue
        if owner is not None and row.server_id != owner:
            raise WrongDirectory(
                f"{command.name} came with disks of different servers; one of them,"
                f" {format_id(disk.disk_id)}, is of server {row.server_id}"
            )
        owner = row.server_id
    return owner


def _disks(
    draft: Draft, server_id: ServerId, command: EnrollServer, before: Server | None
) -> tuple[Disk, ...]:
    named = tuple(
        Disk(disk.disk_id, disk.total_bytes, directory=disk.directory) for disk in command.disks
    )
    here = {disk.disk_id for disk in named}
    gone = tuple(
        msgspec.structs.replace(disk, lost=True)
        for disk in (before.disks if before else ())
        if disk.disk_id not in here and _used(draft, server_id, disk.disk_id)
    )
    if len(named) + len(gone) > DISKS_PER_SERVER_MAX:
        raise LimitExceeded(
            f"{command.name} has had {len(named) + len(gone)} disks,"
            f" at most {DISKS_PER_SERVER_MAX} are kept"
        )
    return named + gone


def _used(draft: Draft, server_id: ServerId, disk_id: DiskId) -> bool:
    """Return whether a replica lies on the disk."""
    low, end = below(pair_key(server_id, disk_id))
    return next(draft.rows.scan(REPLICAS_BY_SERVER, low, end), None) is not None


def _check(command: EnrollServer) -> None:
    check_text("name", command.name, SERVER_NAME_BYTES_MAX)
    check_text("host", command.host, _TEXT_BYTES_MAX)
    check_text("rack", command.rack, _TEXT_BYTES_MAX, bytes_min=0)
    check_text("machine", command.machine, _TEXT_BYTES_MAX, bytes_min=0)
    check_range("port", command.port, 1, _PORT_MAX)
    for name, value in (
        ("server_id", command.server_id),
        ("start_id", command.start_id),
        ("boot_id", command.boot_id),
    ):
        check_range(name, value, 0, U64_MAX)
    disks: set[DiskId] = set()
    for disk in command.disks:
        check_range("disk_id", disk.disk_id, 1, U64_MAX)
        check_range("total_bytes", disk.total_bytes, 0, SIZE_MAX)
        check_text("directory", disk.directory, DIRECTORY_BYTES_MAX, bytes_min=0)
        disks.add(disk.disk_id)
    if not command.disks or len(disks) != len(command.disks):
        raise InvalidArgument(f"{command.name} names no disk, or one disk twice")
