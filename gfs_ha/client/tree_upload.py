"""A tree of local files on its way into the cluster; what cannot be copied is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from gfs_ha.client.account import own_account
from gfs_ha.client.crew import Crew, fatal
from gfs_ha.client.local_files import shown
from gfs_ha.client.local_tree import Level, LocalDirectory, LocalFile, root_of, walk
from gfs_ha.client.namespace import Namespace, join
from gfs_ha.client.transfers import (
    Cancel,
    Problem,
    Progress,
    PutOptions,
    Stored,
    TreeResult,
    copies_warning,
)
from gfs_ha.client.upload import Uploader
from gfs_ha.errors import Cancelled, GfsError
from gfs_ha.protocol.metadata import Mkdir, SetAttributes
from gfs_ha.runtime import Future, Runtime

WAIT_S = 1.0


class TreeUpload:
    """Copies one tree, once. Its directories get their modes and times after their files."""

    def __init__(
        self,
        namespace: Namespace,
        uploader: Uploader,
        runtime: Runtime,
        progress: Progress,
        cancel: Cancel,
    ) -> None:
        self._namespace = namespace
        self._uploader = uploader
        self._runtime = runtime
        self._progress = progress
        self._cancel = cancel
        self._state = runtime.condition()
        self._result = TreeResult()
        self._pending = 0
        self._fatal: BaseException | None = None
        self._under_count = 0
        self._copies_min = 0
        self._goal = 0

    def run(self, local: str, remote: str, options: PutOptions, jobs: int) -> TreeResult:
        """Copy the tree at `local` to the directory `remote`, which is made if it is missing.

        Raises: what concerns all of it (NoLeader, NoSpace, Cancelled…); then a part of the files
        may be there, each of them whole.
        """
        root = root_of(local)
        self._namespace.mkdir(remote, mode=root.mode, parents=True)
        made = [root, *self.copy(walk(root), remote, options, jobs)]
        self.finish(remote, made)
        self._result.directory_count = len(made)
        return self.result(remote)

    def copy(
        self, levels: Iterable[Level], remote: str, options: PutOptions, jobs: int
    ) -> list[LocalDirectory]:
        """Copy what the levels hold to below `remote`; return the directories that were made.

        They get their times with `finish`. Raises: as `run`.
        """
        made: list[LocalDirectory] = []
        work = partial(self._put, remote, options)
        crew: Crew[LocalFile] = Crew(self._runtime, jobs, work, self._cancel)
        try:
            for level in levels:
                self._add_problems(level.problems)
                made += self._make(remote, level.directories)
                self._progress.expect(len(level.files), sum(file.size for file in level.files))
                for file in level.files:
                    crew.give(file)
            crew.drain()
            self._await_pending()
        finally:
            crew.stop()
        return made

    def result(self, remote: str) -> TreeResult:
        """Return what became of it, once it is over."""
        if self._under_count:
            what = f"{self._under_count} files under {remote}"
            self._result.warnings = [copies_warning(what, self._copies_min, self._goal)]
        return self._result

    def _make(self, remote: str, wanted: Sequence[LocalDirectory]) -> list[LocalDirectory]:
        owner, group = own_account()
        requests = [
            Mkdir(_below(remote, one.name), one.mode, owner, group, parents=True) for one in wanted
        ]
        made: list[LocalDirectory] = []
        for one, error in zip(wanted, self._namespace.change_all(requests), strict=True):
            if error is None:
                made.append(one)
            else:
                self._add_problems((Problem(shown(one.path), error),))
        return made

    def finish(self, remote: str, made: Sequence[LocalDirectory | LocalFile]) -> None:
        """Give what is there already its mode and time."""
        requests = [
            SetAttributes(_below(remote, one.name), mode=one.mode, mtime_ns=one.mtime_ns)
            for one in made
        ]
        for one, error in zip(made, self._namespace.change_all(requests), strict=True):
            if error is not None:
                self._add_problems((Problem(shown(one.path), error),))

    def _put(self, remote: str, options: PutOptions, file: LocalFile) -> None:
        """Copy one file, in a worker. Raises: what concerns all files."""
        if self._fatal is not None:
            raise self._fatal
        self._cancel.check()
        try:
            done = self._uploader.start_file(file.path, join(remote, file.name), options)
        except GfsError as error:
            if fatal(error):
                raise
            self._add_problems((Problem(shown(file.path), error),))
            return
        with self._state:
            self._pending += 1
        done.when_done(partial(self._settle, file, done))

    def _settle(self, file: LocalFile, done: Future[Stored]) -> None:
        stored: Stored | None = None
        failure: BaseException | None = None
        try:
            stored = done.result(0.0)
        except BaseException as error:  # Raised where it is waited for, not here.
            failure = error
        with self._state:
            self._pending -= 1
            if stored is not None:
                self._count(stored)
            elif isinstance(failure, GfsError) and not fatal(failure):
                self._result.problems.append(Problem(shown(file.path), failure))
            else:
                self._fatal = self._fatal or failure
            self._state.notify_all()

    def _count(self, stored: Stored) -> None:
        self._result.file_count += 1
        self._result.size += stored.size
        if stored.copies < stored.goal:
            least = stored.copies
            self._copies_min = min(least, self._copies_min) if self._under_count else least
            self._under_count += 1
            self._goal = max(stored.goal, self._goal)

    def _await_pending(self) -> None:
        with self._state:
            while self._pending and self._fatal is None:
                self._cancel.check()
                self._state.wait(WAIT_S)
            if self._fatal is not None:
                raise self._fatal
            self._cancel.check()  # The last files may have ended before anybody looked again.

    def _add_problems(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            if fatal(problem.error) and not isinstance(problem.error, Cancelled):
                raise problem.error
        with self._state:
            self._result.problems.extend(problems)


def _below(remote: str, name: str) -> str:
    return join(remote, name) if name else remote
