"""Everything that stores content for a client: packers for small files, writers for big ones."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.client.account import own_account
from gfs_ha.client.chunk_supply import ChunkSpec
from gfs_ha.client.local_files import LocalSource
from gfs_ha.client.memory import MemoryPool
from gfs_ha.client.packer import SMALL_FILE_BYTES_MAX, Packed, SmallFilePacker
from gfs_ha.client.policies import Policies
from gfs_ha.client.segments import SegmentUpload, UploadParts
from gfs_ha.client.session import Session
from gfs_ha.client.shipment import WriterParts
from gfs_ha.client.transfers import PutOptions, Stored, Watch
from gfs_ha.client.writer import Content, ContentWriter, publish
from gfs_ha.errors import error_from_wire
from gfs_ha.ids import ContentId
from gfs_ha.protocol.metadata import DISK, PublishFile
from gfs_ha.runtime import Future

PUBLISHED_WAIT_S = 3600.0  # Each step of it has a deadline of its own.


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """What a name gets besides its content; times in nanoseconds since 1970."""

    mode: int
    mtime_ns: int


class ContentStore:
    """Stores contents under names. Thread-safe."""

    def __init__(
        self, session: Session, parts: WriterParts, memory: MemoryPool, policies: Policies
    ) -> None:
        self._session = session
        self._policies = policies
        self._parts = parts
        self._memory = memory
        self._lock = parts.runtime.lock()
        self._packers: dict[ChunkSpec, SmallFilePacker] = {}

    def writer(
        self, path: str, options: PutOptions, size: int | None = None, start: int = 0
    ) -> ContentWriter:
        """Return a writer for a content that is too long for a packer, or a part from `start`."""
        parts = (self._parts, self._memory, self._spec(path, options))
        return ContentWriter(self._session, *parts, size, start)

    def release(self, content: Content) -> None:
        """End the claims of a content that was put in place, or given up, in another way."""
        self._parts.supply.discard(content.claimed)

    def upload(self, path: str, options: PutOptions, source: LocalSource, watch: Watch) -> Content:
        """Make a big local file safe, several segments at a time. Raises: as SegmentUpload.run."""
        parts = UploadParts(self._session, self._parts, self._memory)
        return SegmentUpload(parts, self._spec(path, options), source, watch).run()

    def publish(
        self, path: str, attributes: FileAttributes, options: PutOptions, content: Content
    ) -> Stored:
        """Give a content its name. Raises: NotFound, AlreadyExists, UnknownOutcome…"""
        file = _file(path, attributes, options, content)
        publish(self._session, self._parts.supply, file, content)
        safe = content.safe
        return Stored(path, content.size, safe.chunk_count, safe.copies_min, safe.goal)

    def submit_small(
        self,
        path: str,
        attributes: FileAttributes,
        options: PutOptions,
        data: bytes | memoryview,
    ) -> Future[Packed]:
        """Hand a small file to the packer; `stored_small` reads its future."""
        spec = self._spec(path, options)
        with self._lock:
            packer = self._packers.get(spec)
            if packer is None:
                packer = self._packers[spec] = SmallFilePacker(self._session, self._parts, spec)
        return packer.submit(_file(path, attributes, options), data)

    def put_small(
        self,
        path: str,
        attributes: FileAttributes,
        options: PutOptions,
        data: bytes | memoryview,
    ) -> Stored:
        """Store a small file and return when it is published. Raises: as `publish`."""
        if not len(data):
            # One command and no bytes: the caller's own thread is the shortest way.
            publish(self._session, self._parts.supply, _file(path, attributes, options))
            return Stored(path, 0, 0, 0, 0)
        return stored_small(path, len(data), self.submit_small(path, attributes, options, data))

    def _spec(self, path: str, options: PutOptions) -> ChunkSpec:
        """Return what chunks a new file at a path gets: what was asked for, else what holds there.

        Raises: what keeps the leader from telling that.
        """
        policy = self._policies.of_new_file(path)
        if policy is None:
            return ChunkSpec(options.durability or DISK, options.replicas)
        return ChunkSpec(
            options.durability or policy.durability,
            options.replicas or (policy.goal if policy.goal_from else 0),
            policy.rule if policy.rule_from else "",
            policy.chunk_bytes if policy.chunk_bytes_from else 0,
        )

    def close(self) -> None:
        """Finish open chunks. What is still queued is dropped; claims end with the session."""
        for packer in self._packers.values():
            packer.close()


class ContentSink:
    """One content of unknown length: small ones go to the packer, longer ones to a writer.

    Used by one thread. Nothing is sent before it is longer than a small file, or published.
    """

    def __init__(
        self,
        store: ContentStore,
        path: str,
        attributes: FileAttributes,
        options: PutOptions,
    ) -> None:
        self._store = store
        self._path = path
        self._attributes = attributes
        self._options = options
        self._small = bytearray()
        self._writer: ContentWriter | None = None

    def write(self, data: memoryview) -> None:
        """Take bytes. Raises: what keeps them from being made safe."""
        if self._writer is None:
            if len(self._small) + len(data) <= SMALL_FILE_BYTES_MAX:
                self._small += data
                return
            self._writer = self._store.writer(self._path, self._options)
            self._writer.write(memoryview(self._small))
            self._small = bytearray()
        self._writer.write(data)

    def publish(self) -> Stored:
        """Give it its name, and say what was stored."""
        if self._writer is None:
            data = bytes(self._small)
            return self._store.put_small(self._path, self._attributes, self._options, data)
        try:
            content = self._writer.finish()
        except BaseException:
            self._writer.abandon()
            raise
        return self._store.publish(self._path, self._attributes, self._options, content)

    def abandon(self) -> None:
        """Give everything up."""
        self._small = bytearray()
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None


def stored_small(path: str, size: int, done: Future[Packed]) -> Stored:
    """Return what became of a small file. Raises: what refused it."""
    packed = done.result(PUBLISHED_WAIT_S)
    if packed.published.error:
        raise error_from_wire(packed.published.error, packed.published.message, {})
    return Stored(path, size, int(packed.copies > 0), packed.copies, packed.goal)


def _file(
    path: str, attributes: FileAttributes, options: PutOptions, content: Content | None = None
) -> PublishFile:
    owner, group = own_account()
    return PublishFile(
        path=path,
        size=0 if content is None else content.size,
        mode=attributes.mode,
        mtime_ns=attributes.mtime_ns,
        content_id=ContentId(0) if content is None else content.content_id,
        extents=() if content is None else content.extents,
        owner=owner,
        group=group,
        if_absent=options.if_absent,
        goal=options.replicas,
    )
