"""Random commands that make contents of the bytes of files, for the seeded workload."""

from __future__ import annotations

import random

from state_driver import Driver

from gfs_ha.errors import GfsError
from gfs_ha.ids import ContentId
from gfs_ha.limits import MIB
from gfs_ha.master.state.commands import Command
from gfs_ha.protocol.extents import DiscardStaged, MoveReferences, ReplaceContent, StageCopy
from gfs_ha.protocol.metadata import FileStatus

KINDS = {StageCopy, ReplaceContent, DiscardStaged, MoveReferences}


def extent_change(dice: random.Random, driver: Driver, path: str, staged: ContentId) -> Command:
    """Return a copy into a staged content, or a flip to it, mostly of what is there."""
    with driver.view() as view:
        try:
            status = view.status(path)
        except GfsError:
            status = FileStatus(0, "file", 0, 0, "", "", 0)
        size = sum(extent.length for extent in view.extents(staged))
    kind = dice.random()
    if kind < 0.1:
        return DiscardStaged(staged)
    if kind < 0.5:
        late = dice.random() < 0.1
        return ReplaceContent(path, staged, size, 5, status.content_id, status.generation - late)
    offset = dice.randrange(status.size + 1) if status.size else 0
    length = dice.choice((0, 1000, MIB))
    if dice.random() < 0.4:
        return StageCopy(path, offset, length)
    pinned = (status.content_id, status.generation) if dice.random() < 0.5 else (ContentId(0), 0)
    return StageCopy(path, offset, length, staged, size, *pinned)
