"""Names of hosts that cannot be names: whoever dials or listens is told, and goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from gfs_ha.errors import ConfigError, GfsError, Unreachable
from gfs_ha.net import sockets
from gfs_ha.net.link_sockets import listening_socket
from gfs_ha.net.links import Link
from gfs_ha.net.tcp_links import TcpLinks
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
ODD = ["a..b", "x" * 64 + ".example", ".", "é" * 64]


@pytest.fixture
def links() -> Iterator[TcpLinks]:
    with closing(TcpLinks(RUNTIME, ("127.0.0.1", 0), 4096, 1 << 20)) as made:
        yield made


class Owner:
    def __init__(self) -> None:
        self.reason = ""

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, frame: bytes) -> None: ...

    def refused(self, link: Link, error: GfsError) -> None: ...

    def closed(self, link: Link, reason: str) -> None:
        self.reason = reason


@pytest.mark.parametrize("host", ODD)
def test_a_link_to_one_is_closed_and_the_loop_goes_on(links: TcpLinks, host: str) -> None:
    """An address of a member comes from whoever adds it: it must not end all masters."""
    owner = Owner()
    links.dial((host, 7100), owner)
    assert "not resolved" in owner.reason
    links.poll(0.0, lambda: True)


@pytest.mark.parametrize("host", ODD)
def test_who_dials_one_hears_that_it_is_not_reached(host: str) -> None:
    """Addresses of data ports come from other servers."""
    with pytest.raises(Unreachable, match="cannot be resolved"):
        sockets.connect((host, 7200), RUNTIME, 5.0)


@pytest.mark.parametrize("host", ODD)
def test_who_listens_on_one_hears_that_it_is_none(host: str) -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        sockets.listen((host, 0))
    with pytest.raises(ConfigError, match="cannot listen on"):
        listening_socket((host, 0))


def test_a_good_name_is_still_found(links: TcpLinks) -> None:
    with closing(sockets.listen(("127.0.0.1", 0))) as there:
        port = there.getsockname()[1]
        with closing(sockets.connect(("localhost", port), RUNTIME, 5.0)) as sock:
            assert sock.family in (socket.AF_INET, socket.AF_INET6)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost", "0.0.0.0", "::1"])
def test_where_one_would_listen_is_told_in_numbers(host: str) -> None:
    with closing(sockets.listen((host, 0))) as listening:
        assert sockets.listening_host(host) == listening.getsockname()[0]


@pytest.mark.parametrize("host", [*ODD, "203.0.113.7"])
def test_where_nobody_could_listen_is_told_as_nothing(host: str) -> None:
    assert sockets.listening_host(host) == ""


def test_on_a_machine_without_ipv6_an_address_of_it_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "AF_INET6", 44)  # Of no kernel.
    assert sockets.listening_host("::1") == ""
    with pytest.raises(ConfigError, match=r"cannot listen on \[::1\]:0: .*not supported"):
        sockets.listen(("::1", 0))
