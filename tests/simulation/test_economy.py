"""What repair had to copy is reckoned exactly, or a storm of copies would not be seen."""

from __future__ import annotations

import msgspec
import pytest

from gfs_ha.ids import Birth, ChunkId, DiskId, LogIndex, ServerId, StartId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.master.state.commands import Command, CommitSeal, ConfirmCopy, PlaceCopy
from gfs_ha.master.state.records import OPEN, SEALED, SEALING, Chunk, Replica
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import CHUNKS, id_key
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DISK, PUT, FinishChunk
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.economy import Economy
from gfs_ha.sim.cluster.truth import Truth

CHUNK, OTHER = ChunkId(7), ChunkId(8)
LENGTH = 1000
INDEX = LogIndex(40)
HOLDERS = (ServerId(1), ServerId(2), ServerId(3))

FINISH = FinishChunk(CHUNK, LENGTH, 5, HOLDERS)
SEALS: list[tuple[str, FinishChunk | CommitSeal | FinishTail]] = [
    (OPEN, FINISH),
    (SEALING, CommitSeal(CHUNK, LogIndex(30), LENGTH, 5, HOLDERS)),
    (OPEN, FinishTail(CHUNK, ServerId(1), StartId(1), LENGTH, 5, 7, HOLDERS)),
]


class Told:
    """An economy that is told of commands, and the row of the chunks that they meet."""

    def __init__(self, state: str, goal: int = 3) -> None:
        self.economy = Economy(Truth({}, []), lambda server: 0.0, 8.0)
        replicas = tuple(Replica(one, DiskId(100 + one)) for one in HOLDERS)
        birth = Birth(1, 1)
        self.chunk = Chunk(state, PUT, DISK, 1 << 20, goal, 2, replicas, birth, LogIndex(20))

    def of(self, command: Command) -> None:
        """Tell of a command that is about to be applied."""
        with MemoryKV().read() as reader:
            rows = Rows(reader)
            for chunk_id in (CHUNK, OTHER):
                rows.put(CHUNKS, id_key(chunk_id), self.chunk)
            self.economy.note(View(rows), command)

    def seal(self, command: FinishChunk | CommitSeal | FinishTail) -> None:
        self.of(command)
        self.chunk = msgspec.structs.replace(
            self.chunk,
            state=SEALED,
            length=command.length,
            holders=command.holders,
            sealed_index=INDEX,
        )

    def copy(self, number: int) -> None:
        """Have a copy placed and confirmed."""
        server_id, disk_id, seen = ServerId(number), DiskId(100 + number), len(self.chunk.holders)
        self.of(PlaceCopy(CHUNK, INDEX, server_id, disk_id, seen))
        self.of(ConfirmCopy(CHUNK, INDEX, server_id, disk_id, LENGTH, 5, LogIndex(50)))
        holders = (*self.chunk.holders, server_id)
        self.chunk = msgspec.structs.replace(self.chunk, holders=holders)

    def wants(self, goal: int) -> None:
        self.chunk = msgspec.structs.replace(self.chunk, goal=goal)


@pytest.mark.parametrize(("state", "seal"), SEALS)
def test_a_goal_that_rose_after_a_seal_explains_one_copy(
    state: str, seal: FinishChunk | CommitSeal | FinishTail
) -> None:
    told = Told(state)
    told.seal(seal)
    told.wants(4)
    told.copy(4)
    told.economy.check()
    told.copy(5)
    with pytest.raises(Violation, match=r"storm: 2000 bytes .* were copied, 1000 were lacking"):
        told.economy.check()


@pytest.mark.parametrize(("state", "seal"), SEALS)
def test_what_was_placed_on_too_few_servers_lacks_its_copies_from_its_seal_on(
    state: str, seal: FinishChunk | CommitSeal | FinishTail
) -> None:
    told = Told(state, goal=4)
    told.seal(seal)
    told.copy(4)
    told.economy.check()
    told.copy(5)
    with pytest.raises(Violation, match="storm"):
        told.economy.check()


def test_a_seal_that_was_refused_is_not_reckoned_beside_the_one_that_stands() -> None:
    told = Told(OPEN, goal=4)
    told.of(msgspec.structs.replace(FINISH, holders=HOLDERS[:1]))  # Too few of them.
    told.seal(FINISH)
    told.copy(4)
    told.copy(5)
    with pytest.raises(Violation, match=r"storm: 2000 bytes .* were copied, 1000 were lacking"):
        told.economy.check()


def test_what_one_chunk_lacks_explains_no_copy_of_another() -> None:
    told = Told(OPEN, goal=4)
    told.of(FinishChunk(OTHER, LENGTH, 5, HOLDERS))  # It dies before it is copied.
    told.seal(FINISH)
    told.copy(4)
    assert told.economy.least == 2 * LENGTH
    told.copy(5)
    with pytest.raises(Violation, match="storm: 2000 bytes of chunk 0x7 were copied"):
        told.economy.check()
