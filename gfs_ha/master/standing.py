"""How one server stands, as operators see it: its mode, the job that empties it, maintenance."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.ids import ServerId
from gfs_ha.master.planners.plan import cluster_ms
from gfs_ha.master.state.jobs import get_job
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import job_id


@dataclass(frozen=True, slots=True)
class Standing:
    """Fields: as those of ServerRow."""

    mode: str
    job: str = ""
    job_share: float = -1.0
    maintenance_left_ms: int = 0
    labels: tuple[tuple[str, str], ...] = ()


def standing_of(view: View, server_id: ServerId, led_s: float) -> Standing:
    """Return how a server stands, as a leader sees it that has led for so long."""
    row = view.server_mode(server_id)
    job = get_job(view, row.job)
    share = -1.0
    if job is not None and not job.ended:
        # By what is left in the tables: also what was deleted meanwhile has left.
        left = view.replica_count(server_id)
        planned = max(job.planned_moves, job.moves + left)
        share = min(0.999, 1 - left / planned) if planned else 0.999
    left_ms = 0
    if row.maintenance_until_ms:
        left_ms = max(0, row.maintenance_until_ms - cluster_ms(view.counters(), led_s))
    name = job_id(job.kind, row.job) if job is not None else ""
    return Standing(row.mode, name, share, left_ms, row.labels)
