"""What every replica of a store shares."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.chunk.journal.journal import Journal
from gfs_ha.chunk.slots.tally import Tally
from gfs_ha.net.buffers import BufferPool
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Clock and locks, big buffers, the machine's boot id, the tally that each counts in, and the
    journal of the disk."""

    runtime: Runtime
    buffers: BufferPool
    boot_id: int
    tally: Tally
    journal: Journal
