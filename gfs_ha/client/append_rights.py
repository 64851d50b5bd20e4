"""The grant of an appender: asked for when it is missing, judged by what comes of it (C8).

A grant tells what became of the records in doubt. When the path leads to another file by now these
are asked for by the file that they were sent to, and what is not in it goes where the path leads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gfs_ha.client.append_grants import AppendGrants, AppendTarget, Doubt
from gfs_ha.client.append_identity import AppenderIdentity
from gfs_ha.client.append_queue import AppendQueue, Earlier, Standing
from gfs_ha.client.chunk_supply import ChunkSupply
from gfs_ha.client.data_plane import DataPlane, primary_of
from gfs_ha.client.passes import NOT_GIVEN
from gfs_ha.errors import (
    Busy,
    DiskFailed,
    DiskFull,
    FileChanged,
    GfsError,
    NotFound,
    ProtocolError,
    ReplicaError,
    SessionExpired,
    TicketRefused,
    Unavailable,
    UnknownOutcome,
    Unreachable,
)
from gfs_ha.ids import ANY_DISK, ChunkId, InodeId, ServerId, format_id
from gfs_ha.protocol.append import AppendGrant, AppendResult
from gfs_ha.protocol.metadata import DISK
from gfs_ha.runtime import Runtime

logger = logging.getLogger(__name__)

ASK_S_MIN = 1.0
# Times, some seconds, that a server is asked again which is full before it knows who asks. That
# comes in clear: it may be an invention of whoever is on the way to this one server.
FULL_MAX = 8
REFUSED_MAX = 2  # The same of a refusal, each time of the next tail: then its server is avoided.


@dataclass(frozen=True, slots=True)
class AppenderParts:
    """What all appenders of a client share."""

    grants: AppendGrants
    plane: DataPlane
    supply: ChunkSupply
    runtime: Runtime
    timeout_s: float


class AppendRights:
    """Whoever asks holds a lock; without a grant no stream is attached to the queue."""

    def __init__(
        self,
        parts: AppenderParts,
        target: AppendTarget,
        queue: AppendQueue,
        identity: AppenderIdentity,
    ) -> None:
        self._parts = parts
        self._target = target
        self._queue = queue
        self._identity = identity
        self._asking = parts.runtime.lock()
        self._grant: AppendGrant | None = None
        self._looked_back = False
        self._inode_id = InodeId(0)  # Of the last grant: what is in doubt went there.
        self._chunk_id = ChunkId(0)  # Of the last stream.
        self._refused = ChunkId(0)
        self.trouble: GfsError | None = None
        self.attempts = 0  # Failures without a connection that worked; each is a longer pause.
        self._worked = False  # Since the last one.

    def limit(self) -> int:
        """Return how long a record may be. Raises: why there is no grant."""
        grant = self._grant
        if grant is None and not self._queue.waiting:
            self.trouble = None
        while grant is None:
            with self._asking:
                # Who listens may have got one meanwhile, and sent records under it: then they would
                # be asked about although they are on their way.
                grant = self._grant or self._ask(self._parts.timeout_s)
            if grant is None and self.trouble is not None:
                raise self.trouble
        return grant.record_bytes_max

    def get(self, standing: Standing, timeout_s: float) -> AppendGrant | None:
        """Return a grant under which what is not settled may be sent; None when there is none now.

        For who listens, while no stream is attached.
        """
        grant = self._grant
        if grant is not None and not standing.doubtful and not self._identity.due:
            return grant
        with self._asking:
            return self._ask(timeout_s)

    def renew(self) -> None:
        """Have the leader keep the id; records go on meanwhile, whatever comes of it."""
        try:
            with self._asking:
                self._identity.ensure(in_doubt=True, timeout_s=ASK_S_MIN)
        except GfsError as error:
            # If it is forgotten already, the next grant says so.
            logger.warning("id not renewed path=%s why=%s", self._target.path, error.message)
            self._identity.put_off()

    def look_back(self, grant: AppendGrant) -> None:
        """Before a writer with a key sends, note what is there: earlier runs put its records."""
        if self._target.key and not self._looked_back:
            tail = grant.tail
            length = self._parts.plane.tail_length(primary_of(tail), tail).length
            self._queue.note_earlier(tail.file_offset + length)
            self._looked_back = True

    def note_sent(self, grant: AppendGrant) -> None:
        """Note to which chunk records go from now on."""
        self._chunk_id = grant.tail.chunk_id

    def worked(self) -> None:
        """Note that records are acknowledged."""
        self.attempts = 0
        self._worked = True

    def note_trouble(self, error: GfsError) -> None:
        """Note what to avoid from now on: the tail, and the server that is to blame."""
        self.trouble = error
        over = isinstance(error, Unreachable | TicketRefused) and not _ended_with_ticket(error)
        in_clear = error.details.get("in_clear") == 1
        full = in_clear and self.attempts >= FULL_MAX
        passing = isinstance(error, Unavailable) and not over and not full
        if passing or not self._worked:
            self.attempts += 1  # Else the tail took records until now: ask for the next at once.
        self._worked = False
        if passing:
            return  # Busy, overloaded: the same primary may take them in a moment.
        grant, self._grant = self._grant, None
        if grant is None or error.details.get("reason") == NOT_GIVEN:
            return  # Whoever gives the next grant knows what is with the tail.
        self._refused = grant.tail.chunk_id
        doubted = in_clear and self.attempts > REFUSED_MAX
        if doubted or not isinstance(error, ReplicaError | ProtocolError | TicketRefused):
            named = error.details.get("server", 0)
            server = ServerId(named) if isinstance(named, int) and named else grant.tail.primary
            of_disk = isinstance(error, DiskFailed | DiskFull)
            places = {one.server_id: one.disk_id for one in grant.tail.replicas if of_disk}
            disk_id = places.get(server, ANY_DISK)
            self._parts.supply.note_failed(*(((), (disk_id,)) if disk_id else ((server,), ())))

    def _ask(self, timeout_s: float) -> AppendGrant | None:
        """Return a grant, with what it tells taken in; None when nothing came of it.

        Then the records that it concerns are given up, or it is to be asked again.
        """
        standing = self._queue.standing()
        try:
            grant, known = self._ask_leader(standing, timeout_s)
        except SessionExpired as error:
            self._begin_anew(standing, error)
        except (FileChanged, NotFound) as error:
            if standing.doubtful:
                self._find(standing, timeout_s)
            else:
                self._give_up(error)
        except GfsError as error:
            self._give_up(error)
        else:
            return self._accept(grant, known)
        return None

    def _find(self, standing: Standing, timeout_s: float) -> None:
        """Settle what was sent to a file that was moved, removed or replaced meanwhile.

        What is not in it goes on with the path, to the file that is there now.
        """
        sent_to = self._inode_id, self._chunk_id
        sequences = standing.doubtful
        try:
            found = self._parts.grants.find(sent_to, self._identity.value, sequences, timeout_s)
        except SessionExpired as error:
            self._begin_anew(standing, error)
            return
        except GfsError as error:
            self._give_up(error)
            return
        told = {one.sequence for one in found.results}
        done = {one for one in sequences if one < found.window_start} - told
        lacking = set(sequences) - told - done
        self._queue.learn_elsewhere(found.results, done, () if found.expired else lacking)
        if found.expired and lacking:
            why = f"{self._target.path} was removed or replaced, and it is forgotten what was in it"
            self._queue.give_up_doubtful(FileChanged(why))
        logger.info("append follows path=%s inode=%d", self._target.path, self._inode_id)
        self._inode_id, self._chunk_id, self._refused = InodeId(0), ChunkId(0), ChunkId(0)
        self._grant, self._looked_back = None, False

    def _ask_leader(
        self, standing: Standing, timeout_s: float
    ) -> tuple[AppendGrant, dict[int, AppendResult]]:
        grants, target = self._parts.grants, self._target
        appender_id = self._identity.ensure(bool(standing.doubtful), timeout_s)
        pinned = self._inode_id if standing.doubtful else InodeId(0)
        doubt = Doubt(standing.doubtful, self._refused, pinned)
        if target.key:
            found = grants.ask_whole_window(target, appender_id, standing.first, doubt, timeout_s)
        else:
            found = grants.ask(target, appender_id, doubt, timeout_s), {}
        if found[0].expired:
            raise SessionExpired(f"{target.path} has forgotten the records of this writer")
        return found

    def _accept(self, grant: AppendGrant, known: dict[int, AppendResult]) -> AppendGrant | None:
        self._inode_id = grant.inode_id
        self._refused = ChunkId(0)
        done_below = grant.window_start if self._target.key else 0
        self._queue.learn(grant.results, Earlier(known, done_below), grant.record_bytes_max)
        if self._target.durability == DISK and grant.durability != DISK:
            # Others append to memory. Once that tail is sealed it is on the disks, too.
            self._refused = grant.tail.chunk_id
            return None
        self._grant = grant
        logger.info(
            "append granted path=%s chunk=%s primary=%d",
            *(self._target.path, format_id(grant.tail.chunk_id), grant.tail.primary),
        )
        return grant

    def _begin_anew(self, standing: Standing, error: GfsError) -> None:
        """Go on under another id; nothing can be told of the records in doubt any more."""
        if self._target.key and not standing.doubtful:
            what = f"which records of id {self._target.key!r} are in it is not known any more"
            self._give_up(
                UnknownOutcome(
                    f"{self._target.path}: {what} ({error.message}); look at the file, and use "
                    "another id"
                )
            )
            return
        self._queue.give_up_doubtful(error)
        self._identity.forget()

    def _give_up(self, error: GfsError) -> None:
        if isinstance(error, Busy) and error.details.get("blocked"):
            what = f"no record can be appended before its end is known: {error.message}"
            error = Busy(f"{self._target.path}: {what}; bring these servers back")
        elif isinstance(error, Busy):
            why = (self.trouble or error).message
            error = Busy(f"{self._target.path}: nobody could take the records in time ({why})")
        self.trouble = error
        self._queue.give_up(error)


def _ended_with_ticket(error: GfsError) -> bool:
    """Return whether only the ticket of a stream ended: the next one has a new one."""
    return isinstance(error, TicketRefused) and error.details.get("unwritten") == 1
