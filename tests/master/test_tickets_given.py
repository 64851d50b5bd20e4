"""Tickets from real masters: with every answer that names places, for whom may have them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asker import Asker, followers
from closed_trio import ClosedTrio, KeyedServer
from growing import grant, made
from msgspec import structs
from test_chunks import put
from trio import CALL_S, PASSING, Client, answer, started, wait_until

from gfs_ha.chunk.ticket_errands import TicketErrands
from gfs_ha.config import ENCRYPT, NONE
from gfs_ha.errors import Busy, GfsError
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.limits import DEAD_MIN_S, MIB, TICKET_LIFE_S
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.masters import ask_master
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.calls import LINEARIZABLE, Asked, ReadTerms
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import CopyReplica, CreateReplica
from gfs_ha.protocol.metadata import AllocateChunk, ChunkAllocated, Done, Locate, OpenFile, Remove
from gfs_ha.protocol.tickets import GetTickets, Level, Right, TellTicketKey, TicketsGiven


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[ClosedTrio]:
    cluster = ClosedTrio(tmp_path)
    cluster.dead_after_s = DEAD_MIN_S
    with started(cluster) as running:
        yield running


@pytest.fixture
def servers(trio: ClosedTrio, client: Client) -> list[KeyedServer]:
    return keyed_servers(trio)


def keyed_servers(trio: ClosedTrio) -> list[KeyedServer]:
    """Return four chunkservers of which each has told its key."""
    racks = ("r1", "r1", "r2", "r2")
    keyed = [KeyedServer(trio, f"cs{n}", rack) for n, rack in enumerate(racks, start=1)]
    for one in keyed:
        one.copies = True
        one.start()
    wait_until(lambda: all(one.heard for one in keyed), "the first heartbeats")
    return keyed


def with_id(servers: list[KeyedServer], server_id: ServerId) -> KeyedServer:
    return next(one for one in servers if one.server_id == server_id)


def check(
    servers: list[KeyedServer], answer: Any, rights: Right, limit: int, client: str = "tester"
) -> None:
    """Fail unless every place of an answer has a ticket for just that."""
    assert answer.pass_ is not None and answer.pass_.life_ms == TICKET_LIFE_S * 1000
    for place in answer.replicas:
        server = with_id(servers, place.server_id)
        facts = server.opened(place.ticket)
        assert (facts.chunk_id, facts.birth) == (answer.chunk_id, answer.birth)
        assert (facts.rights, facts.byte_limit, facts.level) == (rights, limit, Level.ENCRYPT)
        assert (facts.client, facts.secret) == (client, answer.pass_.secret)
        left_ms = facts.ends_ms - server.keys.now_ms()
        assert 0 < left_ms <= TICKET_LIFE_S * 1000


def test_who_writes_and_who_reads_gets_tickets_for_just_that(
    client: Client, servers: list[KeyedServer]
) -> None:
    asked = client.asked(AllocateChunk())
    (allocated,) = client.send(asked)
    assert isinstance(allocated, ChunkAllocated), allocated
    check(servers, allocated, Right.PUSH, MIB)
    # What was recorded bears none: asked again it gets other ones.
    (again,) = client.send(asked)
    check(servers, again, Right.PUSH, MIB)
    assert again.chunk_id == allocated.chunk_id
    assert again.pass_.secret != allocated.pass_.secret

    written = put(client, servers, "/file", 1000)
    opened = client.ask(OpenFile("/file"))
    check(servers, opened.chunks[0], Right.READ, 1000)
    (located,) = client.ask(Locate((written.chunk_id,))).chunks
    check(servers, located, Right.READ, 1000)


def test_who_appends_gets_a_ticket_for_that_and_the_primary_one_for_its_chain(
    client: Client, servers: list[KeyedServer]
) -> None:
    made(client)
    granted = grant(client)
    check(servers, granted.tail, Right.READ | Right.APPEND, granted.capacity)
    check(servers, client.ask(OpenFile("/log")).tail, Right.READ, granted.capacity)
    head, *below = [with_id(servers, one.server_id) for one in granted.tail.replicas]
    order = next(one for one in head.orders if isinstance(one, CreateReplica))
    assert order.pass_ is not None and order.chunk_id == granted.tail.chunk_id
    for server, hop in zip(below, order.chain, strict=True):
        facts = server.opened(hop.ticket)
        assert (facts.rights, facts.secret) == (Right.RECORDS, order.pass_.secret)
        assert facts.client == f"chunkserver {head.server_id}"
    assert not any(one.pass_ for one in below[0].orders if isinstance(one, CreateReplica))


def test_a_copy_that_is_ordered_comes_with_tickets_to_read_its_sources(
    client: Client, servers: list[KeyedServer]
) -> None:
    chunk = put(client, servers, "/file", 1000)
    chain = [one for one in servers if chunk.chunk_id in one.replicas]
    (spare,) = [one for one in servers if one not in chain]
    chain[0].stop()

    def ordered() -> CopyReplica | None:
        return next((one for one in spare.orders if isinstance(one, CopyReplica)), None)

    order = wait_until(ordered, "a copy")
    assert order.pass_ is not None and order.sources
    for source in order.sources:
        facts = with_id(servers, source.server_id).opened(source.ticket)
        assert (facts.chunk_id, facts.rights, facts.byte_limit) == (chunk.chunk_id, 1, 1000)


def test_another_leader_gives_tickets_as_soon_as_it_hears_the_servers(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    put(client, servers, "/file", 1000)
    trio.stop(trio.leader())

    def covered() -> bool:
        opened = client.ask(OpenFile("/file"))
        places = () if isinstance(opened, Failure) else opened.chunks[0].replicas
        return len(places) == 3 and all(place.ticket and place.live for place in places)

    wait_until(covered, "tickets of the new leader")
    check(servers, client.ask(OpenFile("/file")).chunks[0], Right.READ, 1000)
    check(servers, client.ask(AllocateChunk()), Right.PUSH, MIB)


def test_masters_that_do_not_lead_know_the_keys_too_and_read_for_clients(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    put(client, servers, "/file", 1000)
    terms = ReadTerms(LINEARIZABLE)
    links = {one.name: trio.link("chunkserver", one.name) for one in servers}
    reader = Asker(trio)
    (name, other) = followers(trio)
    bare = reader.ask(name, terms, OpenFile("/file")).replies[0]
    assert bare.chunks[0].pass_ is None
    for one in servers:
        told = TellTicketKey(one.server_id, one.start_id, one.keys.newest())
        for follower in (name, other):
            assert ask_master(links[one.name].connections, follower, told, CALL_S) == Done()
    (opened,) = reader.ask(name, terms, OpenFile("/file")).replies
    check(servers, opened.chunks[0], Right.READ, 1000, "asker")

    # Nobody tells the key of another one, nor that of who is not known.
    for server_id, said in ((servers[1].server_id, "cannot speak for"), (ServerId(77), "knows no")):
        lie = TellTicketKey(server_id, servers[0].start_id, servers[0].keys.newest())
        with pytest.raises(GfsError, match=said):
            ask_master(links["cs1"].connections, name, lie, CALL_S)


def test_who_beats_in_the_name_of_another_is_denied_counted_and_told_of(
    trio: ClosedTrio, servers: list[KeyedServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Heartbeats have no lines of their own: nothing else would tell of it."""
    link = trio.link("chunkserver", "cs1")
    lie = structs.replace(servers[0]._beat([]), server_id=servers[1].server_id)
    with caplog.at_level(logging.WARNING):
        reply = answer(link, Asked(lie))
    assert isinstance(reply, Failure) and reply.error == "Denied"
    assert any(master._desk.denials.count for master in trio.servers.values())
    assert "request denied peer=127.0.0.1:" in caplog.text
    assert "chunkserver cs1 cannot speak for chunkserver cs2" in caplog.text


