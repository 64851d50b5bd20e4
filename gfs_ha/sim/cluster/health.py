"""Whether a cluster has come to rest: all that counts is there, and nobody has anything to do."""

from __future__ import annotations

from gfs_ha.master.state.records import DEAD, SEALED
from gfs_ha.sim.cluster.truth import Truth
from gfs_ha.sim.masters.ledger import applied_mark
from gfs_ha.sim.masters.master import SimMaster


def unrest(truth: Truth, masters: dict[str, SimMaster]) -> str:
    """Return what is still to be done; empty when nothing is."""
    if not any(master.leading for master in masters.values()):
        return "nobody leads"
    positions = {}
    for master in masters.values():
        with master.disk.held.read() as reader:
            positions[master.name] = applied_mark(reader)
    if len(set(positions.values())) > 1:
        return f"the masters applied up to {positions}"
    with truth.view() as view:
        if view.settings() is None:
            return "the cluster has no settings yet"
        known = len(view.servers())
    if known < len(truth.servers):
        return f"{known} of {len(truth.servers)} chunkservers are known"
    return _open_work(truth)


def _open_work(truth: Truth) -> str:
    for chunk_id, chunk in truth.chunks():
        what = f"chunk {chunk_id:#x} ({chunk.state})"
        if chunk.state == DEAD:
            return f"{what} is not deleted everywhere: {chunk.replicas}"
        if chunk.state != SEALED:
            if chunk.claimed_by and chunk.state != "sealing":
                continue
            return f"{what} is not sealed"
        if chunk.copying or chunk.deleting or chunk.late:
            return f"{what} has orders: {chunk.copying} {chunk.deleting} {chunk.late}"
        if len(chunk.holders) != chunk.goal:
            return f"{what} has {len(chunk.holders)} copies instead of {chunk.goal}"
        whole = truth.whole(chunk_id, chunk)
        if len(whole) < chunk.goal:
            names = [server.name for server in whole]
            return f"{what} is whole on {names} only"
    return ""
