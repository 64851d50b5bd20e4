"""What one look of each planner costs the leader, on a real store with many chunks and servers.

    python benchmarks/planner_ticks.py [--servers 200] [--chunks 1000000] [--ticks 40]

Builds the tables of a cluster in LMDB (rows written as the steps write them, in bulk), then has the
planners look at them in several situations: at rest, while a rebalance runs, while a server is
drained, with a server that died and whose copies were made anew. Prints one JSON object per
situation and planner: milliseconds of one look, median and most. Nothing of it is on a network.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from gfs_ha.ids import NO_SESSION, ChunkId, ContentId, DiskId, LogIndex, ServerId
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.housekeeping import PLANNERS
from gfs_ha.master.observed import DEAD, LIVE
from gfs_ha.master.placement import Candidate
from gfs_ha.master.planners.plan import Cursors, PlanLimits, Seen
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.planners.seen import RepairSeen
from gfs_ha.master.roster import roster
from gfs_ha.master.state.chunk_rows import put_chunk
from gfs_ha.master.state.commands import (
    Command,
    EnrolledDisk,
    EnrollServer,
    Entry,
    InitCluster,
    encode_entry,
)
from gfs_ha.master.state.draft import Draft, Stamp
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.records import SEALED, Chunk, Reference, Replica
from gfs_ha.master.state.tables import COUNTERS, DATABASES, ONLY, REFERENCES, reference_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import DiskFacts
from gfs_ha.protocol.jobs import CANCELLED, DRAIN, REBALANCE, RUNNING, JobOptions

_BATCH = 2_000


class Store:
    """The tables of one cluster: `servers` servers in racks of ten, `chunks` sealed chunks."""

    def __init__(self, directory: Path, servers: int, chunks: int) -> None:
        self.kv = LmdbKV(directory, DATABASES, 16 * GIB)
        self.servers = servers
        self.held: dict[int, int] = dict.fromkeys(range(1, servers + 1), 0)
        self._machine = Machine()
        self._index = 0
        self._chance = random.Random(7)
        self._fill(chunks)

    def do(self, command: Command) -> None:
        """Apply one command of the leader."""
        self._index += 1
        transaction = self.kv.begin()
        payload = encode_entry(Entry(self._index, self._index, command))
        self._machine.apply(transaction, self._index, 1, payload)
        transaction.commit()

    def _fill(self, chunks: int) -> None:
        self.do(InitCluster("c1", "many", 1, 64 * MIB))
        for number in range(1, self.servers + 1):
            disk = EnrolledDisk(DiskId(1000 + number), 1 << 44)
            rack, port = f"r{(number - 1) // 10}", 7300
            name, machine = f"cs{number}", f"h{number}"
            self.do(EnrollServer(name, ServerId(0), machine, port, rack, machine, 1, 1, (disk,)))
        for start in range(0, chunks, _BATCH):
            with self.writing() as draft:
                for at in range(start, min(chunks, start + _BATCH)):
                    chunk_id, chunk = ChunkId((1 << 48) + at + 1), self._chunk()
                    put_chunk(draft, chunk_id, None, chunk)
                    key = reference_key(chunk_id, 0, ContentId(at + 1), 0)
                    draft.rows.put(REFERENCES, key, Reference(chunk.length))

    def _chunk(self) -> Chunk:
        # Of three numbers the lowest: servers with low ones are the fuller ones.
        chosen: set[int] = set()
        while len(chosen) < 3:
            chosen.add(min(self._chance.randint(1, self.servers) for _ in range(2)))
        length = self._chance.randint(1, 64) * MIB
        for one in chosen:
            self.held[one] += length
        members = tuple(ServerId(one) for one in sorted(chosen))
        return Chunk(
            state=SEALED,
            kind="put",
            durability="disk",
            capacity=64 * MIB,
            goal=3,
            min_copies=2,
            replicas=tuple(Replica(one, DiskId(1000 + one)) for one in members),
            birth=(1, 1),
            born_index=LogIndex(1),
            length=length,
            digest=5,
            holders=members,
            sealed_index=LogIndex(1),
        )

    @contextmanager
    def writing(self) -> Iterator[Draft]:
        """Have rows written as a step would, without a command."""
        transaction = self.kv.begin()
        self._index += 1
        draft = Draft(transaction, Stamp(LogIndex(self._index), 1, NO_SESSION, 1))
        yield draft
        draft.rows.put(COUNTERS, ONLY, draft.counters)
        draft.rows.write_to(transaction)
        transaction.commit()

    def seen(self, dead: frozenset[int] = frozenset()) -> Seen:
        """Return what a leader has heard of servers that all beat but for some."""
        with self.kv.read() as reader:
            view = View(reader)
            servers, known = view.servers(), roster(view, 100.0)
        most = max(self.held.values())
        total = int(most / 0.85)
        states = {one: DEAD if one in dead else LIVE for one, _ in servers}
        candidates, disks = [], {}
        for one, row in servers:
            free = max(0, total - self.held[one])
            away = "is dead" if one in dead else ""
            candidates.append(
                Candidate(
                    server_id=one,
                    disk_id=row.disks[0].disk_id,
                    name=row.name,
                    rack=row.rack,
                    machine=row.machine,
                    used_share=1 - free / total,
                    free_bytes=free,
                    total_bytes=total,
                    trouble=known.trouble(one) or away,
                )
            )
            if one not in dead:
                disk_id = row.disks[0].disk_id
                disks[one, disk_id] = DiskFacts(disk_id, total, free, 0)
        repair = RepairSeen(
            candidates=tuple(candidates),
            states=states,
            settled=frozenset(one for one in states if one not in dead),
            disks=disks,
            starts=dict.fromkeys(states, 1),
        )
        return Seen(1000.0, 900.0, {}, live=frozenset(repair.settled), repair=repair)

    def remake(self, server: int) -> int:
        """Give every chunk of a server one copy more, as after its death; return how many."""
        with self.kv.read() as reader:
            page = View(reader).replicas_of(ServerId(server), None, 10_000_000)
        for start in range(0, len(page), _BATCH):
            with self.writing() as draft:
                for _, chunk_id in page[start : start + _BATCH]:
                    self._one_more(draft, chunk_id)
        return len(page)

    def _one_more(self, draft: Draft, chunk_id: ChunkId) -> None:
        chunk = draft.view.chunk(chunk_id)
        assert chunk is not None
        other = ServerId(self.servers)
        while other in chunk.holders:
            other = ServerId(other - 1)
        more = replace(
            chunk,
            replicas=(*chunk.replicas, Replica(other, DiskId(1000 + other))),
            holders=(*chunk.holders, other),
        )
        put_chunk(draft, chunk_id, chunk, more)


def look(store: Store, name: str, seen: Seen, ticks: int, only: frozenset[str]) -> None:
    """Have all planners look so often, and tell what each look cost."""
    cursors, limits = Cursors(), PlanLimits()
    costs: dict[str, list[float]] = {}
    for tick in range(ticks):
        now = replace_now(seen, tick)
        whole = 0.0
        with store.kv.read() as reader:
            view = View(reader)
            for planner, plan in PLANNERS.items():
                begun = time.process_time()
                made = plan(view, now, limits, cursors)
                took_ms = (time.process_time() - begun) * 1e3
                whole += took_ms
                costs.setdefault(planner, []).append(took_ms)
                costs.setdefault(f"{planner} proposals", []).append(len(made.proposals))
            begun = time.process_time()
            Scene(view, now)
            costs.setdefault("(one scene)", []).append((time.process_time() - begun) * 1e3)
        costs.setdefault("(all)", []).append(whole)
    for planner, found in costs.items():
        shown = planner in only or planner.startswith("(") or max(found) >= 1.0
        if not planner.endswith("proposals") and shown:
            proposals = costs.get(f"{planner} proposals", [0])
            print(
                json.dumps(
                    {
                        "situation": name,
                        "planner": planner,
                        "p50_ms": round(statistics.median(found), 2),
                        "max_ms": round(max(found), 2),
                        "proposals": int(max(proposals)),
                        "load": round(os.getloadavg()[0], 1),
                    }
                ),
                flush=True,
            )


def replace_now(seen: Seen, tick: int) -> Seen:
    """Return what was seen, so many ticks later."""
    return dataclasses.replace(seen, now_s=seen.now_s + 0.25 * tick)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--ticks", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        begun = time.monotonic()
        store = Store(Path(directory) / "store", options.servers, options.chunks)
        print(json.dumps({"built_s": round(time.monotonic() - begun, 1)}), flush=True)
        gc.collect()
        look(store, "at rest", store.seen(), options.ticks, frozenset())
        store.do(StartJob(REBALANCE, JobOptions()))
        look(store, "rebalance", store.seen(), options.ticks, frozenset({"rebalance"}))
        store.do(SetJobPhase(1, RUNNING, CANCELLED))
        store.do(StartJob(DRAIN, JobOptions(), ServerId(1)))
        look(store, "drain of cs1", store.seen(), options.ticks, frozenset({"drain"}))
        store.do(SetJobPhase(2, RUNNING, CANCELLED))
        dead = frozenset({3})
        look(store, "cs3 has died", store.seen(dead), options.ticks, frozenset({"replication"}))
        count = store.remake(3)
        name = f"{count:,} copies of cs3 made anew"
        look(store, name, store.seen(dead), options.ticks, frozenset({"surplus"}))
        store.do(StartJob(REBALANCE, JobOptions()))
        look(store, f"{name}, rebalance", store.seen(dead), options.ticks, frozenset({"surplus"}))
        store.kv.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
