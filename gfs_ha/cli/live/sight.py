"""What a watcher has seen of the cluster, newest first of all, and what came before it.

Changed by the loop of the application only; frames read it. What one look did not bring stays from
the look before: a screen without a leader shows what was, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from gfs_ha.cli.admin.masters import completed
from gfs_ha.cli.live.history import History
from gfs_ha.errors import GfsError
from gfs_ha.protocol.events import EventItem
from gfs_ha.protocol.live import LiveReport
from gfs_ha.protocol.overview import MasterClock
from gfs_ha.protocol.rates import ServedRate, rate_of, times_between
from gfs_ha.protocol.reports import ChunkReport, MasterFacts

# What Enter opens: its kind, and its name, path or number.
Target = tuple[str, str | int]
SERVER, MASTER, CHUNK, FILE, JOB = "server", "master", "chunk", "file", "job"

_CALLS_OVER_S = 0.5  # Of two tellings that are nearer than this the older one is kept.


@dataclass(slots=True)
class Looked:
    """What one look brought. A part that was not asked for, or failed, is None."""

    taken_s: float
    live: LiveReport | None = None
    masters: tuple[dict[str, MasterFacts | GfsError], tuple[MasterClock, ...]] | None = None
    troubled: ChunkReport | None = None
    events: tuple[EventItem, ...] | None = None
    target: Target | None = None
    detail: object | None = None
    servers: bool = True  # It was asked for servers ...
    first: int = 0  # ... from this place on, among those that fit.
    failure: GfsError | None = None  # Of the look as a whole.
    detail_failure: GfsError | None = None
    crash: Exception | None = None  # A mistake of ours: there will be no other look.


@dataclass(slots=True)
class Sight:
    """Times are those of the client's own clock, in seconds."""

    live: LiveReport | None = None
    said: Mapping[str, MasterFacts | GfsError] = field(default_factory=dict)
    calls: dict[str, ServedRate] = field(default_factory=dict)  # Of each master.
    clocks: tuple[MasterClock, ...] = ()
    troubled: ChunkReport | None = None
    events: tuple[EventItem, ...] | None = None
    details: dict[Target, object] = field(default_factory=dict)  # Of what is open alone.
    history: History = field(default_factory=History)
    failure: str = ""
    detail_failure: str = ""
    taken_s: float = 0.0
    first: int = 0  # The place of the first server, among those that fit.
    absent_since_s: float | None = None  # Since when nobody who leads answers.
    _led: LiveReport | None = None  # The newest of a leader.
    _counted: dict[str, tuple[float, MasterFacts]] = field(default_factory=dict)

    def take(self, looked: Looked) -> None:
        """Take what a look brought."""
        if looked.masters is not None:
            self._take_masters(looked.taken_s, *looked.masters)
        if looked.troubled is not None:
            self.troubled = looked.troubled
        if looked.events is not None:
            self.events = looked.events
        if looked.target is not None:
            kept = looked.detail or self.details.get(looked.target)
            self.details = {} if kept is None else {looked.target: kept}
            failed = looked.detail_failure
            self.detail_failure = failed.message if failed is not None else ""
        leads = looked.live is not None and looked.live.leads
        self.failure = looked.failure.message if looked.failure is not None else ""
        if not leads:
            if self.absent_since_s is None:
                self.absent_since_s = looked.taken_s
        else:
            self.absent_since_s = None
        if looked.live is not None:
            self._take_live(looked)
            self.taken_s = looked.taken_s

    def _take_live(self, looked: Looked) -> None:
        live, before = looked.live, self._led
        assert live is not None
        if live.leads:
            self._note(live)
            if looked.servers:
                self.first = looked.first
            elif before is not None:
                live = replace(live, servers=before.servers, matching=before.matching)
            self._led = live
        elif before is not None:
            # It has heard no server: what was known of them is worth more, and is shown as old.
            counted = replace(
                before.status,
                leader=live.status.leader,
                term=live.status.term,
                leader_age_ms=live.status.leader_age_ms,
                applied_index=live.status.applied_index,
                masters=live.status.masters,
            )
            live = replace(
                before,
                status=counted,
                answered_by=live.answered_by,
                leads=False,
                age_ms=live.age_ms,
            )
        masters = completed(live.status.masters, self.said)
        self.live = replace(
            live,
            status=replace(live.status, masters=masters),
            overview=replace(live.overview, clocks=self.clocks),
        )

    def _note(self, live: LiveReport) -> None:
        """Add to the history what was measured; a new leader has nothing to say at first."""
        overview = live.overview
        load = overview.load
        if 2 * overview.measured >= overview.servers.live and overview.measured:
            self.history.note("read", load.read.bytes_per_s)
            self.history.note("put", load.put_bytes_per_s)
            self.history.note("append", load.append.bytes_per_s)
            self.history.note("queue", load.queue)
            p99 = max(one.p99_us or 0 for one in (load.read, load.write, load.append))
            self.history.note("p99", p99)
        for server in live.servers:
            if server.rates is not None:
                rates = server.rates
                moved = sum(r.bytes_per_s for r in (rates.read, rates.write, rates.append))
                self.history.note_server(server.name, moved)

    def _take_masters(
        self,
        taken_s: float,
        said: Mapping[str, MasterFacts | GfsError],
        clocks: tuple[MasterClock, ...],
    ) -> None:
        self.said, self.clocks = said, clocks
        for name, facts in said.items():
            if not isinstance(facts, MasterFacts) or facts.calls is None:
                self.calls.pop(name, None)
                continue
            before = self._counted.get(name)
            if before is not None and taken_s - before[0] < _CALLS_OVER_S:
                continue
            self._counted[name] = (taken_s, facts)
            old = None if before is None else before[1].calls
            new = facts.calls.served
            if before is None or old is None or old.served.count > new.count:
                self.calls.pop(name, None)
                continue
            over_s = taken_s - before[0]
            self.calls[name] = rate_of(
                new.count - old.served.count,
                new.length - old.served.length,
                times_between(old.served.times, new.times),
                over_s,
            )

    def absent_s(self, now_s: float) -> float:
        """Return for how long nobody who leads has answered; 0 = somebody does."""
        return 0.0 if self.absent_since_s is None else max(0.001, now_s - self.absent_since_s)
