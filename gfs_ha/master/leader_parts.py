"""What everything has in common that works for one leader, on its door's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.kv.ordered import OrderedKV
from gfs_ha.master.proposals import Proposer
from gfs_ha.master.reign import Reign
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class LeaderParts:
    """Fields: `post` has something done on the door's thread, from any thread."""

    reign: Reign
    kv: OrderedKV
    proposer: Proposer
    runtime: Runtime
    post: Callable[[Callable[[], None]], None]
