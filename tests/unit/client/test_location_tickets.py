"""Tickets beside the places of chunks: kept with them, and got elsewhere when none is taken."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest

from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.locations import Here, Locations
from gfs_ha.errors import DeadlineExceeded, GfsError, NoLeader
from gfs_ha.ids import ChunkId, Epoch, InodeId, LogIndex, ServerId, StartId
from gfs_ha.protocol.calls import Request
from gfs_ha.protocol.metadata import (
    FILE,
    ChunkLocations,
    FileOpened,
    FileStatus,
    FileTail,
    Locate,
    Located,
    Location,
)
from gfs_ha.protocol.tickets import OperationPass
from gfs_ha.runtime import ThreadedRuntime

T = TypeVar("T")
CHUNK = ChunkId(7)
PLACE = Location(ServerId(1), "cs1", "10.0.0.1", 7300, "r1", "h1", ticket=b"t")
OLD, NEW = (OperationPass(bytes((number,)) * 32, 2, 300_000) for number in (1, 2))


class TwoMasters:
    """One that reads are asked of, with old keys, and one that leads."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.absence: GfsError | None = None

    def read(self, request: Request, kind: type[T]) -> T:
        return self._answer("any", request, kind, OLD)

    def ask(self, request: Request, kind: type[T], timeout_s: float | None = None) -> T:
        if self.absence is not None:
            self.asked.append("nobody")
            raise self.absence
        return self._answer("leader", request, kind, NEW)

    def _answer(self, who: str, request: Request, kind: type[T], given: OperationPass) -> T:
        assert request == Locate((CHUNK,))
        self.asked.append(who)
        told = Located((ChunkLocations(CHUNK, Epoch(1, 2), True, 10, 0, (PLACE,), pass_=given),))
        assert isinstance(told, kind)
        return told


@pytest.fixture
def masters() -> TwoMasters:
    return TwoMasters()


@pytest.fixture
def locations(masters: TwoMasters) -> Locations:
    calls: Any = masters
    return Locations(calls, Here("here"), ThreadedRuntime(), tickets=True)


def test_whose_tickets_are_refused_asks_the_leader(
    masters: TwoMasters, locations: Locations
) -> None:
    """A master that data ports do not reach gives tickets of their old keys for ever."""
    found = locations.find(CHUNK)
    assert found is not None and found.pass_ == OLD
    again = locations.refresh(CHUNK, refused=True)
    assert again is not None and again.pass_ == NEW
    assert masters.asked == ["any", "leader"] and locations.find(CHUNK) == again


@pytest.mark.parametrize("absence", [NoLeader("none"), DeadlineExceeded("late")])
def test_without_a_leader_any_master_is_asked_again(
    masters: TwoMasters, locations: Locations, absence: GfsError
) -> None:
    masters.absence = absence
    again = locations.refresh(CHUNK, refused=True)
    assert again is not None and again.pass_ == OLD and masters.asked == ["nobody", "any"]


def test_the_tickets_of_a_tail_are_kept_with_its_places(
    masters: TwoMasters, locations: Locations
) -> None:
    status = FileStatus(InodeId(5), FILE, 0, 0o644, "ann", "ann", 1, growing=True)
    tail = FileTail(
        *(CHUNK, Epoch(1, 2), 0, 0, ServerId(1), StartId(3), LogIndex(4), (PLACE,)), pass_=OLD
    )
    calls: Any = masters
    content = PinnedContent(
        *(calls, locations, ThreadedRuntime(), "/log", FileOpened(status, (), (), False, tail))
    )
    content.pin_length(10)
    found = locations.find(CHUNK)
    assert found is not None and found.pass_ == OLD
    assert not masters.asked, "they came with the tail"
