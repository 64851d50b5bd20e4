"""Several names in one command: one that fails is named and does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from gfs_ha.cli import output
from gfs_ha.cli.failure import local_error
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text
from gfs_ha.client.transfers import Problem
from gfs_ha.errors import GfsError, PartlyDone, UsageError

T = TypeVar("T")


class Several:
    """Counts what was done and keeps what was not; `conclude` ends the command with it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.problems: list[Problem] = []
        self.done_count = 0

    def attempt(self, name: str, act: Callable[[], T]) -> T | None:
        """Return what the act returns, None if it failed. Raises: what would stop all of them."""
        try:
            result = act()
        except (GfsError, OSError) as failure:
            self.problems.append(Problem(name, error_of_one(failure)))
            return None
        self.done_count += 1
        return result

    def attempt_each(self, names: Iterable[str], act: Callable[[str], T]) -> list[T]:
        """Return the results of the names that did not fail."""
        found: list[T] = []
        for name in names:
            self.attempt(name, lambda name=name: found.append(act(name)))  # type: ignore[misc]
        return found

    def conclude(self, participle: str) -> None:
        """Name what failed. Raises: the one error when nothing else was asked, else PartlyDone.

        Args: `participle` says what did not happen to the names, for example `copied`.
        """
        if not self.problems:
            return
        if len(self.problems) == 1 and not self.done_count:
            raise self.problems[0].error
        output.flush()
        if not self._session.options.machine_readable:
            for problem in self.problems:
                output.say(line_of_problem(problem))
        failed = count_text(len(self.problems), "name was", "names were")
        raise PartlyDone(f"{failed} not {participle}, {count_text(self.done_count, 'was', 'were')}")


def error_of_one(failure: GfsError | OSError) -> GfsError:
    """Return the error of one name. Raises: it, when it would stop all of them."""
    error = failure if isinstance(failure, GfsError) else local_error(failure)
    if error.retryable:
        raise error from failure
    return error


def split_target(words: Sequence[str], what: str) -> tuple[tuple[str, ...], str]:
    """Return the sources and the target, the last word. Raises: UsageError; `what` asks for it."""
    if len(words) < 2:
        given = f" '{printable(words[0])}'" if words else ""
        raise UsageError(f"{what.replace(' THIS', given)} (see --help)")
    return tuple(words[:-1]), words[-1]


def line_of_problem(problem: Problem) -> str:
    """Return what is said of a problem, with its name."""
    message = problem.error.message
    # Most messages name the thing already.
    return message if problem.path in message else f"{problem.path}: {message}"
