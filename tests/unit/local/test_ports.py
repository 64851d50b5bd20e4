"""Ports of a local cluster: free, different, and out of the way of outgoing connections."""

from __future__ import annotations

import socket

import pytest

from gfs_ha.errors import PortTaken, UsageError
from gfs_ha.local import ports
from gfs_ha.runtime import ThreadedRuntime


def test_chosen_ports_are_different_free_and_below_the_ephemeral_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ports.PORTS_VARIABLE, raising=False)
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


def test_a_range_that_is_given_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    low = ports.port_range()[0] + 17
    monkeypatch.setenv(ports.PORTS_VARIABLE, f"{low}-{low + 199}")
    chosen = ports.choose_ports("127.0.0.1", 10, ThreadedRuntime())
    assert all(low <= port < low + 200 for port in chosen)
    monkeypatch.setenv(ports.PORTS_VARIABLE, f"{low}-{low + 1}")
    with pytest.raises(PortTaken, match=f"no 3 free ports .* between {low} and {low + 1}"):
        ports.choose_ports("127.0.0.1", 3, ThreadedRuntime())


def test_ports_of_who_is_stopped_now_are_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ports.choose_ports("127.0.0.1", 1, ThreadedRuntime())[0]
    monkeypatch.setenv(ports.PORTS_VARIABLE, f"{free}-{free}")
    assert ports.choose_ports("127.0.0.1", 1, ThreadedRuntime()) == (free,)
    with pytest.raises(PortTaken, match="another range: GFS_LOCAL_PORTS="):
        ports.choose_ports("127.0.0.1", 1, ThreadedRuntime(), taken={free})


@pytest.mark.parametrize("wanted", ["20000", "9-x", "20010-20000", "80-443", "60000-70000", "-"])
def test_a_range_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv(ports.PORTS_VARIABLE, wanted)
    with pytest.raises(UsageError, match=r"GFS_LOCAL_PORTS is .*; say LOW-HIGH"):
        ports.choose_ports("127.0.0.1", 1, ThreadedRuntime())
