"""The consensus loop of one member: one tick, one durable transaction.

A tick drains the sockets, lets the replica decide and apply, gives outgoing AppendEntries to the
network, commits everything that changed in one transaction (log, term, vote, applied state), and
only then sends what depends on it and releases reads. One thread calls `step` or `run`; everything
marked so may be called by any thread.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from gfs_ha.errors import GfsError, LimitExceeded, NewerIncarnation, Overloaded
from gfs_ha.kv.ordered import OrderedKV, Writer, WriteTransaction
from gfs_ha.limits import COMMAND_BYTES_MAX, RAFT_PROPOSALS_MAX
from gfs_ha.master.raft.announcer import Announcer, RoleListener
from gfs_ha.master.raft.commit_times import CommitTimes
from gfs_ha.master.raft.contract import Outcome, RaftConfig, RaftStatus, StateMachine
from gfs_ha.master.raft.freezer import Freezer
from gfs_ha.master.raft.freshness import Freshness
from gfs_ha.master.raft.identity import Identity, stop_for_good
from gfs_ha.master.raft.internals import LEADER as LEADING
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.linger import Linger
from gfs_ha.master.raft.members import Change, Configuration
from gfs_ha.master.raft.messages import Message, decode, encode
from gfs_ha.master.raft.proposals import not_leader
from gfs_ha.master.raft.reads import ReadDone, too_many_reads
from gfs_ha.master.raft.report import Reporter
from gfs_ha.master.raft.syncobj import Replica, use_clock
from gfs_ha.master.raft.transfer import TransferDone
from gfs_ha.master.raft.transport import RaftTransport
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

_STATUS_PERIOD_S = 0.01
_SPACE_PERIOD_S = 1.0
_WAIT_MAX_S = 0.05


class RaftNode:
    """One member. The store must have been bootstrapped.

    Raises: ConfigError, WrongDirectory, OldCopy, NewerIncarnation (see Identity), CorruptData.
    """

    replica_type = Replica

    def __init__(
        self,
        config: RaftConfig,
        kv: OrderedKV,
        machine: StateMachine,
        transport: RaftTransport,
        runtime: Runtime,
    ) -> None:
        self.space_low_source: Callable[[], bool] = lambda: False  # Asked about every second.
        self.freezer = Freezer(kv, runtime, transport.wake)
        self._config = config
        self._kv = kv
        self._runtime = runtime
        self._transport = transport
        self._identity = Identity(kv, config, runtime)
        initial = Configuration(config.initial(self._identity.initial_members))
        self._journal = Journal(kv, initial=initial)
        self._transaction: WriteTransaction | None = None
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._condemned: GfsError | None = None
        self._stopping = False
        self._stopped = False
        self._space_low = False
        self._next_space_s = 0.0
        self._linger = Linger()
        self._next_status_s = 0.0
        self.turned_s = runtime.monotonic_s()  # When a tick last came to its end.
        self._readable_until_s = float("-inf")
        self._announcer = Announcer(self.call)
        self.commit_times = CommitTimes()
        self._replica = self.replica_type(config, self._journal, machine, self, runtime.lock())
        self._reporter = Reporter(config, self._replica, self._journal, transport)
        self._status = self._describe()
        transport.start(self, self._identity)
        self.members_changed()

    # For its users.

    def propose(
        self, payload: bytes, deadline_s: float, on_done: Callable[[Outcome], None]
    ) -> None:
        """Have a command applied on all members; `on_done` hears how it ended. Thread-safe.

        It always ends: past `deadline_s` (a duration) with UnknownOutcome or Overloaded. `on_done`
        runs in the loop's thread, or here when the command is refused at once; keep it short.
        """
        if self._stopped or self._stopping:
            self.call(on_done, Outcome(None, not_leader("")))
        elif len(payload) > COMMAND_BYTES_MAX:
            error: GfsError = LimitExceeded(
                f"a command of {len(payload)} bytes is above the limit of {COMMAND_BYTES_MAX}"
            )
            self.call(on_done, Outcome(None, error))
        elif self._replica.propose(payload, self.now_s() + deadline_s, on_done):
            self._transport.wake()
        else:
            error = Overloaded(f"{RAFT_PROPOSALS_MAX} commands wait already; try again later")
            self.call(on_done, Outcome(None, error))

    def read_index(self, deadline_s: float, on_done: ReadDone, anywhere: bool = False) -> None:
        """Call `on_done(None)` once any read transaction opened then is linearizable. Thread-safe.

        Else it hears NotLeader, Overloaded or DeadlineExceeded, at the latest after `deadline_s`.
        With `anywhere` a follower asks its leader; it hears NotLeader when there is none.
        """
        if self._stopped or self._stopping:
            self.call(on_done, not_leader(""))
        elif self._replica.read(on_done, self.now_s() + deadline_s, anywhere):
            self._transport.wake()
        else:
            self.call(on_done, too_many_reads())

    def transfer(self, target: str, on_done: TransferDone) -> None:
        """Hand the leadership over to a member, or to the best one for "". Thread-safe.

        `on_done(error, leader)` hears who leads then, within about twice the longest election
        timeout; or NotLeader, NotFound, PreconditionFailed (it leads already), NotReady (it cannot
        or did not take over; this member leads on), Busy or NoLeader.
        """
        if self._stopped or self._stopping:
            self.call(on_done, not_leader(""), "")
        else:
            self._replica.transfer(target, on_done)
            self._transport.wake()

    def change_members(
        self, change: Change, deadline_s: float, on_done: Callable[[Outcome], None]
    ) -> None:
        """Add, admit or remove a member; `on_done` hears when that is committed. Thread-safe.

        Its errors: those of a proposal, NotFound, AlreadyExists, PreconditionFailed (the leader
        itself), LimitExceeded, NotReady (not caught up, or no majority would answer), Busy.
        """
        if self._stopped or self._stopping:
            self.call(on_done, Outcome(None, not_leader("")))
        else:
            self._replica.change(change, self.now_s() + deadline_s, on_done)
            self._transport.wake()

    def reads_now(self) -> bool:
        """Return whether a read transaction opened after this is linearizable at once. Thread-safe.

        True under the read lease while the store shows everything that was committed; nothing is
        waited for. False says nothing: use `read_index`.
        """
        until_s = self._readable_until_s  # Read before the clock: it only shrinks the window.
        return self.now_s() < until_s

    @property
    def freshness(self) -> Freshness:
        """Return how old what the store shows may be. Thread-safe."""
        return self._replica.freshness

    def status(self) -> RaftStatus:
        """Return a snapshot, at most about 50 ms old while the loop runs. Thread-safe."""
        return self._status

    @property
    def replica(self) -> Replica:
        """Return the replica below; for the simulator, which steps and watches it."""
        return self._replica

    @property
    def identity(self) -> Identity:
        """Return who this member is; for the simulator."""
        return self._identity

    def on_role_change(self, listener: RoleListener) -> None:
        """Call `listener(role, term)` in the loop's thread when this member becomes leader (its own
        first entry and all before it are applied and visible) or stops being it.
        """
        self._announcer.add(listener)

    def show_incarnation(self, incarnation: int) -> None:
        """Hear of an incarnation from elsewhere: who is of an older one stops. Thread-safe."""
        if incarnation > self._identity.incarnation and not self._identity.fresh:
            self.condemned(
                NewerIncarnation(
                    f"the cluster lives on in incarnation {incarnation}; this member is of"
                    f" {self._identity.incarnation}"
                )
            )
            self._transport.wake()

    def run(self) -> None:
        """Step until `stop`. Raises: what is fatal, after which the process must exit."""
        while not self._stopping:
            self.step(_WAIT_MAX_S)
        self.close()

    def stop(self) -> None:
        """Make `run` return soon. Thread-safe."""
        self._stopping = True
        self._transport.wake()

    def close(self) -> None:
        """End what is pending and close the links; only when no step is running."""
        if not self._stopped:
            self._stopped = self._stopping = True
            self._readable_until_s = float("-inf")
            use_clock(self.now_s)
            transaction, self._transaction = self._transaction, None
            if transaction is not None:
                transaction.abort()  # It holds what the log can bring again, and the store's lock.
            self._replica.give_up()
            self._announce()
            self._transport.close()

    def step(self, wait_s: float) -> None:
        """Run one tick, waiting at most `wait_s` for something to do.

        Raises: CorruptData, DiskFull, DiskFailed, OldCopy, NewerIncarnation or what the machine
        raised: fatal, the process must exit.
        """
        use_clock(self.now_s)
        try:
            self._transport.poll(self._wait_s(wait_s), self._busy)
            self._stop_if_condemned()
            self._replica.tick()
            self._transport.flush()
            self._commit()
            self._send_outbox()
            self._replica.release_reads()
            self._announce()
            self._readable_until_s = self._readable_until()
            self._apply_rest()
            self._refresh()
        except BaseException:
            self.close()
            raise

    # The tick.

    def _wait_s(self, wait_s: float) -> float:
        due_s = min(self._replica.next_deadline_s, self._linger.until_s)
        return max(0.0, min(wait_s, due_s - self.now_s()))

    def _busy(self) -> bool:
        return self._replica.busy or self._stopping

    def _commit(self) -> None:
        if not (self._journal.dirty or self._identity.dirty or self._transaction is not None):
            self._replica.committed(0.0)
            return
        # Reads whose state is visible already need not wait for this commit.
        self._replica.release_reads()
        if self._lingers():
            return
        transaction = self._open()
        self._journal.write(transaction)
        self._identity.write(transaction)
        began = self.now_s()
        self._transaction = None
        transaction.commit()
        seconds = self.now_s() - began
        self.commit_times.add(seconds)
        self._journal.committed()
        self._identity.committed()
        self._replica.committed(seconds)
        self._transport.committed()

    def _apply_rest(self) -> None:
        """Apply what did not have to be in this tick's commit; the next one takes it along."""
        self._replica.apply_rest()
        if self._journal.dirty:
            self._linger.begin(self.now_s())

    def _lingers(self) -> bool:
        """Return whether applied state waits: what one writer changed goes with the next log."""
        announced = self._announcer.leading or not self.leading()
        waits = self._replica.lingers and announced and not self._outbox
        if not waits or self._journal.log_dirty or self._identity.dirty or self._stopping:
            self._linger.end()
            return False
        return self._linger.holds(self.now_s())

    def _open(self) -> WriteTransaction:
        if self._transaction is None:
            self._transaction = self._kv.begin()
        return self._transaction

    def _send_outbox(self) -> None:
        while self._outbox:
            peer, frame = self._outbox.popleft()
            self._transport.send(peer, frame)
        self._transport.flush()

    def _announce(self) -> None:
        if self._announcer.announce(self._visibly_leading(), self._replica.term):
            self._next_status_s = 0.0

    def _visibly_leading(self) -> bool:
        return (
            self._replica.serving
            and self._journal.stored_applied_index >= self._replica.first_own_index
        )

    def _readable_until(self) -> float:
        """Return until when the store may be read as it is now."""
        if not self._visibly_leading():
            return float("-inf")
        if self._journal.stored_applied_index < self._replica.commit_index:
            return float("-inf")
        return self._replica.lease_until_s

    def _refresh(self) -> None:
        now = self.turned_s = self.now_s()
        if now >= self._next_space_s:
            self._next_space_s = now + _SPACE_PERIOD_S
            self.call(self._ask_space)
        if now >= self._next_status_s:
            self._next_status_s = now + _STATUS_PERIOD_S
            self._status = self._describe()

    def _describe(self) -> RaftStatus:
        leading = self._visibly_leading()
        return self._reporter.describe(self.now_s(), leading, self._space_low, self.commit_times)

    def _ask_space(self) -> None:
        self._space_low = self.space_low_source()

    def _stop_if_condemned(self) -> None:
        if self._condemned is not None:
            logger.error("this member stops for good: %s", self._condemned.message)
            stop_for_good(self._open(), self._condemned)
            transaction, self._transaction = self._transaction, None
            assert transaction is not None
            transaction.commit()
            raise self._condemned

    # Surroundings of the replica.

    def now_s(self) -> float:
        return self._runtime.monotonic_s()

    def uniform(self, low: float, high: float) -> float:
        return self._runtime.uniform(low, high)

    def send_now(self, peer: str, message: Message) -> bool:
        return self._transport.send(peer, encode(message))

    def send_durable(self, peer: str, message: Message) -> None:
        self._outbox.append((peer, encode(message)))

    def writer(self) -> Writer:
        return self._open()

    def introduced(self) -> bool:
        return self._transport.introduced()

    def call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:  # A user's mistake must not stop, or repeat, the tick.
            logger.exception("a callback of the consensus loop failed")

    def space_low(self) -> bool:
        return self._space_low

    def commit_advances(self) -> None:
        self._readable_until_s = float("-inf")

    def members_changed(self) -> None:
        self._transport.set_peers(self._config.peers(self._replica.configuration))
        self._next_status_s = 0.0  # Who hears that it is done asks next who the members are.

    def reads_end(self) -> None:
        self._readable_until_s = float("-inf")

    # User of the transport.

    def peer_up(self, peer: str) -> None:
        self._replica.connected(peer)

    def peer_down(self, peer: str) -> None:
        self._replica.disconnected(peer)

    def received(self, peer: str, frame: bytes) -> None:
        self._replica.receive(peer, decode(frame))
        if self._journal.last_index > 1:
            self._identity.note_held()

    def leading(self) -> bool:
        return self._replica.role == LEADING

    def condemned(self, error: GfsError) -> None:
        if self._condemned is None:
            self._condemned = error
