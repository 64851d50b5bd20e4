"""Whether local files have the same bytes as remote ones: by CRC-32C, without moving the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.crew import fatal
from gfs_ha.client.file_checksum import Checksums, local_checksum
from gfs_ha.client.in_order import InOrder
from gfs_ha.client.local_tree import LocalFile
from gfs_ha.client.piece_stream import ReaderParts
from gfs_ha.client.transfers import Cancel, Problem, Watch
from gfs_ha.client.tree_download import FILES_PER_JOB, OpenContents
from gfs_ha.client.tree_pairs import Pair
from gfs_ha.errors import GfsError
from gfs_ha.limits import MIB

_BYTES_PER_JOB = 64 * MIB
_NAMES_PER_JOB = 1000  # Most of which need no look.

Item = Pair | Problem


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair, and whether its two files have the same bytes; None: nobody wanted to know."""

    item: Item
    same: bool | GfsError | None = None


class SameContent:
    """Compares the contents of pairs, several at once, in their order."""

    def __init__(
        self,
        open_contents: OpenContents,
        parts: ReaderParts,
        watch: Watch,
        remote_path: Callable[[str], str],
    ) -> None:
        self._open_contents = open_contents
        self._parts = parts
        self._watch = watch
        self._remote_path = remote_path

    def judge(self, items: Iterator[Item], wanted: Callable[[Pair], bool]) -> Iterator[Judged]:
        """Yield all items in their order; those that are wanted with what the comparison says.

        Both sides of those must be files. Raises: NoLeader, Cancelled…
        """
        checksums = Checksums(self._parts, self._watch)

        def work(group: Sequence[Item]) -> list[Judged]:
            pairs = [one for one in group if isinstance(one, Pair) and wanted(one)]
            paths = [self._remote_path(one.name) for one in pairs]
            contents = self._open_contents(paths) if paths else []
            same = {
                pair.name: self._same(checksums, pair, content)
                for pair, content in zip(pairs, contents, strict=True)
            }
            return [
                Judged(one, same.get(one.name) if isinstance(one, Pair) else None) for one in group
            ]

        own = Cancel(self._watch.cancel)
        run: InOrder[list[Item], list[Judged]] = InOrder(
            self._parts.runtime, self._watch.lanes.count, work, own
        )
        for judged in run.results(_groups(items, wanted)):
            yield from judged

    def _same(
        self, checksums: Checksums, pair: Pair, content: PinnedContent | GfsError
    ) -> bool | GfsError:
        assert isinstance(pair.local, LocalFile), pair
        try:
            if isinstance(content, GfsError):
                raise content
            there = checksums.of(content)
            here = local_checksum(pair.local.path, self._watch)
        except GfsError as error:
            if fatal(error):
                raise
            return error
        return (here.size, here.crc32c) == (there.size, there.crc32c)


def _groups(items: Iterator[Item], wanted: Callable[[Pair], bool]) -> Iterator[list[Item]]:
    group: list[Item] = []
    count = size = 0
    for item in items:
        group.append(item)
        if isinstance(item, Pair) and wanted(item):
            count += 1
            size += item.local_size
        if count == FILES_PER_JOB or size >= _BYTES_PER_JOB or len(group) == _NAMES_PER_JOB:
            yield group
            group, count, size = [], 0, 0
    if group:
        yield group
