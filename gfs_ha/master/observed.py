"""What the leader has seen of servers and sessions: soft facts that die with its leadership (G6).

Every age counts from this leader's own election, so that a new leader does not take servers for
dead, or clients for gone, that it had no time to hear of. Times are seconds of one monotonic clock
that the caller reads.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gfs_ha.ids import ChunkId, DiskId, Epoch, ServerId, SessionId, StartId
from gfs_ha.limits import (
    DEAD_S,
    DISKS_PER_SERVER_MAX,
    HEARTBEAT_PARK_S,
    SUSPECT_S,
    TAILS_PER_SERVER_MAX,
)
from gfs_ha.master.loads import Loads
from gfs_ha.master.unreached import Unreached
from gfs_ha.master.usage_heard import UsageHeard
from gfs_ha.protocol.control import (
    CopyProgress,
    DamageFound,
    DiskFacts,
    Heartbeat,
    LedTail,
    OpenReplica,
    RegisterServer,
)
from gfs_ha.protocol.measures import seconds_text
from gfs_ha.protocol.repair import RepairFacts
from gfs_ha.protocol.scrub import ScrubFacts

DAMAGED = "damaged"
QUARANTINED = "quarantined"

LIVE = "live"
SUSPECT = "suspect"
DEAD = "dead"

SESSIONS_SEEN_MAX = 100_000  # The longest silent are forgotten first: they count from election.
PROBLEMS_MAX = 1_000
PENDING_S = 10.0  # How long an allocation counts as bytes that the heartbeats do not show yet.
_PENDING_MAX = 10_000
GATHER_S = 1.5 * HEARTBEAT_PARK_S  # By then every server that lives has found a new leader.
SETTLED_S = SUSPECT_S + 2.0  # A server that comes and goes is no evidence.
_NO_EPOCH = Epoch(0, 0)

DiskKey = tuple[ServerId, DiskId]


class Keys(Protocol):
    """The keys for tickets that servers told this master."""

    def knows(self, server_id: ServerId, start_id: StartId) -> bool:
        """Return whether the key of a start of a server is known."""
        ...


@dataclass(slots=True)
class ServerFacts:
    """The last heartbeat of one server."""

    start_id: StartId
    boot_id: int
    heard_s: float
    beat: int = 0
    told_epoch: Epoch = _NO_EPOCH  # The newest epoch that the server says it was told.
    disk_usage: float = 0.0
    chunk_count: int = 0
    timestamp: int = 0
    streams: int = 0
    disks: tuple[DiskFacts, ...] = ()
    open_replicas: tuple[OpenReplica, ...] = ()
    clock_ahead_ms: int = 0
    since_s: float = 0.0  # Since when it has been beating without a pause.
    copies: tuple[CopyProgress, ...] = ()  # That it is making.
    tallies: dict[DiskId, bytes] = field(default_factory=dict)
    # Never changed, only replaced: planners on other threads look at it.
    unsettled: Mapping[ChunkId, OpenReplica] = field(default_factory=dict)
    led: Mapping[ChunkId, LedTail] = field(default_factory=dict)  # Tails whose appends it orders.
    scrub: tuple[ScrubFacts, ...] = ()  # Of its disks.
    repair: RepairFacts | None = None
    certificate_until_ms: int = 0  # Wall time; 0: it shows none.
    listening: str = ""  # Where its data port is, in numbers; empty: it did not tell.

    @property
    def without_disks(self) -> bool:
        """Return whether it said that all its disks failed: it ends then."""
        return bool(self.disks) and all(disk.failed for disk in self.disks)


@dataclass(slots=True)
class Observed:
    """Soft facts of one leadership; used by one thread at a time."""

    elected_s: float
    dead_s: float = DEAD_S  # How long a server may be silent before its copies are made anew.
    servers: dict[ServerId, ServerFacts] = field(default_factory=dict)
    sessions: OrderedDict[SessionId, float] = field(default_factory=OrderedDict)
    damage: OrderedDict[tuple[ChunkId, ServerId], str] = field(default_factory=OrderedDict)
    problems: OrderedDict[tuple[ChunkId, ServerId], str] = field(default_factory=OrderedDict)
    unreached: Unreached = field(default_factory=Unreached)
    loads: Loads = field(default_factory=Loads)
    usage: UsageHeard = field(default_factory=UsageHeard)
    keys: Keys | None = None  # Where data ports want tickets.
    _blocks: OrderedDict[tuple[ChunkId, ServerId], str] = field(default_factory=OrderedDict)
    _listed: dict[ServerId, dict[ChunkId, str]] = field(default_factory=dict)
    _promised: deque[tuple[float, DiskKey, int]] = field(default_factory=deque)
    _pending: dict[DiskKey, int] = field(default_factory=dict)  # The bytes of all these.

    def registered(self, server_id: ServerId, request: RegisterServer, now_s: float) -> None:
        """Note a start of a server; what an earlier start had told is void."""
        self.servers[server_id] = ServerFacts(
            request.start_id, request.boot_id, now_s, disks=request.disks, since_s=now_s
        )
        self.loads.forget(server_id)
        self.usage.forget(server_id)

    def forget(self, server_id: ServerId) -> None:
        """Forget a server that is no member of the cluster any more."""
        self.servers.pop(server_id, None)
        self.loads.forget(server_id)
        self.usage.forget(server_id)
        self._listed.pop(server_id, None)
        for notes in (self.damage, self.problems, self._blocks):
            for key in [key for key in notes if key[1] == server_id]:
                del notes[key]

    def heard(self, beat: Heartbeat, now_s: float, wall_ms: int) -> bool:
        """Note a heartbeat. Returns False when this start of the server is not known."""
        facts = self.servers.get(beat.server_id)
        if facts is None or facts.start_id != beat.start_id:
            return False
        if now_s - facts.heard_s >= SUSPECT_S:
            facts.since_s = now_s
            self.unreached.returned(beat.server_id, now_s)
        facts.heard_s = now_s
        if beat.beat < facts.beat:
            return True  # Overtaken by a later one on the way: it proves life, its news are old.
        facts.beat = beat.beat
        facts.told_epoch = beat.epoch
        facts.disk_usage = beat.disk_usage
        facts.chunk_count = beat.chunk_count
        facts.timestamp = beat.timestamp
        facts.clock_ahead_ms = beat.timestamp - wall_ms
        facts.streams = beat.streams
        facts.disks = beat.disks
        facts.open_replicas = beat.open_replicas
        facts.unsettled = {replica.chunk_id: replica for replica in beat.open_replicas}
        facts.copies = beat.copies
        facts.led = {tail.chunk_id: tail for tail in beat.led[:TAILS_PER_SERVER_MAX]}
        facts.scrub = beat.scrub[:DISKS_PER_SERVER_MAX]
        facts.repair = beat.repair
        facts.certificate_until_ms = beat.certificate_until_ms
        facts.listening = beat.listening
        if beat.load is not None:
            self.loads.heard(beat.server_id, beat.load, now_s)
        if beat.usage is not None:
            self.usage.heard(beat.server_id, beat.usage, now_s)
        for tally in beat.tallies[:DISKS_PER_SERVER_MAX]:
            facts.tallies[tally.disk_id] = tally.buckets
        for damage in beat.damage:
            self.damaged(beat.server_id, damage)
        self._compare_listed(beat)
        return True

    def _compare_listed(self, beat: Heartbeat) -> None:
        """Note the replicas that a server lists as damaged; what it lists so no longer is over."""
        listed = {
            replica.chunk_id: f"is {replica.state}"
            for replica in beat.open_replicas
            if replica.state in (DAMAGED, QUARANTINED)
        }
        before = self._listed.get(beat.server_id, {})
        for chunk_id, problem in before.items():
            key = (chunk_id, beat.server_id)
            said = self.damage.get(key)
            if chunk_id not in listed and said in (problem, self._blocks.get(key, problem)):
                self._forget_damage(key)
        for chunk_id, problem in listed.items():
            key = (chunk_id, beat.server_id)
            # Which block it is says more than that it is damaged.
            block = self._blocks.get(key) if problem == f"is {DAMAGED}" else None
            _note(self.damage, key, block or problem)
        self._listed[beat.server_id] = listed

    def _forget_damage(self, key: tuple[ChunkId, ServerId]) -> None:
        """Forget what a server said of a replica."""
        self.damage.pop(key, None)
        self._blocks.pop(key, None)

    def quarantined(self, chunk_id: ChunkId, server_id: ServerId) -> bool:
        """Return whether a server keeps a replica that it serves no more (C4, D3)."""
        return self.damage.get((chunk_id, server_id)) == f"is {QUARANTINED}"

    def age_s(self, server_id: ServerId, now_s: float) -> float:
        """Return the seconds since the server was heard, at most those since the election."""
        facts = self.servers.get(server_id)
        heard_s = self.elected_s if facts is None else max(facts.heard_s, self.elected_s)
        return max(0.0, now_s - heard_s)

    def state(self, server_id: ServerId, now_s: float) -> str:
        """Return "live", "suspect" (no new chunks) or "dead"."""
        age_s = self.age_s(server_id, now_s)
        if age_s < SUSPECT_S:
            return LIVE
        return SUSPECT if age_s < self.dead_s else DEAD

    def reason(
        self, server_id: ServerId, now_s: float, paused: bool = False, empty: bool = False
    ) -> str:
        """Return why a server is not used as others are, and what follows; else empty.

        Args: `paused`: it is in maintenance; `empty`: it was emptied, and nothing lies there.
        """
        state, age_s = self.state(server_id, now_s), self.age_s(server_id, now_s)
        if state == LIVE:
            left_s = self.unreached.left_s(server_id, now_s)
            cut_off = f"it beats, but others cannot reach it: it is avoided for {left_s:.0f} s"
            return cut_off if left_s else ""
        silent = f"no heartbeat for {seconds_text(age_s)}"
        if server_id not in self.servers:
            silent = f"not heard since this leader was elected {seconds_text(age_s)} ago"
        elif self.servers[server_id].heard_s < self.elected_s:
            silent += " (since this leader was elected)"
        elif self.servers[server_id].without_disks:
            silent = f"it ended when its last disk failed, {silent}"
        if state == DEAD:
            then = " once its maintenance ends" if paused else ""
            follows = "nothing lies there" if empty else f"its copies are made anew elsewhere{then}"
            return f"{silent}, over {self.dead_s:.0f} s: {follows}"
        return f"{silent}: it gets no new chunks; after {self.dead_s:.0f} s it counts as dead"

    def led(self, chunk_id: ChunkId, primary: tuple[ServerId, StartId]) -> LedTail | None:
        """Return what the primary of a tail said of it last; None when it has said nothing.

        Another start of the server says nothing of it: it does not order the appends any more.
        """
        facts = self.servers.get(primary[0])
        if facts is None or facts.start_id != primary[1]:
            return None
        return facts.led.get(chunk_id)

    def settled(self, server_id: ServerId, now_s: float) -> bool:
        """Return whether the server has been beating to this very leader for a while (G3)."""
        facts = self.servers.get(server_id)
        if facts is None or not facts.beat or self.state(server_id, now_s) != LIVE:
            return False
        return now_s - facts.since_s >= SETTLED_S

    def healed(self, chunk_id: ChunkId, server_id: ServerId) -> None:
        """Note that what was said of a replica is over: it was made anew, or is gone."""
        self._forget_damage((chunk_id, server_id))
        self.problems.pop((chunk_id, server_id), None)

    def present(self, server_id: ServerId, now_s: float) -> bool:
        """Return whether the server is live and has been heard by this very leader."""
        return server_id in self.servers and self.state(server_id, now_s) == LIVE

    def keyed(self, server_id: ServerId) -> bool:
        """Return whether there are tickets for a server that was heard, if it wants any.

        Else nobody could write to it, however well it lives.
        """
        facts = self.servers.get(server_id)
        if self.keys is None or facts is None:
            return self.keys is None
        return self.keys.knows(server_id, facts.start_id)

    def reached(self, server_id: ServerId, now_s: float) -> bool:
        """Return whether a server is live and nobody has to be kept from trying it."""
        live = self.state(server_id, now_s) == LIVE
        return live and not self.unreached.believed(server_id, now_s)

    def gathering(self, server_ids: Iterable[ServerId], now_s: float) -> bool:
        """Return whether servers that live may not have been heard yet by a leader this young.

        Whoever places now would make do with fewer copies, which nothing restores by itself.
        """
        if now_s - self.elected_s >= GATHER_S:
            return False
        return any(one not in self.servers or not self.keyed(one) for one in server_ids)

    def damaged(self, server_id: ServerId, damage: DamageFound) -> None:
        """Note a block that a server found damaged (D3)."""
        key = (damage.chunk_id, server_id)
        _note(self._blocks, key, f"block {damage.block_index} is damaged")
        _note(self.damage, key, self._blocks[key])

    def short(self, chunk_id: ChunkId, server_id: ServerId) -> None:
        """Note a holder that cannot stamp its replica as sealed: fewer bytes verify there (C7)."""
        _note(self.damage, (chunk_id, server_id), "has fewer bytes than were sealed")

    def trouble(self, chunk_id: ChunkId, server_id: ServerId, problem: str) -> bool:
        """Note what somebody else says of a replica: news, not a fact. Returns if it is new."""
        key = (chunk_id, server_id)
        fresh = self.problems.get(key) != problem
        _note(self.problems, key, problem)
        return fresh

    def heard_session(self, session_id: SessionId, now_s: float) -> bool:
        """Note that a known session asked for something: its claims live on (C11).

        Returns False for one that `met_session` has not made known: anybody can make up an id.
        """
        if session_id not in self.sessions:
            return False
        self.sessions[session_id] = now_s
        self.sessions.move_to_end(session_id)
        return True

    def met_session(self, session_id: SessionId, now_s: float) -> None:
        """Note a session that stands in the tables, from now on known."""
        self.sessions[session_id] = now_s
        self.sessions.move_to_end(session_id)
        while len(self.sessions) > SESSIONS_SEEN_MAX:
            self.sessions.popitem(last=False)

    def session_silence_s(self, session_id: SessionId, now_s: float) -> float:
        """Return the seconds since the session was heard, at most those since the election."""
        return max(0.0, now_s - self.sessions.get(session_id, self.elected_s))

    def promised(self, disk: DiskKey, capacity: int, now_s: float) -> None:
        """Note bytes that were allocated on a disk and may not be in its usage yet."""
        self._promised.append((now_s, disk, capacity))
        self._pending[disk] = self._pending.get(disk, 0) + capacity
        self._forget_promises(now_s)

    def pending_bytes(self, now_s: float) -> dict[DiskKey, int]:
        """Return the bytes that were allocated lately, by server and disk."""
        self._forget_promises(now_s)
        return dict(self._pending)

    def _forget_promises(self, now_s: float) -> None:
        """Forget what the heartbeats show by now; every chunk that is placed pays for this."""
        while self._promised and (
            now_s - self._promised[0][0] >= PENDING_S or len(self._promised) > _PENDING_MAX
        ):
            _, disk, capacity = self._promised.popleft()
            left = self._pending.pop(disk, 0) - capacity
            if left > 0:
                self._pending[disk] = left


def _note(
    notes: OrderedDict[tuple[ChunkId, ServerId], str], key: tuple[ChunkId, ServerId], text: str
) -> None:
    """Write a note; the oldest ones make room."""
    notes[key] = text
    notes.move_to_end(key)
    while len(notes) > PROBLEMS_MAX:
        notes.popitem(last=False)
