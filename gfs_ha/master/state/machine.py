"""The replicated state machine: each committed entry in, its recorded answer out (M1, S1, S2).

The order of the checks is the safety of it:

1. An entry of a schema above the replicated one, or one that does not decode, stops the process:
   an older release must not guess what a newer one meant.
2. A session's request that was answered before gets the stored answer and changes nothing.
3. A step's refusal is an answer like any other. Its rows were never near the store.
4. What the store raises stops the process (the state on this disk may be damaged, the others' is
   not). Any other exception of a step is our mistake and happens alike on every replica: recorded
   as InternalError, without the step's rows, else one bad command stops all masters for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gfs_ha.errors import (
    GfsError,
    Held,
    InternalError,
    InvalidArgument,
    LocalError,
    NotInitialized,
    ProtocolError,
    Refused,
    SessionExpired,
    WindowFull,
    WrongDirectory,
)
from gfs_ha.ids import NO_SESSION, LogIndex
from gfs_ha.kv.ordered import Reader, Writer
from gfs_ha.limits import SCHEMA_VERSION
from gfs_ha.master.state import (
    attestation,
    chunks,
    compaction,
    contents,
    copies,
    digest,
    events,
    extents_change,
    garbage,
    goals,
    holds,
    jobs,
    leases,
    mutes,
    namespace,
    policies,
    reaping,
    removal,
    scrubs,
    server_modes,
    servers,
    sessions,
    settings,
    tails,
)
from gfs_ha.master.state.commands import (
    AttestState,
    Entry,
    InitCluster,
    VerifyState,
    decode_entry,
)
from gfs_ha.master.state.draft import SESSION_COMMANDS, STEPS, Draft, Stamp
from gfs_ha.master.state.entries import check_rows
from gfs_ha.master.state.records import InternalErrors
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import COUNTERS, INTERNAL_ERRORS, ONLY
from gfs_ha.protocol.calls import Reply
from gfs_ha.protocol.codec import encode, failure
from gfs_ha.protocol.metadata import Done

# The rooms whose steps exist once they are imported.
STEP_ROOMS = (
    attestation,
    chunks,
    compaction,
    contents,
    copies,
    events,
    extents_change,
    garbage,
    goals,
    holds,
    jobs,
    leases,
    mutes,
    namespace,
    policies,
    reaping,
    removal,
    scrubs,
    server_modes,
    servers,
    sessions,
    settings,
    tails,
)

OnMistake = Callable[[LogIndex, str, Exception], None]

_DONE = encode(Done())


class StateWatcher(Protocol):
    """What a master does about its own state hash; called in the consensus loop's thread."""

    def take_correction(self, index: LogIndex) -> int:
        """Return what a count of all rows found the kept hash to lack, once."""
        ...

    def count_wanted(self, index: LogIndex) -> None:
        """Begin to count all rows, as the command at `index` asks."""
        ...

    def diverged(self, index: LogIndex, own: bytes, attested: bytes) -> None:
        """Hear that the majority had another hash at the check at `index`: stop for good."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What an entry does: the answer, and the rows to write."""

    answer: bytes
    rows: Rows


