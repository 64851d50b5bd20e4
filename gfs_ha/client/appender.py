"""Appends records to one file, each exactly once and in order, through whatever fails (C8).

One task per appender listens for acknowledgements. When the stream or the primary fails it asks the
leader for another grant, takes the results that come with it, and has the rest sent again. A record
is sent to a chunk only under a grant of that chunk whose results lacked it; bytes are kept until
they are acknowledged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType

from gfs_ha.client.append_grants import AppendTarget
from gfs_ha.client.append_identity import AppenderIdentity
from gfs_ha.client.append_queue import AppendQueue, Attached, Standing, too_long
from gfs_ha.client.append_records import Appended
from gfs_ha.client.append_rights import ASK_S_MIN, AppenderParts, AppendRights
from gfs_ha.client.data_plane import RecordStream
from gfs_ha.client.retry import pause_s
from gfs_ha.errors import (
    DeadlineExceeded,
    GfsError,
    InvalidArgument,
    Unreachable,
    UsageError,
)
from gfs_ha.ids import SessionId
from gfs_ha.limits import CHUNK_BYTES_MIN, RECORD_BYTES_MAX
from gfs_ha.net.streams import STALL_SLICE_S
from gfs_ha.runtime import Future

logger = logging.getLogger(__name__)

IDLE_SLICE_S = 0.25  # How long the listener waits at a time while no answer is due.
IDLE_S = 10.0  # Without a record the stream is given up, and dialled again for the next one.
SURE_BYTES_MAX = CHUNK_BYTES_MIN // 4  # A record that fits the chunks of every cluster.
SETTLED_WAIT_S = 24 * 3600.0  # The appender itself gives up after a time without progress.

Data = bytes | bytearray | memoryview


class Appender:
    """Appends records to one file. Thread-safe; records of one thread keep their order.

    The timeout of the connection without any progress ends what is under way: a record that was
    never sent with the error, one that was with UnknownOutcome. Later records are tried anew.
    """

    def __init__(
        self,
        parts: AppenderParts,
        target: AppendTarget,
        identity: AppenderIdentity | None = None,
        first_sequence: int = 1,
    ) -> None:
        """Nothing is asked before the first record.

        Args: an `identity` that was used before goes on from its next sequence.
        Raises: UsageError.
        """
        target.check()
        self.target = target
        self._parts = parts
        self._runtime = parts.runtime
        self._queue = AppendQueue(target, parts.runtime, first_sequence, self._ensure_driven)
        self._turning = parts.runtime.lock()
        self._driven = False
        self.identity = identity or AppenderIdentity(parts.grants, target, parts.runtime)
        self._rights = AppendRights(parts, target, self._queue, self.identity)

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
        return self._rights.limit()

    @property
    def next_sequence(self) -> int:
        """Return the number of the record that is appended next; the first one is 1."""
        return self._queue.next_sequence

    @property
    def appender_id(self) -> SessionId:
        """Return the id that records are sent under; 0 before the first grant."""
        return self.identity.value

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
        elif now_s > standing.progress_s + self._parts.timeout_s:
            self._lose_patience()
            return True
        if stream is None:
            self._connect(standing)
        else:
            if self.identity.due:
                self._rights.renew()
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
            self._rights.note_trouble(error)
            return
        if acks:
            self._rights.worked()
            self._queue.acknowledged(acks)

    def _connect(self, standing: Standing) -> None:
        """Get a grant and a stream to its primary, and send what is not settled."""
        rights = self._rights
        if rights.attempts and rights.trouble is not None:
            chance = self._runtime.uniform(0.0, 1.0)
            self._runtime.sleep(pause_s(rights.trouble, rights.attempts - 1, chance))
        left_s = standing.progress_s + self._parts.timeout_s - self._runtime.monotonic_s()
        grant = rights.get(standing, max(ASK_S_MIN, left_s))
        if grant is None:
            return
        try:
            rights.look_back(grant)
            stream = self._parts.plane.append(grant)
        except GfsError as error:
            logger.info("primary not reached path=%s why=%s", self.target.path, error.message)
            rights.note_trouble(error)
            return
        rights.note_sent(grant)
        self._queue.attach(Attached(stream, self.identity.value, grant.tail.file_offset))

    def _lose_patience(self) -> None:
        trouble = self._rights.trouble
        why = f" ({trouble.message})" if trouble is not None else ""
        timeout_s = self._parts.timeout_s
        error = DeadlineExceeded(
            f"{self.target.path}: no record was acknowledged for {timeout_s:.0f} s{why}"
        )
        if self._queue.stream is not None:
            self._queue.detach()
            self._rights.note_trouble(error)
        self._queue.give_up(error)
