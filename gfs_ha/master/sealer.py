"""Carries broken chunks to their seal: fence and prove orders out, answers in, CommitSeal proposed.

Everything follows from the tables and the answers; nothing here is durable, so a new leader starts
over with the same orders (C2). Runs on the door's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from gfs_ha.errors import Busy, GfsError, StaleCommand, UnknownChunk, WrongState
from gfs_ha.ids import ChunkId, ServerId, StartId, format_id
from gfs_ha.limits import HEARTBEAT_PARK_S, REQUEST_DEADLINE_S
from gfs_ha.master.leader_parts import LeaderParts
from gfs_ha.master.losses import Loss, foresee
from gfs_ha.master.observed import LIVE
from gfs_ha.master.orders import FENCE, PROVE
from gfs_ha.master.proposals import MARGIN_S, reply_of
from gfs_ha.master.raft.contract import Outcome
from gfs_ha.master.seal_attempt import Attempt, facts_of
from gfs_ha.master.seal_orders import kind_of, order_of
from gfs_ha.master.sealing import (
    Commit,
    Fence,
    Prove,
    decide,
    is_conclusive,
    records_of,
)
from gfs_ha.master.state.commands import BeginSeal, CommitSeal, LeaderCommand, SealWithLoss
from gfs_ha.master.state.records import DEAD, SEALED, SEALING, Chunk
from gfs_ha.master.state.view import View
from gfs_ha.master.tail_ends import TailEnds
from gfs_ha.master.waiting import Waiting
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import FenceAnswer, FinishedTail, OrderFailed, ProofAnswer
from gfs_ha.protocol.metadata import ChunkSealed

logger = logging.getLogger(__name__)

PATIENCE_S = 5.0  # A live server that owes an answer longer is not waited for.
PATIENCE_DOUBTED_S = 1.0  # The same for a server that the client saw failing.
SILENCE_DOUBTED_S = 1.5 * HEARTBEAT_PARK_S  # Who lives and is reached beats more often.
ASK_AGAIN_S = 5.0  # After which a blocked chunk is asked about anew: servers come back otherwise.
NOT_ENDED = "its primary could not end it"
RETRY_MS = 200  # What a client that came too early is told to wait.


class Sealer:
    """The chunks that are being sealed, and the clients that wait for them."""

    def __init__(self, parts: LeaderParts) -> None:
        self._reign = parts.reign
        self._kv = parts.kv
        self._proposer = parts.proposer
        self._runtime = parts.runtime
        self._post = parts.post
        self._attempts: dict[ChunkId, Attempt] = {}
        self._waiting: dict[ChunkId, list[Waiting]] = {}
        self._doubted: dict[ChunkId, frozenset[ServerId]] = {}
        self._ends = TailEnds(parts, self._ended_by_primary)

    def blocked(self) -> dict[ChunkId, str]:
        """Return the chunks that cannot be sealed now, and why."""
        return {
            chunk_id: attempt.told for chunk_id, attempt in self._attempts.items() if attempt.told
        }

    def wait_for(self, chunk_id: ChunkId, slot: Waiting, failed: frozenset[ServerId]) -> None:
        """Answer `slot` with the seal of a chunk, or Busy when its time is nearly over."""
        self._waiting.setdefault(chunk_id, []).append(slot)
        if failed:
            self._doubted[chunk_id] = self._doubted.get(chunk_id, frozenset()) | failed

    def seal(
        self, chunk_id: ChunkId, reason: str, slot: Waiting, failed: frozenset[ServerId]
    ) -> None:
        """Begin to seal an open chunk, and answer `slot` as `wait_for` does."""
        self.wait_for(chunk_id, slot, failed)

        def refused(error: GfsError) -> None:
            self._post(lambda: _tell(slot, error))

        self._begin(chunk_id, reason, slot.left_s() - MARGIN_S, refused)

    def _begin(
        self,
        chunk_id: ChunkId,
        reason: str,
        deadline_s: float,
        refused: Callable[[GfsError], None],
    ) -> None:
        def done(outcome: Outcome) -> None:
            if outcome.error is not None:
                refused(self._proposer.for_client(outcome.error))
            else:
                # Also when it was refused: somebody else began, or the chunk is sealed by now. An
                # outcome is told before the tick's commit (M2), so it may come before the rows.
                self._proposer.read_index(REQUEST_DEADLINE_S, visible)

        def visible(error: GfsError | None) -> None:
            if error is None:
                self._post(partial(self.look, chunk_id))

        self._proposer.propose(BeginSeal(chunk_id, reason), deadline_s, done)

    def finished(self, server_id: ServerId, start_id: StartId, end: FinishedTail) -> None:
        """Take the end of a tail from its primary: nobody has to be fenced for it (C5)."""
        with self._kv.read() as reader:
            self._ends.told(View(reader), (server_id, start_id), end)

    def is_ending(self, chunk_id: ChunkId) -> bool:
        """Return whether the end of a tail, told by its primary, is in the log already."""
        return chunk_id in self._ends

    def _ended_by_primary(self, chunk_id: ChunkId, sealed: ChunkSealed | None) -> None:
        if sealed is not None:
            self._sealed(chunk_id, sealed)
        elif chunk_id in self._waiting and chunk_id not in self._attempts:
            # Who waits for it is told by the seal that the leader makes.
            self._begin(chunk_id, NOT_ENDED, REQUEST_DEADLINE_S, lambda error: None)

    def _sealed(self, chunk_id: ChunkId, reply: ChunkSealed) -> None:
        logger.info(
            "chunk sealed chunk=%#x length=%d holders=%s", chunk_id, reply.length, reply.holders
        )
        self._finish(chunk_id)
        for slot in self._waiting.pop(chunk_id, []):
            slot.reply(reply)

    def loss(self, chunk_id: ChunkId) -> Loss | None:
        """Return what a seal without the replicas out of reach would be; None: nobody seals it."""
        attempt = self._attempts.get(chunk_id)
        if attempt is None:
            return None
        reachable = self._reachable(attempt, self._runtime.monotonic_s())
        return foresee(attempt.chunk, attempt.fences, attempt.proofs, reachable, attempt.blocked)

    def accept_loss(self, chunk_id: ChunkId, loss: Loss, slot: Waiting) -> None:
        """Seal a chunk as `loss` says, which was just returned here, and answer `slot` then."""
        attempt = self._attempts[chunk_id]
        attempt.given_up, attempt.accepted = loss.missing | loss.lacking, loss.length
        attempt.blocked = attempt.told = ""
        attempt.resting = False
        names = sorted(attempt.given_up)
        logger.warning("loss accepted chunk=%#x without=%s length=%d", chunk_id, names, loss.length)
        self.wait_for(chunk_id, slot, frozenset())
        self.look(chunk_id)

    def look(self, chunk_id: ChunkId) -> None:
        """Read the chunk's row and do what it asks for now."""
        with self._kv.read() as reader:
            chunk = View(reader).chunk(chunk_id)
        self.look_at(chunk_id, chunk)

    def look_at(self, chunk_id: ChunkId, chunk: Chunk | None) -> None:
        """Do what a chunk's row asks for: go on sealing, or tell the end to those who wait."""
        if chunk is None or chunk.state in (SEALED, DEAD):
            self._end(chunk_id, chunk)
        elif chunk.state == SEALING:
            with self._kv.read() as reader:
                facts = facts_of(View(reader), chunk_id, chunk)
            attempt = self._attempts.get(chunk_id)
            if attempt is None or attempt.chunk.begin_index != chunk.begin_index:
                attempt = self._attempts[chunk_id] = Attempt(facts)
            attempt.know(facts)
            if chunk.tail_of:
                attempt.chain = tuple(replica.server_id for replica in chunk.replicas)
            attempt.doubted = self._doubted.get(chunk_id, frozenset())
            self._advance(attempt)

    def answered(
        self,
        server_id: ServerId,
        start_id: StartId,
        answer: FenceAnswer | ProofAnswer | OrderFailed,
    ) -> None:
        """Take the answer of a replica to a fence or prove order.

        Args: `start_id` of who says it. One that has started again since had other disks, perhaps.
        """
        attempt = self._attempts.get(answer.chunk_id)
        kind = kind_of(answer)
        if attempt is None or answer.order_index != attempt.chunk.begin_index:
            self._reign.orders.answered(server_id, answer.chunk_id, kind, answer.order_index)
            return
        with self._kv.read() as reader:
            server = View(reader).server(server_id)
        if server is None or server.start_id != start_id:
            return  # It is asked again.
        if isinstance(answer, ProofAnswer):
            attempt.proofs[server_id] = answer
        elif isinstance(answer, FenceAnswer) or kind == FENCE:
            attempt.fences[server_id] = answer
        else:
            attempt.proofs[server_id] = answer
        if not isinstance(answer, OrderFailed) or kind == PROVE or is_conclusive(answer):
            # Anything else stays outstanding: it goes out again in a second, not at once.
            self._reign.orders.answered(server_id, answer.chunk_id, kind, answer.order_index)
        self.look(answer.chunk_id)

    def tick(self, now_s: float) -> None:
        """Go on with what waits for time to pass; called a few times per second."""
        for chunk_id, attempt in list(self._attempts.items()):
            if attempt.ask_again_s is not None and now_s >= attempt.ask_again_s:
                attempt.ask_again_s = None
                attempt.resting = False
                attempt.fences.clear()
                attempt.proofs.clear()
            if attempt.committing_s is None:
                self.look(chunk_id)
            elif now_s - attempt.committing_s > 2 * REQUEST_DEADLINE_S:
                attempt.committing_s = None  # Its outcome was lost on a flooded door.
        for chunk_id in list(self._waiting):
            if chunk_id not in self._attempts:
                self.look(chunk_id)
        self._turn_away(now_s)
        for chunk_id in self._doubted.keys() - self._attempts.keys() - self._waiting.keys():
            del self._doubted[chunk_id]  # Its seal never began.

    def end(self) -> list[Waiting]:
        """Return those who wait, when the reign ends."""
        slots = [slot for waiting in self._waiting.values() for slot in waiting]
        self._waiting.clear()
        return slots

    def _advance(self, attempt: Attempt) -> None:
        if attempt.committing_s is not None or attempt.resting:
            return
        now_s = self._runtime.monotonic_s()
        chunk = attempt.chunk
        reachable = self._reachable(attempt, now_s)
        decision = decide(chunk, attempt.fences, attempt.proofs, reachable, attempt.given_up)
        if (
            isinstance(decision, Commit)
            and decision.given_up
            and decision.length != attempt.accepted
        ):
            # Somebody has answered meanwhile: that is not what the person was told.
            attempt.given_up = frozenset()
            decision = decide(chunk, attempt.fences, attempt.proofs, reachable)
        if isinstance(decision, Commit):
            attempt.blocked = attempt.told = ""
            self._commit(attempt, decision)
            return
        attempt.blocked = decision.blocked
        if decision.blocked or isinstance(decision, Prove):
            attempt.told = decision.blocked
        if decision.blocked:
            if decision.blocked != attempt.logged:
                logger.warning("chunk blocked chunk=%#x why=%s", chunk.chunk_id, decision.blocked)
                attempt.logged = decision.blocked
            if attempt.ask_again_s is None:
                attempt.ask_again_s = now_s + ASK_AGAIN_S
            # When everyone has answered, asking at once would only get the same answers.
            attempt.resting = not attempt.unasked(decision)
            if attempt.resting:
                return
        orders = {one: order_of(chunk, decision, one) for one in attempt.unasked(decision)}
        if isinstance(decision, Prove):
            # Who did not answer the fence, or failed, is not waited for any more, and stays asked:
            # taken back, the order would look fresh at the next decision, and be waited for again.
            asked = Fence(attempt.unheard())
            orders.update({one: order_of(chunk, asked, one) for one in asked.servers})
        self._reign.orders.want_only(chunk.chunk_id, orders)
        for server_id in orders:
            self._reign.release_if_due(server_id, now_s)

    def _reachable(self, attempt: Attempt, now_s: float) -> frozenset[ServerId]:
        chunk_id = attempt.chunk.chunk_id
        found = set()
        for server_id in attempt.chunk.replicas:
            observed = self._reign.observed
            doubted = server_id in attempt.doubted
            patience_s = PATIENCE_DOUBTED_S if doubted else PATIENCE_S
            silent = observed.age_s(server_id, now_s) >= SILENCE_DOUBTED_S
            if observed.state(server_id, now_s) != LIVE or attempt.disk_failed(server_id):
                continue
            if doubted and (silent or self._reign.hung_up(server_id)):
                continue
            if self._reign.orders.waiting_s(server_id, chunk_id, now_s) < patience_s:
                found.add(server_id)
        return frozenset(found)

    def _commit(self, attempt: Attempt, decision: Commit) -> None:
        attempt.committing_s = self._runtime.monotonic_s()
        chunk = attempt.chunk
        if decision.remark:
            logger.warning("seal chunk=%#x remark=%s", chunk.chunk_id, decision.remark)
        crc, records, odd = records_of(attempt.chain, decision, attempt.proofs)
        if odd:
            logger.error("records differ chunk=%#x servers=%s", chunk.chunk_id, odd)
        command = CommitSeal(
            chunk.chunk_id,
            chunk.begin_index,
            decision.length,
            decision.digest,
            decision.holders,
            crc,
            records,
        )

        def done(outcome: Outcome) -> None:
            self._post(partial(self._committed, chunk.chunk_id, outcome))

        proposed: LeaderCommand = command
        if decision.given_up:
            proposed = SealWithLoss(command, decision.given_up)
        self._proposer.propose(proposed, REQUEST_DEADLINE_S, done)

    def _committed(self, chunk_id: ChunkId, outcome: Outcome) -> None:
        attempt = self._attempts.get(chunk_id)
        if attempt is not None:
            attempt.committing_s = None
        if outcome.error is not None or outcome.result is None:
            return  # The next tick goes on from the tables.
        reply = reply_of(outcome)
        if isinstance(reply, ChunkSealed):
            if attempt is not None:
                self._hear_again(attempt, reply.holders)
            self._sealed(chunk_id, reply)
            return
        if attempt is not None:
            attempt.given_up = frozenset()  # What the person was told is not so any more.
        if isinstance(reply, Failure) and reply.error != StaleCommand.__name__:
            logger.error("seal refused chunk=%#x because=%s", chunk_id, reply.message)
            if attempt is not None:
                attempt.ask_again_s = self._runtime.monotonic_s() + ASK_AGAIN_S
                attempt.resting = True

    def _hear_again(self, attempt: Attempt, holders: tuple[ServerId, ...]) -> None:
        """Have the replicas that are no holders listed anew: they are told to compare (C4)."""
        now_s = self._runtime.monotonic_s()
        for server_id in attempt.fences:
            if server_id not in holders:
                self._reign.release(server_id, now_s)

    def _end(self, chunk_id: ChunkId, chunk: Chunk | None) -> None:
        self._finish(chunk_id)
        for slot in self._waiting.pop(chunk_id, []):
            answer_end(slot, chunk_id, chunk)

    def _finish(self, chunk_id: ChunkId) -> None:
        if self._attempts.pop(chunk_id, None) is not None:
            self._reign.orders.forget(chunk_id, (FENCE, PROVE))
        self._doubted.pop(chunk_id, None)

    def _turn_away(self, now_s: float) -> None:
        """Tell clients whose time is nearly over to ask again, and why it takes long."""
        for chunk_id, slots in list(self._waiting.items()):
            attempt = self._attempts.get(chunk_id)
            blocked = attempt.blocked if attempt is not None else ""
            stay = []
            for slot in slots:
                if slot.closed:
                    continue
                if slot.left_s() > 0.5 and not blocked:
                    stay.append(slot)
                    continue
                why = f": {blocked}" if blocked else "; ask again"
                slot.fail(
                    Busy(
                        f"chunk {chunk_id:#x} is not sealed yet{why}",
                        retry_ms=RETRY_MS,
                        blocked=blocked,
                    )
                )
            if stay:
                self._waiting[chunk_id] = stay
            else:
                del self._waiting[chunk_id]


def _tell(slot: Waiting, error: GfsError) -> None:
    slot.fail(error)


def answer_end(slot: Waiting, chunk_id: ChunkId, chunk: Chunk | None) -> None:
    """Answer a request to seal a chunk that has ended: sealed, dead, or gone (`chunk` None)."""
    if chunk is None:
        slot.fail(UnknownChunk(f"there is no chunk {format_id(chunk_id)} (any more)"))
    elif chunk.state == SEALED:
        slot.reply(ChunkSealed(chunk_id, chunk.length, chunk.digest, chunk.holders))
    else:
        name = format_id(chunk_id)
        slot.fail(WrongState(f"chunk {name} is dead; write its bytes again into a new one"))
