"""Tickets as the leader seals them: for one server, by its clock, with one secret an answer."""

from __future__ import annotations

from dataclasses import replace as replaced

import pytest
from msgspec.structs import replace

from gfs_ha.config import AUTO, ENCRYPT, INTEGRITY, NONE
from gfs_ha.ids import ANY_DISK, ChunkId, DiskId, Epoch, LogIndex, ServerId, StartId
from gfs_ha.limits import (
    CHUNK_BYTES_MAX,
    MIB,
    TICKET_KEY_S,
    TICKET_LIFE_S,
    TICKETS_PER_ANSWER_MAX,
)
from gfs_ha.master.ticket_office import Permit, TicketOffice
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tickets import key_id_of, open_ticket
from gfs_ha.protocol.control import CopyReplica, CopySource, CreateReplica, DeleteReplica
from gfs_ha.protocol.metadata import ChunkLocations, Location
from gfs_ha.protocol.tickets import Level, Right, TicketFacts, TicketKey
from gfs_ha.runtime import ThreadedRuntime

CHUNK, BIRTH = ChunkId(7), Epoch(1, 2)
PERMIT = Permit(CHUNK, BIRTH, Right.READ, MIB)
ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)
START = StartId(1)


class HandClock(ThreadedRuntime):
    """Time goes on only when the test says so; every machine has a clock of its own."""

    def __init__(self, now_s: float) -> None:
        super().__init__()
        self.now_s = now_s

    def monotonic_s(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)


class House:
    """A leader and chunkservers whose clocks have nothing in common."""

    def __init__(self, data: str = AUTO) -> None:
        self.clock = HandClock(50.0)
        self.office = TicketOffice(self.clock, data)
        self.clocks = {one: HandClock(1e6 * one) for one in (ONE, TWO, THREE)}
        self.keys = {one: TicketKeys(clock) for one, clock in self.clocks.items()}

    def beat(self, *servers: ServerId) -> None:
        for server_id in servers or tuple(self.keys):
            self.office.heard(server_id, START, self.keys[server_id].newest())

    def passes(self, seconds: float) -> None:
        for clock in (self.clock, *self.clocks.values()):
            clock.now_s += seconds

    def opened(self, server_id: ServerId, ticket: bytes) -> TicketFacts:
        """Return what the server reads in a ticket; fails when it opens none such."""
        seal = self.keys[server_id].find(key_id_of(ticket))
        assert seal is not None, "a key that is not known any more"
        facts = open_ticket(ticket, seal)
        assert facts is not None, "another server's ticket"
        return facts


def place(server_id: ServerId, host: str = "10.0.0.1") -> Location:
    return Location(server_id, f"cs{server_id}", host, 7300, "r1", f"h{server_id}")


PLACES = (place(ONE), place(TWO), place(THREE))


def test_each_server_reads_its_own_ticket_and_all_share_the_secret() -> None:
    house = House()
    house.beat()
    places, given = house.office.begin("ann").cover(PLACES, PERMIT)
    assert given is not None and given.level == Level.ENCRYPT
    for one in places:
        facts = house.opened(one.server_id, one.ticket)
        assert (facts.server_id, facts.chunk_id, facts.birth) == (one.server_id, CHUNK, BIRTH)
        assert (facts.rights, facts.byte_limit, facts.client) == (Right.READ, MIB, "ann")
        assert (facts.secret, facts.level) == (given.secret, given.level)
    again = house.office.begin("ann").cover(PLACES, PERMIT)[1]
    assert again is not None and again.secret != given.secret


def test_a_ticket_ends_by_the_clock_of_its_server() -> None:
    house = House()
    house.beat()
    house.passes(100.0)  # Nothing is heard meanwhile.
    places, given = house.office.begin("ann").cover(PLACES, PERMIT)
    assert given is not None and given.life_ms == TICKET_LIFE_S * 1000
    for one in places:
        left_ms = house.opened(one.server_id, one.ticket).ends_ms
        left_ms -= house.keys[one.server_id].now_ms()
        assert left_ms == TICKET_LIFE_S * 1000


def test_a_server_that_was_not_heard_gets_no_ticket_and_is_tried_last() -> None:
    house = House()
    house.beat(ONE, THREE)
    places, given = house.office.begin("ann").cover(PLACES, PERMIT)
    assert given is not None
    assert [bool(one.ticket) for one in places] == [True, False, True]
    assert [one.live for one in places] == [True, False, True]
    bare, none = House().office.begin("ann").cover(PLACES, PERMIT)
    assert none is None and not any(one.ticket for one in bare)


