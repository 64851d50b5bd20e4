"""Replicas of chunks that the tables know nothing of: noted, in quarantine or deleted (G2).

That a server has something unknown is only news. What may be done about it is decided by apply: a
chunk of this incarnation without a row can never have one again, and its replicas are deleted
under the command that says so; one of an older incarnation may be all that is left of what a copy
of the masters' disks did not know yet, and is kept for 7 days.
"""

from __future__ import annotations

from gfs_ha.ids import split_chunk_id
from gfs_ha.limits import QUARANTINE_S
from gfs_ha.master.planners.garbage_seen import Place
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.state.garbage_commands import NoteOrphans, OrphansDeleted
from gfs_ha.master.state.garbage_records import Orphan
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import DeleteReplica

REASON = "the chunk is gone"
QUARANTINE_MS = int(QUARANTINE_S * 1000)


def plan_orphans(view: View, seen: Seen, limits: PlanLimits, cursors: Cursors) -> Plan:
    """Return what is to be noted, the deletions under way, and what is gone."""
    made = Plan()
    if seen.garbage.wanted:
        cursors.tally.count_anew()
        cursors.hurry = True
    noted = [place for place in seen.garbage.strays if _is_news(view, place)]
    gone = []
    disks = {
        (server_id, disk.disk_id)
        for server_id, server in view.servers()
        for disk in server.disks
        if not disk.lost
    }
    now_ms = seen.cluster_ms(view.counters())
    page = view.orphans(cursors.orphans, limits.rows)
    cursors.orphans = page[-1][0] if len(page) == limits.rows else None
    for place, row in page:
        server_id, disk_id, chunk_id = place
        index = row.delete_index
        answered = (chunk_id, server_id, index)
        if (server_id, disk_id) not in disks:  # The server came back without it.
            gone.append((*place, index, 0))
        elif not index:
            if quarantine_ends_ms(row) <= now_ms:
                noted.append(place)
        elif answered in seen.garbage.freed:
            gone.append((*place, index, seen.garbage.freed[answered]))
        elif view.chunk(chunk_id) is None:
            made.orders.append((server_id, DeleteReplica(chunk_id, index, REASON)))
    for start in range(0, len(noted), limits.items):
        made.proposals.append(NoteOrphans(tuple(noted[start : start + limits.items])))
    for start in range(0, len(gone), limits.items):
        made.proposals.append(OrphansDeleted(tuple(gone[start : start + limits.items])))
    return made


def quarantine_ends_ms(row: Orphan) -> int:
    """Return the cluster time at which an orphan may be deleted that is in quarantine."""
    return row.since_ms + QUARANTINE_MS


def _is_news(view: View, place: Place) -> bool:
    """Return whether apply would write a stray down, as far as can be told here."""
    server_id, disk_id, chunk_id = place
    settings = view.settings()
    incarnation, counter = split_chunk_id(chunk_id)
    if settings is None or incarnation > settings.incarnation:
        return False
    if incarnation == settings.incarnation and counter > view.counters().last_chunk:
        return False  # Its row may only not be visible yet.
    return view.orphan(server_id, disk_id, chunk_id) is None and view.chunk(chunk_id) is None
