"""Tickets for the chains of tails: all that need new ones get them, whatever happens to some."""

from __future__ import annotations

import pytest

from gfs_ha.chunk.tail_tickets import AT_ONCE, renew_chains
from gfs_ha.errors import Denied, Unreachable
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.calls import CallBody, CallReply
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.tickets import GetTickets, OperationPass, Right, TicketsGiven

CHAIN = (ServerId(2), ServerId(3))
COUNT = 2 * AT_ONCE + 10


class SomeTails:
    """Tails that all need new tickets."""

    def __init__(self) -> None:
        self.renewed: dict[ChunkId, TicketsGiven] = {}

    def stale_chains(self) -> list[tuple[ChunkId, tuple[ServerId, ...]]]:
        ids = [ChunkId(number) for number in range(1, COUNT + 1)]
        return [(one, CHAIN) for one in ids if one not in self.renewed]

    def renew_chain(self, chunk_id: ChunkId, given: TicketsGiven) -> None:
        self.renewed[chunk_id] = given


class ScriptedLeader:
    """Gives tickets, but for chunk 5; answers as many calls as it is told to."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.asked = 0

    def call(self, body: CallBody, timeout_s: float) -> CallReply:
        self.asked += 1
        if self.asked > self.calls:
            raise Unreachable("it is gone")
        replies: list[object] = []
        for one in body:
            request = one.request
            assert isinstance(request, GetTickets) and request.rights == Right.RECORDS
            if request.chunk_id == 5:
                replies.append(failure(Denied("not yours")))
                continue
            secret = bytes((request.chunk_id % 256,)) * 32
            tickets = tuple((server_id, b"t") for server_id in request.servers)
            replies.append(TicketsGiven(OperationPass(secret, 2, 1000), tickets))
        return tuple(replies)  # type: ignore[arg-type]

    def close(self) -> None:
        """Nothing is open."""


def test_each_tail_gets_its_own_in_few_calls_and_one_that_is_refused_holds_up_nobody() -> None:
    tails, leader = SomeTails(), ScriptedLeader(calls=100)
    renew_chains(tails, leader)
    assert leader.asked == 3
    assert set(range(1, COUNT + 1)) - tails.renewed.keys() == {5}
    for chunk_id, given in tails.renewed.items():
        assert given.pass_.secret[0] == chunk_id % 256 and set(given.by_server) == set(CHAIN)


@pytest.mark.parametrize("calls", [0, 1])
def test_a_leader_that_is_gone_is_not_asked_for_each_tail(calls: int) -> None:
    tails, leader = SomeTails(), ScriptedLeader(calls)
    renew_chains(tails, leader)
    assert leader.asked == calls + 1
    assert len(tails.renewed) == max(0, calls * AT_ONCE - 1)
    leader.calls = 100
    renew_chains(tails, leader)
    assert len(tails.renewed) == COUNT - 1
