"""What must hold when the members change: one step at a time, by majorities of those in force, and
never with a member on an old copy of its disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gfs_ha.master.raft.identity import LOG
from gfs_ha.master.raft.internals import LEADER
from gfs_ha.master.raft.members import Configuration
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.sim.checkers import Violation

if TYPE_CHECKING:
    from gfs_ha.sim.masters.master import SimMaster


def watch_member(master: SimMaster, node: RaftNode) -> None:
    """Have every configuration that a leader appends, and every new link, looked at."""
    before = [(node.replica.configuration, node.replica._journal.configuration_index)]
    adopt, link = node.members_changed, node.peer_up

    def members_changed() -> None:
        replica = node.replica
        journal = replica._journal
        if replica.role == LEADER:
            committed = replica.commit_index
            if committed < before[0][1] or journal.term_at(committed) != replica.term:
                raise Violation(
                    f"members: {master.name} leads term {replica.term} and changes them at"
                    f" {journal.configuration_index}, before its own entry or the change at"
                    f" {before[0][1]} is committed ({committed})"
                )
            check_step(master.name, before[0][0], journal.configuration)
        before[0] = (journal.configuration, journal.configuration_index)
        adopt()

    def peer_up(peer: str) -> None:
        if master.on_old_copy:
            raise Violation(f"old copy: {peer} admits {master.name}, which runs on one")
        link(peer)

    node.members_changed = members_changed  # type: ignore[method-assign]
    node.peer_up = peer_up  # type: ignore[method-assign]


def check_step(name: str, old: Configuration, new: Configuration) -> None:
    """Raises: Violation unless just one member moved by one step."""
    moved = [
        member
        for member in {**old.members, **new.members}
        if (member in old.voters, member in old.learners)
        != (member in new.voters, member in new.learners)
    ]
    if len(moved) != 1:
        raise Violation(f"members: {name} moves {', '.join(moved) or 'nobody'} at once")


def check_majority(leader: SimMaster, masters: Iterable[SimMaster]) -> None:
    """A majority of the members in force holds what the leader says is committed: who was removed
    does not count. Raises: Violation.
    """
    assert leader.node is not None
    replica = leader.node.replica
    configuration, committed = replica.configuration, replica.commit_index
    if replica._journal.configuration_index > committed:
        return  # What lies below may have been committed by a majority of the members before.
    holding = []
    for master in masters:
        if master.name in configuration.voters:
            with master.disk.held.read() as reader:
                last = next(iter(reader.scan(LOG, reverse=True)), (b"", b""))[0]
            if int.from_bytes(last, "big") >= committed:
                holding.append(master.name)
    if len(holding) <= len(configuration.voters) // 2:
        raise Violation(
            f"no majority: {leader.name} takes {committed} for committed, and of"
            f" {', '.join(configuration.voters)} only {', '.join(holding) or 'nobody'} hold it"
        )
