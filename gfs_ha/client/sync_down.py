"""A local directory as the target of one-way copying."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from gfs_ha.client.local_files import local_door, shown
from gfs_ha.client.namespace import join
from gfs_ha.client.sync import Deleted
from gfs_ha.client.sync_steps import MAKE, Step
from gfs_ha.client.transfers import Cancel, Problem, TreeResult
from gfs_ha.client.tree_download import (
    FILES_PER_JOB,
    RemoteDirectory,
    RemoteFile,
    TreeDownload,
    local_path,
    unnameable,
)
from gfs_ha.client.tree_pairs import Pair
from gfs_ha.errors import DirectoryNotEmpty, GfsError, NotFound
from gfs_ha.protocol.metadata import DIRECTORY


class DownTarget:
    """A local directory that becomes like a remote one.

    Args: `keeps` says that names were left out, so that directories may stay that hold some.
    """

    def __init__(
        self, download: TreeDownload, remote: str, local: str, cancel: Cancel, keeps: bool
    ) -> None:
        self._download = download
        self._remote = remote
        self._local = local
        self._cancel = cancel
        self._keeps = keeps

    def copy(self, planned: Iterator[Step], jobs: int) -> None:
        self._download.copy(self._batches(planned))

    def delete(self, planned: Sequence[Step]) -> Deleted:
        deleted = Deleted()
        directories = [step for step in planned if step.kind == DIRECTORY]
        for step in (*(one for one in planned if one.kind != DIRECTORY), *reversed(directories)):
            self._cancel.check()
            path = os.path.join(self._local, step.name)
            try:
                _remove(path, step.kind == DIRECTORY)
            except NotFound:
                pass
            except GfsError as error:
                if not (isinstance(error, DirectoryNotEmpty) and self._keeps):
                    deleted.problems.append(Problem(shown(path), error))
                continue
            deleted.count(step.kind)
        return deleted

    def finish(self, pairs: Sequence[Pair]) -> None:
        for pair in pairs:
            assert pair.local is not None and pair.remote is not None, pair
            there = RemoteDirectory(self._path(pair.name), pair.local.path, pair.remote)
            self._download.finish_later(there)
        self._download.finish()

    def result(self) -> TreeResult:
        return self._download.result

    def _path(self, name: str) -> str:
        return join(self._remote, name) if name else self._remote

    def _batches(self, planned: Iterator[Step]) -> Iterator[list[RemoteFile]]:
        """Yield the files to copy, after their directories were made."""
        files: list[RemoteFile] = []
        unmade: str | None = None
        for step in planned:
            if unmade is not None and step.name.startswith(f"{unmade}/"):
                continue  # What is wrong with the directory was told.
            remote, pair = self._path(step.name), step.pair
            assert pair is not None and pair.remote is not None, step
            above, _, last = step.name.rpartition("/")
            place = os.path.join(self._local, above) if above else self._local
            local = local_path(place, last) if step.name else self._local
            if local is None:
                self._download.add_problem(remote, unnameable(remote))
                unmade = step.name
            elif step.action == MAKE:
                if not self._download.make(RemoteDirectory(remote, local, pair.remote)):
                    unmade = step.name
            else:
                files.append(RemoteFile(remote, local, step.size))
            if len(files) == FILES_PER_JOB:
                yield files
                files = []
        if files:
            yield files


def _remove(path: str, directory: bool) -> None:
    with local_door(path):
        if directory:
            os.rmdir(path)
        else:
            os.unlink(path)
