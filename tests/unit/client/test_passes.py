"""Tickets that a client holds: renewed in good time; who is given none hears why."""

from __future__ import annotations

from typing import TypeVar

import pytest
from msgspec.structs import replace

from gfs_ha.client.data_ports import DataPorts
from gfs_ha.client.passes import NOT_GIVEN, Passes
from gfs_ha.errors import (
    Denied,
    GfsError,
    NoLeader,
    NotClaimed,
    TicketRefused,
    UnknownChunk,
)
from gfs_ha.ids import ChunkId, Epoch, LogIndex, ServerId, StartId
from gfs_ha.limits import MIB
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.calls import Request
from gfs_ha.protocol.metadata import DISK, ChunkAllocated, FileTail, Location
from gfs_ha.protocol.tickets import GetTickets, OperationPass, Right, TicketsGiven
from gfs_ha.runtime import ThreadedRuntime

T = TypeVar("T")
LIFE_S = 300.0
ONE, TWO = ServerId(1), ServerId(2)


class HandClock(ThreadedRuntime):
    now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s


class ScriptedLeader:
    """Gives tickets with a number, or refuses with what the test says."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.error: GfsError | None = None
        self.heard = (ONE, TWO)

    def ask(self, request: Request, kind: type[T]) -> T:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        number = len(self.asked)
        told = TicketsGiven(given(number), tuple((one, b"%d" % number) for one in self.heard))
        assert isinstance(told, kind)
        return told


class House:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.leader = ScriptedLeader()
        self.passes = Passes(self.leader, self.clock)

    def shown(self) -> list[bytes]:
        return [one.ticket for one in self.passes.allocated(CHUNK).replicas]


def given(number: int) -> OperationPass:
    return OperationPass(bytes((number,)) * 32, 2, int(LIFE_S * 1000))


PLACES = tuple(
    Location(one, f"cs{one}", "10.0.0.1", 7300, "r1", f"h{one}", ticket=b"0") for one in (ONE, TWO)
)
CHUNK = ChunkAllocated(*(ChunkId(7), Epoch(1, 2), MIB, PLACES, 2, 1, DISK), pass_=given(0))
TAIL = FileTail(
    chunk_id=ChunkId(8),
    birth=Epoch(1, 2),
    file_offset=0,
    known_length=0,
    primary=ONE,
    start_id=StartId(3),
    granted_index=LogIndex(4),
    replicas=PLACES,
    pass_=given(0),
)


@pytest.fixture
def house() -> House:
    return House()


def test_they_are_renewed_when_half_their_life_is_over(house: House) -> None:
    assert house.shown() == [b"0", b"0"] and not house.leader.asked
    house.clock.now_s += LIFE_S / 2 - 1.0
    assert house.shown() == [b"0", b"0"] and not house.leader.asked
    house.clock.now_s += 1.0
    assert house.shown() == [b"1", b"1"]
    assert house.leader.asked[0] == GetTickets(ChunkId(7), int(Right.PUSH), (ONE, TWO))
    assert house.passes.allocated(CHUNK).pass_ == given(1)


@pytest.mark.parametrize("error", [NotClaimed("another's"), NoLeader("another's")])
def test_who_is_given_none_to_write_hears_why(house: House, error: GfsError) -> None:
    assert house.shown() == [b"0", b"0"]
    house.clock.now_s += LIFE_S / 2
    house.leader.error = error
    with pytest.raises(TicketRefused, match="another's") as caught:
        house.shown()
    assert caught.value.details["reason"] == NOT_GIVEN


@pytest.mark.parametrize("error", [Denied("no tail"), UnknownChunk("gone")])
def test_a_tail_that_has_an_end_by_now_is_nobodys_fault(house: House, error: GfsError) -> None:
    """Else its primary would be avoided, and an appender ended."""
    assert house.passes.tail(TAIL, Right.APPEND).pass_ == given(0)
    house.clock.now_s += LIFE_S / 2
    house.leader.error = error
    with pytest.raises(TicketRefused) as caught:
        house.passes.tail(TAIL, Right.APPEND)
    assert caught.value.details["reason"] == NOT_GIVEN


def test_a_log_that_may_not_be_read_is_told_as_that(house: House) -> None:
    house.leader.error = Denied("not yours")
    with pytest.raises(Denied, match="not yours"):
        house.passes.for_log(ONE)


def test_the_ticket_for_a_log_is_kept_for_half_its_life(house: House) -> None:
    for passed_s, number in ((0.0, 1), (LIFE_S / 2 - 1.0, 1), (1.0, 2), (1.0, 2)):
        house.clock.now_s += passed_s
        assert house.passes.for_log(ONE) == (given(number), b"%d" % number)
    assert house.leader.asked == 2 * [GetTickets(ChunkId(0), int(Right.LOG), (ONE,))]
    assert house.passes.for_log(TWO) == (given(3), b"3"), "each server has its own"


def test_a_ticket_without_that_of_the_primary_is_none_to_append_with(house: House) -> None:
    """Its leader has not heard it: found out when records are sent, it would be its fault."""
    house.leader.heard = (TWO,)
    assert house.passes.tail(TAIL, Right.APPEND).pass_ == given(0)
    house.clock.now_s += LIFE_S / 2
    with pytest.raises(TicketRefused) as caught:
        house.passes.tail(TAIL, Right.APPEND)
    assert caught.value.details["reason"] == NOT_GIVEN
    assert house.passes.tail(TAIL, Right.READ).pass_ == given(0), "others know the length too"
    house.clock.now_s += LIFE_S / 2
    assert house.passes.tail(TAIL, Right.READ).pass_ == given(2), "also with a new one"


def test_a_push_is_to_be_settled_in_good_time_and_may_be_too_late_long_before_its_tickets_end(
    house: House,
) -> None:
    ports = DataPorts("prod", TcpStreams(house.clock), house.clock, passes=house.passes)
    for pass_, ends in ((given(0), True), (None, False)):
        push = ports.push(replace(CHUNK, pass_=pass_), 0, 10)
        told = []
        for _ in range(3):
            told.append((push.stale, push.lapsed))
            house.clock.now_s += LIFE_S / 4 + 1.0
        assert told == [(False, False), (ends, False), (ends, ends)]
        push.abandon()
        house.clock.now_s = 1000.0
