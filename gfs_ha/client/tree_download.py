"""A remote tree on its way to this machine; what cannot be copied is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.crew import Crew, fatal
from gfs_ha.client.download import Downloader
from gfs_ha.client.local_files import local_door, shown
from gfs_ha.client.namespace import Namespace, join
from gfs_ha.client.piece_stream import ReaderParts
from gfs_ha.client.small_contents import plan_runs, read_run
from gfs_ha.client.transfers import Cancel, Problem, Progress, TreeResult
from gfs_ha.errors import GfsError, InvalidPath, NotADirectory
from gfs_ha.protocol.metadata import DIRECTORY, DirectoryEntry, FileStatus

FILES_PER_JOB = 32  # Opened by one request.
OpenContents = Callable[[Sequence[str]], list[PinnedContent | GfsError]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One file and where it goes."""

    remote: str
    local: str
    size: int


@dataclass(frozen=True, slots=True)
class _Directory:
    remote: str
    local: str
    status: FileStatus


class TreeDownload:
    """Copies one tree, once. Its directories get their modes and times after their files."""

    def __init__(
        self,
        namespace: Namespace,
        open_contents: OpenContents,
        downloader: Downloader,
        parts: ReaderParts,
        cancel: Cancel,
    ) -> None:
        self._namespace = namespace
        self._open_contents = open_contents
        self._downloader = downloader
        self._parts = parts
        self._runtime = parts.runtime
        self._cancel = cancel
        self._lock = parts.runtime.lock()
        self._result = TreeResult()
        self._verify = False

    def run(
        self, remote: str, local: str, jobs: int, verify: bool, progress: Progress
    ) -> TreeResult:
        """Copy the tree at `remote` to the local directory `local`, made if it is missing.

        Raises: what concerns all of it (NoLeader, DiskFull, Cancelled…); then a part of the files
        may be there, each of them whole.
        """
        status = self._namespace.stat(remote)
        if status.kind != DIRECTORY:
            raise NotADirectory(f"{remote} is a file; get it without -r")
        self._verify = verify
        root = _Directory(remote, local, status)
        _make(local)
        made = [root]
        crew: Crew[list[_Wanted]] = Crew(self._runtime, jobs, self._get, self._cancel)
        try:
            directories = [root]
            while directories:
                below: list[_Directory] = []
                for directory in directories:
                    below += self._list(directory, crew, progress)
                made += below
                directories = below
            crew.drain()
        finally:
            crew.stop()
        for directory in reversed(made):
            self._finish(directory)
        self._result.directory_count = len(made)
        return self._result

    def _list(
        self, directory: _Directory, crew: Crew[list[_Wanted]], progress: Progress
    ) -> list[_Directory]:
        """Give a directory's files to the crew, and make and return its directories."""
        below: list[_Directory] = []
        files: list[_Wanted] = []
        try:
            for entry in self._namespace.entries(directory.remote):
                remote = join(directory.remote, entry.name)
                local = _local_path(directory.local, entry)
                if local is None:
                    error = InvalidPath(f"{remote}: no name for a local file; skipped")
                    self._add_problem(remote, error)
                elif entry.status.kind == DIRECTORY:
                    below += self._made(_Directory(remote, local, entry.status))
                else:
                    files.append(_Wanted(remote, local, entry.status.size))
                if len(files) == FILES_PER_JOB:
                    self._give(files, crew, progress)
                    files = []
        except GfsError as error:
            if fatal(error):
                raise
            self._add_problem(directory.remote, error)  # It was removed meanwhile.
        if files:
            self._give(files, crew, progress)
        return below

    def _give(self, files: list[_Wanted], crew: Crew[list[_Wanted]], progress: Progress) -> None:
        progress.expect(len(files), sum(file.size for file in files))
        crew.give(files)

    def _made(self, directory: _Directory) -> list[_Directory]:
        try:
            _make(directory.local)
        except GfsError as error:
            if fatal(error):
                raise
            self._add_problem(directory.remote, error)
            return []
        return [directory]

    def _get(self, files: list[_Wanted]) -> None:
        """Copy some files, in a worker. Raises: what concerns all files."""
        contents = self._open_contents([file.remote for file in files])
        done: set[int] = set()
        for run in plan_runs(contents):
            with read_run(self._parts, run) as found:
                for index, data in found.items():
                    self._attempt(files[index], contents[index], data)
                    done.add(index)
        for index, file in enumerate(files):
            if index not in done:
                self._attempt(file, contents[index], None)

    def _attempt(
        self, file: _Wanted, content: PinnedContent | GfsError, data: memoryview | None
    ) -> None:
        """Copy one file; a problem of its own is noted. Raises: what concerns all files."""
        self._cancel.check()
        try:
            if isinstance(content, GfsError):
                raise content
            if data is not None:
                self._downloader.put_bytes(content, data, file.local, self._verify)
                size = content.size
            else:
                again = partial(self._open_again, file.remote)
                size = self._downloader.get_file(again, file.local, self._verify, content).size
        except GfsError as error:
            if fatal(error):
                raise
            self._add_problem(file.remote, error)
            return
        with self._lock:
            self._result.file_count += 1
            self._result.size += size

    def _open_again(self, remote: str) -> PinnedContent:
        content = self._open_contents((remote,))[0]
        if isinstance(content, GfsError):
            raise content
        return content

    def _finish(self, directory: _Directory) -> None:
        status = directory.status
        try:
            with local_door(directory.local):
                os.chmod(directory.local, status.mode & 0o7777)
                os.utime(directory.local, ns=(status.mtime_ns, status.mtime_ns))
        except GfsError as error:
            self._add_problem(shown(directory.local), error)

    def _add_problem(self, path: str, error: GfsError) -> None:
        with self._lock:
            self._result.problems.append(Problem(path, error))


def _make(local: str) -> None:
    """Make a local directory unless it is there. Raises: NotADirectory, Denied, DiskFull…"""
    with local_door(local):
        try:
            os.mkdir(local)
        except FileExistsError:
            if not os.path.isdir(local):
                raise NotADirectory(f"local {shown(local)} is in the way of a directory") from None


def _local_path(directory: str, entry: DirectoryEntry) -> str | None:
    """Return where an entry goes, or None for a name that must not become a path here."""
    name = entry.name
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        return None
    return os.path.join(directory, name)
