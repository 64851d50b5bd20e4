"""Looks whether the records that an earlier run of an id appended are the ones of this input."""

from __future__ import annotations

from collections import deque

from gfs_ha.cli.session import Session
from gfs_ha.client.append_records import Appended
from gfs_ha.errors import FileChanged, NotFound, PreconditionFailed, Unavailable
from gfs_ha.ids import InodeId
from gfs_ha.limits import KIB, MIB

_KEPT_BYTES = 64 * MIB  # Of records, until they are compared; those before are not.
_READ_BYTES = 256 * KIB
_FIRST_GENERATION = 1


class AppendedBefore:
    """Keeps the newest records that were appended before, and compares them with the file.

    A record is known by its number and its length; other bytes of that length would be taken for
    appended, and be lost without a word.
    """

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._path = path
        self._kept: deque[tuple[Appended, bytes]] = deque()
        self._bytes = 0
        self._inode_id = InodeId(0)

    def note(self, done: Appended, data: bytes) -> None:
        """Keep a record of an earlier run, if it is known where it lies."""
        if not done.before or done.offset < 0:
            return
        if not self._kept:
            self._inode_id = self._session.cluster.stat(self._path).inode_id
        self._kept.append((done, data))
        self._bytes += len(data)
        while self._bytes > _KEPT_BYTES:
            self._bytes -= len(self._kept.popleft()[1])

    def check(self) -> None:
        """Compare. Raises: PreconditionFailed when this is not the input of the earlier run."""
        if not self._kept:
            return
        try:
            other = self._other()
        except (FileChanged, NotFound, Unavailable) as error:
            self._session.warn(f"what was appended before could not be compared: {error.message}")
            return
        if other:
            raise PreconditionFailed(
                f"{self._path}: record {other} was appended before with other bytes: this is not "
                "the same input; use another id"
            )

    def _other(self) -> int:
        """Return the first record that has other bytes in the file, or 0."""
        cluster = self._session.cluster
        status = cluster.stat(self._path)
        if (status.inode_id, status.generation) != (self._inode_id, _FIRST_GENERATION):
            return 0  # Another file, or one whose bytes were changed: it proves nothing.
        with cluster.open(self._path, "rb") as file:
            at, window = 0, b""
            for done, data in self._kept:
                if not at <= done.offset <= at + len(window) - len(data):
                    file.seek(done.offset)
                    at, window = done.offset, file.read(max(len(data), _READ_BYTES))
                if window[done.offset - at :][: len(data)] != data:
                    return done.sequence
        return 0
