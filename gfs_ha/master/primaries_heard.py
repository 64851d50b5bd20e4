"""Between the leader's soft state and who asks about the primaries of tails."""

from __future__ import annotations

from collections.abc import Mapping

from gfs_ha.ids import ServerId
from gfs_ha.master.observed import Observed
from gfs_ha.master.opener import Opener
from gfs_ha.master.planners.primaries import Primary, TailsSeen
from gfs_ha.master.reign import Reign
from gfs_ha.master.state.tail_records import Tail


def tails_seen(reign: Reign, opener: Opener, states: Mapping[ServerId, str]) -> TailsSeen:
    """Return what the planner of tails goes by; `states` are those of all servers.

    On the door's thread.
    """
    servers = reign.observed.servers
    return TailsSeen(
        epoch=reign.epoch,
        opening=opener.opening(),
        states=states,
        starts={server_id: facts.start_id for server_id, facts in servers.items()},
        led={server_id: facts.led for server_id, facts in servers.items()},
        reported=frozenset(reign.observed.problems),
    )


def primary_heard(
    observed: Observed, tail: Tail, failed: tuple[ServerId, ...], now_s: float
) -> Primary:
    """Return what was heard of the primary of a tail; `failed` are those that a client reports."""
    server_id = tail.server_id
    facts = observed.servers.get(server_id)
    return Primary(
        observed.state(server_id, now_s),
        None if facts is None else facts.start_id,
        observed.led(tail.chunk_id, (server_id, tail.start_id)),
        server_id in failed or (tail.chunk_id, server_id) in observed.problems,
    )
