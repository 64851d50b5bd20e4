"""Tails that are placed and created ahead of need, for files that fill theirs (C10).

The end of a tail costs its appenders a pause: it is sealed, and the next one placed, created on
every server, opened. All but the opening is done before for a file that filled its last tail, or
more than half of the present one. A spare is what any placed tail is: a row that nobody claims and
that only this epoch may open. One that is not used is given up. Runs on the door's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from gfs_ha.errors import GfsError
from gfs_ha.ids import ChunkId, DiskId, InodeId, ServerId, StartId
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.creation import Creation
from gfs_ha.master.leader_parts import LeaderParts
from gfs_ha.master.observed import LIVE
from gfs_ha.master.orders import CREATE
from gfs_ha.master.placement import Placement
from gfs_ha.master.proposals import reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.roster import Roster, roster
from gfs_ha.master.state.records import Inode, Settings
from gfs_ha.master.state.tail_commands import AbandonTails, PlaceTail
from gfs_ha.master.state.tail_reads import tail_of
from gfs_ha.master.state.view import View
from gfs_ha.master.tail_places import Wishes, choose_places, order_creation
from gfs_ha.protocol.control import OrderDone, OrderFailed
from gfs_ha.protocol.metadata import ChunkAllocated

logger = logging.getLogger(__name__)

SPARES_MAX = 256
CREATE_PATIENCE_S = 5.0  # Nobody waits for it.
UNUSED_S = 30.0  # After which a spare of a file that has no open tail is given up.


@dataclass(slots=True)
class _Spare:
    inode_id: InodeId
    durability: str
    wanted: tuple[int, int, str]  # Goal, chunk size and rule, as when it was placed.
    since_s: float
    creation: Creation | None = None  # None while it is being placed.
    starts: tuple[tuple[ServerId, StartId], ...] = ()

    @property
    def ready(self) -> bool:
        return self.creation is not None and not self.creation.missing


class Spares:
    """At most one for each file."""

    def __init__(self, parts: LeaderParts) -> None:
        self._reign = parts.reign
        self._kv = parts.kv
        self._proposer = parts.proposer
        self._runtime = parts.runtime
        self._post = parts.post
        self._spares: dict[InodeId, _Spare] = {}
        self._by_chunk: dict[ChunkId, _Spare] = {}

    def chunks(self) -> frozenset[ChunkId]:
        """Return the tails that are kept ready, or created for that."""
        return frozenset(self._by_chunk)

    def prepare(self, inode_id: InodeId) -> None:
        """Place and create the next tail of a file that has an open one, unless that is done.

        What stands in the way is no matter: then the next tail is placed when it is needed.
        """
        if inode_id in self._spares or len(self._spares) >= SPARES_MAX:
            return
        try:
            with self._kv.read() as reader:
                self._place(View(reader), inode_id)
        except GfsError as error:
            logger.info("no spare tail inode=%d because=%s", inode_id, error.message)

    def take(
        self,
        inode_id: InodeId,
        durability: str,
        avoided: set[ServerId],
        disks: Collection[DiskId] = (),
    ) -> Creation | None:
        """Return the spare of a file, created, if it is as good as one that is placed now."""
        spare = self._spares.get(inode_id)
        if spare is None:
            return None
        usable = spare.ready and spare.durability == durability and self._stands(spare, avoided)
        if usable and spare.creation is not None:
            usable = not any(one.disk_id in disks for one in spare.creation.chunk.replicas)
        if not usable:
            self._give_up(spare)
            return None
        self._forget(spare)
        return spare.creation

    def answered(self, server_id: ServerId, answer: OrderDone | OrderFailed) -> bool:
        """Take a server's answer to the order to create its replica; False: of no spare."""
        spare = self._by_chunk.get(answer.chunk_id)
        creation = None if spare is None else spare.creation
        if spare is None or creation is None or answer.order_index != creation.index:
            return False
        if isinstance(answer, OrderFailed):
            self._give_up(spare)
        else:
            creation.missing.discard(server_id)
        return True

    def tick(self, now_s: float) -> None:
        """Give up what is late, or of no use any more; called a few times per second."""
        if not self._spares:
            return
        with self._kv.read() as reader:
            view = View(reader)
            known = roster(view, now_s - self._reign.elected_s)
            for spare in list(self._spares.values()):
                if tail_of(view, spare.inode_id) is not None:
                    late = not spare.ready and now_s - spare.since_s > CREATE_PATIENCE_S
                else:
                    late = now_s - spare.since_s > UNUSED_S
                handed_on = any(known.trouble(one) for one, _ in spare.starts)
                handed_on = handed_on or self._on_failing_disk(spare) or _leaves(known, spare)
                if late or handed_on or _wanted_of(view, spare.inode_id) != spare.wanted:
                    self._give_up(spare)

    def end(self) -> None:
        """Forget all, when the reign ends: another epoch gives up what this one placed."""
        self._spares.clear()
        self._by_chunk.clear()

    def _place(self, view: View, inode_id: InodeId) -> None:
        inode, settings, tail = view.inode(inode_id), view.settings(), tail_of(view, inode_id)
        chunk = None if tail is None else view.chunk(tail.chunk_id)
        if inode is None or settings is None or tail is None or chunk is None:
            return
        near = view.server(tail.server_id)  # It was placed near those who append.
        wishes = Wishes(near.machine, near.rack) if near is not None else Wishes("", "")
        about = (inode, settings)
        chosen = choose_places(self._reign, self._runtime, view, about, wishes)
        if len(chosen.replicas) < (inode.goal or settings.goal):
            return
        command = PlaceTail(
            inode_id, chosen.replicas, chunk.durability, remarks=chosen.remarks, ahead=True
        )
        if self._proposer.short_of_room(command):
            return
        now_s = self._runtime.monotonic_s()
        spare = _Spare(inode_id, chunk.durability, _wanted(inode, settings), now_s)
        self._spares[inode_id] = spare

        def done(outcome: Outcome) -> None:
            self._post(partial(self._placed, spare, chosen, outcome))

        self._proposer.propose(command, REQUEST_DEADLINE_S, done)

    def _placed(self, spare: _Spare, chosen: Placement, outcome: Outcome) -> None:
        reply = None if outcome.error is not None else reply_of(outcome)
        if self._spares.get(spare.inode_id) is not spare or not isinstance(reply, ChunkAllocated):
            # A planner gives up what was placed and is nobody's.
            self._forget(spare)
            return
        observed = self._reign.observed.servers
        spare.starts = tuple(
            (one.server_id, observed[one.server_id].start_id)
            for one in reply.replicas
            if one.server_id in observed
        )
        now_s = self._runtime.monotonic_s()
        spare.creation = order_creation(self._reign, chosen, reply, outcome.index, now_s)
        self._by_chunk[reply.chunk_id] = spare

    def _stands(self, spare: _Spare, avoided: set[ServerId]) -> bool:
        """Return whether all its servers live, in the run that created it, and their disks.

        Else it is no tail.
        """
        assert spare.creation is not None
        observed, now_s = self._reign.observed, self._runtime.monotonic_s()
        starts = dict(spare.starts)
        servers = [one.server_id for one in spare.creation.chunk.replicas]
        if avoided & set(servers) or self._on_failing_disk(spare):
            return False
        return all(
            observed.state(one, now_s) == LIVE
            and observed.keyed(one)
            and not self._reign.hung_up(one)
            and starts.get(one) == observed.servers[one].start_id
            for one in servers
        )

    def _on_failing_disk(self, spare: _Spare) -> bool:
        """Return whether a server says of the disk of its replica that it takes nothing now."""
        if spare.creation is None:
            return False
        observed = self._reign.observed.servers
        return any(
            disk.disk_id == one.disk_id and (disk.failed or disk.ailing)
            for one in spare.creation.chunk.replicas
            if one.server_id in observed
            for disk in observed[one.server_id].disks
        )

    def _give_up(self, spare: _Spare) -> None:
        self._forget(spare)
        if spare.creation is None:
            return
        chunk_id = spare.creation.chunk.chunk_id
        self._reign.orders.forget(chunk_id, (CREATE,))
        # What comes of it is no matter: a planner gives up what nobody opens.
        command = AbandonTails((chunk_id,), given_up=True)
        self._proposer.propose(command, REQUEST_DEADLINE_S, lambda outcome: None)

    def _forget(self, spare: _Spare) -> None:
        if self._spares.get(spare.inode_id) is spare:
            del self._spares[spare.inode_id]
        if spare.creation is not None:
            self._by_chunk.pop(spare.creation.chunk.chunk_id, None)


def _leaves(known: Roster, spare: _Spare) -> bool:
    """Return whether a disk of its replicas is to be emptied: nobody else hands a spare on."""
    placed = spare.creation.chunk.replicas if spare.creation is not None else ()
    return any(not known.serves(one.server_id, one.disk_id) for one in placed)


def _wanted(inode: Inode, settings: Settings) -> tuple[int, int, str]:
    return (
        inode.goal or settings.goal,
        inode.chunk_bytes or settings.chunk_bytes,
        inode.rule or settings.rule,
    )


def _wanted_of(view: View, inode_id: InodeId) -> tuple[int, int, str] | None:
    inode, settings = view.inode(inode_id), view.settings()
    return None if inode is None or settings is None else _wanted(inode, settings)
