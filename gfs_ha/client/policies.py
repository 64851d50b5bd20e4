"""How files are kept: what directories say about new ones, and how many copies a file wants.

Who writes asks the leader what holds where its file will be, and believes that for a few seconds:
a policy that is changed reaches writers that run already after that.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.namespace import Namespace, check_path
from gfs_ha.client.session import Session
from gfs_ha.errors import GfsError
from gfs_ha.protocol.metadata import DISK, Done, FileStatus
from gfs_ha.protocol.policy import (
    GetPolicy,
    PolicyReport,
    SetPolicy,
    SetReplication,
    UnsetPolicy,
)
from gfs_ha.runtime import Runtime

BELIEVED_S = 5.0
_KNOWN_MAX = 4_096  # Directories whose policy is remembered.


class Policies:
    """What directories and files of a cluster say of how they are kept. Thread-safe."""

    def __init__(
        self, calls: ClusterCalls, session: Session, namespace: Namespace, runtime: Runtime
    ) -> None:
        self._calls = calls
        self._session = session
        self._namespace = namespace
        self._runtime = runtime
        self._lock = runtime.lock()
        self._known: dict[str, tuple[float, PolicyReport]] = {}
        self._none_until_s = 0.0  # Till then no directory at all is believed to say anything.

    def get(self, path: str) -> PolicyReport:
        """Return what a directory says and what holds below it, or how a file is kept.

        Raises: NotFound, NotADirectory.
        """
        return self._calls.ask(GetPolicy(check_path(path)), PolicyReport)

    def set(
        self,
        path: str,
        *,
        replicas: int | None = None,
        rule: str | None = None,
        chunk_bytes: int | None = None,
        durability: str | None = None,
    ) -> None:
        """Let a directory say how new files below it are kept; None leaves a field as it is.

        0 or empty leaves it to the directories above. `rule` is `seed`, `spread` or `hdfs`,
        `durability` is `disk` or `memory`: for writers below it that do not say it themselves.
        Raises: NotFound, NotADirectory, InvalidArgument, LimitExceeded.
        """
        asked = SetPolicy(check_path(path), replicas, rule, chunk_bytes, durability)
        self._session.change(asked, Done)
        self._forget()

    def unset(self, path: str) -> None:
        """Let a directory say nothing any more. Raises: NotFound, NotADirectory."""
        self._session.change(UnsetPolicy(check_path(path)), Done)
        self._forget()

    def set_replication(self, path: str, replicas: int) -> FileStatus:
        """Let a file want so many copies of what it holds and will hold; 0: as many as usual.

        Its chunks follow: more copies are made, those beyond are dropped. Bytes that another file
        shares are kept in as many copies as the one wants that wants most. Raises: IsADirectory…
        """
        return self._session.change(SetReplication(check_path(path), replicas), FileStatus)

    def set_replication_all(self, paths: Sequence[str], replicas: int) -> list[GfsError | None]:
        """Do so for many files; return for each what refused it, or None."""
        return self._namespace.change_all([SetReplication(path, replicas) for path in paths])

    def of_new_file(self, path: str) -> PolicyReport | None:
        """Return what a new file gets at a path; None when no directory says anything."""
        directory, now_s = posixpath.dirname(path), self._runtime.monotonic_s()
        with self._lock:
            if now_s < self._none_until_s:
                return None
            known = self._known.get(directory)
        if known is not None and now_s < known[0]:
            return known[1]
        found = self._calls.ask(GetPolicy(directory, nearest=True), PolicyReport)
        with self._lock:
            if not found.policy_count:
                self._none_until_s = now_s + BELIEVED_S
                return None
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[directory] = (now_s + BELIEVED_S, found)
        return found

    def durability(self, path: str, asked: str) -> str:
        """Return when a byte that is written to a path counts as stored: as asked, or as usual."""
        if asked:
            return asked
        policy = self.of_new_file(path)
        return DISK if policy is None else policy.durability

    def _forget(self) -> None:
        """Ask anew: what was believed is over, at least here."""
        with self._lock:
            self._known.clear()
            self._none_until_s = 0.0
