"""The loops of real daemons note that they turn, and one that hangs shows beside those that do."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from free_ports import free_ports
from trio import WAIT_S, Trio, wait_until

from gfs_ha.chunk.run import build_chunkserver
from gfs_ha.config import ChunkserverConfig, DiskConfig
from gfs_ha.pulse import Pulse


def all_turn(trio: Trio, pulse: Pulse, *names: str) -> None:
    """Wait until each of the loops came round after now."""
    began_s = trio.runtime.monotonic_s()

    def look() -> bool:
        silences = pulse.silences()
        since_s = trio.runtime.monotonic_s() - began_s
        return sorted(silences) == sorted(names) and all(
            silent_s < since_s for silent_s in silences.values()
        )

    wait_until(look, f"the turns of {names}")
    assert pulse.alive()


def test_the_loops_of_leader_and_followers_turn_while_nothing_happens(trio: Trio) -> None:
    trio.leader()
    for server in trio.servers.values():
        for _ in range(2):
            all_turn(trio, server.pulse, "door", "raft", "housekeeping")


def test_a_consensus_loop_that_hangs_falls_silent_alone(trio: Trio) -> None:
    server = trio.servers[trio.leader()]
    gate = threading.Event()
    server.raft.read_index(WAIT_S, lambda error: gate.wait(WAIT_S) and None)
    try:
        wait_until(lambda: server.pulse.silences()["raft"] > 1.0, "a silent loop")
        wait_until(lambda: server.pulse.silences()["door"] < 1.0, "turns of the door")
        wait_until(lambda: server.pulse.silences()["housekeeping"] < 1.0, "ticks of the duties")
        assert server.pulse.silences()["raft"] > 1.0
    finally:
        gate.set()
    all_turn(trio, server.pulse, "door", "raft", "housekeeping")


def test_the_loops_of_a_chunkserver_turn_with_and_without_a_leader(
    trio: Trio, tmp_path: Path
) -> None:
    disk = DiskConfig(tmp_path / "cs1")
    own = ChunkserverConfig("cs1", (disk,), "127.0.0.1", free_ports(1)[0], "r1", "here")
    config = replace(trio.config("m1"), master=None, chunkserver=own)
    server = build_chunkserver(config, trio.runtime)
    assert server.pulse.alive(), "before it serves nothing can hang"
    server.start()
    trio.at_close(lambda: server.stop(WAIT_S))
    server.ready.result(WAIT_S)
    all_turn(trio, server.pulse, "data port", "heartbeat")
    for name in list(trio.servers):
        trio.stop(name)
    for _ in range(2):
        all_turn(trio, server.pulse, "data port", "heartbeat")
