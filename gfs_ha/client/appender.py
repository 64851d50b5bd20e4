"""Appends records to one file, each exactly once and in order, through whatever fails (C8).

One task per appender listens for acknowledgements. When the stream or the primary fails it asks the
leader for another grant, takes the results that come with it, and has the rest sent again. A record
is sent to a chunk only under a grant of that chunk whose results lacked it; bytes are kept until
they are acknowledged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from gfs_ha.client.append_grants import AppendGrants, AppendTarget, Doubt
from gfs_ha.client.append_queue import AppendQueue, Attached, Earlier, Standing, too_long
from gfs_ha.client.append_records import Appended
from gfs_ha.client.chunk_supply import ChunkSupply
from gfs_ha.client.data_plane import DataPlane, RecordStream, primary_of
from gfs_ha.client.retry import pause_s
from gfs_ha.errors import (
    Busy,
    DeadlineExceeded,
    FileChanged,
    GfsError,
    InvalidArgument,
    NotFound,
    ProtocolError,
    ReplicaError,
    SessionExpired,
    Unavailable,
    UnknownOutcome,
    Unreachable,
    UsageError,
)
from gfs_ha.ids import NO_SESSION, ChunkId, InodeId, ServerId, SessionId, format_id
from gfs_ha.limits import CHUNK_BYTES_MIN, RECORD_BYTES_MAX
from gfs_ha.net.streams import STALL_SLICE_S
from gfs_ha.protocol.append import AppendGrant, AppendResult
from gfs_ha.protocol.metadata import DISK, FileTail
from gfs_ha.runtime import Future, Runtime

logger = logging.getLogger(__name__)

IDLE_SLICE_S = 0.25  # How long the listener waits at a time while no answer is due.
IDLE_S = 10.0  # Without a record the stream is given up, and dialled again for the next one.
SURE_BYTES_MAX = CHUNK_BYTES_MIN // 4  # A record that fits the chunks of every cluster.
SETTLED_WAIT_S = 24 * 3600.0  # The appender itself gives up after a time without progress.
ASK_S_MIN = 1.0
ID_LIFE_S = 12 * 3600.0  # The leader forgets an id 24 h after its last use; long before, renew it.

Data = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class AppenderParts:
    """What all appenders of a client share."""

    grants: AppendGrants
    plane: DataPlane
    supply: ChunkSupply
    runtime: Runtime
    timeout_s: float


class Appender:
    """Appends records to one file. Thread-safe; records of one thread keep their order.

    The timeout of the connection without any progress ends what is under way: a record that was
    never sent with the error, one that was with UnknownOutcome. Later records are tried anew.
    """

    def __init__(
        self,
        parts: AppenderParts,
        target: AppendTarget,
        appender_id: SessionId = NO_SESSION,
        first_sequence: int = 1,
    ) -> None:
        """Nothing is asked before the first record.

        Args: an `appender_id` that was used before goes on from its next sequence; 0 opens one.
        Raises: UsageError.
        """
        target.check()
        self.target = target
        self._parts = parts
        self._runtime = parts.runtime
        self._queue = AppendQueue(target, parts.runtime, first_sequence, self._ensure_driven)
        self._turning = parts.runtime.lock()
        self._asking = parts.runtime.lock()
        self._driven = False
        self._appender_id = appender_id
        self._grant: AppendGrant | None = None
        self._id_since_s = parts.runtime.monotonic_s()
        self._looked_back = False
        self._inode_id = InodeId(0)  # Of the last grant: what is in doubt went there.
        self._refused = ChunkId(0)
        self._trouble: GfsError | None = None
        self._attempts = 0  # Failures without a connection that worked.

    # Callers ------------------------------------------------------------------------------------

    def append(self, data: Data) -> Future[Appended]:
        """Send one record; the future tells where it lies once it is on every replica.

        Waits only while too much is on its way. Raises: InvalidArgument for an empty record,
        LimitExceeded for one that is too long.
        """
        return self.append_all((data,))[0]

    def append_all(self, records: Sequence[Data]) -> list[Future[Appended]]:
        """Send several records, one after the other. Raises: as `append`, before any is sent."""
        if not records:
            return []
        if not min(map(len, records)):
            raise InvalidArgument(f"{self.target.path}: an empty record cannot be appended")
        longest = max(map(len, records))
        if longest > RECORD_BYTES_MAX:
            raise too_long(RECORD_BYTES_MAX)
        if longest > SURE_BYTES_MAX and longest > self.record_bytes_max:
            raise too_long(self.record_bytes_max)
        return self._queue.add_all(
            [data if isinstance(data, bytes) else bytes(data) for data in records]
        )

    @property
    def record_bytes_max(self) -> int:
        """Return how long a record may be; asks for a grant if there is none. Raises: NoLeader…"""
        grant = self._grant
        if grant is None and self.idle:
            self._trouble = None
        while grant is None:
            grant = self._ask(self._parts.timeout_s)
            if grant is None and self._trouble is not None:
                raise self._trouble
        return grant.record_bytes_max

    @property
    def next_sequence(self) -> int:
        """Return the number of the record that is appended next; the first one is 1."""
        return self._queue.next_sequence

    @property
    def appender_id(self) -> SessionId:
        """Return the id that records are sent under; 0 before the first grant."""
        return self._appender_id

    @property
    def idle(self) -> bool:
        """Return whether nothing is under way."""
        return not self._queue.waiting

    @property
    def broken(self) -> GfsError | None:
        """Return the failure behind which an ordered appender appends nothing."""
        return self._queue.broken

    @property
    def ended(self) -> bool:
        """Return whether it was closed, and nothing of it is under way any more."""
        return self._queue.closed and self.idle and not self._driven

    def flush(self, timeout_s: float = SETTLED_WAIT_S) -> None:
        """Wait until everything that was appended is settled.

        Raises: the first error of a record since the last flush; DeadlineExceeded.
        """
        self._queue.wait_settled(timeout_s)

    def close(self, timeout_s: float = SETTLED_WAIT_S) -> None:
        """Take no more records, wait for those under way, hang up. Raises: as `flush`."""
        self._queue.close()
        try:
            self.flush(timeout_s)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End at once; what is under way may or may not be appended. Never waits."""
        self._queue.close()
        self._queue.give_up(UsageError(f"{self.target.path}: the appender was closed"))
        stream = self._queue.stream
        if stream is not None:
            stream.abort()

    def __enter__(self) -> Appender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    # Listening, by one task ---------------------------------------------------------------------

    def _ensure_driven(self) -> None:
        if self._driven:  # Who ends looks at the queue once more, after this is False.
            return
        with self._turning:
            if self._driven:
                return
            self._driven = True
        self._runtime.spawn("appender", self._drive)

    def _drive(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:
            self._queue.close()
            self._queue.give_up(GfsError(f"{self.target.path}: appending broke down: {error!r}"))
            raise
        finally:
            self._queue.detach()
            self._driven = False
        if self._queue.waiting:
            self._ensure_driven()

    def _turn(self) -> bool:
        """Do the next thing; return False when there is nothing left to do."""
        standing = self._queue.standing()
        stream = self._queue.stream
        now_s = self._runtime.monotonic_s()
        if not standing.waiting:
            if stream is None or self._queue.closed or now_s > standing.progress_s + IDLE_S:
                return False
            if self._id_is_old(now_s):
                self._grant = None
                return False
        elif now_s > standing.progress_s + self._parts.timeout_s:
            self._lose_patience()
            return True
        if stream is None:
            self._connect(standing)
        else:
            self._listen(stream, standing.due)
        return True

    def _listen(self, stream: RecordStream, due: bool) -> None:
        try:
            acks = stream.receive(due, STALL_SLICE_S if due else IDLE_SLICE_S)
        except GfsError as error:
            self._queue.detach(unwritten=error.details.get("unwritten") == 1)
            if isinstance(error, Unreachable) and not self._queue.standing().doubtful:
                return  # The primary hung up on an idle stream; its grant may still be good.
            logger.info("append stream lost path=%s why=%s", self.target.path, error.message)
            self._note_trouble(error, self._grant)
            return
        if acks:
            self._attempts = 0
            self._queue.acknowledged(acks)

    def _connect(self, standing: Standing) -> None:
        """Get a grant and a stream to its primary, and send what is not settled."""
        if self._attempts and self._trouble is not None:
            chance = self._runtime.uniform(0.0, 1.0)
            self._runtime.sleep(pause_s(self._trouble, self._attempts - 1, chance))
        grant = self._grant
        if grant is None or standing.doubtful:
            left_s = standing.progress_s + self._parts.timeout_s - self._runtime.monotonic_s()
            grant = self._ask(max(ASK_S_MIN, left_s))
            if grant is None:
                return
        try:
            self._look_back(grant.tail)
            stream = self._parts.plane.append(grant)
        except GfsError as error:
            logger.info("primary not reached path=%s why=%s", self.target.path, error.message)
            self._note_trouble(error, grant)
            return
        attached = Attached(stream, self._appender_id, grant.tail.file_offset)
        self._queue.attach(attached)

    def _look_back(self, tail: FileTail) -> None:
        """Before a writer with a key sends, note what is there: earlier runs put its records."""
        if self.target.key and not self._looked_back:
            length = self._parts.plane.tail_length(primary_of(tail), tail).length
            self._queue.note_earlier(tail.file_offset + length)
            self._looked_back = True

    def _note_trouble(self, error: GfsError, grant: AppendGrant | None) -> None:
        """Note what to avoid from now on: the tail, and the server that is to blame."""
        self._trouble = error
        self._attempts += 1
        self._grant = None
        passing = isinstance(error, Unavailable) and not isinstance(error, Unreachable)
        if grant is None or passing:
            return  # Busy, overloaded: the same primary may take them in a moment.
        self._refused = grant.tail.chunk_id
        if not isinstance(error, ReplicaError | ProtocolError):
            named = error.details.get("server", 0)
            server = ServerId(named) if isinstance(named, int) and named else grant.tail.primary
            self._parts.supply.note_failed((server,))

    def _lose_patience(self) -> None:
        why = f" ({self._trouble.message})" if self._trouble is not None else ""
        timeout_s = self._parts.timeout_s
        error = DeadlineExceeded(
            f"{self.target.path}: no record was acknowledged for {timeout_s:.0f} s{why}"
        )
        if self._queue.stream is not None:
            self._queue.detach()
            self._note_trouble(error, self._grant)
        self._queue.give_up(error)

    # Grants -------------------------------------------------------------------------------------

    def _ask(self, timeout_s: float) -> AppendGrant | None:
        """Return a grant, with what it tells taken in; None when nothing came of it.

        Then the records that it concerns are given up, or it is to be asked again.
        """
        with self._asking:
            standing = self._queue.standing()
            try:
                grant, known = self._ask_leader(standing, timeout_s)
            except SessionExpired as error:
                self._begin_anew(standing, error)
            except (FileChanged, NotFound) as error:
                if standing.doubtful:
                    why = f"{self.target.path} was removed or replaced meanwhile"
                    self._queue.give_up_doubtful(FileChanged(f"{why} ({error.message})"))
                else:
                    self._give_up(error)
            except GfsError as error:
                self._give_up(error)
            else:
                return self._accept(grant, known)
            return None

    def _ask_leader(
        self, standing: Standing, timeout_s: float
    ) -> tuple[AppendGrant, dict[int, AppendResult]]:
        grants, target = self._parts.grants, self.target
        now_s = self._runtime.monotonic_s()
        old = self._id_is_old(now_s) and (target.key or not standing.doubtful)
        if self._appender_id == NO_SESSION or old:
            expected = self._appender_id if standing.doubtful else NO_SESSION
            self._appender_id = grants.open_appender(target, timeout_s, expected)
            self._id_since_s = now_s
        pinned = self._inode_id if standing.doubtful else InodeId(0)
        doubt = Doubt(standing.doubtful, self._refused, pinned)
        if target.key:
            found = grants.ask_whole_window(
                target, self._appender_id, standing.first, doubt, timeout_s
            )
        else:
            found = grants.ask(target, self._appender_id, doubt, timeout_s), {}
        if found[0].expired:
            raise SessionExpired(f"{target.path} has forgotten the records of this writer")
        return found

    def _id_is_old(self, now_s: float) -> bool:
        return now_s > self._id_since_s + ID_LIFE_S

    def _accept(self, grant: AppendGrant, known: dict[int, AppendResult]) -> AppendGrant | None:
        self._inode_id = grant.inode_id
        self._refused = ChunkId(0)
        done_below = grant.window_start if self.target.key else 0
        self._queue.learn(grant.results, Earlier(known, done_below), grant.record_bytes_max)
        if self.target.durability == DISK and grant.durability != DISK:
            # Others append to memory. Once that tail is sealed it is on the disks, too.
            self._refused = grant.tail.chunk_id
            return None
        self._grant = grant
        logger.info(
            "append granted path=%s chunk=%s primary=%d",
            *(self.target.path, format_id(grant.tail.chunk_id), grant.tail.primary),
        )
        return grant

    def _begin_anew(self, standing: Standing, error: GfsError) -> None:
        """Go on under another id; nothing can be told of the records in doubt any more."""
        if self.target.key and not standing.doubtful:
            what = f"which records of id {self.target.key!r} are in it is not known any more"
            self._give_up(
                UnknownOutcome(
                    f"{self.target.path}: {what} ({error.message}); look at the file, and use "
                    "another id"
                )
            )
            return
        self._queue.give_up_doubtful(error)
        self._appender_id = NO_SESSION

    def _give_up(self, error: GfsError) -> None:
        if isinstance(error, Busy):
            why = (self._trouble or error).message
            error = Busy(f"{self.target.path}: nobody could take the records in time ({why})")
        self._trouble = error
        self._queue.give_up(error)
