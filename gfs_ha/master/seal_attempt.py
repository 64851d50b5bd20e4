"""What is known of one chunk that is being sealed: the answers so far, and what is waited for."""

from __future__ import annotations

from dataclasses import dataclass, field

from gfs_ha.errors import DiskFailed
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.sealing import Fence, Prove, SealingChunk, is_conclusive
from gfs_ha.master.state.records import Chunk
from gfs_ha.master.state.view import View
from gfs_ha.protocol.control import FenceAnswer, OrderFailed, ProofAnswer


@dataclass(slots=True)
class Attempt:
    """Soft facts: a new leader, or a new BeginSeal, begins with none."""

    chunk: SealingChunk
    fences: dict[ServerId, FenceAnswer | OrderFailed] = field(default_factory=dict)
    proofs: dict[ServerId, ProofAnswer | OrderFailed] = field(default_factory=dict)
    doubted: frozenset[ServerId] = frozenset()
    blocked: str = ""
    told: str = ""  # The same for people, who are told it also while all are asked anew.
    logged: str = ""  # Why it was blocked when that was last said.
    ask_again_s: float | None = None  # When all that was answered is asked about anew.
    resting: bool = False  # Until then: everyone has answered.
    committing_s: float | None = None  # Since when a CommitSeal is on its way.
    chain: tuple[ServerId, ...] = ()  # Of a tail: its servers, the primary first.
    given_up: frozenset[ServerId] = frozenset()  # By a person, who was told this length:
    accepted: int = 0

    def know(self, chunk: SealingChunk) -> None:
        """Go on from newer facts: the published end may have grown, servers have started again.

        What one said before then is of other disks, perhaps: "unknown here" of one that lacked the
        disk is no word of one that has it.
        """
        for server_id, start_id in chunk.starts.items():
            if start_id != self.chunk.starts.get(server_id, start_id):
                self.fences.pop(server_id, None)
                self.proofs.pop(server_id, None)
                self.resting = False
        self.chunk = chunk

    def unheard(self) -> frozenset[ServerId]:
        """Return the replicas that have not said yet all that they can say about their end."""
        done = {server for server, answer in self.fences.items() if is_conclusive(answer)}
        return self.chunk.replicas - done

    def disk_failed(self, server_id: ServerId) -> bool:
        """Return whether a server said last that the disk of its replica fails.

        It is asked on, as one out of reach is; but the next answer is hardly a better one.
        """
        answer = self.fences.get(server_id)
        return isinstance(answer, OrderFailed) and answer.failure.error == DiskFailed.__name__

    def unasked(self, decision: Fence | Prove) -> frozenset[ServerId]:
        """Return who has not answered this round yet.

        Nobody else is asked, also while one of them is waited for: it would say the same, and be
        asked again as soon as it had.
        """
        if isinstance(decision, Fence):
            return decision.servers & self.unheard()
        return decision.servers - {
            server
            for server, answer in self.proofs.items()
            if isinstance(answer, OrderFailed) or answer.length == decision.length
        }


def facts_of(view: View, chunk_id: ChunkId, chunk: Chunk) -> SealingChunk:
    """Return what the decision needs of a chunk's row, and who its servers are."""
    replicas = frozenset(replica.server_id for replica in chunk.replicas)
    known = {one: view.server(one) for one in replicas}
    placed = {(replica.server_id, replica.disk_id) for replica in chunk.replicas}
    return SealingChunk(
        chunk_id,
        chunk.birth,
        chunk.begin_index,
        chunk.published_end,
        replicas,
        {one: server.name for one, server in known.items() if server is not None},
        {replica.server_id: replica.disk_id for replica in chunk.replicas},
        frozenset(
            one
            for one, server in known.items()
            for disk in (() if server is None else server.disks)
            if disk.lost and (one, disk.disk_id) in placed
        ),
        {one: server.start_id for one, server in known.items() if server is not None},
    )
