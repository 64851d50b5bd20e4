"""What a place of a chunk on a server is, as a person is told."""

from __future__ import annotations

import pytest
from repair_house import House

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.handlers.server_detail import count_places, place_state
from gfs_ha.master.state.commands import DropReplica, LoseHolder, PlaceCopy
from gfs_ha.protocol.metadata import ReleaseChunks
from gfs_ha.protocol.servers import (
    COPYING,
    DEAD,
    DELETING,
    HOLDER,
    LATE,
    OPEN,
    CountPlaces,
    PlacesCounted,
)


def state(house: House, chunk_id: int, server: int) -> str:
    return place_state(house.row(chunk_id), ServerId(server))


def test_a_place_is_told_by_what_its_chunk_says_of_it() -> None:
    house = House()
    opened = house.tables.chunk(house.session).chunk_id
    assert state(house, opened, 1) == OPEN
    chunk = house.chunk((1, 2, 3))
    index = house.row(chunk).sealed_index
    assert state(house, chunk, 2) == HOLDER
    house.tables.do(PlaceCopy(ChunkId(chunk), index, ServerId(4), DiskId(104), 3))
    assert state(house, chunk, 4) == COPYING
    house.tables.do(LoseHolder(ChunkId(chunk), index, ServerId(3), "damaged"))
    assert state(house, chunk, 3) == LATE
    other = house.chunk((1, 2, 3))
    drop = (house.row(other).sealed_index, ServerId(4), DiskId(104))
    house.tables.do(DropReplica(ChunkId(other), *drop, tuple(map(ServerId, (1, 2, 3)))))
    assert state(house, other, 4) == DELETING
    house.tables.do(ReleaseChunks((ChunkId(other),)), house.session)
    assert state(house, other, 1) == DEAD


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_places_are_counted_once_whatever_a_page_holds(rows: int) -> None:
    house = House()
    for _ in range(5):
        house.chunk((1, 2, 3))
    request, found = CountPlaces(ServerId(2), rows=rows), 0
    while True:
        with house.tables.view() as view:
            page = count_places(None, view, request, None)  # type: ignore[arg-type]
        assert isinstance(page, PlacesCounted)
        found += sum(one.count for one in page.items if one.state == HOLDER)
        if not page.more:
            break
        request = CountPlaces(ServerId(2), page.after, rows)
    assert found == 5
