"""Walks of verbs through trees: tops by name, what vanishes meanwhile, pipes that close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from gfs_ha.cli import output
from gfs_ha.cli.data.listing import FileItem
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.session import Session
from gfs_ha.client.transfers import Problem
from gfs_ha.client.tree_walk import Lost, Step, Wanted
from gfs_ha.errors import NotADirectory, NotFound

_LOOK_EVERY = 1_000  # Names, after which it is seen whether anybody reads on.


class Walking:
    """The walks of one command. `conclude` ends it: 3 for a top that is missing, 11 for more."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._several = Several(session)
        self._seen = 0

    def tops(self, paths: Sequence[str]) -> Iterator[FileItem]:
        """Yield the names that were asked for, as far as they are there."""
        cluster = self._session.cluster
        for path in paths:
            status = self._several.attempt(path, partial(cluster.stat, path))
            if status is not None:
                yield FileItem.of(path, status)

    def steps(
        self, top: FileItem, depth_max: int | None = None, wanted: Wanted | None = None
    ) -> Iterator[Step]:
        """Yield what a walk below a top meets; of a file nothing. Raises: NoLeader, ClosedPipe."""
        if not top.directory:
            return
        try:
            for step in self._session.cluster.steps(top.path, depth_max, wanted):
                if isinstance(step, Lost):
                    self._lose(step.path)
                self._look()
                yield step
        except (NotFound, NotADirectory):
            self._lose(top.path)  # Between the look at it and the first page.

    def lost(self) -> list[str]:
        """Return what was asked for or met, and could not be read whole."""
        return [problem.path for problem in self._several.problems]

    def conclude(self, participle: str = "read") -> None:
        """Name what was not read. Raises: NotFound… when that was all, else PartlyDone."""
        self._several.conclude(participle)

    def _lose(self, path: str) -> None:
        gone = NotFound(f"{path} vanished while it was read; run it again for what is there now")
        self._several.problems.append(Problem(path, gone))

    def _look(self) -> None:
        self._seen += 1
        if self._seen % _LOOK_EVERY == 0:
            output.check_read()


def write_as_they_come(lines: Iterable[str]) -> None:
    """Write lines of text; at a terminal each one is seen at once."""
    prompt = output.stdout_is_terminal()
    for line in lines:
        output.write_lines((line,))
        if prompt:
            output.flush()
