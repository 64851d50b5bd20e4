"""Ports of a local cluster: free, different, and out of the way of outgoing connections."""

from __future__ import annotations

import socket

from gfs_ha.local import ports
from gfs_ha.runtime import ThreadedRuntime


def test_chosen_ports_are_different_free_and_below_the_ephemeral_range() -> None:
    chosen = ports.choose_ports("127.0.0.1", 20, ThreadedRuntime())
    assert len(set(chosen)) == 20
    for port in chosen:
        assert ports.PORT_MIN <= port < ports.ephemeral_low()
        assert ports.is_free("127.0.0.1", port)


def test_a_port_that_someone_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free("127.0.0.1", port)
    assert ports.is_free("127.0.0.1", port)
