"""Checksums of the files that words name, some here and some in the cluster, in their order."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from gfs_ha.checksum import crc32c
from gfs_ha.cli.data.several import error_of_one
from gfs_ha.cli.data.sides import is_local
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.client.file_checksum import (
    LOCAL_READ_BYTES,
    READ,
    FileChecksum,
    local_checksum,
)
from gfs_ha.client.lanes import Lanes
from gfs_ha.client.local_files import shown
from gfs_ha.client.local_tree import root_of, walk
from gfs_ha.client.transfers import Cancel, Silent, Watch
from gfs_ha.client.trees import TreeOptions
from gfs_ha.errors import GfsError, IsADirectory, LocalError, NotFound
from gfs_ha.protocol.metadata import DIRECTORY
from gfs_ha.runtime import ThreadedRuntime


@dataclass(frozen=True, slots=True)
class File:
    """One file whose checksum is wanted, or why nobody can want it."""

    path: str
    local: bool
    trouble: GfsError | None = None


Found = tuple[str, FileChecksum | GfsError]


class ChecksumSource:
    """Finds files and reckons their checksums. Args: `local` takes every word as a local path."""

    def __init__(
        self, session: Session, local: bool, jobs: int | None, read: bool, verify: bool
    ) -> None:
        self._session = session
        self._local = local
        self._read = read
        self._verify = verify
        self._options = TreeOptions(jobs=jobs)
        self._watch = Watch(Silent(), Cancel(), Lanes(ThreadedRuntime()))

    def file(self, word: str) -> File:
        """Return the file of a word, which is no directory."""
        if self._local or is_local(word):
            return File(word, True)
        return File(self._session.path(word), False)

    def files(self, words: Iterable[str], recursive: bool) -> Iterator[File]:
        """Yield the files of words, with `recursive` those below directories, level by level."""
        for word in words:
            file = self.file(word)
            try:
                yield from (
                    self._here(file, recursive) if file.local else self._there(file, recursive)
                )
            except (GfsError, OSError) as error:
                yield File(file.path, file.local, error_of_one(error))

    def checksums(self, files: Iterable[File]) -> Iterator[Found]:
        """Yield each file's checksum, or why there is none. Raises: NoLeader…"""
        for (local, trouble), group in groupby(
            files, key=lambda file: (file.local, file.trouble is not None)
        ):
            if trouble:
                yield from ((file.path, file.trouble) for file in group if file.trouble)
            elif local:
                yield from ((file.path, self._local_one(file.path)) for file in group)
            else:
                trees = self._session.cluster.trees
                paths = (file.path for file in group)
                for path, found in trees.checksums(
                    paths, self._options, read=self._read, verify=self._verify
                ):
                    if isinstance(found, IsADirectory):
                        found = IsADirectory(f"{path} is a directory; -r takes all below it")
                    elif isinstance(found, NotFound):
                        found = _not_there(path)
                    yield path, found

    def _local_one(self, path: str) -> FileChecksum | GfsError:
        try:
            return _of_input() if path == "-" else local_checksum(path, self._watch)
        except GfsError as error:
            return error

    def _here(self, file: File, recursive: bool) -> Iterator[File]:
        if not os.path.isdir(file.path):
            yield file
            return
        if not recursive:
            raise IsADirectory(f"local {shown(file.path)} is a directory; -r takes all below it")
        for level in walk(root_of(file.path)):
            yield from (File(one.path, True) for one in level.files)
            yield from (File(one.path, True, one.error) for one in level.problems)

    def _there(self, file: File, recursive: bool) -> Iterator[File]:
        if not recursive:
            yield file
            return
        cluster = self._session.cluster
        try:
            kind = cluster.stat(file.path).kind
        except NotFound:
            raise _not_there(file.path) from None
        if kind != DIRECTORY:
            yield file
            return
        for path, entry in cluster.walk(file.path):
            if entry.status.kind != DIRECTORY:
                yield File(path, False)


def _not_there(path: str) -> NotFound:
    """Return that the cluster has no such path; of one that is here, how to name it."""
    here = ""
    if os.path.exists(path):
        here = f"; {printable(path)} is here: --local takes paths of this machine"
    return NotFound(f"{printable(path)} does not exist in the cluster{here}")


def _of_input() -> FileChecksum:
    """Return the checksum of what comes on standard input. Raises: LocalError."""
    if sys.stdin is None:
        raise LocalError("standard input is closed; there is nothing to sum")
    crc = size = 0
    while data := sys.stdin.buffer.read(LOCAL_READ_BYTES):
        crc, size = crc32c(data, crc), size + len(data)
    return FileChecksum("-", crc, size, size, READ)
