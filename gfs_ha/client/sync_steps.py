"""What one-way copying does with each name: a pure function of what is on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gfs_ha.client.local_tree import LocalDirectory, LocalFile, LocalOther
from gfs_ha.client.same_content import Judged
from gfs_ha.client.transfers import Problem
from gfs_ha.client.tree_pairs import OTHER, Pair
from gfs_ha.errors import AlreadyExists, GfsError
from gfs_ha.protocol.metadata import DIRECTORY, FILE

MAKE = "make"  # A directory.
COPY = "copy"
SET = "set"  # Mode and time alone.
DELETE = "delete"
EQUAL = "equal"
SKIP = "skip"  # Nothing that is copied.
FAIL = "fail"  # It cannot be looked at, or something is in its way.
KEEP = "keep"  # In the target alone, and nobody asked for its end.

CHANGES = (MAKE, COPY, SET, DELETE)

_MODE = 0o7777


@dataclass(frozen=True, slots=True)
class SyncRule:
    """Which way, and what counts as the same.

    Args: `up` is into the cluster; `contents` has bytes compared and not times; `delete` ends what
    is in the target alone.
    """

    up: bool
    delete: bool = False
    contents: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What is done with one name, and why; `size` in bytes, of what is copied or deleted."""

    action: str
    name: str
    kind: str
    why: str = ""
    size: int = 0
    pair: Pair | None = None
    problem: Problem | None = None


def steps(rule: SyncRule, judged: Iterator[Judged], shown: Callable[[Pair], str]) -> Iterator[Step]:
    """Yield what is done with each name, in their order. Args: `shown` names it for people."""
    for one in judged:
        yield _step(rule, one, shown)


def _step(rule: SyncRule, judged: Judged, shown: Callable[[Pair], str]) -> Step:
    pair = judged.item
    if isinstance(pair, Problem):
        return Step(FAIL, pair.path, "", pair.error.message, problem=pair)
    source, target = pair.local_kind, pair.remote_kind
    size, target_size = pair.local_size, pair.remote_size
    if not rule.up:
        source, target, size, target_size = target, source, target_size, size

    def step(action: str, why: str = "", size: int = 0) -> Step:
        return Step(action, pair.name, source or target, why, size, pair)

    def fail(problem: Problem, action: str = FAIL) -> Step:
        return Step(action, pair.name, source, problem.error.message, 0, pair, problem)

    if isinstance(pair.local, LocalOther) and (rule.up or not pair.local.problem.skipped):
        problem = pair.local.problem
        return fail(problem, SKIP if problem.skipped else FAIL)
    if not source:
        return step(DELETE, "", target_size) if rule.delete else step(KEEP)
    if not target:
        return step(MAKE) if source == DIRECTORY else step(COPY, "new", size)
    if source != target:
        what = "something that is no file" if target == OTHER else f"a {target}"
        where = shown(pair)
        error = AlreadyExists(f"{where} is {what}; a {source} cannot replace it: remove it first")
        return fail(Problem(where, error))
    link = not rule.up and isinstance(pair.local, LocalFile) and pair.local.link
    alike = size == target_size and judged.same is not False
    if link and not (alike and _same_time(pair) and _same_mode(pair)):
        # What it leads to is nobody's to change.
        where = shown(pair)
        error = AlreadyExists(f"{where} is a link; a file cannot replace it: remove it first")
        return fail(Problem(where, error))
    if source == FILE:
        if size != target_size:
            return step(COPY, "size", size)
        if isinstance(judged.same, GfsError):
            return fail(Problem(shown(pair), judged.same))
        if judged.same is False:
            return step(COPY, "content", size)
        if not rule.contents and not _same_time(pair):
            return step(COPY, "time", size)
    if _same_time(pair) and _same_mode(pair):
        return step(EQUAL)
    return step(SET, "time" if _same_mode(pair) else "mode")


def _same_time(pair: Pair) -> bool:
    here = _attributed(pair)
    return pair.remote is not None and here.mtime_ns == pair.remote.mtime_ns


def _same_mode(pair: Pair) -> bool:
    here = _attributed(pair)
    return pair.remote is not None and here.mode & _MODE == pair.remote.mode & _MODE


def _attributed(pair: Pair) -> LocalFile | LocalDirectory:
    assert isinstance(pair.local, LocalFile | LocalDirectory), pair
    return pair.local