def test_keys_turn_and_none_that_a_ticket_may_need_is_forgotten() -> None:
    house = House()
    house.beat()
    places, _ = house.office.begin("ann").cover(PLACES, PERMIT)
    house.passes(TICKET_KEY_S - 1.0)
    late, _ = house.office.begin("ann").cover(PLACES, PERMIT)  # With the old key, at its end.
    house.passes(2.0)
    house.beat()
    new, _ = house.office.begin("ann").cover(PLACES, PERMIT)
    assert key_id_of(new[0].ticket) != key_id_of(late[0].ticket)
    house.opened(ONE, late[0].ticket)
    house.passes(TICKET_LIFE_S)
    house.beat()
    house.opened(ONE, late[0].ticket)  # It ended by now; nobody who needed its key was cut off.
    house.passes(TICKET_KEY_S - TICKET_LIFE_S - 5.0)
    house.beat()
    assert house.keys[ONE].find(key_id_of(places[0].ticket)) is None
    house.opened(ONE, new[0].ticket)


def test_what_was_overtaken_on_the_way_brings_no_old_key_back() -> None:
    house = House()
    old = house.keys[ONE].newest()
    house.passes(TICKET_KEY_S)
    new = house.keys[ONE].newest()
    house.office.heard(ONE, START, new)
    house.office.heard(ONE, START, old)
    house.office.heard(ONE, START, None)
    ticket = house.office.begin("ann").ticket(ONE, PERMIT, Level.NONE)
    assert key_id_of(ticket) == new.key_id != old.key_id


def test_another_start_has_other_keys_whatever_its_clock_says() -> None:
    house = House()
    house.beat()
    reborn = TicketKeys(HandClock(3.0))  # Its machine started again.
    house.office.heard(ONE, StartId(2), reborn.newest())
    ticket = house.office.begin("ann").ticket(ONE, PERMIT, Level.NONE)
    assert reborn.find(key_id_of(ticket)) is not None
    house.office.heard(ONE, StartId(3), None)
    assert house.office.begin("ann").ticket(ONE, PERMIT, Level.NONE) == b""
    house.office.forget(TWO)
    assert house.office.begin("ann").ticket(TWO, PERMIT, Level.NONE) == b""


def test_a_key_of_the_wrong_shape_is_not_taken() -> None:
    house = House()
    house.office.heard(ONE, START, TicketKey(1, b"short", 5))
    house.office.heard(ONE, START, TicketKey(-1, bytes(32), 5))
    for now_ms in (-1, (1 << 64) - 1):  # Else nobody could be told where the chunks of it lie.
        house.office.heard(ONE, START, TicketKey(1, bytes(32), now_ms))
    assert house.office.begin("ann").ticket(ONE, PERMIT, Level.NONE) == b""


@pytest.mark.parametrize(
    ("data", "hosts", "level"),
    [
        (AUTO, ("127.0.0.1", "::1", "localhost"), Level.NONE),
        (AUTO, ("127.0.0.1", "10.0.0.1"), Level.ENCRYPT),
        (AUTO, ("cs1.example",), Level.ENCRYPT),
        (ENCRYPT, ("127.0.0.1",), Level.ENCRYPT),
        (INTEGRITY, ("10.0.0.1",), Level.INTEGRITY),
        (NONE, ("10.0.0.1",), Level.NONE),
    ],
)
def test_the_level_follows_the_setting_and_the_hosts(
    data: str, hosts: tuple[str, ...], level: Level
) -> None:
    house = House(data)
    assert house.office.level(hosts) == level


@pytest.mark.parametrize(
    ("data", "host", "level"),
    [
        (AUTO, "127.0.0.1", Level.NONE),
        (NONE, "127.0.0.1", Level.NONE),
        (ENCRYPT, "127.0.0.1", Level.ENCRYPT),
        (INTEGRITY, "127.0.0.1", Level.INTEGRITY),
        *((data, "10.0.0.1", Level.ENCRYPT) for data in (AUTO, NONE, INTEGRITY, ENCRYPT)),
    ],
)
def test_log_lines_are_never_in_clear_beyond_one_machine(
    data: str, host: str, level: Level
) -> None:
    assert House(data).office.log_level(one for one in (host, "localhost")) == level


def test_a_chunk_that_is_sealed_is_read_to_its_end_and_no_further() -> None:
    house = House()
    house.beat()
    sealed = ChunkLocations(CHUNK, BIRTH, True, 5000, 1, PLACES)
    growing = replace(sealed, sealed=False)
    limits = [
        house.opened(ONE, one.replicas[0].ticket).byte_limit
        for one in house.office.begin("ann").to_read((sealed, growing))
    ]
    assert limits == [5000, CHUNK_BYTES_MAX]


