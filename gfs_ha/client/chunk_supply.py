"""Chunks to write to: asked of the leader, one ahead if wished, finished, sealed and given back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gfs_ha.client.locations import Here
from gfs_ha.client.session import Session
from gfs_ha.errors import GfsError, NoServers
from gfs_ha.ids import ChunkId, DiskId, ServerId, format_id
from gfs_ha.limits import ITEMS_PER_COMMAND_MAX
from gfs_ha.protocol.metadata import (
    DISK,
    PUT,
    AllocateChunk,
    ChunkAllocated,
    ChunkSealed,
    Done,
    FinishChunk,
    ReleaseChunks,
    SealChunk,
)
from gfs_ha.runtime import Future, Runtime

K = TypeVar("K", ServerId, DiskId)

logger = logging.getLogger(__name__)

FAILED_S = 15.0  # How long the leader is told that a server failed us; by then it knows better.
SPARE_S = 20.0  # A chunk that was asked for ahead is given back when it is older than this.


@dataclass(frozen=True, slots=True)
class ChunkSpec:
    """What kind of chunk a writer wants; 0 and empty are the cluster's setting."""

    durability: str = DISK
    goal: int = 0
    rule: str = ""
    chunk_bytes: int = 0


@dataclass(slots=True)
class _Spare:
    """A chunk that was asked for ahead."""

    chunk: Future[ChunkAllocated]
    asked_s: float


