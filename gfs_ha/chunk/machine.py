"""What one run of a chunkserver finds on its machine: disk, network, and who it is there."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.chunk.capped_disk import CappedDisk
from gfs_ha.chunk.disk import Disk, PosixDisk
from gfs_ha.config import ChunkserverConfig
from gfs_ha.ids import StartId
from gfs_ha.net.network import Network
from gfs_ha.net.streams import StreamNetwork, TcpStreams
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.runtime import Runtime, boot_id, process_start_id


@dataclass(frozen=True, slots=True)
class Machine:
    """The disk is held by this process alone; simulations give one of their own."""

    disk: Disk
    network: Network
    streams: StreamNetwork
    boot_id: int
    start_id: StartId


def this_machine(own: ChunkserverConfig, runtime: Runtime) -> Machine:
    """Take the data directory of a process of this machine. Raises: WrongDirectory, DiskFailed."""
    boot, start = boot_id(), StartId(process_start_id())
    disk: Disk = PosixDisk(own.directory)
    if own.capacity:
        try:
            disk = CappedDisk(disk, own.capacity, runtime.lock())
        except BaseException:
            disk.close()
            raise
    return Machine(disk, TcpNetwork(runtime), TcpStreams(runtime), boot, start)
