"""Whether anything is left on a server or disk of which the tables place nothing there any more."""

from __future__ import annotations

from gfs_ha.ids import DiskId
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.records import Replica
from gfs_ha.master.state.tables import ORPHANS, below, pair_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.tally import BUCKETS

_EMPTY = bytes(8 * BUCKETS)


def left_there(view: View, scene: Scene, job: Job) -> str:
    """Return what is left, or not known yet, of what a job is to empty; empty text: nothing.

    Nobody asks a dead server, nor a disk that is lost. Replicas of unknown chunks that are noted
    are no chunk's copies: they wait for the end of their quarantine, in the tally, too.
    """
    server_id = job.server_id
    state = scene.repair.states.get(server_id, DEAD)
    if state == DEAD:
        return ""
    if state != LIVE:
        return "the server is silent: whether it is empty is asked when it is back"
    listed = scene.repair.listed.get(server_id, {})
    for replica in listed.values():
        if job.disk_id in (0, replica.disk_id) and view.chunk(replica.chunk_id) is not None:
            return "the server still lists replicas of chunks that are known"
    server = scene.server(server_id)
    for disk in server.disks if server is not None else ():
        mine = job.disk_id in (0, disk.disk_id)
        if mine and not scene.lost(Replica(server_id, disk.disk_id)):
            why = _disk_left(view, scene, job, disk.disk_id)
            if why:
                return why
    return ""


def _disk_left(view: View, scene: Scene, job: Job, disk_id: DiskId) -> str:
    told = scene.repair.tallies.get((job.server_id, disk_id))
    if told == _EMPTY:
        return ""
    orphans = view.rows.scan(ORPHANS, *below(pair_key(job.server_id, disk_id)))
    if next(orphans, None) is not None:
        return ""
    if told is None:
        return "the server has not told yet what lies on its disk"
    return "the tally of the disk says that replicas are left: they are compared with the tables"
