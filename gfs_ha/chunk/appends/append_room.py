"""What all tails share whose primary is this server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gfs_ha.chunk.appends.lease import LeaseClock
from gfs_ha.chunk.appends.waiting_room import WaitingRoom
from gfs_ha.chunk.rates import Rates
from gfs_ha.ids import Epoch, ServerId
from gfs_ha.protocol.control import FinishedTail
from gfs_ha.runtime import Runtime


@dataclass(frozen=True, slots=True)
class AppendRoom:
    """Each part is thread-safe."""

    lease: LeaseClock
    waiting: WaitingRoom
    runtime: Runtime
    newest_epoch: Callable[[], Epoch]  # That a leader told this server.
    server_id: ServerId
    on_end: Callable[[FinishedTail], None]  # Told of each tail that ends here, once.
    rates: Rates | None = None  # Is told how much is served.
