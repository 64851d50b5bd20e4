"""What differs between a local tree and a remote one; nothing is changed on either side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gfs_ha.client.local_tree import LocalOther
from gfs_ha.client.same_content import Item, Judged, SameContent
from gfs_ha.client.transfers import Problem
from gfs_ha.client.tree_pairs import Pair, TreePairs
from gfs_ha.errors import GfsError
from gfs_ha.protocol.metadata import FILE

SAME = "same"
DIFFER = "differ"
MISSING_LOCAL = "missing-local"
MISSING_REMOTE = "missing-remote"
ERROR = "error"
SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one name is found to be; sizes in bytes, None where there is no file."""

    name: str
    state: str
    kind: str
    why: str = ""
    local_size: int | None = None
    remote_size: int | None = None


@dataclass(slots=True)
class ComparisonSummary:
    """How many names were found in which state, and how many bytes are the same on both sides."""

    states: Counter[str] = field(default_factory=Counter)
    same_bytes: int = 0

    @property
    def differences(self) -> int:
        return self.states[DIFFER] + self.states[MISSING_LOCAL] + self.states[MISSING_REMOTE]

    @property
    def uncompared(self) -> int:
        return self.states[ERROR] + self.states[SKIPPED]


class Comparison:
    """One comparison. `findings` is to be read to its end once.

    Args: `contents` compares the bytes of files of one size, without it the size is enough;
    `one_way` takes no notice of what is in the cluster alone.
    """

    def __init__(
        self, root: Pair, pairs: TreePairs, contents: SameContent | None, one_way: bool
    ) -> None:
        self.summary = ComparisonSummary()
        self._root = root
        self._pairs = pairs
        self._contents = contents
        self._one_way = one_way

    def findings(self) -> Iterator[Finding]:
        """Yield every name, also those that are the same, in sorted order. Raises: NoLeader…"""
        for judged in self._judged(self._items(self._root)):
            finding = self._finding(judged)
            if finding is None:
                continue
            self.summary.states[finding.state] += 1
            if finding.state == SAME:
                self.summary.same_bytes += finding.local_size or 0
            yield finding

    def _items(self, root: Pair) -> Iterator[Item]:
        if root.local_kind == FILE and root.remote_kind == FILE:
            yield root
        else:
            yield from self._pairs.walk(root)

    def _judged(self, items: Iterator[Item]) -> Iterator[Judged]:
        if self._contents is None:
            return (Judged(item) for item in items)
        return self._contents.judge(items, same_size)

    def _finding(self, judged: Judged) -> Finding | None:
        pair = judged.item
        if isinstance(pair, Problem):
            return Finding(pair.path, ERROR, "", pair.error.message)
        here, there = pair.local_kind, pair.remote_kind
        sizes = (
            pair.local_size if here == FILE else None,
            pair.remote_size if there == FILE else None,
        )
        kind = there or here

        def found(state: str, why: str = "") -> Finding:
            return Finding(pair.name, state, kind, why, *sizes)

        if isinstance(pair.local, LocalOther):
            problem = pair.local.problem
            return found(SKIPPED if problem.skipped else ERROR, problem.error.message)
        if not here:
            return None if self._one_way else found(MISSING_LOCAL)
        if not there:
            return found(MISSING_REMOTE)
        if here != there:
            return found(DIFFER, f"a {here} here, a {there} there")
        if here == FILE and sizes[0] != sizes[1]:
            return found(DIFFER, f"{sizes[0]:,} bytes here, {sizes[1]:,} there")
        if isinstance(judged.same, GfsError):
            return found(ERROR, judged.same.message)
        if judged.same is False:
            return found(DIFFER, "the bytes differ")
        return found(SAME)


def same_size(pair: Pair) -> bool:
    """Return whether there are two files of one size, whose bytes may be the same."""
    return pair.local_kind == pair.remote_kind == FILE and pair.local_size == pair.remote_size
