"""The disks of a server when it starts: whose they are, which are new, which cannot be used (D6).

Each disk remembers in which directories the others lay: so one that is gone can be named.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.epochs import EpochBook, read_epoch
from gfs_ha.chunk.machine import FoundDisk
from gfs_ha.chunk.patience import ask_disk
from gfs_ha.chunk.slots.identity import (
    Identity,
    check_identity,
    read_identity,
    read_signed,
    write_identity,
    write_signed,
)
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.errors import DiskFailed, DiskFull, WrongDirectory
from gfs_ha.ids import ANY_DISK, DiskId, Epoch, ServerId
from gfs_ha.limits import OPERATION_TIMEOUT_S
from gfs_ha.net.buffers import BufferPool
from gfs_ha.runtime import Runtime

NEIGHBOURS_NAME = "disks.json"

logger = logging.getLogger(__name__)


class _Neighbour(msgspec.Struct, frozen=True):
    disk_id: DiskId
    directory: str


@dataclass(frozen=True, slots=True)
class OwnDisk:
    """A disk that can be used."""

    disk: Disk
    directory: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class BrokenDisk:
    """A directory that cannot be used; `disk_id` 0 when nobody remembers whose it was."""

    directory: str
    why: str
    disk_id: DiskId = ANY_DISK

    @property
    def told_id(self) -> DiskId:
        """Return by which id people hear of it: without one of its own, one by its directory."""
        if self.disk_id:
            return self.disk_id
        digest = blake2b(self.directory.encode(errors="surrogateescape"), digest_size=8).digest()
        return DiskId(int.from_bytes(digest, "little") or 1)


@dataclass(slots=True)
class OwnDisks:
    """What the directories of a server turned out to be."""

    known: list[OwnDisk] = field(default_factory=list)
    fresh: list[FoundDisk] = field(default_factory=list)  # Never used before.
    broken: list[BrokenDisk] = field(default_factory=list)
    _adopted: set[str] = field(default_factory=set)  # Directories that were new at this start.

    @property
    def server_id(self) -> ServerId:
        """Return what the disks say; 0 when all are new."""
        return self.known[0].identity.server_id if self.known else ServerId(0)

    def give_up(self, directory: str, why: str) -> None:
        """Go on without a directory. Raises: DiskFailed when no other is left."""
        self.known = [one for one in self.known if one.directory != directory]
        self.fresh = [one for one in self.fresh if one.directory != directory]
        self.leave_out(directory, why)
        if not self.known and not self.fresh:
            raise DiskFailed("; ".join(one.why for one in self.broken))

    def leave_out(self, directory: str, why: str) -> None:
        """Go on without a directory, and say so."""
        logger.error("a disk cannot be used directory=%s why=%s", directory, why)
        self.broken.append(BrokenDisk(directory, why))

    def keep_epoch(self, epoch: Epoch, runtime: Runtime) -> None:
        """Have each disk keep the epoch of the masters that took the server in.

        Raises: DiskFailed when none is left that does.
        """
        for one in list(self.known):
            try:
                EpochBook([one.disk], runtime).told(epoch, OPERATION_TIMEOUT_S)
            except (DiskFull, DiskFailed) as error:
                self.give_up(one.directory, error.message)

    def remember(self) -> None:
        """Have each disk know the others, and learn from them whose the broken ones were."""
        told: dict[str, DiskId] = {}
        for one in self.known:
            told.update({other.directory: other.disk_id for other in _neighbours(one.disk)})
        here = {one.identity.disk_id for one in self.known}
        self.broken = [
            BrokenDisk(one.directory, one.why, disk_id if disk_id not in here else ANY_DISK)
            for one in self.broken
            for disk_id in (told.get(one.directory, ANY_DISK),)
        ]
        self._tell_swapped(told, here)
        everyone = [_Neighbour(one.identity.disk_id, one.directory) for one in self.known]
        everyone += [_Neighbour(one.disk_id, one.directory) for one in self.broken if one.disk_id]
        for one in self.known:
            try:
                if _neighbours(one.disk) != everyone:
                    text = json.dumps(msgspec.to_builtins(everyone), indent=2)
                    write_signed(one.disk, NEIGHBOURS_NAME, text.encode())
            except (DiskFull, DiskFailed) as error:
                logger.warning("the other disks are not written down why=%s", error.message)

    def _tell_swapped(self, told: dict[str, DiskId], here: set[DiskId]) -> None:
        """Say which new directories are where another disk lay: it may only not be mounted."""
        for one in self.known:
            before = told.get(one.directory, ANY_DISK)
            if one.directory in self._adopted and before and before not in here:
                logger.warning(
                    "an empty directory is where another disk was, and is taken for a new one: if"
                    " that is only not mounted, stop the server and mount it, and say mounted ="
                    " true directory=%s was=%#x is=%#x",
                    *(one.directory, before, one.identity.disk_id),
                )

    def settle(self, cluster_id: str, name: str, server_id: ServerId, runtime: Runtime) -> None:
        """Make the new directories those of the server. Raises: DiskFailed when none is left."""
        for found in list(self.fresh):
            assert found.disk is not None, "a new directory that cannot be used"
            identity = Identity(cluster_id, server_id, DiskId(runtime.random_u64() or 1), name)
            self.adopt(found, identity)

    def adopt(self, found: FoundDisk, identity: Identity) -> None:
        """Make a new directory that of the server. Raises: DiskFailed when none is left."""
        assert found.disk is not None, "a new directory that cannot be used"
        try:
            write_identity(found.disk, identity)
        except (DiskFull, DiskFailed) as error:
            self.give_up(found.directory, error.message)
            return
        self.fresh.remove(found)
        self.known.append(OwnDisk(found.disk, found.directory, identity))
        self._adopted.add(found.directory)
        logger.info("a new disk directory=%s id=%#x", found.directory, identity.disk_id)


def look_at(found: Sequence[FoundDisk], cluster_id: str, name: str, runtime: Runtime) -> OwnDisks:
    """Return what the directories are.

    Raises: WrongDirectory when one belongs to somebody else, or to nobody knows whom while none is
    known to be ours; DiskFailed when none can be used.
    """
    disks = OwnDisks()
    strange: list[WrongDirectory] = []
    for one in found:
        if one.disk is None:
            disks.leave_out(one.directory, one.trouble)
            continue
        try:
            identity = _read_marks(one, len(found) > 1, runtime)
        except (DiskFailed, WrongDirectory) as error:
            if isinstance(error, WrongDirectory):
                strange.append(error)
            disks.leave_out(one.directory, error.message)
            continue
        if identity is None:
            disks.fresh.append(one)
            continue
        check_identity(identity, cluster_id, name)
        _check_fits(disks, one.directory, identity)
        disks.known.append(OwnDisk(one.disk, one.directory, identity))
    # Beside disks that are ours it has lost its files; alone it may be anybody's.
    if strange and not disks.known:
        raise strange[0]
    if not disks.known and not disks.fresh:
        raise DiskFailed("; ".join(one.why for one in disks.broken))
    return disks


def _read_marks(one: FoundDisk, others: bool, runtime: Runtime) -> Identity | None:
    """Return whose a directory is. Raises: WrongDirectory, DiskFailed."""
    disk, directory = one.disk, one.directory
    assert disk is not None

    def read() -> Identity | None:
        identity = read_identity(disk, directory)
        read_epoch(disk)
        return identity

    # Alone it is waited for: without it there is nothing to serve.
    return ask_disk(disk, read, runtime) if others else read()


def _check_fits(disks: OwnDisks, directory: str, identity: Identity) -> None:
    for other in disks.known:
        if other.identity.server_id != identity.server_id:
            raise WrongDirectory(
                f"{directory} is of server {identity.server_id}, {other.directory} of"
                f" {other.identity.server_id}: give each server its own directories"
            )
        if other.identity.disk_id == identity.disk_id:
            raise WrongDirectory(
                f"{directory} is a copy of {other.directory}: give the server only one of them"
            )


def _neighbours(disk: Disk) -> list[_Neighbour]:
    try:
        text = read_signed(disk, NEIGHBOURS_NAME)
        return msgspec.json.decode(text, type=list[_Neighbour]) if text else []
    except (DiskFailed, WrongDirectory, ValueError):
        return []


def open_store(disks: OwnDisks, runtime: Runtime, boot_id: int) -> ChunkStore:
    """Return the replicas of all disks; one that cannot be read or mended is given up.

    Raises: DiskFailed when none is left.
    """
    buffers = BufferPool(runtime)
    shelves: list[Shelf] = []
    for one in list(disks.known):
        try:
            about = (one.disk, one.identity, buffers, runtime, boot_id)
            shelf = _open_shelf(about, one.directory, len(disks.known) > 1)
        except (DiskFull, DiskFailed) as error:
            disks.give_up(one.directory, error.message)
            continue
        shelves.append(shelf)
    disks.remember()
    return ChunkStore(shelves, runtime, {one.disk_id for one in disks.broken})


def _open_shelf(
    about: tuple[Disk, Identity, BufferPool, Runtime, int], directory: str, others: bool
) -> Shelf:
    """Read the replicas of a disk. Raises: DiskFull, DiskFailed, also when it says nothing."""

    def read() -> Shelf:
        return Shelf(*about, directory=directory)

    return ask_disk(about[0], read, about[3]) if others else read()
