"""How many copies of a chunk the chunkservers in service can hold, for who asks for a goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import IN_SERVICE

_DEAD = "dead"


@dataclass(frozen=True, slots=True)
class RoomForCopies:
    """The chunkservers that take copies, or will once they are heard or their maintenance ends.

    `machines` are those of all servers: only where they are fewer than copies do copies share one.
    """

    servers: int
    of: int  # Registered ones.
    racks: int
    machines_in_service: int
    machines: int

    @classmethod
    def of_servers(cls, rows: Sequence[ServerRow]) -> RoomForCopies:
        """Return it as the leader shows its servers."""
        serving = [
            one
            for one in rows
            if one.mode == IN_SERVICE and (one.state != _DEAD or one.maintenance_left_ms)
        ]
        return cls(
            servers=len(serving),
            of=len(rows),
            racks=len({one.rack for one in serving}),
            machines_in_service=len({one.machine for one in serving}),
            machines=len({one.machine for one in rows}),
        )

    def copies(self, goal: int) -> int:
        """Return how many of so many copies there can be."""
        shared = self.machines < goal
        return min(goal, self.servers if shared else self.machines_in_service)

    def lack(self, goal: int) -> str:
        """Return what is missing for so many copies; empty: nothing."""
        possible = self.copies(goal)
        if possible >= goal:
            return ""
        servers = f"{self.of} chunkservers" if self.of != 1 else "1 chunkserver"
        serving = servers if self.servers == self.of else f"{self.servers} of {servers}"
        verb = "is" if self.servers == 1 else "are"
        racks = f"{self.racks} racks" if self.racks != 1 else "1 rack"
        most = "1 copy" if possible == 1 else f"{possible} copies"
        wanted = "1 copy is wanted" if goal == 1 else f"{goal} copies are wanted"
        until = "a server is added" if self.servers == self.of else "one is added or comes back"
        return (
            f"{wanted}, but only {serving} {verb} in service, in {racks}: chunks"
            f" get {most} at most until {until}"
        )

    def warning(self, goal: int, command: Callable[[int], str]) -> str:
        """Return what is missing for so many copies, and what asks for as many as there can be.

        Args: `command` says that of a number. Empty: nothing is missing.
        """
        lack, possible = self.lack(goal), self.copies(goal)
        # With 0 commands ask for the usual number.
        return (
            f"{lack}; {command(possible)} asks for no more than that" if possible and lack else lack
        )
