"""How the states of the masters compare: hashes, counts of all rows, what is asked and told."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word


class RowCount(Word, frozen=True):
    """A count of all rows of one master, beside the hash that it kept step by step."""

    asked_index: int  # Of the command that asked for it.
    row_count: int = 0  # So far.
    done: bool = False
    index: int = 0  # The moment that was counted.
    kept: str = ""
    counted: str = ""  # Empty: not finished, or it could not be done.
    took_ms: int = 0


class StateFacts(Word, frozen=True):
    """The state hash of one master, and what it was at the newest checks."""

    index: int
    digest: str
    checks: tuple[tuple[int, str], ...]  # (index, hash), newest first.
    count: RowCount | None = None  # The newest since it started.


class StateRow(Word, frozen=True):
    """A master in a comparison of the states. `count` is there after a deep one."""

    name: str
    verdict: str  # "equal", "differs", "silent".
    count: RowCount | None = None


class StateReport(Word, frozen=True, tag="state_report"):
    """-> kind StateCheck: how the masters' states compare at one index."""

    items: tuple[StateRow, ...]
    index: int
    digest: str  # Of a majority of all members; empty when none has one.
    diverged: tuple[str, ...]  # All that differed and were not seen equal since.
    checked_ns: int  # Wall time.


class CheckStates(Word, frozen=True, tag="check_states"):
    """-> StateReport, of a comparison made now. A master that differs takes itself out."""


class CountStates(Word, frozen=True, tag="count_states"):
    """-> StatesCounting: every master counts all of its rows; its facts say how far it is."""


class StatesCounting(Word, frozen=True, tag="states_counting"):
    """The index of the command that asks for the counts."""

    index: int
