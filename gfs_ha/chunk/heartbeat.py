"""Heartbeats to the leading master: register, park, take orders along, tell news at once (G1).

A heartbeat is a call that the leader parks for up to a second. Several lanes take turns, so that
one can wait there while another tells news that must not wait; all lanes are alike. What fails is
tried again for ever, at whoever leads then: only a directory that belongs to somebody else, or a
cluster that is not ours, ends the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from gfs_ha.chunk.obey import Obedience
from gfs_ha.chunk.outages import Outages
from gfs_ha.chunk.outbox import News
from gfs_ha.chunk.registration import Leader, ServerFacts, ask, is_final, register
from gfs_ha.errors import GfsError, ProtocolError, StaleEpoch, WrongDirectory
from gfs_ha.ids import DiskId
from gfs_ha.limits import HEARTBEAT_PARK_S, LEASE_MS
from gfs_ha.protocol.control import (
    BucketListing,
    CopyProgress,
    DiskFacts,
    DiskTally,
    Heartbeat,
    HeartbeatReply,
    LedTail,
    OpenReplica,
)
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.tally import LIST_BUCKETS_MAX
from gfs_ha.protocol.usage import UsageFacts
from gfs_ha.runtime import Runtime, Task, join_all

LANES = 3
CALL_TIMEOUT_S = HEARTBEAT_PARK_S + 2.0
TALLY_BEATS = 10  # A tally that did not change is told so seldom: it may have been lost.
OPEN_REPLICAS_MAX = 20_000  # About 50 bytes each; a frame takes 4 MiB.
LAST_WORD_S = 2.0
_AGAIN_S = 0.1
_LOOK_S = 0.5

logger = logging.getLogger(__name__)


class Inventory(Protocol):
    """What a heartbeat tells of this server."""

    def disks(self) -> tuple[DiskFacts, ...]: ...

    def serving(self) -> tuple[DiskFacts, ...]:
        """Return those that are in service: what is not named at a registration is lost (D6)."""
        ...

    def open_replicas(self) -> tuple[OpenReplica, ...]: ...

    def stream_count(self) -> int: ...

    def copies(self) -> tuple[CopyProgress, ...]: ...

    def tallies(self) -> tuple[DiskTally, ...]: ...

    def list_buckets(self, wanted: tuple[tuple[DiskId, int], ...]) -> tuple[BucketListing, ...]: ...

    def led(self) -> tuple[LedTail, ...]: ...

    def note_lease(self, asked_s: float, lease_ms: int) -> None:
        """Take note of how long it may order appends, from when the heartbeat left."""
        ...

    def scrub(self) -> tuple[ScrubFacts, ...]: ...

    def note_scrub(self, wanted: ScrubWanted) -> None:
        """Take note of how the disks are to be scrubbed."""
        ...

    def repair(self) -> RepairFacts: ...

    def load(self) -> LoadFacts: ...

    def usage(self) -> UsageFacts | None: ...

    def note_repair(self, allowance: RepairAllowance) -> None:
        """Take note of what repair may take."""
        ...


class HeartbeatLanes:
    """The heartbeats of one run of a server whose identity is known."""

    def __init__(
        self,
        facts: ServerFacts,
        inventory: Inventory,
        obedience: Obedience,
        leader: Leader,
        runtime: Runtime,
    ) -> None:
        self._facts = facts
        self._inventory = inventory
        self._obedience = obedience
        self._epochs = obedience.epochs
        self._outbox = obedience.outbox
        self._leader = leader
        self._runtime = runtime
        self._changed = obedience.outbox.changed
        self.outages = Outages(runtime)
        self._registration = 0  # Counts; a reply to a beat of an earlier one is old news.
        self._registered = False
        self._changes = 0  # Counts too: a registration under way may not know of the last one.
        self._in_flight = 0
        self._beat = 0
        self._stopping = False
        self.turned_s = runtime.monotonic_s()  # When a beat last ended, answered or not.
        self._lanes: list[Task] = []
        self._told_too_many = False
        self._tallies_told: tuple[DiskTally, ...] = ()  # What the leader has heard.
        self._buckets_wanted: tuple[tuple[DiskId, int], ...] = ()

    @property
    def heard(self) -> bool:
        """Return whether a leader knows this start of the server and answers it."""
        return self._registered and not self.outages.lasting

    def start(self, on_final: Callable[[GfsError], object], registered: bool = False) -> None:
        """Start the lanes; `on_final` is told of an error that ends the server.

        Args: `registered` says that the masters know this start already.
        """
        self._registered = registered
        self._registration = int(registered)
        self._lanes = [
            self._runtime.spawn(f"heartbeat {number}", lambda: self._run(on_final))
            for number in range(LANES)
        ]

    @property
    def registered(self) -> bool:
        """Return whether the leader knows this start of the server, with the disks it has."""
        return self._registered

    def stop(self, timeout_s: float) -> bool:
        """End the lanes and hang up; False when one still runs."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._leader.close()
        return join_all(self._lanes, timeout_s, self._runtime)

    def register_again(self) -> None:
        """Have the masters hear anew which disks are here."""
        with self._changed:
            self._changes += 1
            self._registered = False
            self._tallies_told = ()
            self._changed.notify_all()

    def say_last(self, timeout_s: float = LAST_WORD_S) -> bool:
        """Have the leader hear how the disks are, before the server ends.

        Returns False when no leader answered within `timeout_s`: masters hear silence then.
        """
        deadline_s = self._runtime.monotonic_s() + timeout_s
        while (left_s := deadline_s - self._runtime.monotonic_s()) > 0 and not self._stopping:
            news = self._outbox.take()
            try:
                reply = ask(self._leader, self._make_beat(news), left_s)
                if isinstance(reply, HeartbeatReply) and not reply.register_again:
                    return True
            except GfsError:
                pass  # As good as an answer that took nothing: once more.
            self._outbox.give_back(news)
            self._pause(min(left_s, _AGAIN_S))
        return False

    def _run(self, on_final: Callable[[GfsError], object]) -> None:
        while True:
            turn = self._wait_for_turn()
            if turn is None:
                return
            try:
                turn()
                self.outages.ended()
            except GfsError as error:
                if self._stopping:
                    return
                if is_final(error, self._registration > 0):
                    on_final(error)
                    return
                # Before the turn ends: the other lanes are not to try meanwhile.
                self._pause(self.outages.failed(error))
            finally:
                self._end_turn()

    def _wait_for_turn(self) -> Callable[[], None] | None:
        """Return what this lane is to do, once there is something; None when the server stops."""
        with self._changed:
            while not self._stopping:
                if self._my_turn():
                    self._in_flight += 1
                    return self._send_beat if self._registered else self._register
                self._changed.wait(_LOOK_S)
        return None

    def _my_turn(self) -> bool:
        if not self._in_flight:
            return True  # One is always there for orders.
        # While the leader is lost or must know us first, one lane alone tries.
        return self._registered and not self.outages.lasting and self._outbox.waiting()

    def _end_turn(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self.turned_s = self._runtime.monotonic_s()
            self._changed.notify_all()

    def _pause(self, pause_s: float) -> None:
        deadline_s = self._runtime.monotonic_s() + pause_s
        with self._changed:
            while not self._stopping:
                left_s = deadline_s - self._runtime.monotonic_s()
                if left_s <= 0:
                    return
                self._changed.wait(left_s)

    def _register(self) -> None:
        changes = self._changes
        reply = register(self._leader, self._facts, self._inventory.serving(), CALL_TIMEOUT_S)
        if reply.server_id != self._facts.server_id:
            raise WrongDirectory(
                f"the data directory is that of server {self._facts.server_id}, the masters know "
                f"{self._facts.name} as {reply.server_id}; give it its own directory"
            )
        if not self._epochs.told(reply.epoch):
            raise StaleEpoch(f"a deposed leader answered; newest is {self._epochs.newest}")
        with self._changed:
            self._registration += 1
            self._registered = changes == self._changes
        logger.info(
            "registered server=%s id=%d epoch=%s",
            self._facts.name,
            self._facts.server_id,
            reply.epoch,
        )

    def _send_beat(self) -> None:
        news = self._outbox.take()
        registration = self._registration
        request = self._make_beat(news)
        asked_s = self._runtime.monotonic_s()
        try:
            reply = ask(self._leader, request, CALL_TIMEOUT_S)
        except GfsError:
            self._outbox.give_back(news)
            raise
        if not isinstance(reply, HeartbeatReply):
            raise ProtocolError(f"the leader answered {type(reply).__name__} to a heartbeat")
        if reply.register_again:
            # It took nothing from a server that it does not know.
            self._outbox.give_back(news)
            if registration == self._registration:
                self.register_again()
            return
        with self._changed:
            self._tallies_told = request.tallies or self._tallies_told
            self._buckets_wanted = reply.list_buckets[:LIST_BUCKETS_MAX] or self._buckets_wanted
        if not self._obedience.take(reply.epoch, reply.orders):
            return
        if reply.repair is not None:
            self._inventory.note_repair(reply.repair)
        if reply.lease_ms > 0:
            self._inventory.note_lease(asked_s, min(reply.lease_ms, LEASE_MS))
        if reply.scrub is not None:
            self._inventory.note_scrub(reply.scrub)

    def _make_beat(self, news: News) -> Heartbeat:
        disks = self._inventory.disks()
        total = sum(disk.total_bytes for disk in disks)
        free = sum(disk.free_bytes for disk in disks)
        tallies = self._inventory.tallies()
        with self._changed:
            self._beat += 1
            beat = self._beat
            if tallies == self._tallies_told and beat % TALLY_BEATS:
                tallies = ()
            # One that gets lost is asked for again.
            wanted, self._buckets_wanted = self._buckets_wanted, ()
        credentials = self._facts.credentials
        return Heartbeat(
            server_id=self._facts.server_id,
            start_id=self._facts.start_id,
            beat=beat,
            epoch=self._epochs.newest,
            disk_usage=1.0 - free / total if total else 1.0,
            chunk_count=sum(disk.chunk_count for disk in disks),
            timestamp=self._runtime.wall_ns() // 1_000_000,
            disks=disks,
            open_replicas=self._list_open(),
            answers=news.answers,
            damage=news.damage,
            streams=self._inventory.stream_count(),
            copies=self._inventory.copies(),
            tallies=tallies,
            listed=self._inventory.list_buckets(wanted) if wanted else (),
            led=self._inventory.led(),
            scrub=self._inventory.scrub(),
            finished=news.finished,
            repair=self._inventory.repair(),
            load=self._inventory.load(),
            usage=self._inventory.usage(),
            certificate_until_ms=credentials.until_ms if credentials is not None else 0,
            ticket_key=self._facts.ticket_key(),
            listening=self._facts.listening,
        )

    def _list_open(self) -> tuple[OpenReplica, ...]:
        replicas = self._inventory.open_replicas()
        if len(replicas) <= OPEN_REPLICAS_MAX:
            return replicas
        if not self._told_too_many:
            self._told_too_many = True
            logger.error(
                "more open replicas than a heartbeat can list count=%d listed=%d",
                len(replicas),
                OPEN_REPLICAS_MAX,
            )
        return replicas[:OPEN_REPLICAS_MAX]
