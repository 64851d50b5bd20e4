"""A tree of local files, walked level by level: what can be copied, and what is skipped and why."""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterator
from dataclasses import dataclass, field

from gfs_ha.client.local_files import local_door, local_error, shown
from gfs_ha.client.transfers import Problem
from gfs_ha.errors import InvalidPath, LocalError


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file, or a link to one; `name` is relative to the tree, with slashes."""

    path: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class LocalDirectory:
    """A directory below the root, or the root itself (name "")."""

    path: str
    name: str
    mode: int
    mtime_ns: int


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
    return LocalDirectory(path, "", stat_module.S_IMODE(status.st_mode), status.st_mtime_ns)


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
            for entry in _entries(directory, part):
                _sort(entry, directory, part)
                if len(part.files) >= files_max:
                    below += part.directories
                    yield part
                    part = Level()
        below += part.directories
        yield part
        directories = below


def _entries(directory: LocalDirectory, level: Level) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory.path) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        level.problems.append(Problem(shown(directory.path), local_error(directory.path, error)))
        return []


def _sort(entry: os.DirEntry[str], directory: LocalDirectory, level: Level) -> None:
    """Put one entry where it belongs."""

    def problem(why: str, kind: type[LocalError | InvalidPath] = LocalError) -> None:
        level.problems.append(Problem(shown(entry.path), kind(f"{shown(entry.path)}: {why}")))

    try:
        entry.name.encode()
    except UnicodeEncodeError:
        problem("the name is not UTF-8; skipped", InvalidPath)
        return
    name = f"{directory.name}/{entry.name}" if directory.name else entry.name
    try:
        status = entry.stat()
    except OSError as error:
        level.problems.append(Problem(shown(entry.path), local_error(entry.path, error)))
        return
    if stat_module.S_ISREG(status.st_mode):
        level.files.append(LocalFile(entry.path, name, status.st_size))
    elif not stat_module.S_ISDIR(status.st_mode):
        problem("no regular file; skipped")
    elif entry.is_symlink():
        problem("a link to a directory; skipped")
    else:
        mode = stat_module.S_IMODE(status.st_mode)
        level.directories.append(LocalDirectory(entry.path, name, mode, status.st_mtime_ns))
