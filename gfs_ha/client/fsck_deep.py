"""Every copy of the chunks that files rest on, read from its disk and compared with the digest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.damage import (
    BUSY,
    CORRUPT,
    INTACT,
    WAITING,
    ChunkDetails,
    ShowChunks,
    VerifiedChunk,
    VerifyChunk,
)
from gfs_ha.protocol.fsck import LOSS, TROUBLE, FsckFinding, ScannedExtent

TOGETHER = 8  # Chunks whose copies are read at once.
KNOWN_MAX = 10_000  # Chunks remembered: small files share one, and lie near to each other.
_TRIES = 3
_PAUSE_S = 1.0
_SEALED = "sealed"
_NOT_THERE = "it is not there"
# A chunk that is gone, or not sealed (any more): its file has changed meanwhile.
_OVER = ("UnknownChunk", "WrongState")

Bad = tuple[str, str, tuple[str, ...]]  # Severity, why, servers.


class DeepLook:
    """Reads each chunk once, however many files lie in it."""

    def __init__(self, calls: ClusterCalls) -> None:
        self.read = 0
        self.unread = 0
        self._calls = calls
        self._known: OrderedDict[ChunkId, Bad | None] = OrderedDict()

    def look(self, extents: Sequence[ScannedExtent]) -> Iterator[FsckFinding]:
        """Yield what is damaged of the bytes of some files."""
        for start in range(0, len(extents), TOGETHER):
            some = extents[start : start + TOGETHER]
            new = [one.chunk_id for one in some if one.chunk_id not in self._known]
            self._verify(list(dict.fromkeys(new)))
            for one in some:
                bad = self._known.get(one.chunk_id)
                if bad is not None:
                    severity, why, servers = bad
                    place = (one.path, one.offset, one.length, one.chunk_id)
                    yield FsckFinding(CORRUPT, severity, *place, servers, why)
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)

    def _verify(self, chunk_ids: list[ChunkId]) -> None:
        tries: dict[ChunkId, int] = dict.fromkeys(chunk_ids, 0)
        moved_s = self._calls.runtime.monotonic_s()
        left_before = -1
        while tries:
            replies = self._calls.settle([Asked(VerifyChunk(one)) for one in tries])
            now_s = self._calls.runtime.monotonic_s()
            patient = now_s - moved_s < self._calls.timeout_s
            slow = {}
            for chunk_id, reply in zip(list(tries), replies, strict=True):
                if isinstance(reply, Failure):
                    self._pass_over(chunk_id, reply)
                elif isinstance(reply, VerifiedChunk):
                    waiting = sum(row.verdict == WAITING for row in reply.replicas)
                    if waiting and patient:
                        slow[chunk_id] = waiting
                        continue
                    if tries[chunk_id] < _TRIES and _worth_another(reply):
                        tries[chunk_id] += 1
                        continue
                    self._judge(reply)
                del tries[chunk_id]
            if sum(slow.values()) != left_before:
                left_before, moved_s = sum(slow.values()), now_s
            for chunk_id in self._gone(list(slow)):
                self._known[chunk_id] = None
                del tries[chunk_id]
            if tries and not slow:
                self._calls.runtime.sleep(_PAUSE_S)

    def _pass_over(self, chunk_id: ChunkId, reply: Failure) -> None:
        if reply.error not in _OVER:
            raise reply.raised()
        self._known[chunk_id] = None

    def _gone(self, chunk_ids: list[ChunkId]) -> Iterator[ChunkId]:
        """Yield those that died meanwhile: their servers are not told to read any more."""
        asked = [Asked(ShowChunks((one,))) for one in chunk_ids]
        replies = self._calls.settle(asked) if asked else []
        for chunk_id, reply in zip(chunk_ids, replies, strict=True):
            if isinstance(reply, ChunkDetails):
                if reply.items[0].row.state != _SEALED:
                    yield chunk_id
            elif isinstance(reply, Failure):
                yield chunk_id

    def _judge(self, chunk: VerifiedChunk) -> None:
        corrupt = [row for row in chunk.replicas if row.verdict == CORRUPT]
        intact = sum(row.verdict == INTACT for row in chunk.replicas)
        self.read += 1
        self.unread += len(chunk.replicas) - len(corrupt) - intact
        self._known[chunk.chunk_id] = None
        if corrupt:
            why = ", ".join(f"{row.name}: {row.why}" for row in corrupt)
            if not intact:
                why += "; no copy was found whole"
            severity = TROUBLE if intact else LOSS
            names = tuple(row.name for row in corrupt)
            self._known[chunk.chunk_id] = (severity, why, names)


def _worth_another(chunk: VerifiedChunk) -> bool:
    """Return whether another look may say more: an order was in the way, or a copy just moved."""
    return any(row.verdict == BUSY or row.why == _NOT_THERE for row in chunk.replicas)
