"""What the leader hears of repair: answers to copies and drops, failures, progress, and the rate.

Soft and bounded; the marks in the tables say what is under way, and are asked for again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import TypeVar

from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.master.planners.plan import NO_CHUNK
from gfs_ha.master.planners.seen import Answered
from gfs_ha.master.state.bounds import fitting_text
from gfs_ha.protocol.control import BucketListing, CopyProgress
from gfs_ha.protocol.tally import LIST_BUCKETS_MAX

NOTES_MAX = 4_096
WAITS_S = 15.0  # By then a chunk that still waits had another turn, if they are no more than these.
WHY_BYTES = 200  # It goes into a command.
LISTINGS_MAX = 64
STALLED_S = 30.0  # A copy without progress for so long is tried elsewhere.
REST_MIN_S = 5.0
BUSY_REST_S = 1.0  # After a copy whose sources are not sealed yet: that takes a moment.
REST_MAX_S = 300.0
RATE_S = 10.0  # The rate is that of the last so many seconds.
_TRUSTED_S = 4.0  # After so long the rate that was measured says more than the one that is allowed.
_ENDING_S = 0.5  # From a copy's last byte until it counts: verified, synced, told, confirmed.
_RATE_MIN_S = 1.0
_PIECE_S = 0.1
_NOT_YET = "ReplicaBusy"
_SERVER_AT_FAULT = ("DiskFull", "DiskFailed", "Overloaded")

Place = tuple[ChunkId, ServerId]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Rest:
    until_s: float
    pause_s: float


@dataclass(slots=True)
class _BusyTime:
    """For how long of the last RATE_S seconds copies were under way, in pieces of some length."""

    _pieces: deque[tuple[float, float]] = field(default_factory=deque)  # When, how long.
    _looked_s: float = 0.0

    def look(self, busy: bool, now_s: float) -> None:
        """Note whether copies were under way since the last look."""
        length_s, self._looked_s = max(0.0, now_s - self._looked_s), now_s
        if busy and self._pieces and now_s - self._pieces[-1][0] < _PIECE_S:
            at_s, before_s = self._pieces.pop()
            self._pieces.append((at_s, before_s + length_s))
        elif busy:
            self._pieces.append((now_s, length_s))
        while self._pieces and now_s - self._pieces[0][0] > RATE_S:
            self._pieces.popleft()

    def total_s(self) -> float:
        """Return the seconds with copies under way."""
        return min(RATE_S, sum(length_s for _, length_s in self._pieces))


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a chunk waits for a copy, as of its last turn. `stuck`: no server can take one."""

    why: str
    stuck: bool
    seen_s: float


