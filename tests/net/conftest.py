"""Fixtures: a house that closes what was opened in it, a service, a door before it, a channel.

Whatever takes the house runs twice: in the clear, and in TLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from door_house import House, Service
from tls_house import CLUSTER, TlsHouse

from gfs_ha.net.channel import Channel
from gfs_ha.net.door import Door
from gfs_ha.net.tls import Credentials
from gfs_ha.pki.names import Role


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture(scope="session")
def tls_house(tmp_path_factory: pytest.TempPathFactory) -> TlsHouse:
    """An authority that no test changes."""
    return TlsHouse(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def master_directory(tls_house: TlsHouse) -> Path:
    return tls_house.enrol(Role.MASTER, "m1")


@pytest.fixture(scope="session")
def client_directory(tls_house: TlsHouse) -> Path:
    return tls_house.enrol(Role.CLIENT, "ann")


@pytest.fixture(params=["clear", "tls"])
def house(
    request: pytest.FixtureRequest, master_directory: Path, client_directory: Path
) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(stack)
        if request.param == "tls":
            made.server = Credentials(master_directory, CLUSTER, made.runtime)
            made.client = Credentials(client_directory, CLUSTER, made.runtime)
        yield made
    assert not made.crashes


@pytest.fixture
def door(house: House, service: Service) -> Door:
    return house.open_door(service)


@pytest.fixture
def channel(house: House, door: Door) -> Channel:
    return house.dial(door.port)
