"""What keeps a chunk on a server that is to be emptied, in words: the rule or the room, and names.

Each reason is the same text for all chunks that it holds, so that people read it once.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ServerId, format_id
from gfs_ha.master.placement import HIGH_WATER, place_copy
from gfs_ha.master.planners.drain_walk import Blocked
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.protocol.server_modes import DRAINED, LEAVING

_NAMED_MAX = 8


def why_nowhere(
    scene: Scene, known_chunk: tuple[ChunkId, Chunk], kept: list[ServerId], job: Job
) -> Blocked:
    """Return why no server can take the copy of a chunk that has to leave."""
    chunk_id, chunk = known_chunk
    known = scene.roster
    wants = f"wants {chunk.goal} copies (goal {chunk.goal})"
    # Its own server takes it on another disk only: planners/drain.py has tried that.
    stay = [one for one, _ in known.servers if not known.leaving(one) and one != job.server_id]
    if len(stay) < chunk.goal and job.disk_id:
        return _too_few_beside(scene, known_chunk, len(stay), job)
    if len(stay) < chunk.goal:
        servers = "server" if len(stay) == 1 else "servers"
        why = f"{wants}, only {len(stay)} other {servers} in service"
        return Blocked(chunk_id, why, _add_or_undrain(scene), fewer=len(stay))
    others = [one for one in stay if one not in kept]
    fewer = len(kept)
    pausing = [one for one in others if known.trouble(one)]
    if len(stay) - len(pausing) < chunk.goal:
        why = f"{wants}, and {_named(scene, pausing)} in maintenance"
        way = "end it: gfsctl admin chunkservers maintenance off " + _names(scene, pausing)[0]
        return Blocked(chunk_id, why, way, fewer)
    away = [one for one in others if one not in pausing and not scene.live(one)]
    if len(stay) - len(pausing) - len(away) < chunk.goal:
        why = f"{wants}, and {_named(scene, away)} away"
        return Blocked(chunk_id, why, f"bring back {_names(scene, away)[0]}", fewer)
    full = [one for one in others if one not in (*pausing, *away) and _is_full(scene, one, chunk)]
    if len(stay) - len(pausing) - len(away) - len(full) < chunk.goal:
        why = f"{wants}, and no other server has room: {_named(scene, full)} full"
        return Blocked(chunk_id, why, "add a server or a disk, or remove files", fewer)
    machines = {one.machine for one in scene.known(kept)}
    twins = [one.server_id for one in scene.known(others) if one.machine in machines]
    if twins:
        why = f"{wants} on different machines, and {_named(scene, twins)} on one with a copy of it"
        return Blocked(chunk_id, why, "add a server on another machine", fewer)
    _, remarks = place_copy(scene.candidates.values(), scene.copy_wanted(chunk_id, chunk, kept))
    why = f"{wants}: {remarks[0] if remarks else 'no server can take one'}"
    return Blocked(chunk_id, why, _add_or_undrain(scene), fewer)


def _too_few_beside(
    scene: Scene, known_chunk: tuple[ChunkId, Chunk], others: int, job: Job
) -> Blocked:
    """Return what keeps a chunk on a disk whose server is needed for the number of copies."""
    chunk_id, chunk = known_chunk
    own = job.server_id
    name = next(iter(_names(scene, [own])), job.server_name)
    servers = "server" if others == 1 else "servers"
    why = f"wants {chunk.goal} copies (goal {chunk.goal}), only {others} {servers} beside {name}"
    here = scene.candidates.get(own)
    since = ""
    if not scene.live(own):
        why += ", which is away"
        since = f"it {here.trouble}" if here is not None and here.trouble else ""
        way = (
            f"bring {name} back: its other disks take the copies"
            f" (gfsctl admin chunkservers show {name}); or add a server"
        )
    elif own in scene.roster.in_maintenance():
        why += ", which is in maintenance"
        way = f"end it: gfsctl admin chunkservers maintenance off {name}"
    elif here is None or here.disk_id == job.disk_id or here.trouble:
        why += ", which has no other disk in service"
        way = _other_disk(scene, name, job)
    else:
        why += ", whose other disks have no room"
        way = _other_disk(scene, name, job)
    return Blocked(chunk_id, why, way, fewer=others, since=since)


def _other_disk(scene: Scene, name: str, job: Job) -> str:
    """Return the ways out that disks of the server are; one that was drained may do."""
    server = scene.server(job.server_id)
    own = [one.disk_id for one in server.disks if not one.lost] if server is not None else []
    modes = scene.roster.disk_modes
    drained = [one for one in own if one != job.disk_id and (job.server_id, one) in modes]
    this = f"{name}:{format_id(job.disk_id)}"
    undrain = "gfsctl admin disks undrain"
    if drained:
        other = f"{name}:{format_id(drained[0])}"
        return (
            f"take a disk of {name} back into service: {undrain} {other}, or this one, {this};"
            f" or add a server, or a disk to {name}"
        )
    return (
        f"add a server, or a disk to {name}, or take this one back into service: {undrain} {this}"
    )


def _add_or_undrain(scene: Scene) -> str:
    """Return the way out that a server more is."""
    known = scene.roster
    leaving = [one for one, _ in known.servers if known.mode(one).mode in (*LEAVING, DRAINED)]
    way = "add a server"
    if leaving:
        name = _names(scene, leaving)[0]
        way += f", or take one back into service: gfsctl admin chunkservers undrain {name}"
    return way


def why_no_tail(view: View, scene: Scene, chunk_id: ChunkId, chunk: Chunk) -> Blocked | None:
    """Return why an open tail stays where it is; None: it is handed on."""
    others = sum(not one.trouble for one in scene.candidates.values())
    if others >= chunk.min_copies:
        return None
    tail = tail_of(view, chunk.tail_of)
    servers = "server" if others == 1 else "servers"
    why = (
        f"is appended to: the next appends need {chunk.min_copies} servers in service, and"
        f" {others} other {servers} can take them"
    )
    way = _add_or_undrain(scene)
    return Blocked(chunk_id, why, way, fewer=0, tail=tail.path if tail is not None else "")


def _is_full(scene: Scene, server_id: ServerId, chunk: Chunk) -> bool:
    one = scene.candidates.get(server_id)
    return one is not None and (one.used_share >= HIGH_WATER or one.free_bytes < chunk.length)


def _names(scene: Scene, server_ids: list[ServerId]) -> list[str]:
    return sorted(server.name for one, server in scene.roster.servers if one in server_ids)


def _named(scene: Scene, server_ids: list[ServerId]) -> str:
    """Return the names of servers, with the verb that fits: `cs1 is`, `cs1, cs2 are`."""
    names = _names(scene, server_ids)
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f"{', '.join(names[:_NAMED_MAX])}{more} {'is' if len(names) == 1 else 'are'}"
