"""The replicated commands about events and mutes; the leader's own.

Each compares with the row before it writes: two leaders that saw the same thing tell of it once.
"""

from __future__ import annotations

from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.events import INFO


class NotedChange(Word, frozen=True):
    """Something that a leader watches is not as it was noted last; see event_records.Noted.

    With an empty `text` nobody is told. `timed` adds for how long it was not as it should be.
    The same `state` as before tells what was held back.
    """

    key: str
    seen: str  # What is noted of it, by what the leader knows; else the change is passed over.
    state: str
    kind: str
    subject: str
    text: str = ""
    severity: str = INFO
    timed: bool = False
    values: tuple[int, ...] = ()


class NoteEvents(Word, frozen=True, tag="note_events"):
    """-> Done. What only a leader observes is written down. Raises: InvalidArgument, LimitExceeded.

    A change whose row says something else than was seen is passed over.
    """

    changes: tuple[NotedChange, ...]


class StartMute(Word, frozen=True, tag="start_mute"):
    """-> MuteReport. Findings of a code do not count for a while; an earlier mute is replaced.

    Raises: InvalidArgument, LimitExceeded.
    """

    code: str
    for_ms: int
    severity: str
    subjects: tuple[str, ...] = ()
    reason: str = ""
    asked_by: str = ""


class EndMute(Word, frozen=True, tag="end_mute"):
    """-> MuteReport. Findings of a code count again.

    Raises: NotFound, InvalidArgument, StaleCommand unless it is the mute made at this index.
    """

    code: str
    made_index: int  # 0: whichever there is; a person means what he says.
    why: str


EventCommand = NoteEvents | StartMute | EndMute