def test_whom_the_ticket_of_one_chunk_is_shown_knows_no_secret_of_another() -> None:
    house = House()
    house.beat()
    one = ChunkLocations(CHUNK, BIRTH, True, 5000, 1, PLACES)
    first, second = house.office.begin("ann").to_read((one, replace(one, chunk_id=ChunkId(8))))
    assert first.pass_ is not None and second.pass_ is not None
    assert first.pass_.secret != second.pass_.secret
    for chunk in (first, second):
        assert chunk.pass_ is not None
        for place in chunk.replicas:
            assert house.opened(place.server_id, place.ticket).secret == chunk.pass_.secret


def test_one_answer_has_no_more_tickets_than_it_may() -> None:
    house = House()
    house.beat()
    count = TICKETS_PER_ANSWER_MAX // len(PLACES) + 1
    one = ChunkLocations(CHUNK, BIRTH, True, 5000, 1, PLACES)
    found = house.office.begin("ann").to_read([one] * count)
    assert [each.pass_ is None for each in found] == [False] * (count - 1) + [True]
    assert found[-1] == one  # It is looked for again by itself; its servers are alive.


def test_orders_to_copy_and_to_lead_bring_tickets_and_others_do_not() -> None:
    house = House()
    house.beat(TWO, THREE)
    sources = tuple(CopySource(one, "10.0.0.1", 7300) for one in (ONE, TWO, THREE))
    copy = CopyReplica(
        *(CHUNK, BIRTH, LogIndex(9), 5000, 1, DiskId(3), "put", "disk", MIB, sources)
    )
    head = CreateReplica(
        *(CHUNK, BIRTH, LogIndex(9), ANY_DISK, "disk", MIB, sources[1:], StartId(4))
    )
    below = replace(head, chain=(), primary_start=StartId(0))
    delete = DeleteReplica(CHUNK, LogIndex(9), "dead")
    made = house.office.for_orders(ONE, (copy, head, below, delete))
    assert made[2:] == (below, delete)
    copied, leading = made[:2]
    assert isinstance(copied, CopyReplica) and isinstance(leading, CreateReplica)
    assert copied.pass_ is not None and leading.pass_ is not None
    assert [bool(one.ticket) for one in copied.sources] == [False, True, True]
    read, pushed = (
        house.opened(TWO, copied.sources[1].ticket),
        house.opened(TWO, leading.chain[0].ticket),
    )
    assert (read.rights, read.byte_limit) == (Right.READ, 5000)
    assert (pushed.rights, pushed.byte_limit) == (Right.RECORDS, MIB)
    assert read.client == "chunkserver 1"
    assert replace(copied, sources=sources, pass_=None) == copy


def test_nobody_is_to_lead_a_tail_before_there_is_a_ticket_for_all_of_its_chain() -> None:
    house = House()
    house.beat(TWO)
    chain = tuple(CopySource(one, "10.0.0.1", 7300) for one in (TWO, THREE))
    head = CreateReplica(*(CHUNK, BIRTH, LogIndex(9), ANY_DISK, "disk", MIB, chain, StartId(4)))
    delete = DeleteReplica(CHUNK, LogIndex(9), "dead")
    assert house.office.for_orders(ONE, (head, delete)) == (delete,)
    house.office.heard(TWO, StartId(2), None)
    assert house.office.for_orders(ONE, (head, delete)) == (delete,)
    house.beat()
    leading, _ = house.office.for_orders(ONE, (head, delete))
    assert isinstance(leading, CreateReplica) and all(one.ticket for one in leading.chain)


def test_a_key_is_known_of_the_start_that_told_it_and_of_no_other() -> None:
    house = House()
    house.beat(ONE)
    assert house.office.knows(ONE, START)
    assert not house.office.knows(ONE, StartId(2)) and not house.office.knows(TWO, START)


def test_no_nonce_comes_twice_nor_where_another_master_seals() -> None:
    house = House()
    house.beat()
    other = TicketOffice(house.clock)
    other.heard(ONE, START, house.keys[ONE].newest())
    tickets = [
        office.begin("ann").ticket(ONE, PERMIT, Level.NONE)
        for office in (house.office, other)
        for _ in range(500)
    ]
    assert len({ticket[8:20] for ticket in tickets}) == 1000


def test_a_long_name_fits_into_a_ticket() -> None:
    house = House()
    house.beat(ONE)
    ticket = house.office.begin("é" * 100).ticket(ONE, replaced(PERMIT), Level.NONE)
    assert house.opened(ONE, ticket).client == "é" * 32
