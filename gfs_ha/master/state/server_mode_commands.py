"""The replicated commands about how servers and disks stand; the leader's own, without a session.

Each compares with the row before it writes: two people, or two leaders, never undo each other.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.codec import Word


class SetServerMode(Word, frozen=True, tag="set_server_mode"):
    """-> Done. A server stands otherwise now; `job` is the one that empties it, or did.

    Raises: UnknownServer; StaleCommand unless it stands as `seen` and `seen_job` say and that job
    has ended, or when it is to be empty and chunks have places there; InvalidArgument.
    """

    server_id: ServerId
    seen: str
    mode: str
    job: int = 0
    seen_job: int = 0


class SetDiskMode(Word, frozen=True, tag="set_disk_mode"):
    """-> Done. The same of one disk. Raises: the same."""

    server_id: ServerId
    disk_id: DiskId
    seen: str
    mode: str
    job: int = 0
    seen_job: int = 0


class SetMaintenance(Word, frozen=True, tag="set_maintenance"):
    """-> Done. Maintenance of a server from now on for so long (cluster time); 0 ends it.

    Raises: UnknownServer, InvalidArgument; StaleCommand unless its end is `seen_until_ms` (-1:
    whatever it is).
    """

    server_id: ServerId
    for_ms: int
    seen_until_ms: int = -1


class SetLabels(Word, frozen=True, tag="set_labels"):
    """-> Done. Labels of a server are set, and others taken away.

    Raises: UnknownServer, InvalidArgument, LimitExceeded.
    """

    server_id: ServerId
    labels: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


class ForgetPlaces(Word, frozen=True, tag="forget_places"):
    """-> Done. Places of chunks on a server that does not come back are forgotten.

    Each with its evidence: other holders that were heard just now. A place is passed over unless
    its chunk is dead, or sealed with as many of these as its goal. `orphans` are forgotten, too, so
    many. With a disk, only what lies on that one. Raises: UnknownServer, LimitExceeded,
    InvalidArgument.
    """

    server_id: ServerId
    places: tuple[tuple[ChunkId, tuple[ServerId, ...]], ...]
    orphans: int = 0
    disk_id: DiskId = DiskId(0)


class RemoveServer(Word, frozen=True, tag="remove_server"):
    """-> Done. A server is no member of the cluster any more; its name is free.

    Raises: UnknownServer; StaleCommand unless it stands as `seen`, and while anything is left of
    it: places of chunks, a lease, orphans.
    """

    server_id: ServerId
    seen: str


class ForgetDisk(Word, frozen=True, tag="forget_disk"):
    """-> Done. A disk that its server came back without is none of its disks any more.

    Raises: UnknownServer; StaleCommand unless it is lost, and stands as `seen` says, and while
    anything is left of it: a job that empties it, places of chunks, orphans.
    """

    server_id: ServerId
    disk_id: DiskId
    seen: str


ServerModeCommand = (
    SetServerMode
    | SetDiskMode
    | SetMaintenance
    | SetLabels
    | ForgetPlaces
    | RemoveServer
    | ForgetDisk
)
