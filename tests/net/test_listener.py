"""A port in a process that has run out of descriptors, for real."""

from __future__ import annotations

import errno
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from door_house import GREETING, PATIENCE_S, House

from gfs_ha.net import listener
from gfs_ha.net.door import Door
from gfs_ha.net.listener import Listener, Starved
from gfs_ha.net.rpc import encode_reply, encode_request


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let this process have no descriptor more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError as error:
                assert error.errno == errno.EMFILE
                break
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_a_peer_is_turned_away_with_the_reserve() -> None:
    port = Listener(("127.0.0.1", 0))
    try:
        with socket.socket() as peer:
            peer.settimeout(PATIENCE_S)
            with no_descriptors():
                peer.connect(port.address)
                with pytest.raises(Starved):
                    port.accept()
                assert port.turn_away()
                assert peer.recv(1) == b""
        with socket.create_connection(port.address) as peer:
            ((sock, name),) = port.accept()
            sock.close()
            assert name == f"127.0.0.1:{peer.getsockname()[1]}"
    finally:
        port.close()


@pytest.mark.parametrize("house", ["clear"], indirect=True)  # It speaks by hand.
def test_a_port_that_lost_its_reserve_is_left_alone_for_a_moment(
    house: House, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(*arguments: object) -> int:
        raise OSError(errno.EMFILE, "another thread was faster")

    with socket.socket() as first, socket.socket() as second:
        first.settimeout(PATIENCE_S)
        second.settimeout(PATIENCE_S)
        with no_descriptors(), monkeypatch.context() as patch:
            patch.setattr(listener.os, "open", no_file)
            first.connect(("127.0.0.1", door.port))
            assert first.recv(1) == b"", "turned away with the reserve"
            second.connect(("127.0.0.1", door.port))
            time.sleep(0.6)  # The door looks at the port a few times, not all the time.
        assert door.stats().turned_away < 20
        second.sendall(encode_request(0, 0, b"", GREETING))
        assert second.recv(65_536) == encode_reply(0, b"welcome")
