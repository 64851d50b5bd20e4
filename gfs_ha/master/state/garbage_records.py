"""The rows about garbage: replicas that no chunk knows of, and what disks got back.

Fields are only ever added at the end, with a default that means "as before".
"""

from __future__ import annotations

from gfs_ha.ids import LogIndex
from gfs_ha.protocol.codec import Word


class Orphan(Word, frozen=True):
    """A replica of a chunk without a row; the key is (server, disk, chunk).

    `delete_index` numbers its deletion; 0 while it is in quarantine.
    """

    since_ms: int  # Cluster time when it was noted.
    delete_index: LogIndex = LogIndex(0)


class Reclaimed(Word, frozen=True):
    """What disks got back for one reason, by the servers' own word; the key is the reason."""

    bytes: int
    count: int
    since_wall_ns: int
    last_wall_ns: int
