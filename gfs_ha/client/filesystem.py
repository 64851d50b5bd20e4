"""The façade that all frontends use: a cluster as a file system."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, TypedDict, Unpack, overload

from gfs_ha.client.append_file import RemoteAppender
from gfs_ha.client.append_grants import AppendTarget
from gfs_ha.client.appender import SETTLED_WAIT_S, Appender
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.consistency import consistency_of
from gfs_ha.client.content_store import ContentSink, FileAttributes
from gfs_ha.client.copying import Copying
from gfs_ha.client.editor import RemoteEditor
from gfs_ha.client.extent_changes import ExtentChanges
from gfs_ha.client.files import RemoteReader, RemoteWriter
from gfs_ha.client.follower import Follower
from gfs_ha.client.lanes import Lanes
from gfs_ha.client.logs import Logs
from gfs_ha.client.names import Names
from gfs_ha.client.namespace import check_path
from gfs_ha.client.operations import Operations
from gfs_ha.client.transfers import (
    Cancel,
    Fetched,
    Progress,
    PutOptions,
    Stored,
    TreeResult,
)
from gfs_ha.client.trees import Trees
from gfs_ha.client.upload import ByteSource
from gfs_ha.config import Config
from gfs_ha.errors import UsageError
from gfs_ha.ids import format_trace
from gfs_ha.protocol.calls import LINEARIZABLE, AsOf

FILE_MODE = 0o644
LocalPath = str | os.PathLike[str]


class PutArguments(TypedDict, total=False):
    """How `put` and `put_tree` store; all may be left out.

    `durability` is `disk` or `memory`, `replicas` the copies wanted; empty or 0 = as policies say;
    `if_absent` refuses to replace a file; `progress` is told of it; `cancel` ends it early.
    """

    durability: str
    replicas: int
    if_absent: bool
    progress: Progress | None
    cancel: Cancel | None


class Cluster(Names):
    """A cluster as a file system. Thread-safe; use it with `with`, or call `close`.

    Paths are absolute (`/a/b`), sizes bytes, times nanoseconds since 1970. Every operation ends:
    `timeout_s` is the longest time without an answered command or an acknowledged packet. All
    errors are GfsError: NotFound, AlreadyExists…, NoLeader when no master leads in time,
    UnknownOutcome when a change may or may not have been applied.
    """

    def __init__(
        self,
        config: Config,
        timeout_s: float | None = None,
        connection: ClusterConnection | None = None,
        consistency: str = LINEARIZABLE,
    ) -> None:
        """Nothing is dialled before the first operation. Args: `connection` is for simulations.

        `consistency` is `linearizable` (the leader answers), `bounded:MS` (any master, nothing that
        was acknowledged longer ago is missing) or `local` (any master as it is, also with no leader
        at all); it is for reads alone. Raises: UsageError.
        """
        if connection is None:
            wanted = consistency_of(consistency)
            connection = ClusterConnection(config, timeout_s, consistency=wanted)
        super().__init__(connection)
        self._copying = Copying(connection)
        self._changes = ExtentChanges(connection)
        self.config = config
        self.operations = Operations(connection.calls)
        self.policies = connection.policies  # How files are kept; see client/policies.py.
        self.logs = Logs(  # The newest log lines of every process.
            *(connection.calls, config.cluster.id, connection.runtime, connection.trace_id),
            *(connection.streams, connection.passes),
        )
        self.trees = Trees(connection)  # Checksums, comparison, one-way copying.

    @property
    def leader(self) -> str:
        """Return the name of the master that led at the last answer, or an empty string."""
        return self._connection.calls.leader

    @property
    def trace(self) -> str:
        """Return the id by which servers' logs tell what was done on this connection; may be empty.

        `gfsctl admin trace ID` shows it.
        """
        trace_id = self._connection.trace_id
        return format_trace(trace_id) if trace_id else ""

    @property
    def as_of(self) -> AsOf | None:
        """Return how old the oldest answer to a read was since `forget_age`, and who gave it.

        None when all were the leader's. No answer shows less than one before it on this connection.
        """
        return self._connection.calls.as_of

    def forget_age(self) -> None:
        """Begin anew with `as_of`."""
        self._connection.calls.forget_age()

    # Files --------------------------------------------------------------------------------------

    @overload
    def open(self, path: str, mode: Literal["rb"] = "rb") -> RemoteReader: ...

    @overload
    def open(
        self,
        path: str,
        mode: Literal["wb"],
        *,
        durability: str = ...,
        replicas: int = ...,
        if_absent: bool = ...,
    ) -> RemoteWriter: ...

    @overload
    def open(self, path: str, mode: Literal["r+b"], *, durability: str = ...) -> RemoteEditor: ...

    @overload
    def open(self, path: str, mode: Literal["ab"], *, durability: str = ...) -> RemoteAppender: ...

    def open(
        self,
        path: str,
        mode: str = "rb",
        *,
        durability: str = "",
        replicas: int = 0,
        if_absent: bool = False,
    ) -> RemoteReader | RemoteWriter | RemoteEditor | RemoteAppender:
        """Return a file object.

        `rb`: the content as it is now, seekable, each byte verified. `wb`: new content that is
        published as a whole by `close`, and discarded when the `with` block ends by an exception.
        `r+b`: a file that is there, to read and to overwrite, each write in one step. `ab`: writes
        go behind what is there, many writers may do so at once; a missing file is made.
        Args: `durability` is `disk` or `memory`, `replicas` the copies wanted (empty and 0: as
        policies say), `if_absent` refuses to replace a file.
        """
        path = check_path(path)
        if mode == "rb":
            return self._reader(path)
        if mode == "r+b":
            return RemoteEditor(path, self._changes, lambda: self._reader(path), durability)
        if mode == "ab":
            return self._appending(path, durability)
        if mode != "wb":
            raise UsageError(f"mode {mode!r}; remote files open with 'rb', 'wb', 'ab' or 'r+b'")
        options = PutOptions(durability, replicas, if_absent)
        attributes = FileAttributes(FILE_MODE, self._connection.runtime.wall_ns())
        return RemoteWriter(path, ContentSink(self._connection.store, path, attributes, options))

    def _reader(self, path: str) -> RemoteReader:
        connection = self._connection
        return RemoteReader(connection.reader_parts, connection.open_content(path))

    def _appending(self, path: str, durability: str) -> RemoteAppender:
        connection = self._connection
        durability = self.policies.durability(path, durability)
        appender = connection.appenders.make(AppendTarget(path, durability, ordered=True))
        runtime = connection.runtime
        return RemoteAppender(path, appender, runtime, lambda: self.stat(path, exact=True).size)

    # Records ------------------------------------------------------------------------------------

    def append(self, path: str, data: bytes | memoryview, *, durability: str = "") -> int:
        """Append one record, whole and exactly once, and return the offset where it lies.

        Many clients and threads may append to one file at once; each is told where its own lies.
        A missing file is made. Raises: LimitExceeded for more than 8 MiB (a quarter of a smaller
        chunk); UnknownOutcome when it may or may not be appended; NotFound for a missing directory.
        """
        target = AppendTarget(path, self.policies.durability(check_path(path), durability))
        return self._connection.appenders.append(target, data).result(SETTLED_WAIT_S).offset

    def appender(self, path: str, *, durability: str = "", key: str = "") -> Appender:
        """Return an appender for many records, each with a future; use it with `with`.

        With a `key` its record i is record i of that key in every run: what an earlier run appended
        within the last 24 h is found again and not appended twice. Once a record fails, no later
        one is appended.
        """
        durability = self.policies.durability(check_path(path), durability)
        target = AppendTarget(path, durability, key, ordered=True)
        return self._connection.appenders.make(target)

    def follow(self, path: str) -> Follower:
        """Return what reads a file as it grows."""
        return self._connection.follower(check_path(path))

    def read_bytes(self, path: str) -> bytes:
        """Return the whole content of a file."""
        with self.open(path) as file:
            return file.read()

    def write_bytes(self, path: str, data: bytes | memoryview, *, durability: str = "") -> None:
        """Replace the content of a file, or make it, in one step."""
        with self.open(path, "wb", durability=durability) as file:
            file.write(data)

    # Copying ------------------------------------------------------------------------------------

    def put(
        self,
        local: LocalPath | ByteSource,
        remote: str,
        *,
        jobs: int | Lanes | None = None,
        **how: Unpack[PutArguments],
    ) -> Stored:
        """Copy a local file, or a stream until its end, to a remote path; all or nothing.

        A remote directory receives a file under its own name. Mode and mtime are kept.
        Of a big file up to `jobs` chunks (2) are under way at once, in memory until they are safe;
        a stream is read in order. Args: `jobs` may be Lanes that several calls share; see
        PutArguments. Raises: PartlyDone when the file changes while it is read, AlreadyExists
        with `if_absent`…
        """
        options, progress, cancel = _put_options(how)
        return self._copying.put(local, remote, options, jobs, progress, cancel)

    def put_tree(
        self,
        local: LocalPath,
        remote: str,
        *,
        jobs: int | None = None,
        **how: Unpack[PutArguments],
    ) -> TreeResult:
        """Copy a local directory with all that is below it, `jobs` files (4) at once.

        As `cp -r`: to a missing remote path it becomes that directory, an existing directory
        receives it under its own name. What is skipped or fails by itself is a problem in the
        result; raised is what concerns all files. Args: see PutArguments.
        """
        options, progress, cancel = _put_options(how)
        return self._copying.put_tree(local, remote, options, jobs, progress, cancel)

    def get(
        self,
        remote: str,
        local: LocalPath,
        *,
        verify: bool = False,
        jobs: int | Lanes | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Fetched:
        """Copy a remote file to a local path, or under its own name into a local directory.

        It appears whole, with mode and mtime, or not at all. Each byte is verified on its way;
        with `verify` the local file is read again and compared. Up to `jobs` pieces (3) of a big
        file are under way at once; it may be Lanes that several calls share.
        """
        return self._copying.get(remote, local, verify, jobs, progress, cancel)

    def get_tree(
        self,
        remote: str,
        local: LocalPath,
        *,
        verify: bool = False,
        jobs: int | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> TreeResult:
        """Copy a remote directory with all that is below it, as `put_tree` the other way."""
        return self._copying.get_tree(remote, local, verify, jobs, progress, cancel)

    # Changes without copying --------------------------------------------------------------------

    def copy(
        self, source: str, target: str, *, if_absent: bool = False, preserve: bool = False
    ) -> None:
        """Copy a file within the cluster without copying bytes; the target appears as a whole.

        A file at the target is replaced and keeps its mode; `preserve` takes over the source's
        mode and mtime. Raises: AlreadyExists with `if_absent`, IsADirectory, NotFound…
        """
        self._changes.copy(source, target, if_absent, preserve)

    def concat(self, sources: Sequence[str], target: str, *, if_absent: bool = False) -> None:
        """Make the target the files' bytes one after the other, in one step, without copying.

        A source may be named twice, and may be the target. Each is taken as it is at one moment.
        """
        self._changes.concat(sources, target, if_absent)

    def truncate(self, path: str, size: int = 0) -> None:
        """Cut a file to `size` bytes, in one step. Raises: InvalidArgument: it is shorter."""
        self._changes.truncate(path, size)

    def pwrite(
        self, path: str, offset: int, data: bytes | memoryview, *, durability: str = ""
    ) -> None:
        """Write bytes over those at `offset`, or at the end, in one step.

        Two writers never mix: each sees the other's bytes whole. Raises: InvalidArgument for an
        offset beyond the end; PreconditionFailed when the file is changed over and over.
        """
        self._changes.pwrite(path, offset, data, durability)

    # Life ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the session and hang up; what was not published is discarded."""
        self.logs.close()
        self._connection.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _put_options(how: PutArguments) -> tuple[PutOptions, Progress | None, Cancel | None]:
    options = PutOptions(
        durability=how.get("durability", ""),
        replicas=how.get("replicas", 0),
        if_absent=how.get("if_absent", False),
    )
    return options, how.get("progress"), how.get("cancel")
