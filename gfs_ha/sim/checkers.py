"""What must hold in every run of the consensus room, checked while it runs and at its end."""

from __future__ import annotations

from gfs_ha.kv.ordered import Reader, Table, Writer
from gfs_ha.master.raft.contract import Outcome

STATE = Table("state", "state")
_COUNT_KEY = b"count"


class Violation(AssertionError):
    """A promise of the consensus room was broken; the message names which, then how."""


class Ledger:
    """What happened in one run, as seen from outside the members."""

    def __init__(self) -> None:
        self.acked: dict[int, bytes] = {}
        self.acked_max = 0
        self.read_count = 0
        self._failure: Violation | None = None
        self._leaders: dict[int, str] = {}
        self._applied: dict[int, tuple[int, bytes]] = {}

    def check(self) -> None:
        """Raises: Violation when a callback saw one; the loop's callbacks cannot raise it."""
        if self._failure is not None:
            raise self._failure

    def _fail(self, message: str) -> None:
        if self._failure is None:
            self._failure = Violation(message)

    @property
    def term_count(self) -> int:
        return len(self._leaders)

    def leads(self, member: str, term: int) -> None:
        """One leader per term."""
        first = self._leaders.setdefault(term, member)
        if first != member:
            raise Violation(f"two leaders: {first} and {member} lead in term {term}")

    def applies(self, member: str, index: int, term: int, payload: bytes) -> None:
        """Every member applies the same command at the same index."""
        first = self._applied.setdefault(index, (term, payload))
        if first != (term, payload):
            raise Violation(
                f"divergence: {member} applies {payload!r} of term {term} at {index}, another"
                f" member applied {first[1]!r} of term {first[0]}"
            )

    def acks(self, payload: bytes, outcome: Outcome) -> None:
        """An acknowledged command is the one that was applied at its index."""
        applied = self._applied.get(outcome.index)
        if applied != (outcome.term, payload):
            self._fail(f"false success: {payload!r} at {outcome.index}, applied {applied}")
        self.acked[outcome.index] = payload
        self.acked_max = max(self.acked_max, outcome.index)

    def reads(self, member: str, required: int, reader: Reader) -> None:
        """A read sees every command that was acknowledged before it was asked for."""
        self.read_count += 1
        seen = Machine.newest(reader)
        if seen < required:
            self._fail(f"stale read: {member} shows {seen}, {required} was acknowledged before")

    def survives(self, member: str, reader: Reader) -> None:
        """Nothing acknowledged is missing at the end."""
        for index, payload in self.acked.items():
            row = reader.get(STATE, index.to_bytes(8, "big"))
            if row != payload:
                raise Violation(f"acknowledged data lost: {payload!r} at {index} on {member}")


class Machine:
    """A replicated list that knows when a command comes twice or out of turn."""

    def __init__(self, member: str, ledger: Ledger) -> None:
        self._member = member
        self._ledger = ledger

    def apply(self, writer: Writer, index: int, term: int, payload: bytes) -> bytes:
        self._ledger.applies(self._member, index, term, payload)
        key = index.to_bytes(8, "big")
        if self.newest(writer) >= index or writer.get(STATE, key) is not None:
            raise Violation(f"applied twice: {payload!r} at {index} on {self._member}")
        writer.put(STATE, key, payload)
        writer.put(STATE, _COUNT_KEY, key)
        return payload

    @staticmethod
    def newest(reader: Reader) -> int:
        """Return the newest index that this moment of the state holds."""
        return int.from_bytes(reader.get(STATE, _COUNT_KEY) or b"", "big")