@dataclass(slots=True)
class RepairBook:
    """Soft facts about repair in one reign; used by the door's thread."""

    elected_s: float
    failures: OrderedDict[Place, str] = field(default_factory=OrderedDict)  # For people.
    gone: OrderedDict[Place, None] = field(default_factory=OrderedDict)
    doubted: OrderedDict[Place, None] = field(default_factory=OrderedDict)
    waits: OrderedDict[ChunkId, Wait] = field(default_factory=OrderedDict)  # By the last plans.
    done_copies: int = 0
    to_list: dict[ServerId, list[tuple[DiskId, int]]] = field(default_factory=dict)
    _listings: deque[tuple[ServerId, BucketListing]] = field(default_factory=deque)
    _answers: dict[str, OrderedDict[Answered, None]] = field(default_factory=dict)
    _failed: OrderedDict[Answered, str] = field(default_factory=OrderedDict)
    _resting: OrderedDict[Place, _Rest] = field(default_factory=OrderedDict)
    _moved: OrderedDict[Answered, tuple[float, int]] = field(default_factory=OrderedDict)
    _lengths: dict[Answered, int] = field(default_factory=dict)
    _came: deque[tuple[float, int]] = field(default_factory=deque)  # When bytes came, how many.
    _came_bytes: int = 0  # Of all these.
    _began_s: float = 0.0  # When copies began after a time without any.
    _busy: _BusyTime = field(default_factory=_BusyTime)
    _rounds: int = 0
    _done_bytes: int = 0  # Of copies that are complete...
    _done_before: int = 0  # ...and of those that were when the walk's last whole round ended.

    def answered(self, kind: str, answered: Answered) -> None:
        """Note that an order of repair is done, until a plan takes it up."""
        _keep(self._answers.setdefault(kind, OrderedDict()), answered, None)

    def copied(self, answered: Answered, now_s: float) -> None:
        """Note a copy that is complete and verified."""
        self._look(now_s)
        self.answered("copy", answered)
        chunk_id, server_id, _ = answered
        moved = self._moved.pop(answered, None)
        if moved is not None:
            length = self._lengths.pop(answered, 0)
            self._note_bytes(max(0, length - moved[1]), now_s)
            self._done_bytes += length
            self.done_copies += 1
        for place in ((chunk_id, server_id), (NO_CHUNK, server_id)):
            self._resting.pop(place, None)
        self.failures.pop((chunk_id, server_id), None)
        self.gone.pop((chunk_id, server_id), None)

    def failed(self, answered: Answered, error: tuple[str, str], now_s: float) -> None:
        """Note a copy that failed, as (code, message): it is tried elsewhere, here later again."""
        code, message = error[0], fitting_text(error[1], WHY_BYTES)
        chunk_id, server_id, _ = answered
        self._look(now_s)
        _keep(self._failed, answered, message)
        _keep(self.failures, (chunk_id, server_id), message)
        self._forget(answered)
        self._rest((chunk_id, server_id), now_s, BUSY_REST_S if code == _NOT_YET else REST_MIN_S)
        if code in _SERVER_AT_FAULT:
            self._rest((NO_CHUNK, server_id), now_s)

    def take(self, kind: str) -> frozenset[Answered]:
        """Return and forget the orders of a kind that were done."""
        return frozenset(self._answers.pop(kind, ()))

    @property
    def copies_done(self) -> frozenset[Answered]:
        """Return the newest copies that were answered as done, confirmed already or not."""
        return frozenset(self._answers.get("copy", ()))

    def note_round(self, rounds: int) -> None:
        """Note that the walk ended a round: what lacks was counted anew, without what is done."""
        if rounds != self._rounds:
            self._rounds, self._done_before = rounds, self._done_bytes

    def take_failed(self) -> dict[Answered, str]:
        """Return and forget the copies that failed, and why."""
        taken = dict(self._failed)
        self._failed.clear()
        return taken

    def resting(self, now_s: float) -> frozenset[Place]:
        """Return where a copy of a chunk (NO_CHUNK: of any) failed a moment ago."""
        return frozenset(place for place, rest in self._resting.items() if now_s < rest.until_s)

    def wanted(self, answered: Answered, length: int, now_s: float) -> None:
        """Note that a copy is ordered: from now on it has to make progress."""
        self._look(now_s)
        if answered not in self._moved:
            if not self._moved and not self._recent(now_s):
                self._began_s = now_s
            _keep(self._moved, answered, (now_s, 0))
            self._lengths[answered] = length
            while len(self._lengths) > 2 * NOTES_MAX:
                self._lengths.pop(next(iter(self._lengths)))

    def heard(self, server_id: ServerId, copies: Iterable[CopyProgress], now_s: float) -> None:
        """Note how far a server's copies are."""
        self._look(now_s)
        for copy in copies:
            answered = (copy.chunk_id, server_id, copy.order_index)
            known = self._moved.get(answered)
            if known is not None and known[1] != copy.bytes_done:
                self._note_bytes(max(0, copy.bytes_done - known[1]), now_s)
                self._moved[answered] = (now_s, copy.bytes_done)

    def look_for_stalled(self, now_s: float) -> None:
        """Note the copies that make no progress as failed."""
        for answered, (moved_s, _) in list(self._moved.items()):
            if now_s - moved_s > STALLED_S:
                message = f"no progress for {STALLED_S:.0f} s"
                self.failed(answered, ("DeadlineExceeded", message), now_s)

    def ended(self, answered: Answered) -> None:
        """Forget a copy that was given up."""
        self._forget(answered)

    def listed(self, server_id: ServerId, listings: Iterable[BucketListing]) -> None:
        """Note buckets that a server listed in full, until a plan compares them."""
        for listing in listings:
            if len(self._listings) < LISTINGS_MAX:
                self._listings.append((server_id, listing))

    def take_listings(self) -> tuple[tuple[ServerId, BucketListing], ...]:
        """Return and forget the buckets that were listed."""
        taken = tuple(self._listings)
        self._listings.clear()
        return taken

    def take_to_list(self, server_id: ServerId) -> tuple[tuple[DiskId, int], ...]:
        """Return and forget the buckets that a server is to list."""
        return tuple(self.to_list.pop(server_id, ()))[:LIST_BUCKETS_MAX]

    def note_waits(self, waits: Mapping[ChunkId, str], stuck: Set[ChunkId], now_s: float) -> None:
        """Note why chunks wait that had their turn: one plan looks at some of all that do."""
        for chunk_id, why in waits.items():
            _keep(self.waits, chunk_id, Wait(why, chunk_id in stuck, now_s))
        while self.waits and now_s - next(iter(self.waits.values())).seen_s >= WAITS_S:
            self.waits.popitem(last=False)

    def doubt(self, chunk_id: ChunkId, server_id: ServerId) -> None:
        """Note that somebody could not read a copy: it is to compare itself."""
        _keep(self.doubted, (chunk_id, server_id), None)

    def compared(self, chunk_id: ChunkId, server_id: ServerId, there: bool) -> None:
        """Note that a doubted copy answered; one that is not there counts no more."""
        if self.doubted.pop((chunk_id, server_id), 0) is None and not there:
            _keep(self.gone, (chunk_id, server_id), None)

    def registered(self, server_id: ServerId) -> None:
        """Forget what a server lacked: it came back, maybe with another disk."""
        for place in [one for one in self.gone if one[1] == server_id]:
            del self.gone[place]

    def bytes_per_s(self, now_s: float) -> int:
        """Return the bytes per second that came lately, since copies began at the earliest."""
        came = self._recent(now_s)
        return int(came / min(RATE_S, max(_RATE_MIN_S, now_s - self._began_s)))

    def eta_s(
        self, lacking_bytes: int, allowed_bytes_per_s: int, news_age_s: float, now_s: float
    ) -> float | None:
        """Return the seconds until all that lacks is copied and counts; None: it cannot be told.

        At first at what is allowed, then more and more at the rate that was measured while copies
        were under way: that is what disks and networks give, also where a few small ones went
        before many. Args: `lacking_bytes` as of the walk's last round; `allowed_bytes_per_s` is 0
        without a limit; `news_age_s` is how old the news of progress are on average.
        """
        self._look(now_s)
        told = sum(count for _, count in self._moved.values())
        left = lacking_bytes - (self._done_bytes - self._done_before) - told
        busy_s = self._busy.total_s()
        # Heard in that time is what was copied until the news left.
        measured = self._recent(now_s) / max(_RATE_MIN_S, busy_s - news_age_s)
        trust = min(1.0, busy_s / _TRUSTED_S) if allowed_bytes_per_s else 1.0
        rate = trust * measured + (1 - trust) * allowed_bytes_per_s
        if rate <= 0:
            return None
        return max(0.0, left / rate - news_age_s) + _ENDING_S

    def _look(self, now_s: float) -> None:
        """Note that copies are under way, or not; before that changes."""
        self._busy.look(bool(self._moved), now_s)

    def _recent(self, now_s: float) -> int:
        """Return the bytes of the last seconds, and forget those before."""
        while self._came and now_s - self._came[0][0] > RATE_S:
            self._came_bytes -= self._came.popleft()[1]
        return self._came_bytes

    def _note_bytes(self, count: int, now_s: float) -> None:
        self._came.append((now_s, count))
        self._came_bytes += count
        self._recent(now_s)
        while len(self._came) > 4 * NOTES_MAX:
            self._came_bytes -= self._came.popleft()[1]

    def _forget(self, answered: Answered) -> None:
        self._moved.pop(answered, None)
        self._lengths.pop(answered, None)

    def _rest(self, place: Place, now_s: float, least_s: float = REST_MIN_S) -> None:
        before = self._resting.get(place)
        if before is not None and now_s < before.until_s:
            return  # It was ordered before the pause began: the same failure, told once more.
        pause_s = least_s if before is None else min(REST_MAX_S, 2 * before.pause_s)
        _keep(self._resting, place, _Rest(now_s + pause_s, pause_s))


def _keep(notes: OrderedDict[K, V], key: K, value: V) -> None:
    """Write a note; the oldest ones make room."""
    notes[key] = value
    notes.move_to_end(key)
    while len(notes) > NOTES_MAX:
        notes.popitem(last=False)
