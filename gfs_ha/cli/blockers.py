"""Chunks that a job cannot move, told once for all that the same is in the way of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gfs_ha.cli.names import printable
from gfs_ha.cli.units import count_text
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.jobs import Blocker


@dataclass(slots=True)
class Alike:
    """Chunks of which the same is said."""

    why: str
    ways: tuple[str, ...]
    chunk_ids: list[ChunkId] = field(default_factory=list)
    files: dict[str, None] = field(default_factory=dict)  # Those that are known, in their order.

    @property
    def whose(self) -> str:
        """Return ` of /a and 2 files more`; empty where no file is known."""
        first, *others = self.files or ("",)
        more = f" and {count_text(len(others), 'file')} more" if others else ""
        return f" of {printable(first)}{more}" if first else ""


def alike(blockers: Iterable[Blocker]) -> Sequence[Alike]:
    """Return the chunks by what is in their way and the ways out."""
    found: dict[tuple[str, tuple[str, ...]], Alike] = {}
    for one in blockers:
        group = found.setdefault((one.why, one.ways), Alike(one.why, one.ways))
        group.chunk_ids.append(one.chunk_id)
        if one.path:
            group.files[one.path] = None
    return tuple(found.values())
