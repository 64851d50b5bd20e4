"""The fault that tries a lease: a second leader appears before the first one knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gfs_ha.sim.masters.faults import Faults
    from gfs_ha.sim.masters.master import SimMaster

_LOOK_S = 0.002
_PATIENCE_S = 1.5
_HANG_UP_S = 0.003  # Longer than a reset is under way, mostly.


class Rival:
    """A leader loses its link to one master, or to all. As soon as somebody is ahead of it in
    terms it loses all others; once a rival leads, all clients but one lose their connections to
    the old leader and look for another. With all rules the rival comes when the lease is over.
    """

    def __init__(self, faults: Faults, leader: SimMaster, alone: bool) -> None:
        self._faults = faults
        self._leader = leader
        self._scheduler = faults.world.scheduler
        self._end_s = self._scheduler.now_s + _PATIENCE_S
        self._alone = alone
        others = [each for each in faults.masters.values() if each is not leader]
        self._others = others
        first = others if self._alone else [faults.world.chance.choice(others)]
        for other in first:
            faults.cut_for(leader.name, other.name, _PATIENCE_S)
        self._look()

    def _look(self) -> None:
        term = self._leader.term
        over = self._scheduler.now_s >= self._end_s or not self._leader.leading
        if over or self._faults.stopped:
            return
        ahead = [each for each in self._others if each.term > term]
        if ahead and not self._alone:
            self._alone = True
            for other in self._others:
                self._faults.cut_for(self._leader.name, other.name, _PATIENCE_S)
        if any(each.leading for each in ahead):
            self._leave_with_one()
        else:
            self._scheduler.after(_LOOK_S, self._look)

    def _leave_with_one(self) -> None:
        faults, leader = self._faults, self._leader
        near = faults.world.chance.choice(faults.clients)
        away = [client.name for client in faults.clients if client is not near]
        network = faults.world.network
        for name in away:
            # Their next calls do not arrive, but the reset of their connections does.
            network.cut(name, leader.name)
        if leader.door is not None:
            for visitor in list(leader.door.visitors):
                if visitor.peer in away:
                    visitor.hang_up()

        def separate() -> None:
            for name in away:
                if not faults.stopped:
                    faults.cut_for(leader.name, name, _PATIENCE_S)
            for other in self._others:
                if not faults.stopped:
                    faults.cut_for(near.name, other.name, _PATIENCE_S)

        self._scheduler.after(_HANG_UP_S, separate)
