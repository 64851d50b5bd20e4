"""Opens tails at the ends of files: placed, created on every server, then opened (C10).

Nothing here is durable: a new leader begins anew, and what its predecessor placed and did not open
is given up by a planner. Runs on the door's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from gfs_ha.errors import Busy, GfsError, Held, NoServers, NoSpace, NotFound
from gfs_ha.ids import ChunkId, DiskId, InodeId, ServerId, format_id
from gfs_ha.limits import FAILED_DISKS_MAX, REQUEST_DEADLINE_S
from gfs_ha.master.applicants import RETRY_MS, Applicant, Opening
from gfs_ha.master.creation import Creation
from gfs_ha.master.leader_parts import LeaderParts
from gfs_ha.master.orders import CREATE
from gfs_ha.master.placement import Placement
from gfs_ha.master.proposals import reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.sealer import Sealer
from gfs_ha.master.spares import Spares
from gfs_ha.master.state.commands import LeaderCommand
from gfs_ha.master.state.records import OPEN, Inode, Settings
from gfs_ha.master.state.tail_commands import AbandonTails, OpenTail, PlaceTail
from gfs_ha.master.state.tail_reads import hold_on, tail_of
from gfs_ha.master.state.view import View
from gfs_ha.master.tail_places import Wishes, choose_places, order_creation
from gfs_ha.master.waiting import Ends, Waiting
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import OrderDone, OrderFailed
from gfs_ha.protocol.metadata import ChunkAllocated

logger = logging.getLogger(__name__)

CREATE_PATIENCE_S = 1.0  # A server that has not created its replica by then is not waited for.
TRIES_MAX = 4  # Placements of one opening.
OPENINGS_MAX = 1_000
# The choice was made on older news, or another was faster: the tables say what to do now.
_LOOK_AGAIN = ("StaleCommand", "UnknownServer", "UnknownChunk")


class Opener:
    """The tails that are being opened, and the appenders that wait for them."""

    def __init__(self, parts: LeaderParts, sealer: Sealer) -> None:
        self._reign = parts.reign
        self._kv = parts.kv
        self._proposer = parts.proposer
        self._runtime = parts.runtime
        self._post = parts.post
        self._sealer = sealer
        self._openings: dict[InodeId, Opening] = {}
        self._by_chunk: dict[ChunkId, Opening] = {}
        self._spares = Spares(parts)

    def opening(self) -> frozenset[ChunkId]:
        """Return the tails that are placed and being opened, or kept ready for that."""
        return self._spares.chunks() | self._by_chunk.keys()

    def prepare(self, inode_ids: Iterable[InodeId]) -> None:
        """Have the next tails of files kept ready that will soon fill theirs."""
        for inode_id in inode_ids:
            self._spares.prepare(inode_id)

    def ask(
        self, inode_id: InodeId, applicant: Applicant, condemned: Mapping[ChunkId, str]
    ) -> None:
        """Have a tail opened for a file, once its present one, if it is condemned, is sealed.

        Raises: Busy.
        """
        failed = set(applicant.request.failed)
        disks = set(applicant.request.failed_disks[:FAILED_DISKS_MAX])
        opening = self._openings.get(inode_id)
        if opening is not None:
            opening.waiting.append(applicant)
            opening.condemned.update(condemned)
            opening.failed |= failed
            opening.failed_disks |= disks
            return
        if len(self._openings) >= OPENINGS_MAX:
            raise Busy(f"{OPENINGS_MAX} tails are being opened; ask again", retry_ms=RETRY_MS)
        opening = Opening(inode_id, [applicant], dict(condemned), failed, failed_disks=disks)
        self._openings[inode_id] = opening
        self._next(opening)
        self._guarded(opening, self._look)

    def answered(self, server_id: ServerId, answer: OrderDone | OrderFailed) -> None:
        """Take a server's answer to the order to create its replica of a tail."""
        self._reign.orders.answered(server_id, answer.chunk_id, CREATE, answer.order_index)
        if self._spares.answered(server_id, answer):
            return
        opening = self._by_chunk.get(answer.chunk_id)
        creation = None if opening is None else opening.creation
        if opening is None or creation is None or answer.order_index != creation.index:
            return
        if isinstance(answer, OrderFailed):
            disks = creation.disks_of(server_id, answer.failure.error)
            self._try_elsewhere(opening, creation, set() if disks else {server_id}, disks)
            return
        creation.missing.discard(server_id)
        if not creation.missing:
            self._open(opening, creation)

    def tick(self, now_s: float) -> None:
        """Go on with what waits for time to pass; called a few times per second."""
        self._spares.tick(now_s)
        for opening in list(self._openings.values()):
            opening.waiting = [one for one in opening.waiting if one.stays()]
            creation = opening.creation
            if creation is not None:
                late = now_s - creation.since_s >= CREATE_PATIENCE_S
                gone = {one for one in creation.missing if late or self._reign.hung_up(one)}
                gone |= creation.without(self._reign.observed.keyed)
                if gone:
                    self._try_elsewhere(opening, creation, gone)
            elif now_s - opening.since_s > 2 * REQUEST_DEADLINE_S:
                # The news that it waits for was lost on a flooded door.
                self._fail(Busy("the tail is not open yet; ask again", retry_ms=RETRY_MS), opening)

    def end(self) -> list[Waiting]:
        """Return those who wait, when the reign ends."""
        slots = [one.slot for opening in self._openings.values() for one in opening.waiting]
        self._spares.end()
        self._openings.clear()
        self._by_chunk.clear()
        return slots

    # One opening, step by step ------------------------------------------------------------------

    def _next(self, opening: Opening) -> int:
        opening.step += 1
        opening.since_s = self._runtime.monotonic_s()
        return opening.step

    def _then(self, opening: Opening, step: int, action: Callable[[Opening], None]) -> None:
        """Go on, on the door's thread, unless the opening has gone on without this news."""

        def run() -> None:
            if self._openings.get(opening.inode_id) is opening and opening.step == step:
                self._guarded(opening, action)

        self._post(run)

    def _then_visible(self, opening: Opening, action: Callable[[Opening], None]) -> None:
        """Go on once what was applied can be read: its outcome is told before that (M2)."""
        step = self._next(opening)

        def done(error: GfsError | None) -> None:
            self._then(opening, step, action if error is None else partial(self._fail, error))

        self._proposer.read_index(REQUEST_DEADLINE_S, done)

    def _propose(
        self,
        opening: Opening,
        command: LeaderCommand,
        action: Callable[[Outcome, Opening], None],
    ) -> None:
        if self._proposer.short_of_room(command):
            raise NoSpace("the masters are short of room, so that no tail can be opened")
        step = self._next(opening)

        def done(outcome: Outcome) -> None:
            if outcome.error is not None:
                self._then(opening, step, partial(self._fail, outcome.error))
            else:
                self._then(opening, step, partial(action, outcome))

        self._proposer.propose(command, REQUEST_DEADLINE_S, done)

    def _guarded(self, opening: Opening, action: Callable[[Opening], None]) -> None:
        try:
            action(opening)
        except GfsError as error:
            self._fail(error, opening)

    def _look(self, opening: Opening) -> None:
        """Do what the tables ask for now: seal the tail that is there, place one, or be done."""
        with self._kv.read() as reader:
            view = View(reader)
            tail = tail_of(view, opening.inode_id)
            if tail is None:
                self._place(opening, view)
                return
            chunk = view.chunk(tail.chunk_id)
        assert chunk is not None, f"the tail {tail.chunk_id:#x} is not there"
        why = opening.condemned.get(tail.chunk_id, "")
        if chunk.state == OPEN and not why:
            self._done(opening)
            return
        opening.before = tail.chunk_id
        ending = self._sealer.is_ending(tail.chunk_id)
        if ending and self._open_spare(opening):
            return
        step = self._next(opening)

        def ended(error: GfsError | None) -> None:
            if opening.step != step:
                return
            if error is not None:
                self._fail(error, opening)
            elif not self._open_spare(opening):
                self._then_visible(opening, self._look)

        one = Ends((tail.chunk_id,), opening.left_s, ended).one(tail.chunk_id)
        failed = frozenset(opening.failed) & {replica.server_id for replica in chunk.replicas}
        if ending:
            self._sealer.wait_for(tail.chunk_id, one, failed)
        elif chunk.state == OPEN:
            logger.info("tail ends chunk=%#x because=%s", tail.chunk_id, why)
            self._sealer.seal(tail.chunk_id, why, one, failed)
        else:
            self._sealer.wait_for(tail.chunk_id, one, failed)
            self._sealer.look_at(tail.chunk_id, chunk)

    def _open_spare(self, opening: Opening) -> bool:
        """Open the tail that is kept ready, if there is one; False: there is none.

        Nothing is looked at before: the command is behind the seal in the log, also one that is
        still on its way, and compares.
        """
        if not opening.waiting:
            return False
        request = opening.waiting[0].request
        avoided = opening.failed | opening.unable
        creation = self._spares.take(
            opening.inode_id, request.durability, avoided, opening.failed_disks
        )
        if creation is None:
            return False
        opening.path = request.path
        self._by_chunk[creation.chunk.chunk_id] = opening
        self._open(opening, creation)
        return True

    def _place(self, opening: Opening, view: View) -> None:
        self._send_away_strangers(opening, view)
        inode, settings = view.inode(opening.inode_id), view.settings()
        if not opening.waiting:
            self._end(opening)
            return
        request = opening.waiting[0].request
        opening.path = request.path
        if inode is None or settings is None:
            raise NotFound(f"{request.path} does not exist any more")
        hold = hold_on(view, opening.inode_id)
        if hold is not None and hold.stands(self._reign.epoch, view.counters().cluster_ms):
            why = f"{request.path} is about to be removed, replaced or copied; come again"
            raise Held(why, retry_ms=RETRY_MS)
        if opening.tries >= TRIES_MAX:
            raise Busy("the servers do not create the new tail; ask again", retry_ms=RETRY_MS)
        opening.tries += 1
        chosen = self._choose(opening, view, (inode, settings))
        command = PlaceTail(
            opening.inode_id, chosen.replicas, request.durability, remarks=chosen.remarks
        )
        self._propose(opening, command, partial(self._placed, chosen))

    def _send_away_strangers(self, opening: Opening, view: View) -> None:
        """Have those look again whose path leads to another file by now."""
        stay = []
        for one in opening.waiting:
            try:
                leads_here = view.resolve(one.request.path).inode_id == opening.inode_id
            except GfsError:
                leads_here = False
            if leads_here:
                stay.append(one)
            else:
                self._post(one.again)
        opening.waiting = stay

    def _choose(self, opening: Opening, view: View, about: tuple[Inode, Settings]) -> Placement:
        """Return where the tail is to lie. Raises: NoServers, NoSpace, Busy."""
        request = opening.waiting[0].request
        avoided = frozenset(opening.failed | opening.unable)
        disks = frozenset(opening.failed_disks)
        wishes = Wishes(request.machine, request.rack, avoided, disks)
        try:
            return choose_places(self._reign, self._runtime, view, about, wishes)
        except NoServers as error:
            if opening.failed or opening.failed_disks:
                # Better one that some client saw failing than none.
                opening.failed, opening.failed_disks = set(), set()
                return self._choose(opening, view, about)
            if not opening.unable:
                raise
            # Those that did not create a replica just now may do so in a moment.
            raise Busy(f"no tail could be created: {error.message}", retry_ms=RETRY_MS) from error

    def _placed(self, chosen: Placement, outcome: Outcome, opening: Opening) -> None:
        reply = reply_of(outcome)
        if not isinstance(reply, ChunkAllocated):
            self._refused(opening, reply)
            return
        now_s = self._runtime.monotonic_s()
        opening.creation = order_creation(self._reign, chosen, reply, outcome.index, now_s)
        self._by_chunk[reply.chunk_id] = opening
        self._next(opening)

    def _try_elsewhere(
        self,
        opening: Opening,
        creation: Creation,
        failed: set[ServerId],
        disks: frozenset[DiskId] = frozenset(),
    ) -> None:
        """Give up a placement and make another without the servers, or disks, that failed it."""
        chunk_id = creation.chunk.chunk_id
        told = (sorted(failed), [format_id(one) for one in disks])
        logger.warning("tail not created chunk=%#x servers=%s disks=%s", chunk_id, *told)
        opening.creation = None
        opening.unable |= failed
        opening.failed_disks |= disks
        self._abandon(creation.chunk.chunk_id)
        self._next(opening)
        self._guarded(opening, self._look)

    def _abandon(self, chunk_id: ChunkId) -> None:
        self._by_chunk.pop(chunk_id, None)
        self._reign.orders.forget(chunk_id, (CREATE,))
        # What comes of it is no matter: a planner gives up what nobody opens.
        command = AbandonTails((chunk_id,), given_up=True)
        self._proposer.propose(command, REQUEST_DEADLINE_S, lambda outcome: None)

    def _open(self, opening: Opening, creation: Creation) -> None:
        opening.creation = None
        chunk_id = creation.chunk.chunk_id
        command = OpenTail(opening.inode_id, chunk_id, opening.path, *creation.primary)
        try:
            self._propose(opening, command, partial(self._opened, chunk_id))
        except GfsError as error:
            self._abandon(chunk_id)
            self._fail(error, opening)

    def _opened(self, chunk_id: ChunkId, outcome: Outcome, opening: Opening) -> None:
        reply = reply_of(outcome)
        if isinstance(reply, Failure):
            self._abandon(chunk_id)
            self._refused(opening, reply)
            return
        self._by_chunk.pop(chunk_id, None)
        logger.info("tail opened chunk=%#x inode=%d", chunk_id, opening.inode_id)
        self._then_visible(opening, self._done)

    def _refused(self, opening: Opening, reply: object) -> None:
        assert isinstance(reply, Failure), reply
        logger.info("no tail inode=%d because=%s", opening.inode_id, reply.message)
        if reply.error in _LOOK_AGAIN:
            self._then_visible(opening, self._look)
        else:
            self._fail(reply.raised(), opening)

    # Its end ------------------------------------------------------------------------------------

    def _done(self, opening: Opening) -> None:
        """Have everybody look again: there is an open tail."""
        self._end(opening)
        for one in opening.waiting:
            self._post(one.again)
        if opening.before is not None:
            with self._kv.read() as reader:
                before = View(reader).chunk(opening.before)
            if before is not None and 2 * before.length >= before.capacity:
                self._post(partial(self._spares.prepare, opening.inode_id))

    def _fail(self, error: GfsError, opening: Opening) -> None:
        self._end(opening)
        error = self._proposer.for_client(error)
        for one in opening.waiting:
            one.slot.fail(error)

    def _end(self, opening: Opening) -> None:
        opening.step += 1
        if self._openings.get(opening.inode_id) is opening:
            del self._openings[opening.inode_id]
        for chunk_id in [one for one, held in self._by_chunk.items() if held is opening]:
            self._abandon(chunk_id)
