"""What a scrape of a leading master costs, on a real store with many chunks and servers.

    python benchmarks/scrape_cost.py [--servers 200] [--chunks 1000000] [--scrapes 50]

Builds the tables of a cluster in LMDB and has a leader hear every server, then makes what
`/metrics` tells: as it is in practice, where the leader has looked at the health of the cluster
within its two seconds, and as if nobody had looked. Prints a JSON object for each: milliseconds of
CPU of a whole scrape, and of the part of it that holds up the master's door.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from planner_ticks import Store

from gfs_ha.config import ClientConfig, ClusterConfig, Config, MasterAddress, SettingsConfig
from gfs_ha.errors import NotLeader
from gfs_ha.ids import DiskId, Epoch, ServerId, StartId
from gfs_ha.limits import GIB
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.events import look_around
from gfs_ha.master.leader_parts import LeaderParts
from gfs_ha.master.live_board import LiveBoard
from gfs_ha.master.measures import MasterMeasures
from gfs_ha.master.raft.commit_times import CommitTimes
from gfs_ha.master.raft.contract import LEADER, MemberStatus, PeerStatus, RaftStatus
from gfs_ha.master.raft.freshness import Freshness
from gfs_ha.master.raft.members import Addresses
from gfs_ha.master.reign import Reign
from gfs_ha.master.sealer import Sealer
from gfs_ha.metrics.exposition import Process, Samples, render
from gfs_ha.net.doorbook import DoorStats
from gfs_ha.protocol.control import DiskFacts, Heartbeat, RegisterServer
from gfs_ha.protocol.rates import LoadFacts, Served
from gfs_ha.runtime import ThreadedRuntime

NAMES = ("m1", "m2", "m3")
_TOTAL = 4096 * GIB


class Consensus:
    """What a leader that is asked for nothing says of consensus."""

    incarnation = 1

    def __init__(self, runtime: ThreadedRuntime) -> None:
        self._runtime = runtime

    def status(self) -> RaftStatus:
        where = Addresses(("127.0.0.1", 7201), ("127.0.0.1", 7101))
        return RaftStatus(
            member_id="m1",
            role=LEADER,
            term=1,
            leader="m1",
            commit=1000,
            applied=1000,
            last=1000,
            first=1,
            log_bytes=1 << 20,
            peers=tuple(PeerStatus(one, True, 1000, 1000, 10) for one in NAMES[1:]),
            space_low=False,
            any_voter_low=False,
            last_commit_ms=1.0,
            commit_p50_ms=1.0,
            commit_p99_ms=2.0,
            too_far_behind=None,
            no_leader_since_ms=None,
            members=tuple(MemberStatus(one, True, where) for one in NAMES),
        )

    def freshness(self) -> Freshness:
        now_s = self._runtime.monotonic_s()
        return Freshness(now_s, now_s)

    def not_leader(self) -> NotLeader:
        return NotLeader("nobody leads")


class Door:
    """Runs what is posted at once, and counts the time of it."""

    def __init__(self) -> None:
        self.took_s = 0.0

    def post(self, action: Callable[[], None]) -> None:
        begun_s = time.process_time()
        action()
        self.took_s += time.process_time() - begun_s


def hear(reign: Reign, servers: int, now_s: float) -> None:
    """Have the leader hear every server twice, with all of its times in use."""
    for number in range(1, servers + 1):
        server_id, start_id = ServerId(number), StartId(1)
        disks = (DiskFacts(DiskId(1000 + number), _TOTAL, _TOTAL // 2, 10_000),)
        name, rack = f"cs{number}", f"r{(number - 1) // 10}"
        where = ("127.0.0.1", 7300, rack, f"h{number}")
        register = RegisterServer(name, server_id, *where, start_id, 1, disks)
        reign.observed.registered(server_id, register, now_s - 2)
        for beat in (1, 2):
            served = Served(beat * 1000, beat << 30, tuple(range(40)))
            told = Heartbeat(
                server_id=server_id,
                start_id=start_id,
                beat=beat,
                epoch=reign.epoch,
                disk_usage=0.5,
                chunk_count=10_000,
                timestamp=0,
                disks=disks,
                load=LoadFacts(served, served, served),
            )
            assert reign.observed.heard(told, now_s - 2 + beat, 0)


def leading_desk(store: Store, runtime: ThreadedRuntime, door: Door) -> Desk:
    """Return the desk of a master that leads."""
    masters = tuple(
        MasterAddress(one, "127.0.0.1", 7100 + at, 7200 + at) for at, one in enumerate(NAMES)
    )
    config = Config(
        path=Path("gfs.toml"),
        cluster=ClusterConfig("c1", "many", masters),
        master=None,
        chunkserver=None,
        client=ClientConfig("here", "r1"),
        settings=SettingsConfig(),
        security="loopback",
    )
    desk = Desk(
        config=config,
        name="m1",
        incarnation=1,
        kv=store.kv,
        proposer=Consensus(runtime),  # type: ignore[arg-type]
        runtime=runtime,
        post=door.post,
        disk_room=lambda: (GIB << 6, GIB << 7),
        rss_bytes=lambda: 1 << 28,
    )
    desk.reign = Reign(Epoch(1, 1), runtime.monotonic_s() - 100)
    parts = LeaderParts(desk.reign, desk.kv, desk.proposer, runtime, door.post)
    desk.sealer = Sealer(parts)
    return desk


def measure(desk: Desk, door: Door, servers: int, scrapes: int, looked: bool) -> dict[str, object]:
    """Return what so many scrapes cost. Args: `looked` says that the health is known already."""
    commits = CommitTimes()
    for at in range(1000):
        commits.add(at / 1e5)
    measures, process = MasterMeasures(desk, DoorStats, commits), Process()
    assert desk.reign is not None
    whole, held, length = [], [], 0
    for _ in range(scrapes):
        hear(desk.reign, servers, desk.now_s())
        desk.reign.board = LiveBoard()
        if looked:
            look_around(desk)
        door.took_s, begun_s = 0.0, time.process_time()
        samples = Samples()
        measures.collect(samples)
        length = len(render(samples, process))
        whole.append((time.process_time() - begun_s) * 1e3)
        held.append(door.took_s * 1e3)
    return {
        "health_known": looked,
        "servers": servers,
        "scrape_cpu_p50_ms": round(statistics.median(whole), 2),
        "scrape_cpu_max_ms": round(max(whole), 2),
        "of_that_door_p50_ms": round(statistics.median(held), 2),
        "of_that_door_max_ms": round(max(held), 2),
        "page_bytes": length,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--scrapes", type=int, default=50)
    options = parser.parse_args()
    runtime, door = ThreadedRuntime(), Door()
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory), options.servers, options.chunks)
        desk = leading_desk(store, runtime, door)
        assert desk.reign is not None
        for looked in (True, False):
            row = measure(desk, door, options.servers, options.scrapes, looked)
            row |= {"chunks": options.chunks, "load": round(os.getloadavg()[0], 1)}
            print(json.dumps(row), flush=True)
        store.kv.close()


if __name__ == "__main__":
    main()
