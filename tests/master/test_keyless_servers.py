"""Chunkservers whose keys for tickets the leader does not know: nothing new goes to them.

One cluster for all of it: each test leaves its servers as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from closed_trio import ClosedTrio, KeyedServer
from growing import grant, grown, made
from test_spare_tails import MORE_THAN_HALF, spare
from test_tickets_given import ask, check, keyed_servers, refusal, with_id
from trio import Client, answer, started, wait_until

from gfs_ha.errors import NotLeader
from gfs_ha.limits import MIB
from gfs_ha.master.state.tail_commands import PlaceTail
from gfs_ha.protocol.append import GrantAppend
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import CreateReplica
from gfs_ha.protocol.metadata import AllocateChunk
from gfs_ha.protocol.placement import ExplainNewPlacement
from gfs_ha.protocol.tickets import GetTickets, Right, TicketsGiven


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClosedTrio]:
    with started(ClosedTrio(tmp_path_factory.mktemp("closed"))) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def servers(trio: ClosedTrio) -> list[KeyedServer]:
    return keyed_servers(trio)


def silence(trio: ClosedTrio, server: KeyedServer) -> None:
    """Have the masters not know the key of a server, as if it had never told one."""
    server.tells = False
    for master in trio.servers.values():
        assert master._desk.tickets is not None
        master._desk.tickets.forget(server.server_id)


@contextmanager
def telling_again(trio: ClosedTrio, servers: list[KeyedServer]) -> Iterator[None]:
    """Have all servers tell their keys at the end, and wait until the leader has heard them."""
    try:
        yield
    finally:
        for server in servers:
            server.tells = True
        ids = [server.server_id for server in servers]

        def keyed() -> bool:
            with suppress(NotLeader):
                observed = trio.servers[trio.leader()]._desk.leading().observed
                return all(observed.keyed(one) for one in ids)
            return False

        wait_until(keyed, "all keys")


def chains(servers: list[KeyedServer]) -> list[CreateReplica]:
    """Return the orders that made a server the primary of a chain."""
    orders = [one for server in servers for one in server.orders]
    return [one for one in orders if isinstance(one, CreateReplica) and one.chain]


def test_who_told_no_key_gets_no_new_chunk_and_no_tail(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    mute, before = servers[3], len(servers[3].orders)
    with telling_again(trio, servers):
        silence(trio, mute)
        for _ in range(4):
            allocated = client.ask(AllocateChunk())
            check(servers, allocated, Right.PUSH, MIB)
            assert len(allocated.replicas) == 3
            assert mute.server_id not in {one.server_id for one in allocated.replicas}
        for path in ("/one", "/two", "/three"):
            made(client, path)
            granted = grant(client, path)
            check(servers, granted.tail, Right.READ | Right.APPEND, granted.capacity)
        assert len(mute.orders) == before
        assert all(hop.ticket for order in chains(servers) for hop in order.chain)
        asked = Asked(ExplainNewPlacement("/"))
        explained = answer(trio.link("admin", "root"), asked)
        said = next(row.why for row in explained.rejected if row.name == mute.name)
        assert "has told this leader no key for tickets" in said

    def allocated_again() -> bool:
        places = client.ask(AllocateChunk()).replicas
        return mute.server_id in {one.server_id for one in places}

    wait_until(allocated_again, "a chunk for who told his key in the end")


def test_a_key_that_is_lost_while_a_tail_is_placed_has_it_made_elsewhere(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer = trio.servers[trio.leader()]._desk.proposer
    propose, lost = proposer.propose, list[KeyedServer]()

    def lose_one(command: Any, *rest: Any, **more: Any) -> None:
        if isinstance(command, PlaceTail) and not lost:
            lost.append(with_id(servers, command.replicas[-1][0]))
            silence(trio, lost[0])
        propose(command, *rest, **more)

    made(client)
    with telling_again(trio, servers):
        monkeypatch.setattr(proposer, "propose", lose_one)
        granted = grant(client)
        assert lost and lost[0].server_id not in {one.server_id for one in granted.tail.replicas}
        check(servers, granted.tail, Right.READ | Right.APPEND, granted.capacity)
        assert len(granted.tail.replicas) == 3
        assert all(hop.ticket for order in chains(servers) for hop in order.chain)


def test_who_appends_waits_while_there_is_no_ticket_for_the_primary(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    """As with a leader that is new: without one the first records would end the tail."""
    made(client, "/known")
    first = grant(client, "/known").tail
    with telling_again(trio, servers):
        silence(trio, with_id(servers, first.primary))
        told = client.ask(GrantAppend("/known"))
        assert isinstance(told, Failure) and told.error == "Busy", told
        assert "primary is not heard yet" in told.message
    again = grant(client, "/known")
    assert again.tail.chunk_id == first.chunk_id
    check(servers, again.tail, Right.READ | Right.APPEND, again.capacity)


def test_a_tail_that_is_kept_ready_is_opened_only_with_tickets_that_work(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    first = grown(client, servers, MORE_THAN_HALF, "/ready")
    ready = spare(servers, first)
    order = next(one for one in chains(servers) if one.chunk_id == ready)
    head = next(one for one in servers if order in one.orders)

    # It may be kept for hours: its head has them renewed, and nobody else.
    below = tuple(hop.server_id for hop in order.chain)
    request = GetTickets(ready, int(Right.RECORDS), below)
    given = ask(trio.link("chunkserver", head.name), request)
    assert isinstance(given, TicketsGiven), given
    for server_id, ticket in given.tickets:
        assert with_id(servers, server_id).opened(ticket).rights == Right.RECORDS
    other = trio.link("chunkserver", with_id(servers, below[0]).name)
    assert "Denied" in refusal(ask(other, request))

    with telling_again(trio, servers):
        silence(trio, with_id(servers, below[-1]))
        second = grant(client, "/ready", refused=first.tail.chunk_id)
        assert second.tail.chunk_id != ready
        assert below[-1] not in {one.server_id for one in second.tail.replicas}
