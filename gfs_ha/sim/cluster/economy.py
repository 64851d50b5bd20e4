"""What repair copied, beside what had to be copied: no storm after whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.state.commands import (
    Command,
    CommitSeal,
    ConfirmCopy,
    DropReplica,
    LoseHolder,
    PlaceCopy,
)
from gfs_ha.master.state.records import SEALED, Chunk
from gfs_ha.master.state.tail_commands import FinishTail
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import FinishChunk
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.cluster.truth import Truth

BAY_S = 3.0  # By then everybody knows that a disk serves again.

Place = tuple[ChunkId, ServerId]


class Economy:
    """Counts bytes, of each chunk. `least` had to be copied: destroyed, never there, wanted anew.

    What is copied because a server is dead, or a disk out of service, and needless once it returns,
    is in `away`.
    """

    def __init__(self, truth: Truth, silent_s: Callable[[SimServer], float], dead_s: float) -> None:
        self._copied: Counter[ChunkId] = Counter()
        self._least: Counter[ChunkId] = Counter()
        self._away: Counter[ChunkId] = Counter()
        self._truth = truth
        self._silent_s = silent_s
        self._dead_s = dead_s
        self._ordered: set[Place] = set()
        self._out: set[tuple[ChunkId, ServerId, DiskId, int]] = set()
        self._destroyed: set[Place] = set()
        self._goals: dict[ChunkId, int] = {}
        self._harmed_s = {server.name: server.harmed_s for server in truth.servers}
        self._dead: set[str] = set()

    @property
    def copied(self) -> int:
        return self._copied.total()

    @property
    def least(self) -> int:
        return self._least.total()

    @property
    def away(self) -> int:
        return self._away.total()

    def look(self) -> None:
        """Note whose bytes were destroyed, and who is dead, since the last look."""
        for server in self._truth.servers:
            if self._harmed_s[server.name] != server.harmed_s:
                self._harmed_s[server.name] = server.harmed_s
                self._note_destroyed(server)
            dead = self._silent_s(server) > self._dead_s
            if dead and server.name not in self._dead:
                for chunk_id, chunk, _ in self._counting_on(server):
                    self._away[chunk_id] += chunk.length
                self._dead.add(server.name)
            elif not dead:
                self._dead.discard(server.name)

    def note(self, view: View, command: Command) -> None:
        """Note what a command does that is about to be applied, and not refused."""
        if isinstance(command, FinishChunk | CommitSeal | FinishTail):
            chunk = view.chunk(command.chunk_id)
            if chunk is not None and chunk.state != SEALED:
                self._goals[command.chunk_id] = chunk.goal
                # One that is refused counts no more once another one stands.
                short = max(0, chunk.goal - len(command.holders))
                self._least[command.chunk_id] = short * command.length
        elif isinstance(command, PlaceCopy | ConfirmCopy | LoseHolder | DropReplica):
            chunk = view.chunk(command.chunk_id)
            if chunk is not None and chunk.sealed_index == command.sealed_index:
                self._note_copies(command, chunk)

    def _note_copies(
        self, command: PlaceCopy | ConfirmCopy | LoseHolder | DropReplica, chunk: Chunk
    ) -> None:
        place = (command.chunk_id, command.server_id)
        raised = chunk.goal - self._goals.get(command.chunk_id, chunk.goal)
        self._goals[command.chunk_id] = chunk.goal
        self._least[command.chunk_id] += max(0, raised) * chunk.length
        if isinstance(command, PlaceCopy):
            self._ordered.add(place)
        elif isinstance(command, ConfirmCopy):
            self._destroyed.discard(place)
            if place in self._ordered:
                self._ordered.discard(place)
                self._copied[command.chunk_id] += chunk.length
        elif isinstance(command, LoseHolder) and command.server_id in chunk.holders:
            self._lose(place, chunk)

    def copies_beside(self, view: View, chunk_id: ChunkId, chunk: Chunk) -> None:
        """Note that a copy is placed while others lie on disks that are out of service."""
        for replica in chunk.replicas:
            row = view.server(replica.server_id)
            if row is None or replica.server_id not in chunk.holders:
                continue
            server = next(one for one in self._truth.servers if one.name == row.name)
            bay = server.bay_of(replica.disk_id) if len(server.bays) > 1 else None
            if bay is None or server.serves(bay, BAY_S):
                continue
            gone = (chunk_id, replica.server_id, replica.disk_id, bay.episode)
            if gone not in self._out:
                self._out.add(gone)
                self._away[chunk_id] += chunk.length

    def moves(self, chunk_id: ChunkId, chunk: Chunk) -> None:
        """Note that a copy is placed for the rule alone."""
        self._least[chunk_id] += chunk.length

    def check(self) -> None:
        """Raises: Violation when more was copied than anything explains."""
        for chunk_id, copied in self._copied.items():
            least, away = self._least[chunk_id], self._away[chunk_id]
            if copied > least + away:
                raise Violation(
                    f"storm: {copied} bytes of chunk {chunk_id:#x} were copied, {least} were"
                    f" lacking and {away} lay on dead servers"
                )

    def _note_destroyed(self, server: SimServer) -> None:
        for chunk_id, chunk, server_id in self._counting_on(server):
            if not self._truth.holds(server, chunk_id, chunk):
                self._lose((chunk_id, server_id), chunk)

    def _lose(self, place: Place, chunk: Chunk) -> None:
        if place not in self._destroyed:
            self._destroyed.add(place)
            self._least[place[0]] += chunk.length

    def _counting_on(self, server: SimServer) -> Sequence[tuple[ChunkId, Chunk, ServerId]]:
        with self._truth.view() as view:
            ids = [one for one, row in view.servers() if row.name == server.name]
        return [
            (chunk_id, chunk, server_id)
            for chunk_id, chunk in self._truth.chunks()
            for server_id in ids
            if chunk.state == SEALED and server_id in chunk.holders
        ]
