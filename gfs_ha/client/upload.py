"""One local file, or one stream of bytes, on its way into the cluster."""

from __future__ import annotations

from typing import Protocol

from gfs_ha.client.content_store import (
    PUBLISHED_WAIT_S,
    ContentSink,
    ContentStore,
    FileAttributes,
    stored_small,
)
from gfs_ha.client.local_files import LocalSource
from gfs_ha.client.packer import SMALL_FILE_BYTES_MAX
from gfs_ha.client.segments import READ_BYTES
from gfs_ha.client.transfers import PutOptions, Stored, Watch
from gfs_ha.limits import MIB
from gfs_ha.runtime import Future, Runtime

STREAM_READ_BYTES = MIB
WAIT_S = 1.0  # How soon a waiting caller hears of a cancel.


class ByteSource(Protocol):
    """What a stream must be able to do: a pipe, a socket file, standard input."""

    def read(self, size: int, /) -> bytes | None: ...


class Uploader:
    """Stores local bytes under remote names. Thread-safe."""

    def __init__(self, store: ContentStore, runtime: Runtime, watch: Watch) -> None:
        self._store = store
        self._runtime = runtime
        self._watch = watch
        self._progress = watch.progress
        self._cancel = watch.cancel

    def put_file(self, local: str, remote: str, options: PutOptions) -> Stored:
        """Store one local file under its final remote path.

        Raises: PartlyDone when it changes while it is read (nothing is published then), NotFound,
        and what the cluster refuses.
        """
        done = self.start_file(local, remote, options)
        state = self._runtime.condition()

        def wake() -> None:
            with state:
                state.notify_all()

        done.when_done(wake)
        with state:
            for _ in range(int(PUBLISHED_WAIT_S / WAIT_S)):
                if done.done():
                    break
                self._cancel.check()
                state.wait(WAIT_S)
        return done.result(0.0)

    def start_file(self, local: str, remote: str, options: PutOptions) -> Future[Stored]:
        """Read one local file; a small one is only handed over, and its future tells the rest.

        Raises: what is wrong with the local file, and with storing a big one.
        """
        done: Future[Stored] = self._runtime.future()
        with LocalSource(local) as source:
            attributes = FileAttributes(source.facts.mode, source.facts.mtime_ns)
            if source.facts.size > SMALL_FILE_BYTES_MAX:
                done.set(self._put_big(source, remote, attributes, options))
                self._progress.finished(remote)
                return done
            data = source.read_whole()
        self._watch.pace.take(len(data))
        packed = self._store.submit_small(remote, attributes, options, data)

        def tell() -> None:
            try:
                stored = stored_small(remote, len(data), packed)
            except BaseException as error:  # Whatever it was: somebody waits for it.
                done.fail(error)
            else:
                self._progress.moved(stored.size)
                self._progress.finished(remote)
                done.set(stored)

        packed.when_done(tell)
        return done

    def put_stream(
        self, source: ByteSource, remote: str, attributes: FileAttributes, options: PutOptions
    ) -> Stored:
        """Store what comes out of a stream until its end. An error of the stream stores nothing."""
        sink = ContentSink(self._store, remote, attributes, options)
        read = getattr(source, "read1", source.read)  # What is there, rather than a full buffer.
        try:
            while data := read(STREAM_READ_BYTES):
                self._cancel.check()
                sink.write(memoryview(data))
                self._progress.moved(len(data))
            stored = sink.publish()
        except BaseException:
            sink.abandon()
            raise
        self._progress.finished(remote)
        return stored

    def _put_big(
        self,
        source: LocalSource,
        remote: str,
        attributes: FileAttributes,
        options: PutOptions,
    ) -> Stored:
        if self._watch.lanes.count > 1:
            content = self._store.upload(remote, options, source, self._watch)
            return self._store.publish(remote, attributes, options, content)
        writer = self._store.writer(remote, options, source.facts.size)
        told = 0  # Less than was written when a signal came in between.
        try:
            while writer.size < source.facts.size:
                self._cancel.check()
                count = source.read_into(writer.room()[:READ_BYTES], writer.size)
                if not count:
                    break
                self._watch.pace.take(count)
                writer.filled(count)
                self._progress.moved(count)
                told += count
            source.check_unchanged(writer.size)
            content = writer.finish()
            # Once more: the last segment was made safe meanwhile, and the file may have grown.
            source.check_unchanged(writer.size)
        except BaseException:
            self._progress.moved(-told)
            writer.abandon()
            raise
        return self._store.publish(remote, attributes, options, content)
