"""What people ask for about how files are kept: policies of directories, and copies of files.

The requests that change something are replicated commands too.
"""

from __future__ import annotations

from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DISK


class SetPolicy(Word, frozen=True, tag="set_policy"):
    """-> Done. What new files below a directory get; None leaves a field as it is.

    0 or empty leaves a field to the directories above, and in the end to the cluster's settings.
    Raises: NotFound, NotADirectory, InvalidArgument, LimitExceeded (too many policies).
    """

    path: str
    goal: int | None = None
    rule: str | None = None
    chunk_bytes: int | None = None
    durability: str | None = None


class UnsetPolicy(Word, frozen=True, tag="unset_policy"):
    """-> Done. A directory says nothing any more; one that said nothing is no error."""

    path: str


class SetReplication(Word, frozen=True, tag="set_replication"):
    """-> FileStatus. How many copies a file wants, of all its bytes; 0: the usual.

    Its chunks follow in steps; one that other files share takes the largest of what they want.
    Raises: NotFound, NotADirectory, IsADirectory, InvalidArgument.
    """

    path: str
    goal: int


class GetPolicy(Word, frozen=True, tag="get_policy"):
    """-> PolicyReport. With `nearest`, of what a new file would get there, whatever is missing.

    Raises: NotFound, NotADirectory, InvalidPath.
    """

    path: str
    nearest: bool = False


class PolicyReport(Word, frozen=True, tag="policy_report"):
    """-> kind Policy: what a directory says, and what new files below it get; or what a file has.

    `own_…` is 0 or empty where it says nothing. `…_from` is the path that decides: a directory
    above, the path itself, or empty for the cluster's settings.
    """

    path: str
    kind: str
    goal: int
    rule: str
    chunk_bytes: int
    own_goal: int = 0
    own_rule: str = ""
    own_chunk_bytes: int = 0
    goal_from: str = ""
    rule_from: str = ""
    chunk_bytes_from: str = ""
    policy_count: int = 0  # Directories of the whole cluster that say something.
    durability: str = DISK  # Of writers that do not say it themselves; a file has none of its own.
    own_durability: str = ""
    durability_from: str = ""


PolicyMutation = SetPolicy | UnsetPolicy | SetReplication
PolicyRequest = GetPolicy | PolicyMutation
PolicyReply = PolicyReport
