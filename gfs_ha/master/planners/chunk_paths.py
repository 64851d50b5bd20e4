"""Finds files that need certain chunks, some names at a time: nothing leads from chunk to name.

Soft state; what it has not met yet is simply not said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from gfs_ha.ids import ChunkId, ContentId
from gfs_ha.master.names_walk import names_below
from gfs_ha.master.state.tables import REFERENCES, below, id_key, read_reference_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import FILE

CHUNKS_MAX = 200  # That are looked for at once.
_CONTENTS = 4  # Of one chunk.
_REFERENCES = 100  # Of one chunk that are looked at.
_NAMES = 300  # That one look walks over: about a millisecond.
REST_S = 60.0  # After a walk over all names.
BELIEVED_S = 5.0  # What was found, before it is looked at again.


@dataclass(slots=True)
class ChunkPaths:
    """What was found so far; `found` is only replaced, for reports look at it.

    A file is told of that wants as many copies as its chunk is to have: with fewer wanted of it,
    the chunk goes by what the next one wants.
    """

    found: dict[ChunkId, str] = field(default_factory=dict)
    _contents: dict[ChunkId, ContentId] = field(default_factory=dict)  # For which it was found.
    _after: str = ""
    _looked_for: frozenset[ChunkId] = frozenset()
    _rest_until_s: float = 0.0
    _believed_until_s: float = 0.0

    def look(self, view: View, chunk_ids: Iterable[ChunkId], now_s: float) -> None:
        """Go on looking for the files of these chunks; all others are forgotten."""
        wanted = list(islice(dict.fromkeys(chunk_ids), CHUNKS_MAX))
        found = {one: self.found[one] for one in wanted if one in self.found}
        if found and now_s >= self._believed_until_s:
            self._believed_until_s = now_s + BELIEVED_S
            found = {
                one: path
                for one, path in found.items()
                if self._contents.get(one) in _contents(view, one)
            }
        lacking = [one for one in wanted if one not in found]
        if set(lacking) - self._looked_for:
            self._rest_until_s = 0.0  # Some were met a moment ago.
        self._looked_for = frozenset(lacking)
        if lacking and now_s >= self._rest_until_s:
            found.update(self._walk(view, lacking, now_s))
        self._contents = {one: self._contents[one] for one in found}
        if found != self.found:
            self.found = found

    def _walk(self, view: View, lacking: list[ChunkId], now_s: float) -> dict[ChunkId, str]:
        contents: dict[ContentId, list[ChunkId]] = {}
        for chunk_id in lacking:
            for content_id in _contents(view, chunk_id):
                contents.setdefault(content_id, []).append(chunk_id)
        if not contents:
            return {}
        found: dict[ChunkId, str] = {}
        count = 0
        for path, inode_id, kind in islice(names_below(view, "/", self._after), _NAMES):
            count += 1
            self._after = path
            inode = view.inode(inode_id) if kind == FILE else None
            if inode is not None and inode.content_id in contents:
                for chunk_id in contents[inode.content_id]:
                    if chunk_id not in found:
                        found[chunk_id] = path
                        self._contents[chunk_id] = inode.content_id
        if count < _NAMES:
            self._after, self._rest_until_s = "", now_s + REST_S
        return found


def _contents(view: View, chunk_id: ChunkId) -> set[ContentId]:
    """Return some contents that need a chunk, of those that want most copies."""
    rows = islice(view.rows.scan(REFERENCES, *below(id_key(chunk_id))), _REFERENCES)
    settings = view.settings()
    usual = settings.goal if settings is not None else 0
    goals: dict[ContentId, int] = {}
    for key, reference in rows:
        goals[read_reference_key(key)[2]] = reference.goal or usual
    most = max(goals.values(), default=0)
    return set(islice((one for one, goal in goals.items() if goal == most), _CONTENTS))
