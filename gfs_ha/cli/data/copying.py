"""What put and get share: what was copied, told to people and to programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.several import Several, error_of_one
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.client.crew import Crew
from gfs_ha.client.lanes import CHUNKS_DEFAULT, LANES_DEFAULT, LANES_MAX, PIECES_DEFAULT, Lanes
from gfs_ha.client.transfers import Cancel, Fetched, Problem, Stored, TreeResult
from gfs_ha.errors import GfsError
from gfs_ha.runtime import ThreadedRuntime

# After Ctrl-C. Transfers hear of it within a second; a question to a master that does not answer
# is not worth more waiting, and leaves nothing behind.
PATIENCE_S = 5.0


def copy_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that copies its `-r` and `-j`."""
    jobs = click.option(
        *("-j", "--jobs"),
        type=click.IntRange(1, LANES_MAX),
        envvar="GFS_JOBS",
        help=f"How many files are under way at once ({LANES_DEFAULT}), or chunks "
        f"({CHUNKS_DEFAULT}; get: pieces, {PIECES_DEFAULT}) of one big file.",
    )
    recursive = click.option(
        *("-r", "--recursive"), is_flag=True, help="Directories with all that is below them."
    )
    return recursive(jobs(function))


Copied = Stored | Fetched | TreeResult


@dataclass(frozen=True, slots=True)
class Source:
    """One word of the command line that is copied.

    Args: sources with the same `target_name` may replace each other, so they keep their order;
    one that goes `alone` is a tree, which has jobs of its own, or a pipe, which may wait for ever.
    """

    name: str
    target_name: str
    alone: bool
    copy: Callable[[Cancel], Copied]


class Outcome:
    """What became of several sources."""

    def __init__(self, session: Session, kind: str) -> None:
        self._session = session
        self._kind = kind
        self._several = Several(session)
        self._items: list[dict[str, Any]] = []

    def attempt_each(self, sources: Sequence[Source], lanes: Lanes) -> None:
        """Copy the sources; those that follow one another and are plain files, at the same time.

        What is told about them comes in their order. Raises: what would stop the others, too.
        """
        for alone, group in groupby(sources, key=lambda source: source.alone):
            some = list(group)
            if alone or lanes.count == 1 or len(some) == 1:
                for source in some:
                    self._note(source.name, partial(source.copy, Cancel()))
            else:
                for source, ended in zip(some, _copy_side_by_side(some, lanes.count), strict=True):
                    self._note(source.name, partial(_result, ended))

    def _note(self, name: str, copy: Callable[[], Copied]) -> None:
        result = self._several.attempt(name, copy)
        if isinstance(result, TreeResult):
            self._add_tree(name, result)
        elif result is not None:
            self._add_file(name, result)

    def _add_file(self, source: str, result: Stored | Fetched) -> None:
        item: dict[str, Any] = {
            "source": encodable(source),
            "path": encodable(result.path),
            "size": result.size,
        }
        if isinstance(result, Stored):
            item |= {"chunk_count": result.chunk_count, "copies": result.copies}
            item["warnings"] = list(result.warnings)
            for warning in result.warnings:
                self._session.warn(warning)
        self._items.append({**item, "file_count": 1})

    def _add_tree(self, source: str, result: TreeResult) -> None:
        for warning in result.warnings:
            self._session.warn(warning)
        self._several.problems += result.problems
        self._several.done_count += result.file_count + result.directory_count - 1
        self._items.append(
            {
                "source": encodable(source),
                "path": encodable(result.path),
                "size": result.size,
                "file_count": result.file_count,
                "directory_count": result.directory_count,
                "warnings": list(result.warnings),
            }
        )

    def conclude(self) -> None:
        """Tell what was done. Raises: the one error when nothing was, else PartlyDone."""
        if self._session.options.machine_readable and self._items:
            self._session.show_plain(
                *(self._kind, self._items),
                problems=[problem_facts(one) for one in self._several.problems],
            )
        elif self._session.options.output == "name":
            output.write_lines(item["path"] for item in self._items)
        self._several.conclude("copied")


def _copy_side_by_side(sources: Sequence[Source], jobs: int) -> list[Copied | GfsError]:
    """Return what became of each source. Raises: what would stop all of them."""
    cancel = Cancel()
    ended: dict[int, Copied | GfsError] = {}
    chains: dict[str, list[int]] = {}
    for index, source in enumerate(sources):
        chains.setdefault(source.target_name, []).append(index)

    def copy(chain: list[int]) -> None:
        for index in chain:
            cancel.check()
            try:
                ended[index] = sources[index].copy(cancel)
            except (GfsError, OSError) as failure:
                ended[index] = error_of_one(failure)

    crew: Crew[list[int]] = Crew(ThreadedRuntime(), jobs, copy, cancel)
    try:
        for chain in chains.values():
            crew.give(chain)
        crew.drain()
    finally:
        crew.stop(PATIENCE_S)
    return [ended[index] for index in range(len(sources))]


def _result(ended: Copied | GfsError) -> Copied:
    if isinstance(ended, GfsError):
        raise ended
    return ended


def problem_facts(problem: Problem) -> dict[str, Any]:
    """Return a problem as JSON shows it."""
    error = problem.error
    return {"path": problem.path, "code": error.code, "message": error.message}


def encodable(name: str) -> str:
    """Return a name as JSON can hold it: bytes of a local one that are no UTF-8 are escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return printable(name)
    return name
