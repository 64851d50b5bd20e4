"""Every copy of the chunks that files rest on, read from its disk and compared with the digest."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    VerifiedReplica,
    VerifyChunk,
)
from gfs_ha.protocol.fsck import (
    LOSS,
    TROUBLE,
    UNREAD,
    UNSEEN,
    FsckFinding,
    ScannedExtent,
)

TOGETHER = 8  # Chunks whose copies are read at once.
KNOWN_MAX = 10_000  # Chunks remembered: small files share one, and lie near to each other.
_TRIES = 3
_LOOKS = 2
_PAUSE_S = 1.0
_SEALED = "sealed"
_NOT_THERE = "it is not there"
# A chunk that is gone, or not sealed (any more): its file has changed meanwhile.
_OVER = ("UnknownChunk", "WrongState")

_NO_NAMES: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Bad:
    """One thing that is wrong with a chunk, whatever file needs it."""

    kind: str
    severity: str
    why: str
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What reading a chunk came to. `looks`: after the second one it is believed."""

    looks: int
    bad: tuple[_Bad, ...] = ()
    unread: tuple[str, ...] = _NO_NAMES  # The servers whose copies were not read.


class DeepLook:
    """Reads each chunk once, however many files lie in it; twice if a copy could not be read.

    Its counters are of the newest look at each chunk.
    """

    def __init__(self, calls: ClusterCalls) -> None:
        self.read = 0
        self.unread: Counter[str] = Counter()  # Copies that could not be read, by server.
        self._calls = calls
        self._known: OrderedDict[ChunkId, _Seen] = OrderedDict()

    def look(self, extents: Sequence[ScannedExtent]) -> Iterator[FsckFinding]:
        """Yield what is damaged, or could not be read, of the bytes of some files."""
        for start in range(0, len(extents), TOGETHER):
            some = extents[start : start + TOGETHER]
            new = [one.chunk_id for one in some if one.chunk_id not in self._known]
            self._verify(list(dict.fromkeys(new)))
            for one in some:
                yield from self._findings(one.path, one.offset, one.length, one.chunk_id)
            self._forget()

    def again(self, findings: Sequence[FsckFinding]) -> Iterator[list[FsckFinding]]:
        """Yield for each finding of a copy that was not read what is wrong there now."""
        for start in range(0, len(findings), TOGETHER):
            some = findings[start : start + TOGETHER]
            asked = dict.fromkeys(one.chunk_id for one in some)
            self._verify([one for one in asked if self._looks(one) < _LOOKS])
            for one in some:
                yield list(self._findings(one.path, one.offset, one.length, one.chunk_id))
            self._forget()

    def _findings(
        self, path: str, offset: int, length: int, chunk_id: ChunkId
    ) -> Iterator[FsckFinding]:
        seen = self._known.get(chunk_id)
        for bad in seen.bad if seen is not None else ():
            place = (path, offset, length, chunk_id)
            yield FsckFinding(bad.kind, bad.severity, *place, bad.servers, bad.why)

    def _looks(self, chunk_id: ChunkId) -> int:
        seen = self._known.get(chunk_id)
        return 0 if seen is None else seen.looks

    def _forget(self) -> None:
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
                self._note(chunk_id, _Seen(_LOOKS))
                del tries[chunk_id]
            if tries and not slow:
                self._calls.runtime.sleep(_PAUSE_S)

    def _pass_over(self, chunk_id: ChunkId, reply: Failure) -> None:
        if reply.error not in _OVER:
            raise reply.raised()
        self._note(chunk_id, _Seen(_LOOKS))

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
        unread = [row for row in chunk.replicas if row.verdict not in (CORRUPT, INTACT)]
        intact = len(chunk.replicas) - len(corrupt) - len(unread)
        looks = self._looks(chunk.chunk_id) + 1
        self.read += looks == 1
        bad = []
        if corrupt:
            why = ", ".join(f"{row.name}: {row.why}" for row in corrupt)
            if not intact:
                why += "; no copy was found whole"
            severity = TROUBLE if intact else LOSS
            bad.append(_Bad(CORRUPT, severity, why, tuple(row.name for row in corrupt)))
        if unread:
            why = ", ".join(f"{row.name}: {self._why(row)}" for row in unread)
            bad.append(_Bad(UNREAD, UNSEEN, why, tuple(row.name for row in unread)))
        names = tuple(row.name for row in unread)
        self._note(chunk.chunk_id, _Seen(looks if unread else _LOOKS, tuple(bad), names))

    def _why(self, row: VerifiedReplica) -> str:
        if row.verdict == WAITING:
            return f"its server gave no answer for {self._calls.timeout_s:.0f} s"
        return row.why

    def _note(self, chunk_id: ChunkId, seen: _Seen) -> None:
        before = self._known.get(chunk_id)
        if before is not None:
            self.unread.subtract(before.unread)
        self.unread.update(seen.unread)
        self.unread = +self.unread  # Without those that are at nothing.
        self._known[chunk_id] = seen


def _worth_another(chunk: VerifiedChunk) -> bool:
    """Return whether another look may say more: an order was in the way, or a copy just moved."""
    return any(row.verdict == BUSY or row.why == _NOT_THERE for row in chunk.replicas)
