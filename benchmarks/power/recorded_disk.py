"""What a power cut leaves of the files that a recorded process wrote: the record and the model.

A write counts once its file was synced (or at once through an O_DSYNC descriptor), a name once its
directory was synced. Of what came later a cut keeps anything: any of the writes, any sectors of one
of them, and of the changes of names the first few.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHIM_SOURCE = Path(__file__).with_name("disk_shim.c")
SECTOR_BYTES, PAGE_BYTES = 512, 4096
_HEAD = struct.Struct("<cBHqI")
_COMPILE_S = 60.0
_DIRECTORY = 0  # Stands for an inode: a directory has no bytes here.


@dataclass(frozen=True)
class Operation:
    """One call of the record: W write, T truncate, S sync, C create, D mkdir, R rename, U unlink,
    N note."""

    kind: str
    durable: bool
    path: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Piece:
    """Bytes for a file; None cuts it at `offset`."""

    inode: int
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Naming:
    """A name that came or went; inode None: it went."""

    path: str
    inode: int | None
    gone: str = ""  # Where a rename took it from.


class NoCompiler(Exception):
    """The shim cannot be compiled here."""


def compile_shim(directory: Path) -> Path:
    """Return the library to preload. Raises: NoCompiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("there is no C compiler")
    library = directory / "disk_shim.so"
    words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SHIM_SOURCE), "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_COMPILE_S, check=False)
    if done.returncode:
        raise NoCompiler(done.stderr.strip()[-300:])
    return library


def read_record(record: Path, below: Path) -> Iterator[Operation]:
    """Yield the operations; paths are relative to `below` ("" is that itself)."""
    raw = record.read_bytes()
    position, prefix = 0, os.fspath(below)
    while position < len(raw):
        kind, durable, path_length, offset, length = _HEAD.unpack_from(raw, position)
        position += _HEAD.size
        path = raw[position : position + path_length].decode()
        position += path_length
        data = raw[position : position + length]
        position += length
        if kind == b"R":
            data = data.decode().removeprefix(prefix).lstrip("/").encode()
        yield Operation(
            kind.decode(), bool(durable), path.removeprefix(prefix).lstrip("/"), offset, data
        )


@dataclass
class RecordedDisk:
    """The disk as it goes through a record: what is durable, and what is not yet."""

    names: dict[str, int] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    namings: list[Naming] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=lambda: {"": _DIRECTORY})
    _inodes: int = 0

    def issue(self, operation: Operation) -> None:
        """Take an operation; nothing of it is durable yet."""
        kind, path = operation.kind, operation.path
        if kind in "CD":
            inode = _DIRECTORY
            if kind == "C":
                self._inodes = inode = self._inodes + 1
            self._seen[path] = inode
            self.namings.append(Naming(path, inode))
        elif kind == "R":
            to = operation.data.decode()
            self._seen[to] = self._seen.pop(path)
            self.namings.append(Naming(to, self._seen[to], path))
        elif kind == "U":
            self._seen.pop(path)
            self.namings.append(Naming(path, None))
        elif kind == "W":
            self.pieces.append(Piece(self._seen[path], operation.offset, operation.data))
        elif kind == "T":
            self.pieces.append(Piece(self._seen[path], operation.offset, None))

    def finish(self, operation: Operation) -> None:
        """Hear that it returned: make durable what it promised."""
        if operation.kind == "W" and operation.durable:
            apply(self.files, [self.pieces.pop()])
        elif operation.kind == "S":
            inode = self._seen[operation.path]
            if inode == _DIRECTORY:
                here = [one for one in self.namings if _parent(one.path) == operation.path]
                rename(self.names, here)
                self.namings = [one for one in self.namings if one not in here]
            else:
                apply(self.files, [one for one in self.pieces if one.inode == inode])
                self.pieces = [one for one in self.pieces if one.inode != inode]


def apply(files: dict[int, bytes], pieces: list[Piece]) -> None:
    """Put pieces into files."""
    for piece in pieces:
        before = files.get(piece.inode, b"")
        if piece.data is None:
            files[piece.inode] = before[: piece.offset].ljust(piece.offset, b"\0")
        else:
            end = piece.offset + len(piece.data)
            files[piece.inode] = (
                before[: piece.offset].ljust(piece.offset, b"\0") + piece.data + before[end:]
            )


def rename(names: dict[str, int], namings: list[Naming]) -> None:
    """Let names come and go."""
    for one in namings:
        names.pop(one.gone, None)
        if one.inode is None:
            names.pop(one.path, None)
        else:
            names[one.path] = one.inode


def build(directory: Path, names: dict[str, int], files: dict[int, bytes]) -> None:
    """Write what a cut has left into an empty directory."""
    for path, inode in sorted(names.items()):
        target = directory / path
        if not target.parent.is_dir():
            continue  # Its directory is not there.
        if inode == _DIRECTORY:
            target.mkdir()
        else:
            target.write_bytes(files.get(inode, b""))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
