"""Who leads, carried from the consensus loop to the door: reigns begin and end here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from gfs_ha.errors import NotLeader
from gfs_ha.limits import REQUEST_DEADLINE_S
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.leader_parts import LeaderParts
from gfs_ha.master.opener import Opener
from gfs_ha.master.proposals import reply_of
from gfs_ha.master.raft.contract import (
    FOLLOWER,
    LEADER,
    OUTSIDER,
    VOTER,
    Outcome,
    RaftStatus,
)
from gfs_ha.master.reign import Reign
from gfs_ha.master.sealer import Sealer
from gfs_ha.master.state.commands import LeaderElected
from gfs_ha.protocol.codec import Failure

logger = logging.getLogger(__name__)


def was_removed(raft: RaftStatus) -> bool:
    """Return whether a master's own log says that it belongs to the masters no more.

    A new one that is still on its way through the log hears from a leader; nobody sends anything
    to one that was removed.
    """
    return raft.standing == OUTSIDER and bool(raft.members) and not raft.leader


def takes_part(raft: RaftStatus) -> bool:
    """Return whether a master has the state that others build on, as far as it knows itself."""
    return raft.standing == VOTER and raft.too_far_behind is None


def removal_text(name: str, members: Sequence[str]) -> str:
    """Return what is told of a master that was removed and still runs."""
    return (
        f"{name} was removed from the masters, which are {', '.join(members)} now; it takes no part"
        " any more and its name is never used again: stop it and delete its directory"
    )


class RoleKeeper:
    """Begins and ends reigns as the consensus loop says; the door's thread does the work."""

    def __init__(self, desk: Desk, make_reign: Callable[[int], Reign]) -> None:
        self._desk = desk
        self._make_reign = make_reign
        self._told: tuple[str, int] = (FOLLOWER, 0)
        self._adopted: tuple[str, int] = (FOLLOWER, 0)
        self._told_removal = False

    def role_changed(self, role: str, term: int) -> None:
        """Hear of a change, in the consensus loop's thread."""
        if role == LEADER:
            self._desk.proposer.begin_term(term)
        self._told = (role, term)
        self._desk.post_quietly(self._adopt)

    def check(self) -> None:
        """Post a change again that a flooded door did not take. Thread-safe."""
        if self._told != self._adopted:
            self._desk.post_quietly(self._adopt)
        raft = self._desk.proposer.status()
        removed = was_removed(raft)
        if removed and not self._told_removal:
            members = [member.member_id for member in raft.members]
            logger.warning("removed: %s", removal_text(self._desk.name, members))
        self._told_removal = removed

    def _adopt(self) -> None:
        told = self._told
        if told == self._adopted:
            return
        self.end()
        self._adopted = told
        if told[0] == LEADER:
            self._begin(told[1])

    def end(self) -> None:
        """End the reign: everybody who waits is sent on. On the door's thread."""
        desk = self._desk
        reign, sealer, opener = desk.reign, desk.sealer, desk.opener
        desk.reign = desk.sealer = desk.opener = None
        if reign is None or sealer is None or opener is None:
            return
        logger.warning("leads no more epoch=%s", reign.epoch)
        error = desk.proposer.not_leader()
        reign.end(error)
        for slot in [*opener.end(), *sealer.end()]:
            slot.fail(error)

    def _begin(self, term: int) -> None:
        desk = self._desk
        reign = self._make_reign(term)
        logger.warning("leads now epoch=%s", reign.epoch)
        command = LeaderElected(desk.name, desk.incarnation)
        # The first command of the reign: proposed before any request of a client is taken.
        desk.proposer.propose(
            command, REQUEST_DEADLINE_S, partial(log_outcome, type(command).__name__)
        )
        parts = LeaderParts(reign, desk.kv, desk.proposer, desk.runtime, desk.post_quietly)
        desk.sealer = Sealer(parts)
        desk.opener = Opener(parts, desk.sealer)
        desk.reign = reign


def log_outcome(command: str, outcome: Outcome) -> None:
    if outcome.error is not None:
        if not isinstance(outcome.error, NotLeader):
            logger.warning("proposal failed command=%s error=%s", command, outcome.error.message)
        return
    reply = reply_of(outcome)
    if isinstance(reply, Failure):
        logger.info("proposal refused command=%s because=%s", command, reply.message)
