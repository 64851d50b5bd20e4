"""What put and get share: one source after the other, problems listed, what was done told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gfs_ha.cli import output
from gfs_ha.cli.failure import local_error
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text
from gfs_ha.client.transfers import Fetched, Problem, Stored, TreeResult
from gfs_ha.errors import GfsError, PartlyDone


class Outcome:
    """What became of several sources. A source that fails does not keep the others from it."""

    def __init__(self, session: Session, kind: str) -> None:
        self._session = session
        self._kind = kind
        self._items: list[dict[str, Any]] = []
        self._problems: list[Problem] = []
        self._copied_count = 0

    def attempt(self, source: str, copy: Callable[[], Stored | Fetched | TreeResult]) -> None:
        """Copy one source. Raises: what would stop the others, too."""
        try:
            result = copy()
        except (GfsError, OSError) as failure:
            error = failure if isinstance(failure, GfsError) else local_error(failure)
            if error.retryable:
                raise error from failure
            self._problems.append(Problem(source, error))
            return
        if isinstance(result, TreeResult):
            self._add_tree(source, result)
        else:
            self._add_file(source, result)

    def _add_file(self, source: str, result: Stored | Fetched) -> None:
        item: dict[str, Any] = {"source": source, "path": result.path, "size": result.size}
        if isinstance(result, Stored):
            item |= {"chunk_count": result.chunk_count, "copies": result.copies}
            item["warnings"] = list(result.warnings)
            for warning in result.warnings:
                self._session.warn(warning)
        self._copied_count += 1
        self._items.append({**item, "file_count": 1})

    def _add_tree(self, source: str, result: TreeResult) -> None:
        for warning in result.warnings:
            self._session.warn(warning)
        self._problems += result.problems
        self._copied_count += result.file_count + result.directory_count
        self._items.append(
            {
                "source": source,
                "size": result.size,
                "file_count": result.file_count,
                "directory_count": result.directory_count,
                "warnings": list(result.warnings),
            }
        )

    def conclude(self) -> None:
        """Tell what was done. Raises: the one error when nothing was, else PartlyDone."""
        if len(self._problems) == 1 and not self._copied_count:
            raise self._problems[0].error
        mode = self._session.options.output
        if self._session.options.machine_readable:
            self._session.show_plain(
                self._kind, self._items, problems=[_problem_facts(one) for one in self._problems]
            )
        elif mode == "name":
            output.write_lines(item["source"] for item in self._items)
        if not self._problems:
            return
        if not self._session.options.machine_readable:
            for problem in self._problems:
                output.say(_problem_line(problem))
        output.flush()
        raise PartlyDone(
            f"{count_text(len(self._problems), 'name was', 'names were')} not copied, "
            f"{count_text(self._copied_count, 'was', 'were')}"
        )


def _problem_line(problem: Problem) -> str:
    message = problem.error.message
    # Many messages name the thing already.
    return message if problem.path in message else f"{problem.path}: {message}"


def _problem_facts(problem: Problem) -> dict[str, Any]:
    error = problem.error
    return {"path": problem.path, "code": error.code, "message": error.message}
