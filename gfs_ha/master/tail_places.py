"""Where the tail of a file is to lie: the wishes of the file and of who appends, weighed now."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.ids import DiskId, LogIndex, ServerId, StartId, order_index
from gfs_ha.limits import TAILS_PER_SERVER_MAX
from gfs_ha.master.candidates import choose
from gfs_ha.master.creation import Creation
from gfs_ha.master.placement import Placement, Wanted
from gfs_ha.master.reign import Reign
from gfs_ha.master.roster import roster
from gfs_ha.master.state.records import Inode, Settings
from gfs_ha.master.state.tail_reads import leases
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import ChunkAllocated
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Wishes:
    """Near whom the tail is to lie, and on which servers not."""

    machine: str
    rack: str
    avoided: frozenset[ServerId] = frozenset()
    avoided_disks: frozenset[DiskId] = frozenset()


def choose_places(
    reign: Reign, runtime: Runtime, view: View, about: tuple[Inode, Settings], wishes: Wishes
) -> Placement:
    """Return where a tail of a file is to lie. Raises: NoServers, NoSpace, Busy."""
    inode, settings = about
    full = {one for one, held in leases(view) if held.tail_count >= TAILS_PER_SERVER_MAX}
    wanted = Wanted(
        goal=inode.goal or settings.goal,
        min_copies=settings.min_copies,
        capacity=inode.chunk_bytes or settings.chunk_bytes,
        machine=wishes.machine,
        rack=wishes.rack,
        failed=wishes.avoided | full,
        spread=runtime.random_u64(),
        rule=inode.rule or settings.rule,
        failed_disks=wishes.avoided_disks,
    )
    now_s = runtime.monotonic_s()
    known = roster(view, now_s - reign.elected_s)
    away = reign.all_hung_up() | reign.observed.unreached.all_believed(now_s)
    return choose(known, reign.observed, wanted, now_s, away)


def order_creation(
    reign: Reign, chosen: Placement, chunk: ChunkAllocated, index: int, now_s: float
) -> Creation:
    """Have the servers of a placed tail create their replicas; return what is waited for."""
    head = chunk.replicas[0].server_id
    facts = reign.observed.servers.get(head)
    start_id = StartId(0) if facts is None else facts.start_id
    order = order_index(reign.epoch.incarnation, LogIndex(index))
    creation = Creation(chunk, start_id, order, now_s)
    reign.expect_lease(head, now_s)
    for server_id, wanted in creation.orders(dict(chosen.replicas)).items():
        reign.orders.want(server_id, wanted)
        reign.release_if_due(server_id, now_s)
    return creation
