"""Which of two words is here and which in the cluster, for verbs that go both ways."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.cli.names import SCHEME, printable
from gfs_ha.cli.session import Session
from gfs_ha.errors import UsageError


@dataclass(frozen=True, slots=True)
class Sides:
    """A local and a remote path; `up` when the local one came first."""

    local: str
    remote: str
    up: bool


def is_local(word: str) -> bool:
    """Return whether a word can only name something here: it is neither absolute nor gfs://."""
    return not word.startswith(("/", SCHEME))


def sides_of(session: Session, first: str, second: str) -> Sides:
    """Return which is which: gfs://… is remote, what is not absolute is local.

    Of two absolute paths the first one is local. Raises: UsageError for two local or two remote
    ones, WrongCluster.
    """
    if not first or not second:
        raise UsageError("an empty path; '.' is this directory")
    if is_local(first) and is_local(second):
        raise UsageError(
            f"'{printable(first)}' and '{printable(second)}' are both here; a remote path is "
            f"absolute, like /a/b, or {SCHEME}CLUSTER/a/b"
        )
    named = first.startswith(SCHEME), second.startswith(SCHEME)
    if all(named):
        raise UsageError("both paths are remote; cp copies within a cluster, without moving bytes")
    up = named[1] or (not named[0] and not is_local(second))
    local, remote = (first, second) if up else (second, first)
    return Sides(local, session.path(remote), up)
