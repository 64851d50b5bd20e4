"""Those who wait for a tail to be opened, and how far its opening has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gfs_ha.errors import Busy
from gfs_ha.ids import ChunkId, DiskId, InodeId, ServerId
from gfs_ha.master.creation import Creation
from gfs_ha.master.waiting import Waiting
from gfs_ha.protocol.append import GrantAppend

RETRY_MS = 200  # What a client whose time is nearly over is told to wait.
_TURN_AWAY_S = 0.3


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who waits for an open tail; `again` looks once more, when there may be one."""

    slot: Waiting
    request: GrantAppend
    again: Callable[[], None]

    def stays(self) -> bool:
        """Return whether it waits on; one whose time is nearly over is told to ask again."""
        if self.slot.closed:
            return False
        if self.slot.left_s() > _TURN_AWAY_S:
            return True
        why = "the tail of the file is not open yet; ask again"
        self.slot.fail(Busy(why, retry_ms=RETRY_MS))
        return False


@dataclass(slots=True)
class Opening:
    """One tail on its way, from its placement to its opening."""

    inode_id: InodeId
    waiting: list[Applicant]
    condemned: dict[ChunkId, str]  # Tails that are to be sealed, and why.
    failed: set[ServerId]  # As clients saw.
    unable: set[ServerId] = field(default_factory=set)  # To create a replica.
    failed_disks: set[DiskId] = field(default_factory=set)  # As clients saw, or as was answered.
    path: str = ""  # That leads to the file.
    tries: int = 0
    step: int = 0  # What an earlier step waited for is void.
    since_s: float = 0.0  # Of this step.
    creation: Creation | None = None
    before: ChunkId | None = None  # The tail that was sealed for it.

    def left_s(self) -> float:
        """Return for how long somebody waits."""
        return max((one.slot.left_s() for one in self.waiting), default=0.0)
