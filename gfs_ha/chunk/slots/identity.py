"""Whose directory this is: cluster, server and a random id of the disk, in a file of its own."""

from __future__ import annotations

import json

import msgspec

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk import Disk, opened
from gfs_ha.errors import NotFound, WrongDirectory
from gfs_ha.ids import DiskId, ServerId

IDENTITY_NAME = "identity.json"
_BYTES_MAX = 4096


class Identity(msgspec.Struct, frozen=True):
    """Fixed when the directory is first used (D6)."""

    cluster_id: str
    server_id: ServerId
    disk_id: DiskId
    name: str = ""  # Of the server, for people; "" = written before names were.


def read_identity(disk: Disk, directory: str = "the data directory") -> Identity | None:
    """Return whose directory it is, or None when it was never used.

    Raises: WrongDirectory when it is no directory of ours or its identity is damaged; DiskFailed.
    """
    try:
        text = read_signed(disk, IDENTITY_NAME)
        if text:
            return msgspec.json.decode(text, type=Identity)
    except ValueError as error:
        raise WrongDirectory(f"{IDENTITY_NAME} of {directory} is damaged: {error}") from error
    if [name for name in disk.names() if name not in (IDENTITY_NAME, "lost+found")]:
        raise WrongDirectory(f"{directory} has files but no {IDENTITY_NAME}; give it an empty one")
    return None


def read_signed(disk: Disk, name: str) -> bytes:
    """Return the text of a small file, whose last line is its CRC; nothing where there is none.

    Raises: ValueError when it is damaged; DiskFailed.
    """
    raw = memoryview(bytearray(_BYTES_MAX))
    try:
        with opened(disk, name) as file:
            data = bytes(raw[: file.read(0, raw)])
    except NotFound:
        return b""
    if not data.strip():
        return b""  # Left empty by a power cut.
    text, crc = data.rsplit(b"\n", 1)[0].rsplit(b"\n", 1)
    if int(crc, 16) != crc32c(text):
        raise ValueError("its CRC is wrong")
    return text


def write_identity(disk: Disk, identity: Identity) -> None:
    """Mark a directory as used by a server, durably. Raises: DiskFull, DiskFailed."""
    fields = json.loads(msgspec.json.encode(identity))
    write_signed(disk, IDENTITY_NAME, json.dumps(fields, indent=2).encode())


def write_signed(disk: Disk, name: str, text: bytes) -> None:
    """Write a small file with its CRC, durably. Raises: DiskFull, DiskFailed."""
    disk.unlink(name)  # Left empty by a power cut.
    file = disk.create(name)
    try:
        file.write(0, text + b"\n%08x\n" % crc32c(text))
        file.sync()
        disk.sync_names()
    finally:
        file.close()


def check_identity(found: Identity, cluster_id: str, name: str) -> None:
    """Raise WrongDirectory unless the directory is that of server `name` of this cluster."""
    if found.cluster_id != cluster_id:
        raise WrongDirectory(
            f"the data directory belongs to cluster {found.cluster_id}, this server to {cluster_id}"
        )
    if found.name and found.name != name:
        raise WrongDirectory(
            f"the data directory belongs to server {found.name}, this is {name}; give it its own"
        )
