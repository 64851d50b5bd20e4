"""The hosts of `make heal`: who is where, what a cut separates, and that nothing is left of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.lan import NotAllowed
from heal_hosts import APART, MASTERS, SERVERS, Hosts

from gfs_ha import config
from gfs_ha.local.home import CHUNKSERVER, MASTER, Home
from gfs_ha.local.layout import Layout, Plan

pytestmark = pytest.mark.processes
_TRIES, _WAIT_S = 100, 0.2  # The switch hears of a cut, or of its end, a little later.


def network() -> int:
    """Return the number of the network that this thread is on."""
    return os.stat("/proc/thread-self/ns/net").st_ino


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    before = network()
    try:
        made = Hosts("cs2")
    except NotAllowed as error:
        pytest.skip(str(error))
    with made:
        assert network() != before
        yield made
    assert network() == before


def test_the_configurations_say_who_is_on_which_host(hosts: Hosts, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    plan = Plan(3, 2, ("r1", "r2"))
    layout.write(plan, "c", range(10_000, 10_000 + plan.ports_needed()))
    for _ in range(2):  # A daemon that starts again finds it as it is.
        for home in layout.homes():
            hosts.settle(home, MASTER if home.name.startswith("m") else CHUNKSERVER)
    masters = config.load(layout.client_config).cluster.masters
    assert {one.host for one in masters} == {hosts.address(MASTERS)}
    for name, host in (("cs1", SERVERS), ("cs2", APART)):
        own = config.load(Home(tmp_path / name).config_path)
        assert own.security == "none" and own.chunkserver is not None
        assert own.chunkserver.host == hosts.address(host)
        assert own.cluster.masters == masters


def test_a_cut_server_reaches_the_masters_and_nobody_else(hosts: Hosts) -> None:
    """Both ways, or only what it sends: then it hears, and its answers are lost."""
    assert heard(hosts, SERVERS, APART) and heard(hosts, APART, SERVERS)
    for both_ways in (True, False):
        mend = hosts.cut(both_ways)
        assert silent(hosts, APART, SERVERS)
        assert silent(hosts, SERVERS, APART) if both_ways else heard(hosts, SERVERS, APART)
        assert heard(hosts, APART, MASTERS) and heard(hosts, MASTERS, APART)
        mend()
        assert heard(hosts, APART, SERVERS) and heard(hosts, SERVERS, APART)


def heard(hosts: Hosts, source: str, target: str) -> bool:
    """Return whether a datagram from one host comes to another before long."""
    return any(arrives(hosts, source, target) for _ in range(_TRIES))


def silent(hosts: Hosts, source: str, target: str) -> bool:
    """Return whether datagrams stop coming before long."""
    return any(not arrives(hosts, source, target) for _ in range(_TRIES))


def arrives(hosts: Hosts, source: str, target: str) -> bool:
    with hosts.on(target):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with hosts.on(source):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear, mouth:
        ear.bind((hosts.address(target), 0))
        ear.settimeout(_WAIT_S)
        mouth.sendto(b"x", ear.getsockname())
        try:
            return ear.recv(10) == b"x"
        except TimeoutError:
            return False
