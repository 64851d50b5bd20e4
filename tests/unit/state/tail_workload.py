"""Random commands about tails, leases and holds, for the seeded workload."""

from __future__ import annotations

import random

from state_driver import Driver

from gfs_ha.ids import ChunkId, InodeId, SessionId
from gfs_ha.master.state import tail_reads
from gfs_ha.master.state.commands import BeginSeal, Command, CommitSeal, SealWithLoss
from gfs_ha.master.state.records import OPEN
from gfs_ha.master.state.tail_commands import (
    AbandonTails,
    EndHolds,
    FinishTail,
    HoldInodes,
    OpenTail,
    PlaceTail,
    RenewLeases,
    SweepResults,
)
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DIRECTORY
from gfs_ha.protocol.records import RecordEntry


class TailWorkload:
    """Makes commands against a driver, mostly of what is there; some are late or foreign."""

    def __init__(self, dice: random.Random, driver: Driver, servers: int) -> None:
        self.dice = dice
        self.driver = driver
        self.servers = servers

    def change(self) -> Command:
        """Return one step in the life of a tail, or of the leases and holds around."""
        kinds = [self.place, self.open, self.begin, self.seal, self.abandon, self.renew, self.hold]
        kinds += [self.end_holds, self.sweep, self.finish]
        (kind,) = self.dice.choices(kinds, [6, 9, 5, 9, 1, 1, 2, 1, 1, 2])
        return kind()

    def files(self) -> dict[str, InodeId]:
        with self.driver.view() as view:
            return paths(view)

    def file(self) -> tuple[str, InodeId]:
        files = self.files()
        if not files or self.dice.random() < 0.05:
            return "/a", InodeId(self.dice.randint(0, 9))
        return self.dice.choice(sorted(files.items()))

    def place(self) -> Command:
        chosen = self.dice.sample(range(1, self.servers + 1), self.dice.choice((2, 3)))
        replicas = tuple((number, 100 + number) for number in chosen)
        return PlaceTail(self.file()[1], replicas, ahead=len(chosen) == 2)

    def open(self) -> Command:
        path, inode_id = self.file()
        with self.driver.view() as view:
            placed = tail_reads.unopened_tails(view, ChunkId(0), 20)
            if not placed:
                return OpenTail(inode_id, ChunkId(5), path, 1, 1)
            chunk_id, chunk = self.dice.choice(placed)
            head = chunk.replicas[0].server_id
            server = view.server(head)
        assert server is not None
        start_id = server.start_id + (self.dice.random() < 0.05)
        return OpenTail(inode_id, chunk_id, path, head, start_id)

    def tail(self, state: str) -> ChunkId:
        with self.driver.view() as view:
            listed = tail_reads.open_tails(view, ChunkId(0), 50)
            found = [
                one for one, _, _ in listed if (view.chunk(one).state == OPEN) == (state == OPEN)
            ]
        return self.dice.choice(found) if found else ChunkId(5)

    def begin(self) -> Command:
        return BeginSeal(self.tail(OPEN), "fuzz")

    def seal(self) -> Command:
        chunk_id = self.tail("sealing")
        with self.driver.view() as view:
            chunk = view.chunk(chunk_id)
        if chunk is None:
            return CommitSeal(chunk_id, 1, 0, 0, (1,))
        length = self.dice.choice((0, 400, 400, 900, 5000))
        members = [one.server_id for one in chunk.replicas]
        holders = tuple(members[: self.dice.randint(1, len(members))])
        crc = None if self.dice.random() < 0.05 else self.dice.getrandbits(32)
        records = self.records(length)
        seal = CommitSeal(chunk_id, chunk.begin_index, length, 3, holders, crc, records)
        left = tuple(one for one in members if one not in holders)
        return SealWithLoss(seal, left) if left and chunk_id % 2 else seal

    def finish(self) -> Command:
        chunk_id = self.tail(self.dice.choice((OPEN, "sealing")))
        with self.driver.view() as view:
            chunk = view.chunk(chunk_id)
            tail = tail_reads.tail_of(view, chunk.tail_of) if chunk and chunk.tail_of else None
        if chunk is None or tail is None:
            return FinishTail(chunk_id, 1, 1, 5, 3, 7, (1, 2, 3))
        holders = tuple(one.server_id for one in chunk.replicas)[self.dice.random() < 0.1 :]
        length = self.dice.choice((0, 400, 900, 900))
        start_id = tail.start_id + (self.dice.random() < 0.1)
        end = (length, 3, self.dice.getrandbits(32), holders, self.records(length))
        return FinishTail(chunk_id, tail.server_id, start_id, *end)

    def records(self, length: int) -> tuple[RecordEntry, ...]:
        made = []
        for appender in sorted(self.dice.sample(range(1, 9), self.dice.randint(0, 4))):
            start = self.dice.randint(0, 40)
            for sequence in sorted(self.dice.sample(range(start, start + 9), 3)):
                offset = self.dice.randint(0, max(0, length - 1))
                made.append(RecordEntry(SessionId(appender), sequence, start, offset, 1))
        return tuple(made)

    def abandon(self) -> Command:
        with self.driver.view() as view:
            placed = [one for one, _ in tail_reads.unopened_tails(view, ChunkId(0), 3)]
        return AbandonTails((*placed, ChunkId(7)), self.dice.random() < 0.3)

    def renew(self) -> Command:
        with self.driver.view() as view:
            held = tail_reads.leases(view)
        late = self.dice.random() < 0.2
        return RenewLeases(tuple((one, row.start_id, row.until_ms - late) for one, row in held))

    def hold(self) -> Command:
        with self.driver.view() as view:
            newest = view.counters().last_inode
        chosen = {self.dice.randint(1, newest), self.file()[1]}
        return HoldInodes(tuple(sorted(chosen)), self.dice.choice((10, 50, 10_000)))

    def end_holds(self) -> Command:
        with self.driver.view() as view:
            held = tail_reads.holds_after(view, InodeId(0), 9)
        late = self.dice.random() < 0.2
        return EndHolds(tuple((one, row.index - late) for one, row in held))

    def sweep(self) -> Command:
        with self.driver.view() as view:
            newest = view.counters().last_inode
        return SweepResults(tuple(InodeId(one) for one in range(1, newest + 2))[-90:])


def paths(view: View) -> dict[str, InodeId]:
    """Return the inode of every file, by path."""
    found = {}
    todo = [("", InodeId(1))]
    while todo:
        above, directory = todo.pop()
        for name, inode_id in view.entries(directory):
            row = view.inode(inode_id)
            assert row is not None
            if row.kind == DIRECTORY:
                todo.append((f"{above}/{name}", inode_id))
            else:
                found[f"{above}/{name}"] = inode_id
    return found
