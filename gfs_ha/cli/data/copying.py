"""What put and get share: what was copied, told to people and to programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.client.lanes import LANES_DEFAULT, LANES_MAX
from gfs_ha.client.transfers import Fetched, Problem, Stored, TreeResult


def tree_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb that copies trees its `-r` and `-j`."""
    jobs = click.option(
        *("-j", "--jobs"),
        type=click.IntRange(1, LANES_MAX),
        default=LANES_DEFAULT,
        show_default=True,
        envvar="GFS_JOBS",
        help="Files of a tree under way at once.",
    )
    recursive = click.option(
        *("-r", "--recursive"), is_flag=True, help="Directories with all that is below them."
    )
    return recursive(jobs(function))


class Outcome:
    """What became of several sources."""

    def __init__(self, session: Session, kind: str) -> None:
        self._session = session
        self._kind = kind
        self._several = Several(session)
        self._items: list[dict[str, Any]] = []

    def attempt(self, source: str, copy: Callable[[], Stored | Fetched | TreeResult]) -> None:
        """Copy one source. Raises: what would stop the others, too."""
        result = self._several.attempt(source, copy)
        if isinstance(result, TreeResult):
            self._add_tree(source, result)
        elif result is not None:
            self._add_file(source, result)

    def _add_file(self, source: str, result: Stored | Fetched) -> None:
        item: dict[str, Any] = {
            "source": _encodable(source),
            "path": _encodable(result.path),
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
                "source": _encodable(source),
                "path": _encodable(result.path),
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
                problems=[_problem_facts(one) for one in self._several.problems],
            )
        elif self._session.options.output == "name":
            output.write_lines(item["path"] for item in self._items)
        self._several.conclude("copied")


def _problem_facts(problem: Problem) -> dict[str, Any]:
    error = problem.error
    return {"path": problem.path, "code": error.code, "message": error.message}


def _encodable(name: str) -> str:
    """Return a name as JSON can hold it: bytes of a local one that are no UTF-8 are escaped."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return printable(name)
    return name
