"""A tree of local files, walked level by level: what can be copied, and what is skipped and why."""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from dataclasses import dataclass, field

from gfs_ha.client.local_files import kept_mtime_ns, local_door, local_error, shown
from gfs_ha.client.transfers import Problem
from gfs_ha.errors import GfsError, InvalidPath, LocalError


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file, or a link to one; `name` is relative to the tree, with slashes."""

    path: str
    name: str
    size: int
    mode: int
    mtime_ns: int
    link: bool = False


@dataclass(frozen=True, slots=True)
class LocalDirectory:
    """A directory below the root, or the root itself (name "")."""

    path: str
    name: str
    mode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class LocalOther:
    """What is not copied: a link to a directory or to nothing, a special file, a name not UTF-8."""

    path: str
    name: str
    problem: Problem


LocalThing = LocalFile | LocalDirectory | LocalOther


@dataclass(slots=True)
class Level:
    """All directories of one depth, and the files in those one level higher."""

    files: list[LocalFile] = field(default_factory=list)
    directories: list[LocalDirectory] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def root_of(path: str) -> LocalDirectory:
    """Return the root of a tree. Raises: NotFound, NotADirectory."""
    with local_door(path):
        status = os.stat(path)
        if not stat_module.S_ISDIR(status.st_mode):
            raise NotADirectoryError(20, "is no directory")
    return LocalDirectory(path, "", stat_module.S_IMODE(status.st_mode), kept_mtime_ns(status))


def walk(root: LocalDirectory, files_max: int = 1000) -> Iterator[Level]:
    """Yield what lies below, never a file before its directory was yielded.

    Links to regular files count as files; links to directories, special files and names that are
    not UTF-8 are problems. A level with many files comes in parts of at most `files_max`.
    """
    directories = [root]
    while directories:
        below: list[LocalDirectory] = []
        part = Level()
        for directory in directories:
            for thing in _listed(directory, part):
                match thing:
                    case LocalFile():
                        part.files.append(thing)
                    case LocalDirectory():
                        part.directories.append(thing)
                    case LocalOther():
                        part.problems.append(thing.problem)
                if len(part.files) >= files_max:
                    below += part.directories
                    yield part
                    part = Level()
        below += part.directories
        yield part
        directories = below


def _listed(directory: LocalDirectory, level: Level) -> list[LocalThing]:
    try:
        return listing(directory)
    except GfsError as error:
        level.problems.append(Problem(shown(directory.path), error))
        return []


def listing(directory: LocalDirectory) -> list[LocalThing]:
    """Return what lies in a directory, in byte order of the names.

    Raises: NotFound, Denied…: what is in it is not known then.
    """
    with local_door(directory.path), os.scandir(directory.path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    return [_thing(entry, directory) for entry in entries]


def _thing(entry: os.DirEntry[str], directory: LocalDirectory) -> LocalThing:
    """Return what one entry is."""
    name = f"{directory.name}/{entry.name}" if directory.name else entry.name

    def other(error: GfsError, skipped: bool = True) -> LocalOther:
        return LocalOther(entry.path, name, Problem(shown(entry.path), error, skipped))

    def skipped(why: str, kind: type[LocalError | InvalidPath] = LocalError) -> LocalOther:
        return other(kind(f"{shown(entry.path)}: {why}; skipped"))

    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return skipped("the name is not UTF-8", InvalidPath)
    try:
        status = entry.stat()
    except OSError as error:
        # A link that leads nowhere is no trouble of the disk's.
        return other(local_error(entry.path, error), entry.is_symlink())
    mode = stat_module.S_IMODE(status.st_mode)
    if stat_module.S_ISREG(status.st_mode):
        link = entry.is_symlink()
        return LocalFile(entry.path, name, status.st_size, mode, kept_mtime_ns(status), link)
    if not stat_module.S_ISDIR(status.st_mode):
        return skipped("no regular file")
    if entry.is_symlink():
        return skipped("a link to a directory")
    return LocalDirectory(entry.path, name, mode, kept_mtime_ns(status))
