"""The replicated commands about the scrub of disks; made by the leader for a person, no session."""

from __future__ import annotations

from gfs_ha.ids import ServerId
from gfs_ha.protocol.codec import Word


class SetScrub(Word, frozen=True, tag="set_scrub"):
    """-> Done. How every disk is scrubbed from now on. Raises: InvalidArgument."""

    bytes_per_s: int
    period_s: int
    paused: bool


class AskScrub(Word, frozen=True, tag="ask_scrub"):
    """-> Done. These servers are to begin a round; this command's index numbers it.

    Raises: UnknownServer, LimitExceeded, InvalidArgument.
    """

    servers: tuple[ServerId, ...]
    bytes_per_s: int = 0


ScrubCommand = SetScrub | AskScrub
