"""The one tree of errors: what went wrong, whose fault it is, and whether a retry can help.

    GfsError
    +- Refused                    a rule of the replicated state says no; recorded everywhere alike
    |  +- NotFound  AlreadyExists  NotADirectory  IsADirectory  DirectoryNotEmpty  InvalidPath
    |  +- InvalidArgument  LimitExceeded  PreconditionFailed  NoSpace  TooFewCopies  NoServers
    |  +- UnknownChunk  UnknownServer  WrongState  NotClaimed  Held
    |  +- NotInitialized  AlreadyInitialized  SessionExpired  WindowFull  StaleCommand
    |  `- InternalError           our own mistake in a step, recorded without writes
    +- Unavailable                temporary; a retry can help
    |  +- NotLeader  NoLeader  Busy  Overloaded  Unreachable  TicketRefused  NotReady
    |  `- UnknownOutcome             applied or not: only the same request may be sent again
    +- DeadlineExceeded  Cancelled
    +- DataError                  bytes that are damaged, gone or out of reach
    |  +- CorruptData  ChunkUnavailable  RangeGone  FileChanged  StateDiverged
    +- ReplicaError               one replica says no; another chunk or replica may do
    |  +- Fenced  WrongBirth  WrongOffset  StaleEpoch  StaleOrder
    |  +- UnknownReplica  ReplicaBusy  TailFull  ReplicaDamaged
    +- LocalError                 this machine
    |  +- DiskFull  DiskFailed  WrongDirectory  PortTaken
    +- Denied
    |  +- WrongCluster  OldCopy  NewerIncarnation
    +- ProtocolError              the peer broke the protocol
    +- ConfigError  UsageError  PartlyDone  Unhealthy

A message names the thing and the next step. An error that crosses a process travels as (code,
message, details).
"""

from __future__ import annotations

from typing import ClassVar


class GfsError(Exception):
    """The root of everything that gfs-ha raises on purpose.

    Args: `message` is one line a person can act on; `details` are plain facts that travel with it
    (strings and integers only).
    """

    exit_status: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str | int] = details

    @property
    def code(self) -> str:
        """Return the stable name of the error, the same in every process and release."""
        return type(self).__name__


class Refused(GfsError):
    """A rule of the replicated state refuses the command; retrying it changes nothing."""


class NotFound(Refused):
    exit_status = 3


class AlreadyExists(Refused):
    exit_status = 4


class NotADirectory(Refused):
    exit_status = 4


class IsADirectory(Refused):
    exit_status = 4


class DirectoryNotEmpty(Refused):
    exit_status = 4


class InvalidPath(Refused):
    exit_status = 2


class InvalidArgument(Refused):
    exit_status = 2


class LimitExceeded(Refused):
    exit_status = 2


class PreconditionFailed(Refused):
    exit_status = 4


class NoSpace(Refused):
    exit_status = 7


class TooFewCopies(Refused):
    exit_status = 5


class NoServers(Refused):
    """No chunkserver can take the chunk now (none registered, all suspect, full or excluded)."""

    exit_status = 5
    retryable = True


class UnknownChunk(Refused):
    exit_status = 3


class UnknownServer(Refused):
    exit_status = 3


class WrongState(Refused):
    """The object is not in the state that the command needs (for example already sealed)."""

    exit_status = 4


class NotClaimed(Refused):
    """The session does not claim the chunk (any more)."""


class Held(Refused):
    exit_status = 5
    retryable = True


class NotInitialized(Refused):
    exit_status = 5
    retryable = True


class AlreadyInitialized(Refused):
    exit_status = 4


class SessionExpired(Refused):
    """The session is unknown or expired, or the answer was evicted: the outcome is unknown."""


class WindowFull(Refused):
    exit_status = 5
    retryable = True


class StaleCommand(Refused):
    """A command of the leader compared before it wrote, and what it saw has changed meanwhile."""


class InternalError(Refused):
    """Our own mistake inside a step: recorded without writes and raised in `admin health`."""


class Unavailable(GfsError):
    """Temporary: a later try can succeed."""

    exit_status = 5
    retryable = True


class NotLeader(Unavailable):
    """This master does not lead. `details["leader"]` names the one that does, if it is known."""


class NoLeader(Unavailable):
    pass


class Busy(Unavailable):
    """Someone else holds it for a moment. `details["retry_ms"]` says when to come again."""


class Overloaded(Unavailable):
    pass


class Unreachable(Unavailable):
    pass


class TicketRefused(Unavailable):
    """A data port does not let this through; `details["reason"]` says why. Ask for a new ticket."""


class NotReady(Unavailable):
    pass


class UnknownOutcome(Unavailable):
    """The request may or may not have been applied; only the same request may be sent again."""


class DeadlineExceeded(GfsError):
    exit_status = 10


class Cancelled(GfsError):
    """The caller does not want it any more."""

    exit_status = 130


class DataError(GfsError):
    exit_status = 9


class CorruptData(DataError):
    pass


class ChunkUnavailable(DataError):
    pass


class RangeGone(DataError):
    pass


class FileChanged(DataError):
    """The content that was pinned at open is not the file's content any more; start over."""

    retryable = True


class StateDiverged(DataError):
    """A master's tables are not those of the majority: it must not serve or vote again."""


class ReplicaError(GfsError):
    """One replica refuses; another replica or another chunk may do."""


class Fenced(ReplicaError):
    pass


class WrongBirth(ReplicaError):
    pass


class WrongOffset(ReplicaError):
    """An append did not start at the exact end. `details["end"]` is the end that counts."""


class StaleEpoch(ReplicaError):
    pass


class StaleOrder(ReplicaError):
    """A newer order on this chunk was obeyed before; this one is ignored (G1)."""


class UnknownReplica(ReplicaError):
    pass


class ReplicaBusy(ReplicaError):
    retryable = True


class TailFull(ReplicaError):
    """The open tail takes no more records; the next one is opened by asking for a grant."""


class ReplicaDamaged(ReplicaError):
    pass


class LocalError(GfsError):
    pass


class DiskFull(LocalError):
    exit_status = 7


class DiskFailed(LocalError):
    pass


class WrongDirectory(LocalError):
    """A data directory belongs to another cluster, server or kind of process."""

    exit_status = 4


class PortTaken(LocalError):
    exit_status = 4


class Denied(GfsError):
    exit_status = 6


class WrongCluster(Denied):
    pass


class OldCopy(Denied):
    """A member runs on an old copy of its disk, or on an empty one: it must not vote again."""


class NewerIncarnation(Denied):
    pass


class ProtocolError(GfsError):
    pass


class ConfigError(GfsError):
    exit_status = 2


class UsageError(GfsError):
    exit_status = 2


class PartlyDone(GfsError):
    exit_status = 11


class Unhealthy(GfsError):
    exit_status = 8


def _tree(root: type[GfsError]) -> dict[str, type[GfsError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


_BY_CODE = _tree(GfsError)


def error_from_wire(code: str, message: str, details: dict[str, str | int]) -> GfsError:
    """Return the error that another process described.

    A code that this release does not know becomes a plain GfsError that keeps the code in its text.
    """
    kind = _BY_CODE.get(code)
    if kind is None:
        return GfsError(f"{code}: {message}", **details)
    return kind(message, **details)
