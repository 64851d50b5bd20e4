"""Fixtures: a house that closes what was opened in it, a service, a door before it, a channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from door_house import House, Service

from gfs_ha.net.channel import Channel
from gfs_ha.net.door import Door


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def house() -> Iterator[House]:
    with ExitStack() as stack:
        made = House(stack)
        yield made
    assert not made.crashes


@pytest.fixture
def door(house: House, service: Service) -> Door:
    return house.open_door(service)


@pytest.fixture
def channel(house: House, door: Door) -> Channel:
    return house.dial(door.port)
