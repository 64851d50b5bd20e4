"""The cluster as the target of one-way copying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gfs_ha.client.local_tree import Level, LocalDirectory, LocalFile
from gfs_ha.client.namespace import Namespace, join
from gfs_ha.client.sync import Deleted
from gfs_ha.client.sync_steps import MAKE, Step
from gfs_ha.client.transfers import Cancel, Problem, PutOptions, TreeResult
from gfs_ha.client.tree_pairs import Pair
from gfs_ha.client.tree_upload import TreeUpload
from gfs_ha.errors import DirectoryNotEmpty, NotFound
from gfs_ha.limits import REQUESTS_PER_CALL_MAX
from gfs_ha.protocol.metadata import DIRECTORY, Remove

FILES_PER_LEVEL = 1000


class UpTarget:
    """A remote directory that becomes like a local one.

    Args: `keeps` says that names were left out, so that directories may stay that hold some.
    """

    def __init__(
        self, names: Namespace, upload: TreeUpload, remote: str, cancel: Cancel, keeps: bool
    ) -> None:
        self._names = names
        self._upload = upload
        self._remote = remote
        self._cancel = cancel
        self._keeps = keeps
        self._made: list[LocalDirectory] = []

    def copy(self, planned: Iterator[Step], jobs: int) -> None:
        self._made = self._upload.copy(_levels(planned), self._remote, PutOptions(), jobs)

    def delete(self, planned: Sequence[Step]) -> Deleted:
        deleted = Deleted()
        files = [step for step in planned if step.kind != DIRECTORY]
        self._remove(files, deleted)
        by_depth: dict[int, list[Step]] = {}
        for step in planned:
            if step.kind == DIRECTORY:
                by_depth.setdefault(step.name.count("/"), []).append(step)
        for _, directories in sorted(by_depth.items(), reverse=True):
            self._remove(directories, deleted)
        return deleted

    def finish(self, pairs: Sequence[Pair]) -> None:
        there = [one.local for one in pairs if isinstance(one.local, LocalFile | LocalDirectory)]
        self._upload.finish(self._remote, [*self._made, *there])

    def result(self) -> TreeResult:
        return self._upload.result(self._remote)

    def _remove(self, planned: Sequence[Step], deleted: Deleted) -> None:
        for start in range(0, len(planned), REQUESTS_PER_CALL_MAX):
            self._cancel.check()
            some = planned[start : start + REQUESTS_PER_CALL_MAX]
            paths = [join(self._remote, step.name) for step in some]
            errors = self._names.change_all([Remove(path) for path in paths])
            for step, path, error in zip(some, paths, errors, strict=True):
                if isinstance(error, DirectoryNotEmpty) and self._keeps:
                    continue
                if error is not None and not isinstance(error, NotFound):
                    deleted.problems.append(Problem(path, error))
                else:
                    deleted.count(step.kind)


def _levels(planned: Iterator[Step]) -> Iterator[Level]:
    level = Level()
    for step in planned:
        local = None if step.pair is None else step.pair.local
        if step.action == MAKE:
            assert isinstance(local, LocalDirectory), step
            level.directories.append(local)
        else:
            assert isinstance(local, LocalFile), step
            level.files.append(local)
        full = len(level.directories) >= REQUESTS_PER_CALL_MAX
        if full or len(level.files) >= FILES_PER_LEVEL:
            yield level
            level = Level()
    yield level
