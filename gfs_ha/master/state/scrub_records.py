"""The rows about the scrub: how disks are to be scrubbed, and which rounds a person asked for."""

from __future__ import annotations

from gfs_ha.ids import LogIndex
from gfs_ha.protocol.codec import Word


class ScrubSettings(Word, frozen=True):
    """How every disk is scrubbed; one row. 0 bytes per second: no limit; 0 period: no rounds."""

    bytes_per_s: int
    period_s: int
    paused: bool = False


class AskedScrub(Word, frozen=True):
    """The newest round that was asked for on a server; the key is the server's id."""

    number: LogIndex
    bytes_per_s: int  # 0: as the settings say.
