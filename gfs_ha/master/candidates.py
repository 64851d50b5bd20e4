"""The servers as placement sees them: what is registered, and what the leader has heard.

A leader that is new and still hears its servers chooses none: it would make do with fewer copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gfs_ha.errors import Busy, NoServers, NoSpace
from gfs_ha.ids import DiskId, ServerId
from gfs_ha.master.disk_room import out_of_service
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT, DiskKey, Observed
from gfs_ha.master.placement import Candidate, Placement, Wanted, place
from gfs_ha.master.roster import Roster
from gfs_ha.master.state.records import Server
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.disks import FAILED, LOST
from gfs_ha.protocol.measures import seconds_text
from gfs_ha.protocol.server_modes import IN_SERVICE

_GATHER_RETRY_MS = 50


def choose(
    known: Roster,
    observed: Observed,
    wanted: Wanted,
    now_s: float,
    hung_up: frozenset[ServerId] = frozenset(),
) -> Placement:
    """Return where a new chunk goes, and note its bytes as promised.

    Servers that have hung up are taken only when there are not enough others. Raises: NoServers,
    NoSpace; Busy while this leader is new and still hears its servers.
    """
    chosen, missing = None, None
    found = candidates(known, observed, now_s, wanted.failed_disks)
    try:
        chosen = _without(found, wanted, hung_up) or place(found, wanted)
    except (NoServers, NoSpace) as error:
        missing = error
    copies = len(chosen.replicas) if chosen is not None else 0
    if copies < wanted.goal and observed.gathering(known.expected(), now_s):
        why = "this leader is new and still hears its servers"
        raise Busy(why, retry_ms=_GATHER_RETRY_MS)
    if chosen is None:
        assert missing is not None, "no places and no reason"
        raise missing
    for disk in chosen.replicas:
        observed.promised(disk, wanted.capacity, now_s)
    return chosen


def _without(
    found: list[Candidate], wanted: Wanted, hung_up: frozenset[ServerId]
) -> Placement | None:
    """Return a placement with all copies that avoids some servers; None: there is none."""
    if not hung_up:
        return None
    try:
        chosen = place(found, replace(wanted, failed=wanted.failed | hung_up))
    except (NoServers, NoSpace):
        return None
    return chosen if len(chosen.replicas) == wanted.goal else None


def candidates(
    known: Roster, observed: Observed, now_s: float, avoided: frozenset[DiskId] = frozenset()
) -> list[Candidate]:
    """Return the servers as placement sees them: what is registered, and what was heard.

    Args: `avoided` are disks that failed whoever asks; their servers are seen without them.
    """
    pending = observed.pending_bytes(now_s)
    found = [
        _candidate(known, (server_id, server), observed, (pending, avoided), now_s)
        for server_id, server in known.servers
    ]
    if len({server.machine for _, server in known.servers}) > 1:
        return found
    return [replace(one, machine="") for one in found]  # It says nothing.


def _candidate(
    known: Roster,
    about: tuple[ServerId, Server],
    observed: Observed,
    disks_now: tuple[Mapping[DiskKey, int], frozenset[DiskId]],
    now_s: float,
) -> Candidate:
    server_id, server = about
    pending, avoided = disks_now

    def room(disk: DiskFacts) -> int:
        """Return what is left of a disk once all is written: so they take chunks in turns."""
        return disk.free_bytes - pending.get((server_id, disk.disk_id), 0)

    facts = observed.servers.get(server_id)
    state = observed.state(server_id, now_s)
    told = () if facts is None else facts.disks
    whys = [out_of_service(about, disk.disk_id, disk, known.disk_modes) for disk in told]
    serving = [disk for disk, why in zip(told, whys, strict=True) if not why]
    drained = any(why not in ("", FAILED, LOST) for why in whys)
    disks = [disk for disk in serving if disk.disk_id not in avoided and not disk.ailing]
    best = max(disks, key=room, default=None)
    standing = known.trouble(server_id)
    serves = known.mode(server_id).mode == IN_SERVICE
    passing = bool(standing) or (facts is None and state != DEAD)
    if standing:
        trouble = standing  # What was decided comes before what is observed.
    elif facts is None:
        trouble = "has not been heard by this leader"
    elif state != LIVE:
        silent = seconds_text(observed.age_s(server_id, now_s))
        trouble = f"is {state} (no heartbeat for {silent})"
        passing = state == SUSPECT
    elif not observed.keyed(server_id):
        trouble = "has told this leader no key for tickets, so that nobody could write to it"
        passing = True
    elif best is None and serving:
        ailing = next((f": {disk.ailing}" for disk in serving if disk.ailing), "")
        trouble = f"failed just now, on every disk that it has{ailing}"
        passing = True
    elif best is None:
        trouble = "is left without a disk: all are drained" if drained else "has no working disk"
    else:
        trouble = ""
    return Candidate(
        server_id=server_id,
        disk_id=best.disk_id if best else server.disks[0].disk_id,
        name=server.name,
        rack=server.rack,
        machine=server.machine,
        used_share=1 - best.free_bytes / best.total_bytes if best and best.total_bytes else 1.0,
        free_bytes=best.free_bytes if best else 0,
        total_bytes=best.total_bytes if best else 0,
        pending_bytes=pending.get((server_id, best.disk_id), 0) if best else 0,
        trouble=trouble,
        passing=passing and serves,
    )
