"""What tests listen on: no two of them meet, also before they listen."""

from __future__ import annotations

from free_ports import free_ports

from gfs_ha.local.ports import choose_ports, port_range
from gfs_ha.runtime import ThreadedRuntime


def test_ports_that_were_given_are_not_given_again_and_are_none_of_a_local_cluster() -> None:
    given = [port for _ in range(60) for port in free_ports(6)]
    assert len(set(given)) == len(given)
    low, _ = port_range()
    assert max(given) < low
    assert min(choose_ports("127.0.0.1", 50, ThreadedRuntime())) >= low
