"""Checksums, comparison and one-way copying of files and trees, here and in the cluster."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gfs_ha.client.comparison import Comparison
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.crew import fatal
from gfs_ha.client.download import Downloader
from gfs_ha.client.file_checksum import Checksums, FileChecksum
from gfs_ha.client.globs import Globs
from gfs_ha.client.in_order import InOrder
from gfs_ha.client.lanes import Lanes, lanes_of
from gfs_ha.client.local_files import kept_mtime_ns, local_door, shown
from gfs_ha.client.local_tree import LocalDirectory, LocalFile, LocalThing, root_of
from gfs_ha.client.namespace import check_path
from gfs_ha.client.pace import SharedPace
from gfs_ha.client.same_content import SameContent
from gfs_ha.client.sync import Sync, SyncTarget
from gfs_ha.client.sync_down import DownTarget
from gfs_ha.client.sync_steps import SyncRule
from gfs_ha.client.sync_up import UpTarget
from gfs_ha.client.transfers import UNPACED, Cancel, Pace, Progress, Silent, Watch
from gfs_ha.client.tree_download import FILES_PER_JOB, TreeDownload
from gfs_ha.client.tree_pairs import Pair, TreePairs
from gfs_ha.client.tree_upload import TreeUpload
from gfs_ha.client.upload import Uploader
from gfs_ha.errors import AlreadyExists, GfsError, NotADirectory, NotFound
from gfs_ha.protocol.metadata import DIRECTORY, FileStatus

ALL_NAMES = Globs()


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """How a run over trees goes: how much at once and how fast, and which names take part."""

    jobs: int | Lanes | None = None
    bytes_per_s: int = 0  # Of all files together; 0: as fast as it goes.
    globs: Globs = ALL_NAMES
    progress: Progress | None = None
    cancel: Cancel | None = None


AS_USUAL = TreeOptions()


class Trees:
    """Begins such runs. Thread-safe; each run belongs to one thread."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection

    def checksums(
        self,
        paths: Iterable[str],
        options: TreeOptions = AS_USUAL,
        *,
        read: bool = True,
        verify: bool = False,
    ) -> Iterator[tuple[str, FileChecksum | GfsError]]:
        """Yield each file's CRC-32C, in their order, or why there is none.

        Most are combined from what is stored, without reading a byte. Args: without `read` the
        others are PartlyDone; `verify` reads everything and compares. Raises: NoLeader…
        """
        connection = self._connection
        watch = self._watch(options)
        checksums = Checksums(connection.reader_parts, watch)

        def work(some: Sequence[str]) -> list[tuple[str, FileChecksum | GfsError]]:
            found: list[tuple[str, FileChecksum | GfsError]] = []
            contents = connection.open_contents(some)
            for path, content in zip(some, contents, strict=True):
                try:
                    if isinstance(content, GfsError):
                        raise content
                    found.append((path, checksums.of(content, read, verify)))
                except GfsError as error:
                    if fatal(error):
                        raise
                    found.append((path, error))
            return found

        run: InOrder[list[str], list[tuple[str, FileChecksum | GfsError]]] = InOrder(
            connection.runtime, watch.lanes.count, work, Cancel(watch.cancel)
        )
        for found in run.results(_in_groups(paths)):
            yield from found

    def compare(
        self,
        local: str | os.PathLike[str],
        remote: str,
        options: TreeOptions = AS_USUAL,
        *,
        contents: bool = True,
        one_way: bool = False,
    ) -> Comparison:
        """Return a run that finds what differs: two trees, or two files.

        Args: without `contents` files of one size count as the same; `one_way` takes no notice of
        what is in the cluster alone. Raises: NotFound, NotADirectory (one of them is a file).
        """
        path = check_path(remote)
        here = _local_thing(os.fspath(local))
        there = self._connection.namespace.stat(path)
        if there.growing:
            there = self._exact(path)  # Of a tree's files the walk asks.
        if isinstance(here, LocalDirectory) != (there.kind == DIRECTORY):
            file = path if there.kind != DIRECTORY else f"local {shown(os.fspath(local))}"
            raise NotADirectory(f"{file} is a file and the other side a directory")
        pairs = self._pairs(path, options)
        same = self._same_content(pairs, self._watch(options)) if contents else None
        return Comparison(Pair("", here, there), pairs, same, one_way)

    def sync(
        self,
        local: str | os.PathLike[str],
        remote: str,
        rule: SyncRule,
        options: TreeOptions = AS_USUAL,
    ) -> Sync:
        """Return a run that makes one tree like the other; nothing is changed before it is told to.

        Neither side receives the other under its own name: they become the same. Raises: NotFound,
        NotADirectory, AlreadyExists for what cannot be the source or the target.
        """
        path, place = check_path(remote), os.fspath(local)
        root = self._up_root(place, path) if rule.up else self._down_root(place, path)
        pairs = self._pairs(path, options)
        watch = self._watch(options)
        target: SyncTarget
        keeps = not options.globs.all
        connection = self._connection
        if rule.up:
            uploader = Uploader(connection.store, connection.runtime, watch)
            progress, cancel = watch.progress, watch.cancel
            names = connection.led_namespace
            upload = TreeUpload(names, uploader, connection.runtime, progress, cancel)
            target = UpTarget(names, upload, path, Cancel(options.cancel), keeps)
        else:
            downloader = Downloader(connection.reader_parts, watch)
            opener = connection.open_contents
            parts = connection.reader_parts
            download = TreeDownload(connection.led_namespace, opener, downloader, parts, watch)
            target = DownTarget(download, path, place, Cancel(options.cancel), keeps)
        same = self._same_content(pairs, self._watch(options))
        return Sync(rule, root, pairs, same, target, watch.lanes.count)

    def _up_root(self, local: str, remote: str) -> Pair:
        names = self._connection.led_namespace
        there = names.find(remote)
        if there is not None and there.kind != DIRECTORY:
            raise AlreadyExists(f"{remote} is a file; a directory cannot replace it")
        if there is None:
            above = names.stat(posixpath.dirname(remote))
            if above.kind != DIRECTORY:
                raise NotADirectory(f"{posixpath.dirname(remote)} is no directory")
        return Pair("", _local_root(local), there)

    def _down_root(self, local: str, remote: str) -> Pair:
        there = self._connection.led_namespace.stat(remote)
        if there.kind != DIRECTORY:
            raise NotADirectory(f"{remote} is a file; get copies it")
        try:
            return Pair("", _local_root(local), there)
        except NotFound:
            above = os.path.dirname(os.path.abspath(local))
            with local_door(above):
                os.stat(above)
            return Pair("", None, there)

    def _pairs(self, remote: str, options: TreeOptions) -> TreePairs:
        names = self._connection.led_namespace
        return TreePairs(names.steps, self._exact, remote, options.globs)

    def _exact(self, path: str) -> FileStatus:
        return self._connection.openings.exact(path)

    def _same_content(self, pairs: TreePairs, watch: Watch) -> SameContent:
        connection = self._connection
        return SameContent(
            connection.open_contents, connection.reader_parts, watch, pairs.remote_path
        )

    def _watch(self, options: TreeOptions) -> Watch:
        runtime = self._connection.runtime
        cancel = Cancel(options.cancel)
        pace: Pace = UNPACED
        if options.bytes_per_s:
            pace = SharedPace(runtime, options.bytes_per_s, cancel)
        lanes = lanes_of(runtime, options.jobs)
        return Watch(options.progress or Silent(), cancel, lanes, pace)


def _local_root(local: str) -> LocalDirectory:
    """Return a local directory. Raises: NotFound, NotADirectory, which says what is for files."""
    try:
        return root_of(local)
    except NotADirectory as error:
        if os.path.isfile(local):
            what = f"local {shown(local)} is a file; put and get copy files, sync directories"
            raise NotADirectory(what) from error
        raise


def _local_thing(local: str) -> LocalThing:
    """Return a local file or directory as one side of a comparison. Raises: NotFound…"""
    try:
        return root_of(local)
    except NotADirectory:
        with local_door(local):
            status = os.stat(local)
        mode = status.st_mode & 0o7777
        return LocalFile(local, "", status.st_size, mode, kept_mtime_ns(status))


def _in_groups(paths: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    for path in paths:
        group.append(path)
        if len(group) == FILES_PER_JOB:
            yield group
            group = []
    if group:
        yield group