class ChunkSupply:
    """Gets and ends the chunks of this client. Thread-safe."""

    def __init__(self, session: Session, here: Here, runtime: Runtime, timeout_s: float) -> None:
        self._session = session
        self._here = here
        self._runtime = runtime
        self._timeout_s = timeout_s
        self._lock = runtime.lock()
        self._spares: dict[ChunkSpec, _Spare] = {}
        self._failed_until_s: dict[ServerId, float] = {}
        self._disks_until_s: dict[DiskId, float] = {}

    def take(self, spec: ChunkSpec) -> ChunkAllocated:
        """Return a fresh open chunk, claimed by the session. Raises: NoServers, NoSpace."""
        with self._lock:
            spare = self._spares.pop(spec, None)
        if spare is not None:
            chunk = self._usable(spare)
            if chunk is not None:
                return chunk
        return self._allocate(spec)

    def ask_ahead(self, spec: ChunkSpec) -> None:
        """Get the next chunk in the background, unless one is on its way already."""
        with self._lock:
            if spec in self._spares:
                return
            spare = _Spare(self._runtime.future(), self._runtime.monotonic_s())
            self._spares[spec] = spare

        def allocate() -> None:
            try:
                spare.chunk.set(self._allocate(spec))
            except GfsError as error:
                spare.chunk.fail(error)

        self._runtime.spawn("allocate ahead", allocate)

    def give_back_spare(self, spec: ChunkSpec) -> None:
        """Release, in the background, what was asked for ahead and is not wanted any more."""
        with self._lock:
            spare = self._spares.pop(spec, None)
        if spare is not None:
            self._runtime.spawn("give back a chunk", partial(self._discard, spare))

    def finish(
        self, chunk: ChunkAllocated, length: int, digest: int, holders: Iterable[ServerId]
    ) -> ChunkSealed:
        """Seal one's own chunk: each of `holders` acknowledged `length` bytes (C5)."""
        request = FinishChunk(chunk.chunk_id, length, digest, tuple(holders))
        return self._session.change(request, ChunkSealed)

    def seal(
        self, chunk: ChunkAllocated, failed: Iterable[ServerId], timeout_s: float
    ) -> ChunkSealed:
        """Have the leader seal one's own chunk that too few replicas are left of (C2-C5).

        Args: `failed` are the servers that the leader need not wait long for. Raises: Busy while
        the seal is blocked, and what keeps the leader from it.
        """
        request = SealChunk(chunk.chunk_id, tuple(failed), self.failed_disks())
        return self._session.change(request, ChunkSealed, timeout_s=timeout_s)

    def release(self, chunk_ids: Iterable[ChunkId]) -> None:
        """End the claims; a chunk without references is dead at once (C11)."""
        wanted = tuple(chunk_ids)
        for start in range(0, len(wanted), ITEMS_PER_COMMAND_MAX):
            some = wanted[start : start + ITEMS_PER_COMMAND_MAX]
            self._session.change(ReleaseChunks(some), Done)
            self._session.release(some)

    def discard(self, chunk_ids: Iterable[ChunkId]) -> None:
        """Release chunks that hold nothing wanted, in the background.

        If that fails the end of the session does it.
        """
        unwanted = tuple(chunk_ids)
        if unwanted:
            self._runtime.spawn("discard chunks", partial(self._try_release, unwanted))

    def _try_release(self, chunk_ids: tuple[ChunkId, ...]) -> None:
        try:
            self.release(chunk_ids)
        except GfsError as error:
            logger.info("chunks left to the session's end error=%s", error.message)

    def note_failed(self, server_ids: Iterable[ServerId], disk_ids: Iterable[DiskId] = ()) -> None:
        """Remember servers and disks that failed just now: the next chunks go elsewhere (G6)."""
        until_s = self._runtime.monotonic_s() + FAILED_S
        with self._lock:
            self._failed_until_s.update(dict.fromkeys(server_ids, until_s))
            self._disks_until_s.update(dict.fromkeys(disk_ids, until_s))

    def failed(self) -> tuple[ServerId, ...]:
        """Return the servers that failed lately."""
        with self._lock:
            return self._still(self._failed_until_s)

    def failed_disks(self) -> tuple[DiskId, ...]:
        """Return the disks that failed lately, of servers that did not."""
        with self._lock:
            return self._still(self._disks_until_s)

    def _still(self, until_s: dict[K, float]) -> tuple[K, ...]:
        """Return what failed lately, and forget the rest. Needs the lock."""
        now_s = self._runtime.monotonic_s()
        for key in [key for key, end_s in until_s.items() if end_s <= now_s]:
            del until_s[key]
        return tuple(sorted(until_s))

    def _allocate(self, spec: ChunkSpec) -> ChunkAllocated:
        failed, disks = self.failed(), self.failed_disks()
        try:
            give_up = (NoServers,) if failed or disks else ()
            return self._claim(spec, (failed, disks), give_up)
        except NoServers:
            # Better a server that may have recovered than none.
            return self._claim(spec, ((), ()), give_up=())

    def _claim(
        self,
        spec: ChunkSpec,
        failed: tuple[tuple[ServerId, ...], tuple[DiskId, ...]],
        give_up: tuple[type[GfsError], ...],
    ) -> ChunkAllocated:
        request = AllocateChunk(
            kind=PUT,
            durability=spec.durability,
            goal=spec.goal,
            machine=self._here.machine,
            rack=self._here.rack,
            failed=failed[0],
            rule=spec.rule,
            chunk_bytes=spec.chunk_bytes,
            failed_disks=failed[1],
        )
        chunk = self._session.change(request, ChunkAllocated, give_up)
        self._session.claim(chunk.chunk_id)
        if len(chunk.replicas) < chunk.goal:
            why = "; ".join(chunk.remarks)
            logger.info("fewer copies chunk=%s why=%s", format_id(chunk.chunk_id), why)
        return chunk

    def _usable(self, spare: _Spare) -> ChunkAllocated | None:
        """Return the spare chunk unless it is too old or on a server that failed since.

        Raises: the trouble that was waited for here; a second wait would double the caller's time.
        """
        old_news = spare.chunk.done()
        try:
            chunk = spare.chunk.result(self._timeout_s)
        except GfsError:
            if old_news:
                return None  # The caller asks anew, and hears how it is now.
            raise
        age_s = self._runtime.monotonic_s() - spare.asked_s
        failed, disks = set(self.failed()), set(self.failed_disks())
        spoilt = any(one.server_id in failed or one.disk_id in disks for one in chunk.replicas)
        if age_s > SPARE_S or spoilt:
            self.discard((chunk.chunk_id,))
            return None
        return chunk

    def _discard(self, spare: _Spare) -> None:
        try:
            chunk = spare.chunk.result(self._timeout_s)
        except GfsError:
            return  # There is no chunk to give back.
        self.discard((chunk.chunk_id,))
