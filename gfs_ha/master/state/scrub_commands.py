"""The replicated commands about the scrub of disks; made by the leader for a person, no session."""

from __future__ import annotations

from gfs_ha.ids import ServerId
from gfs_ha.protocol.codec import Word


class SetScrub(Word, frozen=True, tag="set_scrub"):
    """-> ScrubBudgetReport, of all numbers. -1 leaves one as it is. Raises: InvalidArgument.

    Who asks for two changes in a row must not lose the first: apply knows what stands, and a leader
    that looked before it proposed may have seen older rows.
    """

    bytes_per_s: int = -1
    period_s: int = -1
    paused: int = -1  # 0 or 1.


class AskScrub(Word, frozen=True, tag="ask_scrub"):
    """-> Done. These servers are to begin a round; this command's index numbers it.

    Raises: UnknownServer, LimitExceeded, InvalidArgument.
    """

    servers: tuple[ServerId, ...]
    bytes_per_s: int = 0


ScrubCommand = SetScrub | AskScrub
