"""What one run of a chunkserver finds on its machine: disks, network, and who it is there."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from gfs_ha.chunk.capped_disk import CappedDisk
from gfs_ha.chunk.disk import Disk, PosixDisk
from gfs_ha.config import ChunkserverConfig, DiskConfig
from gfs_ha.errors import DiskFailed
from gfs_ha.ids import StartId
from gfs_ha.logs.requests import RequestLog
from gfs_ha.net.entry import data_streams
from gfs_ha.net.network import Network
from gfs_ha.net.sockets import listening_host
from gfs_ha.net.streams import StreamNetwork
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.net.tls import Credentials
from gfs_ha.runtime import Runtime, boot_id, process_start_id


@dataclass(frozen=True, slots=True)
class FoundDisk:
    """A data directory of the configuration, held by this process alone.

    Without a `disk` it cannot be used, and `trouble` says why.
    """

    directory: str
    disk: Disk | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Simulations give one of their own."""

    disks: tuple[FoundDisk, ...]
    network: Network
    streams: StreamNetwork
    boot_id: int
    start_id: StartId
    requests: RequestLog | None = None  # What is told of requests; nothing in simulations.
    credentials: Credentials | None = None
    listening: str = ""  # Where its data port is, in numbers; not told in simulations.


def this_machine(
    own: ChunkserverConfig, runtime: Runtime, credentials: Credentials | None = None
) -> Machine:
    """Take the data directories of a process of this machine; masters are met with credentials.

    Raises: WrongDirectory when another process has one; DiskFailed when none can be used.
    """
    boot, start = boot_id(), StartId(process_start_id())
    found: list[FoundDisk] = []
    try:
        for one in own.disks:
            try:
                found.append(FoundDisk(str(one.directory), _take(one, runtime)))
            except DiskFailed as error:
                found.append(FoundDisk(str(one.directory), None, error.message))
        if all(one.disk is None for one in found):
            raise DiskFailed("; ".join(one.trouble for one in found))
    except BaseException:
        close_all(found)
        raise
    network = TcpNetwork(runtime, credentials=credentials)
    requests = RequestLog(runtime, logging.getLogger(f"{__package__}.requests"))
    streams = data_streams(runtime, credentials is not None)
    listening = listening_host(own.host)
    return Machine(tuple(found), network, streams, boot, start, requests, credentials, listening)


def close_all(found: list[FoundDisk] | tuple[FoundDisk, ...]) -> None:
    """Let go of the directories."""
    for one in found:
        if one.disk is not None:
            one.disk.close()


def _take(own: DiskConfig, runtime: Runtime) -> Disk:
    if own.mounted and not os.path.ismount(own.directory):
        raise DiskFailed(f"nothing is mounted on {own.directory}: its disk is not there")
    disk = PosixDisk(own.directory)
    if not own.capacity:
        return disk
    try:
        return CappedDisk(disk, own.capacity, runtime.lock())
    except BaseException:
        disk.close()
        raise
