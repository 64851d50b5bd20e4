"""Small files of one client: written one after another into its open chunk, published in batches.

Whoever writes waits for a future; what queues up while one batch is under way is the next batch, so
that many writers (or a tree) share each push and each command (F6).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial

from gfs_ha.checksum import crc32c
from gfs_ha.client.chunk_supply import ChunkSpec
from gfs_ha.client.open_chunk import Landed, OpenChunk
from gfs_ha.client.retry import Deadline, pause_s
from gfs_ha.client.session import Session
from gfs_ha.client.shipment import WriterParts
from gfs_ha.errors import Cancelled, DeadlineExceeded, GfsError, ProtocolError, TooFewCopies
from gfs_ha.ids import ChunkId
from gfs_ha.limits import FILES_PER_COMMAND_MAX, KIB, MIB
from gfs_ha.protocol.metadata import Extent, Publish, Published, PublishedFile, PublishFile
from gfs_ha.runtime import Future, Runtime

logger = logging.getLogger(__name__)

SMALL_FILE_BYTES_MAX = 512 * KIB  # What is longer has chunks of its own.
BATCH_BYTES_MAX = 1 * MIB  # Also the smallest chunk that a cluster can have.
BATCH_PATH_BYTES_MAX = 256 * KIB
QUEUED_BYTES_MAX = 16 * MIB
QUEUED_FILES_MAX = 16 * FILES_PER_COMMAND_MAX
PUBLISHING_MAX = 4
IDLE_S = 2.0  # An open chunk that nobody writes to is finished after so long.
CLOSE_WAIT_S = 5.0
DRAIN_MAX_S = 3600.0  # Publishing has deadlines of its own.

assert SMALL_FILE_BYTES_MAX <= BATCH_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Packed:
    """A small file that is published, and in how many copies its bytes lie."""

    published: PublishedFile
    copies: int
    goal: int


@dataclass(frozen=True, slots=True)
class _Job:
    file: PublishFile
    data: bytes | memoryview
    done: Future[Packed]


class SmallFilePacker:
    """The writer of small files of one kind of chunk. Thread-safe."""

    def __init__(self, session: Session, parts: WriterParts, spec: ChunkSpec) -> None:
        self._session = session
        self._parts = parts
        self._runtime: Runtime = parts.runtime
        self._spec = spec
        self._state = self._runtime.condition()
        self._jobs: deque[_Job] = deque()
        self._queued_bytes = 0
        self._publishing = 0
        self._unpublished: Counter[ChunkId] = Counter()  # Batches of a chunk on their way.
        self._running = False
        self._closed = False
        self._open: OpenChunk | None = None

    def submit(self, file: PublishFile, data: bytes | memoryview) -> Future[Packed]:
        """Take a small file to be written and published; `data` must not change until then.

        Waits while too much is queued. The future raises what refuses the file: NotFound for a
        missing parent, AlreadyExists, NoServers, UnknownOutcome…
        """
        assert len(data) <= SMALL_FILE_BYTES_MAX, len(data)
        job = _Job(file, data, self._runtime.future())
        deadline_s = self._runtime.monotonic_s() + self._parts.timeout_s
        with self._state:
            while self._full() and not self._closed:
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    raise DeadlineExceeded("the small files before this one are not written yet")
                self._state.wait(left_s)
            if self._closed:
                raise Cancelled("the connection to the cluster is closed")
            self._jobs.append(job)
            self._queued_bytes += len(data)
            if not self._running:
                self._running = True
                self._runtime.spawn("small files", self._run)
            self._state.notify_all()
        return job.done

    def _full(self) -> bool:
        return self._queued_bytes > QUEUED_BYTES_MAX or len(self._jobs) >= QUEUED_FILES_MAX

    def close(self) -> None:
        """Drop what is still queued, and finish the open chunk."""
        with self._state:
            self._closed = True
            jobs = list(self._jobs)
            self._jobs.clear()
            self._queued_bytes = 0
            self._state.notify_all()
        for job in jobs:
            job.done.fail(Cancelled("the connection to the cluster was closed before it was sent"))
        deadline_s = self._runtime.monotonic_s() + CLOSE_WAIT_S
        with self._state:
            while self._running:
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    return  # The leader ends the chunk when the session's claim ends (C11).
                self._state.wait(left_s)

    # The lane -------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Write batch after batch until nothing came for a while."""
        batch: list[_Job] = []
        try:
            while batch := self._gather():
                self._write(batch)
        except BaseException as error:
            # A mistake of ours: whoever waits must hear of it, not wait.
            with self._state:
                self._running = False
                batch += self._jobs
                self._jobs.clear()
                self._queued_bytes = 0
                self._state.notify_all()
            for job in batch:
                job.done.fail(error)
            raise

    def _gather(self) -> list[_Job]:
        """Return the next batch; an empty one, with the open chunk finished, ends the lane."""
        while True:
            deadline_s = self._runtime.monotonic_s() + IDLE_S
            with self._state:
                while not self._jobs and not self._closed:
                    left_s = deadline_s - self._runtime.monotonic_s()
                    if left_s <= 0:
                        break
                    self._state.wait(left_s)
                if self._jobs:
                    return self._take_batch()
                if self._open is None:
                    # Under the lock: a job that comes later starts a new lane.
                    self._running = False
                    self._state.notify_all()
                    return []
            self._retire()

    def _take_batch(self) -> list[_Job]:
        batch: list[_Job] = []
        size = path_bytes = 0
        while self._jobs and len(batch) < FILES_PER_COMMAND_MAX:
            job = self._jobs[0]
            size += len(job.data)
            path_bytes += len(job.file.path.encode())
            if batch and (size > BATCH_BYTES_MAX or path_bytes > BATCH_PATH_BYTES_MAX):
                break
            batch.append(self._jobs.popleft())
            self._queued_bytes -= len(job.data)
        self._state.notify_all()
        return batch

    def _write(self, batch: list[_Job]) -> None:
        data = memoryview(b"".join(job.data for job in batch))
        try:
            landed = self._land(data) if len(data) else None
        except GfsError as error:
            for job in batch:
                job.done.fail(error)
            return
        with self._state:
            while self._publishing >= PUBLISHING_MAX:
                self._state.wait(DRAIN_MAX_S)
            self._publishing += 1
            if landed is not None:
                self._unpublished[landed.chunk.chunk_id] += 1
        self._runtime.spawn("publish small files", lambda: self._publish(batch, landed))

    def _land(self, data: memoryview) -> Landed:
        """Return where the batch is safe. Raises: what kept every chunk from it."""
        runtime = self._runtime
        deadline = Deadline(runtime.monotonic_s() + self._parts.timeout_s)
        failure_count = 0
        while True:
            if self._open is None or not self._open.fits(len(data)):
                self._retire()
                self._open = OpenChunk(self._parts, self._parts.supply.take(self._spec))
            landed = self._open.append(data)
            if landed is not None:
                return landed
            # Its seal may wait for servers that are gone; these bytes need not.
            broken, self._open = self._open, None
            runtime.spawn("end a broken chunk", partial(self._end_chunk, broken))
            if self._closed:
                raise Cancelled("the connection to the cluster was closed")
            error = broken.error or TooFewCopies("no chunk took the small files")
            delay_s = pause_s(error, failure_count, runtime.uniform(0.0, 1.0))
            if not deadline.allows(delay_s, runtime.monotonic_s()):
                raise error
            runtime.sleep(delay_s)
            failure_count += 1

    def _retire(self) -> None:
        """End the open chunk."""
        chunk, self._open = self._open, None
        if chunk is not None:
            self._end_chunk(chunk)

    def _end_chunk(self, chunk: OpenChunk) -> None:
        """Finish a chunk, and release it once everything in it is published."""
        chunk_id = chunk.chunk.chunk_id
        try:
            self._finish_chunk(chunk)
            with self._state:
                while self._unpublished[chunk_id]:
                    self._state.wait(DRAIN_MAX_S)
                del self._unpublished[chunk_id]
                closing = self._closed
            if not closing:  # Otherwise the end of the session, which is near, releases it.
                self._parts.supply.release((chunk_id,))
        except GfsError as error:
            # What is published stays; the claim ends with the session (C11).
            logger.info("chunk left to the session's end error=%s", error.message)

    def _finish_chunk(self, chunk: OpenChunk) -> None:
        try:
            chunk.finish()
        except GfsError as error:
            # What is published stays, and the leader seals the chunk when its claim ends (C11).
            logger.info("open chunk left to the leader error=%s", error.message)

    def _publish(self, batch: list[_Job], landed: Landed | None) -> None:
        try:
            files = _with_extents(batch, landed)
            reply = self._session.change(Publish(files), Published)
            if len(reply.files) != len(batch):
                raise ProtocolError(f"{len(reply.files)} results for {len(batch)} files")
            for job, published in zip(batch, reply.files, strict=True):
                copies = landed.copies if landed is not None and len(job.data) else 0
                goal = landed.chunk.goal if copies and landed is not None else 0
                job.done.set(Packed(published, copies, goal))
        except BaseException as error:
            for job in batch:
                job.done.fail(error)
            if not isinstance(error, GfsError):
                raise
        finally:
            with self._state:
                self._publishing -= 1
                if landed is not None:
                    self._unpublished[landed.chunk.chunk_id] -= 1
                self._state.notify_all()


def _with_extents(batch: list[_Job], landed: Landed | None) -> tuple[PublishFile, ...]:
    """Return the files with their extents in the chunk."""
    files: list[PublishFile] = []
    offset = 0 if landed is None else landed.offset
    for job in batch:
        size = len(job.data)
        extents: tuple[Extent, ...] = ()
        if size:
            assert landed is not None, "bytes without a place"
            extents = (Extent(0, landed.chunk.chunk_id, offset, size, crc32c(job.data)),)
            offset += size
        one = job.file
        files.append(
            PublishFile(
                path=one.path,
                size=size,
                mode=one.mode,
                mtime_ns=one.mtime_ns,
                extents=extents,
                owner=one.owner,
                group=one.group,
                if_absent=one.if_absent,
                goal=one.goal,
            )
        )
    return tuple(files)
