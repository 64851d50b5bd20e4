"""A remote tree on its way to this machine; what cannot be copied is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.crew import Crew, fatal
from gfs_ha.client.download import Downloader
from gfs_ha.client.local_files import local_door, shown
from gfs_ha.client.namespace import Namespace, join
from gfs_ha.client.piece_stream import ReaderParts
from gfs_ha.client.small_contents import plan_runs, read_run
from gfs_ha.client.transfers import Problem, TreeResult, Watch
from gfs_ha.errors import GfsError, InvalidPath, NotADirectory
from gfs_ha.protocol.metadata import DIRECTORY, FileStatus

FILES_PER_JOB = 32  # Opened by one request.
OpenContents = Callable[[Sequence[str]], list[PinnedContent | GfsError]]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file and where it goes."""

    remote: str
    local: str
    size: int


@dataclass(frozen=True, slots=True)
class RemoteDirectory:
    """One directory, where it goes, and what it is like there."""

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
        watch: Watch,
    ) -> None:
        self._namespace = namespace
        self._open_contents = open_contents
        self._downloader = downloader
        self._parts = parts
        self._runtime = parts.runtime
        self._cancel = watch.cancel
        self._watch = watch
        self._lock = parts.runtime.lock()
        self._result = TreeResult()
        self._made: list[RemoteDirectory] = []
        self._verify = False

    def run(self, remote: str, local: str, verify: bool) -> TreeResult:
        """Copy the tree at `remote` to the local directory `local`, made if it is missing.

        Raises: what concerns all of it (NoLeader, DiskFull, Cancelled…); then a part of the files
        may be there, each of them whole.
        """
        status = self._namespace.stat(remote)
        if status.kind != DIRECTORY:
            raise NotADirectory(f"{remote} is a file; get it without -r")
        root = RemoteDirectory(remote, local, status)
        _make(local)
        self._made = [root]
        self.copy(self._batches(root), verify)
        self.finish()
        self._result.directory_count = len(self._made)
        return self._result

    def copy(self, batches: Iterable[list[RemoteFile]], verify: bool = False) -> None:
        """Copy batches of files (each of up to FILES_PER_JOB); their directories must be there.

        Raises: as `run`.
        """
        self._verify = verify
        progress = self._watch.progress
        jobs = self._watch.lanes.count
        crew: Crew[list[RemoteFile]] = Crew(self._runtime, jobs, self._get, self._cancel)
        try:
            for files in batches:
                progress.expect(len(files), sum(file.size for file in files))
                crew.give(files)
            crew.drain()
        finally:
            crew.stop()

    def make(self, directory: RemoteDirectory) -> bool:
        """Make a local directory, and note that it is to be finished; False: it is a problem."""
        try:
            _make(directory.local)
        except GfsError as error:
            if fatal(error):
                raise
            self.add_problem(directory.remote, error)
            return False
        self._made.append(directory)
        return True

    def finish(self) -> None:
        """Give the directories that were made their modes and times."""
        for directory in reversed(self._made):
            self._finish(directory)

    def finish_later(self, directory: RemoteDirectory) -> None:
        """Note that a directory that is there is to be finished, too."""
        self._made.append(directory)

    @property
    def result(self) -> TreeResult:
        """Return what became of it, once it is over."""
        return self._result

    def _batches(self, root: RemoteDirectory) -> Iterator[list[RemoteFile]]:
        """Yield the files below, after their directories were made."""
        directories = [root]
        while directories:
            below: list[RemoteDirectory] = []
            for directory in directories:
                yield from self._list(directory, below)
            directories = below

    def _list(
        self, directory: RemoteDirectory, below: list[RemoteDirectory]
    ) -> Iterator[list[RemoteFile]]:
        """Yield a directory's files, and make its directories and add them to those below."""
        files: list[RemoteFile] = []
        try:
            for entry in self._namespace.entries(directory.remote):
                remote = join(directory.remote, entry.name)
                local = local_path(directory.local, entry.name)
                if local is None:
                    self.add_problem(remote, unnameable(remote))
                elif entry.status.kind != DIRECTORY:
                    files.append(RemoteFile(remote, local, entry.status.size))
                elif self.make(found := RemoteDirectory(remote, local, entry.status)):
                    below.append(found)
                if len(files) == FILES_PER_JOB:
                    yield files
                    files = []
        except GfsError as error:
            if fatal(error):
                raise
            self.add_problem(directory.remote, error)  # It was removed meanwhile.
        if files:
            yield files

    def _get(self, files: list[RemoteFile]) -> None:
        """Copy some files, in a worker. Raises: what concerns all files."""
        contents = self._open_contents([file.remote for file in files])
        done: set[int] = set()
        for run in plan_runs(contents):
            self._watch.pace.take(run.end - run.start)
            with read_run(self._parts, run) as found:
                for index, data in found.items():
                    self._attempt(files[index], contents[index], data)
                    done.add(index)
        for index, file in enumerate(files):
            if index not in done:
                self._attempt(file, contents[index], None)

    def _attempt(
        self, file: RemoteFile, content: PinnedContent | GfsError, data: memoryview | None
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
            self.add_problem(file.remote, error)
            return
        with self._lock:
            self._result.file_count += 1
            self._result.size += size

    def _open_again(self, remote: str) -> PinnedContent:
        content = self._open_contents((remote,))[0]
        if isinstance(content, GfsError):
            raise content
        return content

    def _finish(self, directory: RemoteDirectory) -> None:
        status = directory.status
        try:
            with local_door(directory.local):
                os.chmod(directory.local, status.mode & 0o7777)
                os.utime(directory.local, ns=(status.mtime_ns, status.mtime_ns))
        except GfsError as error:
            self.add_problem(shown(directory.local), error)

    def add_problem(self, path: str, error: GfsError) -> None:
        """Note what could not be copied."""
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


def local_path(directory: str, name: str) -> str | None:
    """Return where an entry goes, or None for a name that must not become a path here."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        return None
    return os.path.join(directory, name)


def unnameable(remote: str) -> InvalidPath:
    """Return what is said of a name for which `local_path` has no path."""
    return InvalidPath(f"{remote}: no name for a local file; skipped")