class OneTail:
    """A tail whose chain needs new tickets until it gets them."""

    def __init__(self, chunk_id: ChunkId, servers: tuple[ServerId, ...]) -> None:
        self._stale = [(chunk_id, servers)]
        self.given: TicketsGiven | None = None

    def stale_chains(self) -> list[tuple[ChunkId, tuple[ServerId, ...]]]:
        return [] if self.given is not None else self._stale

    def renew_chain(self, chunk_id: ChunkId, given: TicketsGiven) -> None:
        self.given = given


def test_a_chunkserver_tells_its_key_to_all_and_renews_what_its_tails_need(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    made(client)
    granted = grant(client)
    head, *below = [with_id(servers, one.server_id) for one in granted.tail.replicas]
    tail = OneTail(granted.tail.chunk_id, tuple(one.server_id for one in below))
    link = trio.link("chunkserver", head.name)
    errands = TicketErrands((head.server_id, head.start_id), head.keys, tail, link, trio.runtime)
    errands.start()
    try:
        given = wait_until(lambda: tail.given, "new tickets for the chain")
        for server_id, ticket in given.tickets:
            assert with_id(servers, server_id).opened(ticket).rights == Right.RECORDS
        reader, terms = Asker(trio), ReadTerms(LINEARIZABLE)
        for name in followers(trio):

            def known(name: str = name) -> bool:
                (opened,) = reader.ask(name, terms, OpenFile("/log")).replies
                places = opened.tail.replicas
                return bool({one.server_id for one in places if one.ticket} & {head.server_id})

            wait_until(known, f"{name} knows its key")
    finally:
        assert errands.stop(CALL_S)


def ask(link: LeaderLink, request: GetTickets) -> Any:
    """Return the reply to a request, whoever leads by then."""
    return answer(link, Asked(request), (*PASSING, Busy.__name__))


def refusal(answer: Any) -> str:
    assert isinstance(answer, Failure), answer
    return f"{answer.error}: {answer.message}"


def test_who_asks_for_tickets_gets_those_that_are_his(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    chunk = put(client, servers, "/file", 1000)
    made(client)
    granted: AppendGrant = grant(client)
    open_chunk: ChunkAllocated = client.ask(AllocateChunk())
    everybody = tuple(one.server_id for one in servers)

    def wants(chunk_id: ChunkId, rights: Right) -> GetTickets:
        return GetTickets(chunk_id, int(rights), everybody)

    def holds(answer: Any, rights: Right, limit: int, count: int = 3) -> None:
        assert isinstance(answer, TicketsGiven), answer
        assert len(answer.tickets) == count
        for server_id, ticket in answer.tickets:
            facts = with_id(servers, server_id).opened(ticket)
            assert (facts.rights, facts.byte_limit, facts.level) == (rights, limit, Level.ENCRYPT)
            assert facts.secret == answer.pass_.secret

    # A client: what it may read, what it claims, and nothing of what servers do among themselves.
    holds(client.ask(wants(chunk.chunk_id, Right.READ)), Right.READ, 1000)
    holds(client.ask(wants(open_chunk.chunk_id, Right.PUSH)), Right.PUSH, MIB)
    tail = granted.tail.chunk_id
    holds(client.ask(wants(tail, Right.APPEND)), Right.APPEND, granted.capacity)
    stranger = Client(trio)
    for who, request, said in (
        (stranger, wants(open_chunk.chunk_id, Right.PUSH), "NotClaimed"),
        (client, wants(chunk.chunk_id, Right.PUSH), "NotClaimed"),
        (client, wants(chunk.chunk_id, Right.APPEND), "Denied: client tester may not append"),
        (client, wants(tail, Right.RECORDS), "Denied: client tester does not order the appends"),
        (client, wants(ChunkId(0), Right.LOG), "Denied: client tester may not read logs"),
        (client, wants(ChunkId(99), Right.READ), "UnknownChunk"),
        (client, GetTickets(tail, 0, everybody), "InvalidArgument"),
        (client, GetTickets(tail, 64, everybody), "InvalidArgument"),
        (client, GetTickets(tail, 1, ()), "InvalidArgument"),
        (client, GetTickets(tail, 1, (ServerId(77),)), "Busy"),
    ):
        assert said in refusal(who.ask(request))

    # A chunkserver: the chain of a tail that it leads, and no more.
    head = with_id(servers, granted.tail.primary)
    other = next(one for one in servers if one is not head)
    own, foreign = (trio.link("chunkserver", one.name) for one in (head, other))
    holds(ask(own, wants(tail, Right.RECORDS)), Right.RECORDS, granted.capacity)
    assert "does not order the appends" in refusal(ask(foreign, wants(tail, Right.RECORDS)))
    for right in (Right.READ, Right.APPEND, Right.PUSH, Right.LOG):
        assert "Denied" in (said := refusal(ask(own, wants(tail, right)))) or "NotClaimed" in said

    # An operator: log lines of every server, and nothing else with them.
    admin = trio.link("admin", "root")
    holds(ask(admin, wants(ChunkId(0), Right.LOG)), Right.LOG, 0, count=4)
    assert "InvalidArgument" in refusal(ask(admin, wants(tail, Right.LOG)))
    offices = [one._desk.tickets for one in trio.servers.values()]
    for office in offices:
        office._data = NONE  # As a configuration may say of chunks.
    holds(ask(admin, wants(ChunkId(0), Right.LOG)), Right.LOG, 0, count=4)
    for office in offices:
        office._data = ENCRYPT
    both = wants(ChunkId(0), Right.LOG | Right.READ)
    assert "InvalidArgument" in refusal(ask(admin, both))

    client.ask(Remove("/file"))
    wait_until(
        lambda: "UnknownChunk" in str(client.ask(wants(chunk.chunk_id, Right.READ))), "its end"
    )


def test_a_server_that_is_to_copy_a_chunk_may_ask_for_it_and_no_other(
    trio: ClosedTrio, client: Client, servers: list[KeyedServer]
) -> None:
    chunk = put(client, servers, "/file", 1000)
    chain = [one for one in servers if chunk.chunk_id in one.replicas]
    (spare,) = [one for one in servers if one not in chain]
    spare.deaf = True  # It is at it.
    chain[0].stop()
    request = GetTickets(chunk.chunk_id, int(Right.READ), tuple(one.server_id for one in chain[1:]))
    wait_until(lambda: any(isinstance(o, CopyReplica) for o in spare.orders), "the order")
    given = ask(trio.link("chunkserver", spare.name), request)
    assert isinstance(given, TicketsGiven) and len(given.tickets) == 2, given
    told = refusal(ask(trio.link("chunkserver", chain[1].name), request))
    assert "was not ordered to copy" in told
