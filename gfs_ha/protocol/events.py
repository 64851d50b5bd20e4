"""The cluster's history in words: what happened to what, and when; and findings that are muted."""

from __future__ import annotations

from gfs_ha.protocol.codec import Failure, Word

INFO, WARNING, ERROR = "info", "warning", "error"
SEVERITIES = (INFO, WARNING, ERROR)

# Kinds of events.
CLUSTER, LEADER, MASTERS = "cluster", "leader", "masters"
SERVER, DISK, JOB = "server", "disk", "job"
CHUNK, REPAIR, FINDING, MUTE = "chunk", "repair", "finding", "mute"
SETTING = "setting"
KINDS = (
    *(CLUSTER, LEADER, MASTERS, SERVER, DISK, JOB),
    *(CHUNK, REPAIR, FINDING, MUTE, SETTING),
)

EVENTS_PAGE_MAX = 500
SUBJECTS_ASKED_MAX = 64
FROM_NEWEST = -1


class EventItem(Word, frozen=True):
    """Something that happened. Numbers have no gaps, and are the same on every master."""

    number: int
    wall_ns: int  # By the clock of the leader of that time.
    kind: str
    subject: str  # What it happened to: `cs03`, `m2`, `r-19`, `0x…`, a code.
    text: str
    severity: str


class EventReport(Word, frozen=True, tag="event_report"):
    """-> kind EventList: events in their order, and how far it was looked for them.

    `at`: the last number that was looked at forwards, or the first one backwards.
    """

    items: tuple[EventItem, ...]
    at: int
    more: bool
    first: int  # The oldest and the newest event that are kept; 0: there is none.
    last: int


class GetEvents(Word, frozen=True, tag="get_events"):
    """-> EventReport: a page of the events above number `after`, oldest first.

    With `after` FROM_NEWEST: of those below number `below` (0: all), from the newest backwards.
    Raises: InvalidArgument.
    """

    after: int = FROM_NEWEST
    below: int = 0
    limit: int = 200
    kinds: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    severity: str = INFO  # And worse.
    since_ns: int = 0  # Wall time.


class MuteRow(Word, frozen=True):
    """A code of findings that does not count for a while."""

    code: str
    left_ms: int
    reason: str
    asked_by: str
    made_ns: int


class MuteReport(Word, frozen=True, tag="mute_report"):
    """-> kind MuteList: what is muted now."""

    items: tuple[MuteRow, ...]


class MuteFinding(Word, frozen=True, tag="mute_finding"):
    """-> MuteReport. Findings of a code do not count for so long; 0 ends that.

    It ends by itself when they get worse: an error where there were warnings, or something that
    had none when it was muted. Without any such finding now it covers all that may come.
    Raises: InvalidArgument, NotFound (nothing to end), LimitExceeded.
    """

    code: str
    for_ms: int
    reason: str = ""
    asked_by: str = ""


EventRequest = GetEvents | MuteFinding
EventReply = Failure | EventReport | MuteReport