class Machine:
    """Applies entries, for the consensus loop; keeps no state of its own.

    Args: `on_mistake` hears of an exception that became an InternalError (index, command, error).
    """

    def __init__(
        self, on_mistake: OnMistake | None = None, watcher: StateWatcher | None = None
    ) -> None:
        self._on_mistake = on_mistake
        self._watcher = watcher

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        """Apply one committed entry; return the encoded reply.

        Raises: ProtocolError, LocalError, OSError, MemoryError, RecursionError; each is fatal.
        """
        entry = decode_entry(payload)
        change = self.plan(writer, LogIndex(index), term, entry)
        added = change.rows.write_to(writer)
        if self._watcher is not None:
            added += self._watcher.take_correction(LogIndex(index))
        own = digest.keep(writer, LogIndex(index), added)
        if isinstance(entry.command, VerifyState | AttestState) and change.answer == _DONE:
            self._check_state(writer, entry.command, own)
        return change.answer

    def _check_state(
        self, writer: Writer, command: VerifyState | AttestState, own: digest.StateHash
    ) -> None:
        """Note the own hash, or compare the noted one: none of it is replicated state."""
        if isinstance(command, VerifyState):
            digest.note(writer, own)
            if command.deep and self._watcher is not None:
                self._watcher.count_wanted(own.index)
            return
        noted = digest.noted(writer, command.index)
        if noted is None or not command.value or noted == command.value:
            return
        if self._watcher is not None:
            self._watcher.diverged(command.index, noted, command.value)

    def plan(self, reader: Reader, index: LogIndex, term: int, entry: Entry) -> Change:
        """Return what an entry does to the state that `reader` shows, without doing it."""
        stamp = Stamp(index, term, entry.session_id, entry.wall_ns)
        draft = _fresh(reader, stamp, entry)
        _check_schema(draft, entry)
        try:
            _admit(draft, entry)
            stored = sessions.answered(draft, entry)
            if stored is not None:
                return _change(draft, stored)
        except (NotInitialized, SessionExpired, WindowFull, InvalidArgument) as error:
            # Not recorded: the same request may still be answered otherwise, or never was one.
            return _change(_fresh(reader, stamp, entry), encode(failure(error)))
        try:
            reply = _step(draft, entry)
            return _recorded(draft, entry, reply)
        except Held as error:
            # Not recorded: the leader seals tails and sends the same request again (C9).
            return _change(_fresh(reader, stamp, entry), encode(failure(error)))
        except (Refused, WrongDirectory) as error:
            return _refused(_fresh(reader, stamp, entry), entry, error)
        except (LocalError, OSError, MemoryError, RecursionError):
            raise
        except Exception as error:
            if self._on_mistake is not None:
                self._on_mistake(index, type(entry.command).__name__, error)
            return _mistaken(_fresh(reader, stamp, entry), entry, error)


def _fresh(reader: Reader, stamp: Stamp, entry: Entry) -> Draft:
    draft = Draft(reader, stamp)
    elapsed_ms = entry.elapsed_ms if entry.stamp_term in (0, stamp.term) else 0
    settings.advance_clock(draft.counters, stamp.term, elapsed_ms)
    return draft


def _check_schema(draft: Draft, entry: Entry) -> None:
    allowed = draft.settings.schema if draft.initialized else SCHEMA_VERSION
    if entry.schema > allowed:
        raise ProtocolError(
            f"entry {draft.stamp.index} has schema {entry.schema}, this cluster is at {allowed};"
            " install the newer release on this master"
        )


def _admit(draft: Draft, entry: Entry) -> None:
    """Raises: NotInitialized, InvalidArgument when nobody may send this command like that."""
    if not draft.initialized and not isinstance(entry.command, InitCluster):
        raise NotInitialized("the cluster has no settings yet; its first leader writes them")
    if (type(entry.command) in SESSION_COMMANDS) != (entry.session_id != NO_SESSION):
        name = type(entry.command).__name__
        wanted = "needs a session" if entry.session_id == NO_SESSION else "belongs to no session"
        raise InvalidArgument(f"{name} {wanted}")


def _step(draft: Draft, entry: Entry) -> Reply:
    reply = STEPS[type(entry.command)](draft, entry.command)
    check_rows(draft)
    return reply


def _recorded(draft: Draft, entry: Entry, reply: Reply) -> Change:
    answer = encode(reply)
    sessions.record(draft, entry, answer)
    return _change(draft, answer)


def _refused(draft: Draft, entry: Entry, error: GfsError) -> Change:
    return _recorded(draft, entry, failure(error))


def _mistaken(draft: Draft, entry: Entry, error: Exception) -> Change:
    # Only what is the same on every replica: the text of an exception may hold addresses.
    name, kind = type(entry.command).__name__, type(error).__name__
    now_ns = draft.stamp.wall_ns
    before = draft.view.internal_errors()
    if before is None or before.old(now_ns):
        before = InternalErrors(0, LogIndex(0), "", "", first_wall_ns=now_ns)
    row = InternalErrors(
        before.count + 1, draft.stamp.index, name, kind, before.first_wall_ns, now_ns
    )
    draft.rows.put(INTERNAL_ERRORS, ONLY, row)
    message = f"{name} failed inside with {kind} (log index {draft.stamp.index}); see the logs"
    return _refused(draft, entry, InternalError(message))


def _change(draft: Draft, answer: bytes) -> Change:
    draft.rows.put(COUNTERS, ONLY, draft.counters)
    return Change(answer, draft.rows)
