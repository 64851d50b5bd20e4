"""Copying between this machine and a cluster, with the target rules of `cp`."""

from __future__ import annotations

import os
import posixpath
import stat as stat_module

from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.content_store import FileAttributes
from gfs_ha.client.contents import PinnedContent
from gfs_ha.client.download import Downloader
from gfs_ha.client.files import RemoteReader
from gfs_ha.client.lanes import Lanes, lanes_of
from gfs_ha.client.local_files import local_door, shown
from gfs_ha.client.namespace import check_path, join
from gfs_ha.client.transfers import (
    Cancel,
    Fetched,
    Progress,
    PutOptions,
    Silent,
    Stored,
    TreeResult,
    Watch,
)
from gfs_ha.client.tree_download import TreeDownload
from gfs_ha.client.tree_upload import TreeUpload
from gfs_ha.client.upload import ByteSource, Uploader
from gfs_ha.errors import (
    AlreadyExists,
    GfsError,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    UsageError,
)
from gfs_ha.protocol.metadata import DIRECTORY, DISK, MEMORY, FileStatus

STREAM_MODE = 0o644


class Copying:
    """Finds out where a copy goes, and makes it. Thread-safe."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection
        self._names = connection.namespace
        self._led_names = connection.led_namespace  # Where to put is decided by what is now.

    def put(
        self,
        local: str | os.PathLike[str] | ByteSource,
        remote: str,
        options: PutOptions,
        jobs: int | Lanes | None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Stored:
        """Copy one file or stream in. Raises: as Cluster.put."""
        _check_options(options)
        connection = self._connection
        progress = progress or Silent()
        watch = Watch(progress, Cancel(cancel), self._lanes(jobs))
        uploader = Uploader(connection.store, connection.runtime, watch)
        attributes = FileAttributes(STREAM_MODE, connection.runtime.wall_ns())
        if not isinstance(local, str | os.PathLike):
            target = self._file_target(remote, None, options)
            return uploader.put_stream(local, target, attributes, options)
        source = os.fspath(local)
        with local_door(source):
            status = os.stat(source)
        if stat_module.S_ISDIR(status.st_mode):
            raise IsADirectory(f"local {shown(source)} is a directory; -r copies it")
        target = self._file_target(remote, _last_name(source), options)
        if not stat_module.S_ISREG(status.st_mode):
            with local_door(source), open(source, "rb") as stream:  # A pipe by name.
                return uploader.put_stream(stream, target, attributes, options)
        progress.expect(1, status.st_size)
        return uploader.put_file(source, target, options)

    def put_tree(
        self,
        local: str | os.PathLike[str],
        remote: str,
        options: PutOptions,
        jobs: int | None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> TreeResult:
        """Copy a directory in. Raises: as Cluster.put_tree."""
        _check_options(options)
        source = os.fspath(local)
        with local_door(source):
            os.stat(source)
        status, parent = self._look(remote)
        target = check_path(remote)
        if status is not None and status.kind != DIRECTORY:
            raise AlreadyExists(f"{target} is a file; a directory cannot replace it")
        if status is not None:
            target = join(target, _last_name(source))
            below = self._led_names.find(target)
            if below is not None and below.kind != DIRECTORY:
                raise AlreadyExists(f"{target} is a file; a directory cannot replace it")
        elif parent is not None:
            raise parent
        connection = self._connection
        progress, cancel = progress or Silent(), Cancel(cancel)
        watch = Watch(progress, cancel, self._lanes(jobs))
        uploader = Uploader(connection.store, connection.runtime, watch)
        upload = TreeUpload(self._led_names, uploader, connection.runtime, progress, cancel)
        result = upload.run(source, target, options, watch.lanes.count)
        result.path = target
        return result

    def get(
        self,
        remote: str,
        local: str | os.PathLike[str],
        verify: bool,
        jobs: int | Lanes | None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Fetched:
        """Copy one file out. Raises: as Cluster.get."""
        connection = self._connection
        path = check_path(remote)
        content = connection.open_content(path)
        target = os.fspath(local)
        if os.path.isdir(target):
            target = os.path.join(target, posixpath.basename(path))
            if os.path.isdir(target):
                raise IsADirectory(
                    f"local {shown(target)} is a directory; a file cannot replace it"
                )
        elif target.endswith("/"):
            raise NotFound(f"local {shown(target)} is no directory")
        progress = progress or Silent()
        progress.expect(1, content.size)
        if os.path.exists(target) and not os.path.isfile(target):
            return self._get_into(content, target, progress)
        watch = Watch(progress, Cancel(cancel), self._lanes(jobs))
        downloader = Downloader(connection.reader_parts, watch)
        return downloader.get_file(lambda: connection.open_content(path), target, verify, content)

    def _get_into(self, content: PinnedContent, target: str, progress: Progress) -> Fetched:
        """Copy a file into something that is there and no file: a device, a pipe by name."""
        with (
            RemoteReader(self._connection.reader_parts, content) as reader,
            local_door(target),
            open(target, "wb", buffering=0) as stream,
        ):

            def write(data: memoryview) -> None:
                progress.moved(len(data))
                while data:
                    data = data[stream.write(data) or 0 :]

            reader.copy_to(write)
        progress.finished(content.path)
        return Fetched(target, content.size)

    def get_tree(
        self,
        remote: str,
        local: str | os.PathLike[str],
        verify: bool,
        jobs: int | None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> TreeResult:
        """Copy a directory out. Raises: as Cluster.get_tree."""
        connection = self._connection
        path = check_path(remote)
        target = os.fspath(local)
        if os.path.isdir(target):
            target = os.path.join(target, posixpath.basename(path))
        if os.path.lexists(target) and not os.path.isdir(target):
            raise AlreadyExists(
                f"local {shown(target)} is in the way; a directory cannot replace it"
            )
        progress, cancel = progress or Silent(), Cancel(cancel)
        watch = Watch(progress, cancel, self._lanes(jobs))
        downloader = Downloader(connection.reader_parts, watch)
        download = TreeDownload(
            self._names, connection.open_contents, downloader, connection.reader_parts, watch
        )
        result = download.run(path, target, verify)
        result.path = target
        return result

    def _lanes(self, jobs: int | Lanes | None) -> Lanes:
        return lanes_of(self._connection.runtime, jobs)

    def _file_target(self, remote: str, name: str | None, options: PutOptions) -> str:
        """Return the final path of a file. Raises: what is certain to refuse it in the end."""
        status, parent = self._look(remote)
        target = check_path(remote)
        if status is not None and status.kind == DIRECTORY:
            if name is None:
                raise IsADirectory(f"{target} is a directory; name the file that is to be written")
            target = join(target, name)
            check_path(target)
            status = self._led_names.find(target)
            if status is not None and status.kind == DIRECTORY:
                raise IsADirectory(f"{target} is a directory; a file cannot replace it")
        elif status is not None and remote.endswith("/"):
            raise NotADirectory(f"{target} is no directory")
        elif status is None and parent is not None:
            raise parent
        elif status is None and remote.endswith("/"):
            raise NotFound(f"{target} is no directory; mkdir makes it")
        if status is not None and options.if_absent:
            raise AlreadyExists(f"{target} exists already")
        return target

    def _look(self, remote: str) -> tuple[FileStatus | None, GfsError | None]:
        """Return the status of a path, and else what is wrong with the directory above it."""
        path = check_path(remote)
        found, above = self._led_names.stat_all((path, posixpath.dirname(path)))
        if isinstance(found, FileStatus):
            return found, None
        if not isinstance(found, NotFound):
            raise found
        if isinstance(above, GfsError):
            return None, above
        if above.kind != DIRECTORY:
            return None, NotADirectory(f"{posixpath.dirname(path)} is no directory")
        return None, None


def _last_name(local: str) -> str:
    """Return the name under which a local path is copied. Raises: InvalidPath."""
    name = os.path.basename(os.path.abspath(local))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidPath(f"local {shown(local)}: the name is not UTF-8") from None
    if not name:
        raise InvalidPath(f"local {shown(local)} has no name of its own; name the target")
    return name


def _check_options(options: PutOptions) -> None:
    if options.durability not in ("", DISK, MEMORY):
        raise UsageError(f"durability {options.durability!r}; it is {DISK!r} or {MEMORY!r}")
    if options.replicas < 0:
        raise UsageError(f"{options.replicas} replicas")
