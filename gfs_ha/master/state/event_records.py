"""The rows of events, of what was last noted of things that leaders watch, and of mutes."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word


class Event(Word, frozen=True):
    """Something that happened; the key is its number. The newest ones are kept."""

    wall_ns: int
    kind: str
    subject: str
    text: str
    severity: str


class Noted(Word, frozen=True):
    """How something was when events last told of it; the key says what. No row: as it should be.

    `window_ms` (cluster time), `told` and `held` bound what one thing that comes and goes may tell.
    """

    state: str  # Empty: as it should be.
    since_wall_ns: int  # Since when it is not as it should be; 0: it is.
    window_ms: int
    told: int  # Events since then.
    held: int  # Changes since then that no event tells of.
    values: tuple[int, ...] = ()  # What was counted when it began.


class Mute(Word, frozen=True):
    """A code of findings that does not count until then; the key is the code.

    It covers findings of this severity (of all, if that is "error") about these subjects (about
    all, if there are none).
    """

    until_ms: int  # Cluster time.
    severity: str
    subjects: tuple[str, ...]
    reason: str
    asked_by: str
    made_wall_ns: int
    made_index: int
