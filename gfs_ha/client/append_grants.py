"""The right to append, asked of the leader: who appends, to which file, through which primary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from msgspec import structs

from gfs_ha.client.account import own_account
from gfs_ha.client.chunk_supply import ChunkSupply
from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.client.locations import Here
from gfs_ha.client.session import Session
from gfs_ha.errors import (
    AlreadyExists,
    GfsError,
    NoServers,
    NotFound,
    SessionExpired,
    UnknownOutcome,
    UsageError,
    error_from_wire,
)
from gfs_ha.ids import NO_SESSION, ChunkId, InodeId, SessionId
from gfs_ha.limits import APPEND_WINDOW
from gfs_ha.protocol.append import (
    AppendGrant,
    AppendResult,
    FindRecords,
    GrantAppend,
    RecordsFound,
)
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.metadata import (
    DISK,
    MEMORY,
    OpenSession,
    Publish,
    Published,
    PublishFile,
    SessionOpened,
)
from gfs_ha.runtime import Runtime

T = TypeVar("T")

FILE_MODE = 0o644
KEY_BYTES_MAX = 255
_CREATIONS_MAX = 4  # A file that others remove as often as it is made is given up then.


NO_CHUNK = ChunkId(0)
NO_INODE = InodeId(0)


@dataclass(frozen=True, slots=True)
class AppendTarget:
    """Where records go, and whose they are.

    With a `key` the writer is the same one in every run that names it, and its record i is always
    record i: what an earlier run appended is found again instead of appended twice. `ordered`: once
    a record fails, none behind it is appended any more.
    """

    path: str
    durability: str = DISK
    key: str = ""
    ordered: bool = False

    def check(self) -> None:
        """Raises: UsageError."""
        if self.durability not in (DISK, MEMORY):
            raise UsageError(f"durability {self.durability!r}; there are disk and memory")
        if len(self.key.encode()) > KEY_BYTES_MAX:
            raise UsageError(f"an id of more than {KEY_BYTES_MAX} bytes: {self.key[:32]!r}…")


@dataclass(frozen=True, slots=True)
class Doubt:
    """What an appender wants to know or avoid when it asks for a grant.

    `inode_id` is the file that the records in doubt were sent to, 0 when none is in doubt.
    """

    sequences: Sequence[int] = ()
    refused: ChunkId = NO_CHUNK
    inode_id: InodeId = NO_INODE


class AppendGrants:
    """Asks for grants. Thread-safe."""

    def __init__(
        self,
        calls: ClusterCalls,
        session: Session,
        supply: ChunkSupply,
        here: Here,
        runtime: Runtime,
    ) -> None:
        self._calls = calls
        self._session = session
        self._supply = supply
        self._here = here
        self._runtime = runtime

    def open_appender(
        self, key: str, timeout_s: float, expected: SessionId = NO_SESSION
    ) -> SessionId:
        """Return the id that records are sent under; the one of before for a key that lives.

        Raises: SessionExpired when an `expected` one does not live any more.
        """
        request = OpenSession(f"{self._here.machine} appends", key)
        found = self._calls.ask(request, SessionOpened, timeout_s).session_id
        if expected not in (NO_SESSION, found):
            raise SessionExpired(f"the id {key!r} was forgotten meanwhile")
        return found

    def ask(
        self, target: AppendTarget, appender: SessionId, doubt: Doubt, timeout_s: float
    ) -> AppendGrant:
        """Return a grant; a file that is missing is made, unless records are in doubt.

        Raises: FileChanged when the path names another file than that of the records in doubt, and
        NotFound when it names none; SessionExpired; NoServers, NoSpace, IsADirectory, NoLeader…
        """
        assert appender != NO_SESSION
        request = GrantAppend(
            path=target.path,
            appender=appender,
            sequences=tuple(doubt.sequences),
            refused=doubt.refused,
            failed=self._supply.failed(),
            machine=self._here.machine,
            rack=self._here.rack,
            durability=target.durability,
            inode_id=doubt.inode_id,
            failed_disks=self._supply.failed_disks(),
        )
        for attempt in range(_CREATIONS_MAX):
            try:
                return self._ask(request, timeout_s)
            except NotFound:
                if doubt.inode_id or attempt + 1 == _CREATIONS_MAX:
                    raise
            self._create(target.path)
        raise AssertionError("unreachable")

    def ask_whole_window(
        self,
        target: AppendTarget,
        appender: SessionId,
        first: int,
        doubt: Doubt,
        timeout_s: float,
    ) -> tuple[AppendGrant, dict[int, AppendResult]]:
        """Return a grant, and all that the file's table knows of a writer that had runs before.

        Records that it appended lie below the window start in that table or in one window from it;
        so that window is asked for, whatever records are here already.
        """
        while True:
            asked = range(first, first + APPEND_WINDOW)
            doubt = replace_sequences(doubt, asked)
            grant = self.ask(target, appender, doubt, timeout_s)
            if grant.window_start <= first:
                return grant, {one.sequence: one for one in grant.results}
            first = grant.window_start

    def find(
        self,
        sent_to: tuple[InodeId, ChunkId],
        appender: SessionId,
        sequences: Sequence[int],
        timeout_s: float,
    ) -> RecordsFound:
        """Return what became of records that were sent to a file, whatever it is called now.

        Args: `sent_to` is that file, and the chunk that got them last. Raises: SessionExpired…
        """
        request = FindRecords(*sent_to, appender, tuple(sequences))
        return self._settle(request, RecordsFound, timeout_s)

    def _ask(self, request: GrantAppend, timeout_s: float) -> AppendGrant:
        if request.failed or request.failed_disks:
            try:
                return self._settle(request, AppendGrant, timeout_s, (NoServers,))
            except NoServers:
                # Better a server that may have recovered than none.
                request = structs.replace(request, failed=(), failed_disks=())
        return self._settle(request, AppendGrant, timeout_s)

    def _settle(
        self,
        request: GrantAppend | FindRecords,
        kind: type[T],
        timeout_s: float,
        give_up: tuple[type[GfsError], ...] = (),
    ) -> T:
        # A read under the appender's own session: it lives, and none of its numbers is used.
        asked = (Asked(request, request.appender),)
        try:
            return expect(self._calls.settle(asked, timeout_s, give_up)[0], kind)
        except UnknownOutcome as error:
            # A question changes nothing that matters here: what counts is why it has no answer.
            cause = str(error.details.get("cause", error.code))
            raise error_from_wire(cause, error.message, {}) from error

    def _create(self, path: str) -> None:
        """Make an empty file, if there is none. Raises: NotFound for a missing directory."""
        owner, group = own_account()
        now_ns = self._runtime.wall_ns()
        file = PublishFile(path, 0, FILE_MODE, now_ns, owner=owner, group=group, if_absent=True)
        published = self._session.change(Publish((file,)), Published).files[0]
        if published.error and published.error != AlreadyExists.__name__:
            raise error_from_wire(published.error, published.message, {})


def replace_sequences(doubt: Doubt, sequences: Sequence[int]) -> Doubt:
    """Return the same with other sequences."""
    return Doubt(sequences, doubt.refused, doubt.inode_id)
