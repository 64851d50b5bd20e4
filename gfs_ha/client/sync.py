"""One-way copying of what differs between two trees: planned as it is walked, deletions last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from gfs_ha.client.comparison import same_size
from gfs_ha.client.local_files import shown
from gfs_ha.client.same_content import Item, Judged, SameContent
from gfs_ha.client.sync_steps import (
    CHANGES,
    COPY,
    DELETE,
    KEEP,
    MAKE,
    SET,
    Step,
    SyncRule,
    steps,
)
from gfs_ha.client.transfers import Problem, TreeResult
from gfs_ha.client.tree_pairs import Pair, TreePairs
from gfs_ha.protocol.metadata import DIRECTORY


@dataclass(slots=True)
class Deleted:
    """What was deleted, and what could not be."""

    files: int = 0
    directories: int = 0
    problems: list[Problem] = field(default_factory=list)

    def count(self, kind: str) -> None:
        """Note that a name of a kind is deleted."""
        if kind == DIRECTORY:
            self.directories += 1
        else:
            self.files += 1


class SyncTarget(Protocol):
    """The side that is changed, and how it is copied to."""

    def copy(self, planned: Iterator[Step], jobs: int) -> None:
        """Do what is planned, as it comes, but for deletions. Raises: what concerns all of it."""
        ...

    def delete(self, planned: Sequence[Step]) -> Deleted:
        """Delete files, then directories from the innermost outwards."""
        ...

    def finish(self, pairs: Sequence[Pair]) -> None:
        """Give directories modes and times that what was done below them has changed."""
        ...

    def result(self) -> TreeResult:
        """Return what became of what was copied so far."""
        ...


@dataclass(slots=True)
class SyncSummary:
    """What was planned (`plan`, by action and kind) and what became of it; sizes in bytes."""

    plan: Counter[tuple[str, str]] = field(default_factory=Counter)
    copy_bytes: int = 0
    delete_bytes: int = 0
    copied_files: int = 0
    copied_bytes: int = 0
    deleted_files: int = 0
    deleted_directories: int = 0
    withheld: bool = False  # Nothing was deleted, because something failed.
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def planned(self, action: str) -> int:
        """Return how many names an action is planned for."""
        return sum(count for (one, _), count in self.plan.items() if one == action)

    @property
    def empties(self) -> bool:
        """Return whether all of the target goes, as the source has nothing but its root."""
        deletions = self.planned(DELETE)
        return deletions > 0 and self.plan.total() - deletions - self.planned(KEEP) <= 1

    @property
    def changes(self) -> int:
        """Return how many names are to be changed."""
        return sum(self.planned(action) for action in CHANGES)


class Sync:
    """One run: `plan`, or `copy`, then `delete` if there is anything to delete, then `finish`."""

    def __init__(
        self,
        rule: SyncRule,
        root: Pair,
        pairs: TreePairs,
        contents: SameContent,
        target: SyncTarget,
        jobs: int,
    ) -> None:
        self._jobs = jobs
        self.rule = rule
        self.summary = SyncSummary()
        self._root = root
        self._pairs = pairs
        self._contents = contents
        self._target = target
        self._above: list[Pair] = []  # The directories on the way to the name now looked at.
        self._touched: dict[str, Pair] = {}
        self._deletions: list[Step] = []

    def plan(self) -> Iterator[Step]:
        """Yield what `copy` and `delete` would do, every name of both trees."""
        for step in steps(self.rule, self._judged(self._items()), self.shown):
            self._count(step)
            yield step

    def copy(self) -> None:
        """Copy what differs. Raises: what concerns all of it; a run after it does the rest."""
        self._target.copy(self._noted(self.plan()), self._jobs)
        result = self._target.result()
        self.summary.problems += result.problems
        self.summary.copied_files, self.summary.copied_bytes = result.file_count, result.size

    def deletions(self) -> Sequence[Step]:
        """Return what is to be deleted after `copy`; nothing when anything failed."""
        failed = any(not problem.skipped for problem in self.summary.problems)
        self.summary.withheld = failed and bool(self._deletions)
        return () if failed else self._deletions

    def delete(self) -> None:
        """Delete what is in the target alone, as `deletions` says."""
        deleted = self._target.delete(self.deletions())
        self.summary.deleted_files = deleted.files
        self.summary.deleted_directories = deleted.directories
        self.summary.problems += deleted.problems

    def finish(self) -> SyncSummary:
        """Set what is left to be set, and return what became of it all."""
        before = len(self._target.result().problems)
        self._target.finish(list(self._touched.values()))
        result = self._target.result()
        self.summary.problems += result.problems[before:]
        self.summary.warnings = result.warnings
        return self.summary

    def shown(self, pair: Pair) -> str:
        """Return the name of the target's side of a pair, for people."""
        return self._pairs.remote_path(pair.name) if self.rule.up else self._local(pair)

    def _local(self, pair: Pair) -> str:
        return shown(pair.local.path if pair.local is not None else pair.name)

    def _items(self) -> Iterator[Item]:
        yield self._root
        yield from self._pairs.walk(self._root)

    def _judged(self, items: Iterator[Item]) -> Iterator[Judged]:
        if not self.rule.contents:
            return (Judged(item) for item in items)
        return self._contents.judge(items, same_size)

    def _count(self, step: Step) -> None:
        self.summary.plan[step.action, step.kind] += 1
        if step.action == COPY:
            self.summary.copy_bytes += step.size
        elif step.action == DELETE:
            self.summary.delete_bytes += step.size

    def _noted(self, planned: Iterator[Step]) -> Iterator[Step]:
        """Remember what comes at the end, and pass on what is done at once."""
        for step in planned:
            pair = step.pair
            if pair is not None:
                self._descend(pair)
            if step.problem is not None:
                self.summary.problems.append(step.problem)
            elif step.action == DELETE:
                # There may be a million of them: what is known of both sides is not kept.
                self._deletions.append(replace(step, pair=None))
                self._touch(step.name)
            elif step.action == SET and pair is not None:
                self._touched[step.name] = pair
            elif step.action in (COPY, MAKE):
                self._touch(step.name)
                yield step

    def _descend(self, pair: Pair) -> None:
        while self._above and not _below(pair.name, self._above[-1].name):
            self._above.pop()
        if pair.local_kind == pair.remote_kind == DIRECTORY:
            self._above.append(pair)

    def _touch(self, name: str) -> None:
        """Note that the directory above a name gets a new time by what is done."""
        parent = name.rpartition("/")[0]
        for pair in self._above:
            if pair.name == parent and name:
                self._touched.setdefault(parent, pair)


def _below(name: str, directory: str) -> bool:
    return not directory or name.startswith(f"{directory}/")
