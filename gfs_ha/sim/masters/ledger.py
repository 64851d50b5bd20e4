"""What the masters of one run did, and the promises about it that hold at every moment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from gfs_ha.errors import GfsError
from gfs_ha.ids import SessionId
from gfs_ha.kv.ordered import Reader, Table, Writer
from gfs_ha.master.state import digest as state_hash
from gfs_ha.master.state.invariants import check_all, fingerprint
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tables import COUNTERS, DENTRIES, INODES, REPLIES, read_pair
from gfs_ha.master.state.view import View
from gfs_ha.sim.checkers import Violation
from gfs_ha.sim.masters.timeline import Row, Timeline
from gfs_ha.sim.masters.trace import Trace
from gfs_ha.sim.scheduler import Scheduler

# A row of the simulation's own, in the transaction of the state: the last applied index.
MARK = Table("sim", "sim")
_MARK_KEY = b"applied"
_CLOCK_GAIN = 1.04  # The most that cluster time may gain on true time: the rates of the clocks.
_DIGESTS_KEPT = 4096
_TIMED = (DENTRIES.table, INODES.table)


class Ledger:
    """Everything that was applied, by index; everything that was acknowledged."""

    def __init__(self, scheduler: Scheduler, trace: Trace) -> None:
        self.applied_max = 0
        self.acked_count = 0
        self.acked_max = 0
        self.term_count = 0
        # Told of each command before its first member applies it, with the state that it meets.
        self.on_command: Callable[[int, bytes, Reader], None] | None = None
        self.timeline = Timeline(scheduler)
        self._scheduler = scheduler
        self._trace = trace
        self._leaders: dict[tuple[int, int], str] = {}  # By incarnation and term.
        self._incarnation = 1
        self._terms: dict[int, int] = {}  # Of every applied index.
        self._digests: dict[int, bytes] = {}  # Of command, answer and writes, by index.
        self._executed: dict[tuple[int, int], int] = {}  # Where each request was applied.
        self._cluster_ms = 0
        self._began_s = scheduler.now_s
        self._states: dict[int, tuple[str, str]] = {}  # Digests of all tables, by applied index.

    def leads(self, member: str, term: int) -> bool:
        """Note who leads; return whether that is news. Raises: Violation for a second leader."""
        first = self._leaders.setdefault((self._incarnation, term), member)
        if first != member:
            raise Violation(f"two leaders: {first} and {member} lead in term {term}")
        news = len(self._leaders) > self.term_count
        if news:
            self.term_count = len(self._leaders)
            self._trace.note(f"{member} leads term {term}")
        return news

    def applies(self, member: str, index: int, term: int, writes: Writes) -> None:
        """Note an applied entry. Raises: Violation when two members differ in it."""
        digest = writes.digest()
        known = self._digests.get(index)
        if known is not None:
            if known != digest:
                raise Violation(
                    f"divergence: {member} applies at {index} (term {term}) what another member"
                    f" applied otherwise (term {self._terms[index]})"
                )
            return
        if index <= self.applied_max:
            # Entries without a command leave gaps, but nobody fills them later.
            raise Violation(f"late entry: {member} applies {index} after {self.applied_max}")
        self.applied_max = index
        self._digests[index] = digest
        self._terms[index] = term
        self._trace.count(digest)
        self.timeline.applies(index, writes.rows)
        for key in writes.replies:
            self._execute(key, index)
        if writes.cluster_ms is not None:
            self._advance(writes.cluster_ms, index)

    def acks(self, session_id: SessionId, sequence: int) -> int:
        """Note that a client was told of its change; return its index.

        Raises: Violation if nobody applied it.
        """
        index = self._executed.get((session_id, sequence))
        if index is None:
            raise Violation(
                f"false success: request {sequence} of session {session_id} was answered, and no"
                " member applied it"
            )
        self.acked_count += 1
        self.acked_max = max(self.acked_max, index)
        self.timeline.shows(index)
        return index

    def applied_terms(self) -> Iterator[tuple[int, int]]:
        """Yield (index, term) of everything that is known to be committed, newest first."""
        for index in reversed(self._terms):
            yield index, self._terms[index]

    def begins_incarnation(self, applied: int) -> None:
        """Forget what was applied beyond this index: one copy goes on from there, alone."""
        self._incarnation += 1
        self.applied_max = applied
        self.acked_max = min(self.acked_max, applied)
        self.timeline = Timeline(self._scheduler)
        self._terms = {at: term for at, term in self._terms.items() if at <= applied}
        self._digests = {at: digest for at, digest in self._digests.items() if at <= applied}
        self._executed = {key: at for key, at in self._executed.items() if at <= applied}
        self._states = {at: state for at, state in self._states.items() if at <= applied}
        self._cluster_ms = 0  # It goes back to where the copy was.

    def compares_state(self, member: str, index: int, reader: Reader) -> None:
        """Compare all tables with those of any member that stood at the same index."""
        digest = fingerprint(reader)
        kept = state_hash.kept(reader)
        if kept is not None and kept.value != state_hash.count_all(reader):
            raise Violation(f"state hash: {member} keeps another than its rows have at {index}")
        known = self._states.setdefault(index, (member, digest))
        if known[1] != digest:
            raise Violation(f"unequal state: {member} and {known[0]} differ at index {index}")
        while len(self._states) > _DIGESTS_KEPT:
            del self._states[next(iter(self._states))]

    def _execute(self, key: bytes, index: int) -> None:
        session_id, sequence = read_pair(key)
        first = self._executed.setdefault((session_id, sequence), index)
        if first != index:
            raise Violation(
                f"applied twice: request {sequence} of session {session_id} at {first} and {index}"
            )

    def _advance(self, cluster_ms: int, index: int) -> None:
        if cluster_ms < self._cluster_ms:
            raise Violation(f"cluster time: {cluster_ms} ms at {index}, after {self._cluster_ms}")
        self._cluster_ms = cluster_ms
        passed_ms = (self._scheduler.now_s - self._began_s) * 1000
        if cluster_ms > passed_ms * _CLOCK_GAIN:
            raise Violation(
                f"cluster time: {cluster_ms} ms at {index}, in a run of {passed_ms:.0f} ms"
            )


class Writes:
    """A Writer that notes what one entry does."""

    def __init__(self, writer: Writer, payload: bytes) -> None:
        self.replies: list[bytes] = []
        self.rows: list[Row] = []
        self.cluster_ms: int | None = None
        self._writer = writer
        self._digest = hashlib.blake2b(payload, digest_size=16)

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._writer.get(table, key)

    def scan(
        self, table: Table, start: bytes = b"", end: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._writer.scan(table, start, end, reverse)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._digest.update(b"%s+%s=%s" % (table.name.encode(), key, value))
        if table is REPLIES.table:
            self.replies.append(key)
        elif table is COUNTERS.table:
            self.cluster_ms = COUNTERS.decode(value).cluster_ms
        elif table in _TIMED:
            self.rows.append((table, key, value))
        self._writer.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> bool:
        self._digest.update(b"%s-%s" % (table.name.encode(), key))
        if table in _TIMED:
            self.rows.append((table, key, None))
        return self._writer.delete(table, key)

    def clear(self, database: str) -> None:
        raise Violation(f"a command clears {database}")

    def switch(self, databases: Sequence[str]) -> None:
        raise Violation(f"a command switches {databases}")

    def note_answer(self, answer: bytes) -> None:
        self._digest.update(answer)

    def digest(self) -> bytes:
        return self._digest.digest()


class WatchedMachine:
    """The masters' own state machine under watch: nothing comes twice, out of turn, or unequal."""

    def __init__(self, machine: Machine, member: str, ledger: Ledger) -> None:
        self._machine = machine
        self._member = member
        self._ledger = ledger

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        if applied_mark(writer) >= index:
            raise Violation(f"applied twice: {self._member} applies {index} again")
        heard = self._ledger.on_command
        if heard is not None and index > self._ledger.applied_max:
            heard(index, payload, writer)
        writes = Writes(writer, payload)
        answer = self._machine.apply(writes, index, term, payload)
        writes.note_answer(answer)
        writer.put(MARK, _MARK_KEY, index.to_bytes(8, "big"))
        self._ledger.applies(self._member, index, term, writes)
        return answer


def applied_mark(reader: Reader) -> int:
    """Return the index of the last command whose rows this moment of the store holds."""
    return int.from_bytes(reader.get(MARK, _MARK_KEY) or b"", "big")


def check_tables(member: str, reader: Reader) -> None:
    """Raises: Violation when the tables of a member contradict each other."""
    try:
        findings = check_all(View(reader))
    except GfsError as error:
        raise Violation(f"broken tables on {member}: {error.message}") from error
    if findings:
        raise Violation(f"broken tables on {member}: {findings[0]}")
