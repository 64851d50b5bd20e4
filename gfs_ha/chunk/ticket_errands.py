"""What a chunkserver of a closed cluster does for tickets beside its heartbeats.

It tells its newest key to the masters that do not lead: they answer reads, and one of them may lead
in a moment, also while none does. And it has the tickets of its tails renewed. None of that may
hold up a heartbeat.
"""

from __future__ import annotations

import logging

from gfs_ha.chunk.tail_tickets import Tails, renew_chains
from gfs_ha.errors import GfsError
from gfs_ha.ids import ServerId, StartId
from gfs_ha.limits import TICKET_KEY_LATE_S, TICKET_LIFE_S
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.masters import ask_master
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.protocol.tickets import TellTicketKey
from gfs_ha.runtime import Runtime, Task

PERIOD_S = TICKET_KEY_LATE_S / 3  # A master that starts has heard of all servers after so long.
_ASK_S = 2.0
assert 3 * PERIOD_S < TICKET_LIFE_S, "tails are looked at often enough"

logger = logging.getLogger(__name__)


class TicketErrands:
    """A task of its own from `start` to `stop`."""

    def __init__(
        self,
        own: tuple[ServerId, StartId],
        keys: TicketKeys,
        tails: Tails,
        leader: LeaderLink,
        runtime: Runtime,
    ) -> None:
        self._own = own
        self._keys = keys
        self._tails = tails
        self._leader = leader
        self._runtime = runtime
        self._changed = runtime.condition()
        self._stopping = False
        self._task: Task | None = None

    def start(self) -> None:
        """Begin."""
        self._task = self._runtime.spawn("tickets", self._run)

    def stop(self, timeout_s: float) -> bool:
        """End it; False when it still runs after `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        return self._task is None or self._task.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping:
            renew_chains(self._tails, self._leader)
            self._tell_others()
            with self._changed:
                if not self._stopping:
                    self._changed.wait(PERIOD_S)

    def _tell_others(self) -> None:
        """Tell all masters but the leader, who hears it every second."""
        connections = self._leader.connections
        for name in connections.names:
            if self._stopping or name == self._leader.leader or self._leader.left(name):
                continue
            request = TellTicketKey(*self._own, self._keys.newest())
            try:
                ask_master(connections, name, request, _ASK_S)
            except GfsError as error:
                # It is away, or does not know this server yet: it is told again.
                logger.debug("ticket key not told master=%s because=%s", name, error.message)
