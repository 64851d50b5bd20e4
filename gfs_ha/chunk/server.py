"""The chunkserver put together: the one place that builds its objects, starts and stops them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from gfs_ha.chunk.compacting import CompactRoom
from gfs_ha.chunk.compactions import Compactions
from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.dataport import DataPort, ServerRun
from gfs_ha.chunk.disk_warden import DiskWarden
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.heartbeat import CALL_TIMEOUT_S, HeartbeatLanes
from gfs_ha.chunk.inventory import StoreInventory, disk_facts
from gfs_ha.chunk.machine import Machine, close_all, this_machine
from gfs_ha.chunk.measures import ServerMeasures
from gfs_ha.chunk.obey import Obedience
from gfs_ha.chunk.outages import Outages
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.own_disks import look_at, open_store
from gfs_ha.chunk.read import OnDamage
from gfs_ha.chunk.registration import ServerFacts, is_final, register
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.scrub import Scrubber
from gfs_ha.chunk.slots.identity import Identity
from gfs_ha.chunk.slots.shelf import Shelf
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.chunk.ticket_errands import TicketErrands
from gfs_ha.config import AUTO, ChunkserverConfig, Config
from gfs_ha.errors import DiskFailed, GfsError, UnknownReplica
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.metrics.port import MetricsPort, Watched
from gfs_ha.net.entry import server_credentials
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.sealed_streams import SealedStreams
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.ticket_guard import TicketGuard
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.pki.names import Role
from gfs_ha.protocol.codec import Hello
from gfs_ha.protocol.control import DamageFound
from gfs_ha.protocol.tickets import Level
from gfs_ha.pulse import Pulse
from gfs_ha.runtime import (
    Future,
    Runtime,
    Task,
)

STOP_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class _Part(Protocol):
    """What runs in tasks of its own; `stop` may be said again."""

    def stop(self, timeout_s: float) -> bool: ...


class Chunkserver:
    """One run of a chunkserver: `start`, wait for `ready` and `ended`, `stop`.

    `ready` is set to the data port's number once it serves. `ended` is set to the error that ends
    the run from within; the caller then stops it.
    """

    def __init__(
        self,
        config: Config,
        own: ChunkserverConfig,
        runtime: Runtime,
        machine: Machine | None = None,
    ) -> None:
        """Take the data directories; without a `machine` those of this one.

        Raises: WrongDirectory, DiskFailed.
        """
        if machine is None:
            credentials = server_credentials(config, Role.CHUNKSERVER, own.name, runtime)
            machine = this_machine(own, runtime, credentials)
        self.ready: Future[int] = runtime.future()
        self.ended: Future[GfsError] = runtime.future()
        self.pulse = Pulse(runtime)  # Whether the loops turn that serve; none before it is ready.
        self._config = config
        self._own = own
        self._runtime = runtime
        self._network = machine.streams
        self._found = machine.disks
        self._boot_id = machine.boot_id
        self._start_id = machine.start_id
        self._credentials = machine.credentials
        self._listening = machine.listening
        self._ticket_keys = TicketKeys(runtime) if machine.credentials is not None else None
        self._requests = machine.requests
        try:
            self._disks = look_at(machine.disks, config.cluster.id, own.name, runtime)
            self._metrics = MetricsPort(runtime, config.metrics)
        except BaseException:
            close_all(machine.disks)
            raise
        hello = Hello(config.cluster.id, PROTOCOL_VERSION, "chunkserver", own.name)
        self._leader = LeaderLink(config.cluster.masters, machine.network, hello, runtime)
        self._leader.keep_learning()
        self._changed = runtime.condition()
        self._stopping = False
        self._enrolling = False
        self._starting: Task | None = None
        self._serving: Task | None = None
        self.store: ChunkStore | None = None  # Once it serves.
        self._data_port: DataPort | None = None
        self._copies: Copies | None = None
        self._compactions: Compactions | None = None
        self._scrubbers: dict[DiskId, Scrubber] = {}
        self._wardens: list[DiskWarden] = []
        self._obedience: Obedience | None = None
        self._lanes: HeartbeatLanes | None = None
        self._errands: TicketErrands | None = None  # Of a closed cluster.
        self._measures = ServerMeasures(runtime)

    @property
    def name(self) -> str:
        return self._own.name

    def start(self) -> None:
        """Begin; a directory that is new waits for the masters to give the server its id."""
        self._starting = self._runtime.spawn("start", self._start)
        about = (self._config.cluster.id, "chunkserver", self.name, self.pulse)
        self._metrics.start(Watched(*about, self._measures.unready, self._measures.collect))

    @property
    def enrolling(self) -> bool:
        """Return whether it waits for masters to give it an id, for as long as that takes."""
        return self._enrolling

    def standing(self) -> str:
        """Return in a few words what this server does; for the service manager."""
        if self._enrolling:
            return "waits for a leader that gives it an id"
        store, lanes = self.store, self._lanes
        if store is None or lanes is None or not self.ready.done():
            return "looks at its data directories"
        count = len(store.shelves)
        working = sum(not one.failed for one in store.shelves)
        what = "serves" if working == count else f"serves {working} of {count} disks"
        return what if lanes.heard else f"{what}, but no leader answers"

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """End everything; False when something still runs after `timeout_s`."""
        until_s = self._runtime.monotonic_s() + timeout_s

        def left_s() -> float:
            return max(0.0, until_s - self._runtime.monotonic_s())

        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._measures.end()
        self._leader.close()
        ended = self._starting is None or self._starting.join(left_s())
        if self._data_port is not None:
            self._data_port.stop()
        parts: list[_Part | None] = [self._lanes, self._errands, self._obedience]
        parts += [self._compactions, self._copies, *self._scrubbers.values(), *self._wardens]
        stops = [one.stop for one in parts if one is not None]
        stops += [] if self._serving is None else [self._serving.join]
        for stop in stops:
            stop(0.0)  # All are told before any is waited for, and what hangs is waited for once.
        for stop in stops:
            ended &= stop(left_s())
        ended &= self._metrics.stop()
        if ended:
            close_all(self._found)
        return ended

    def _start(self) -> None:
        try:
            enrolled = self._enrolling = not self._disks.known
            server_id = self._disks.server_id or self._enrol()
            self._enrolling = False
            if server_id is not None:
                cluster_id = self._config.cluster.id
                self._disks.settle(cluster_id, self._own.name, server_id, self._runtime)
                self._serve(server_id, enrolled)
        except GfsError as error:
            self.ended.set(error)

    def _serve(self, server_id: ServerId, enrolled: bool) -> None:
        runtime = self._runtime
        store = self.store = open_store(self._disks, runtime, self._boot_id)
        epochs = self._epochs = EpochBook([one.disk for one in store.shelves], runtime)
        outbox = Outbox(runtime)
        pace = RepairPace(runtime)
        self._scrubbers = {
            one.disk_id: Scrubber(store, self._report_damage(outbox), runtime, pace, one)
            for one in store.shelves
        }
        listen = (self._own.host, self._own.port)
        self._data_port = DataPort(
            *(listen, store, self._network, runtime, self._report_damage(outbox)),
            server_run=ServerRun(
                *(self._start_id, lambda: epochs.newest, outbox.add_finished, pace, self._requests),
                guard=self._guard(server_id),
            ),
        )
        streams = StreamPool(self._network, runtime)
        self._copies = Copies(store, streams, epochs, outbox, pace, runtime)
        tails = self._data_port.primary
        self._obedience = Obedience(store, tails, self._copies, epochs, outbox, runtime)
        own = self._own
        room = CompactRoom(store, streams, self._leader, runtime, own.name, (own.machine, own.rack))
        self._compactions = Compactions(room, epochs, outbox)
        self._obedience.compactions = self._compactions
        inventory = StoreInventory(
            *(store, self._data_port, self._copies, self._scrubbers, self._disks.broken)
        )
        self._lanes = HeartbeatLanes(
            self._facts(server_id), inventory, self._obedience, self._leader, runtime
        )
        self._measures.begin(store, self._data_port, self._copies, inventory, self._lanes)
        self._wardens = [
            DiskWarden(
                *(one, self._take_out, runtime, epochs.refused, store.vanished),
                self._report_vanished(outbox),
            )
            for one in store.shelves
        ]
        self._serving = runtime.spawn("data port", self._data_port.run)
        self._copies.start()
        self._compactions.start()
        for scrubber in self._scrubbers.values():
            scrubber.start()
        for warden in self._wardens:
            warden.start()
        self._obedience.start()
        # Told of a disk that refused its identity since, they would place chunks there.
        known = enrolled and not self._disks.broken
        self._lanes.start(self.ended.set, registered=known)
        if self._ticket_keys is not None:
            who = (server_id, self._start_id)
            self._errands = TicketErrands(who, self._ticket_keys, tails, self._leader, runtime)
            self._errands.start()
        self.pulse.add("data port", self._data_port)
        self.pulse.add("heartbeat", self._lanes)
        logger.info(
            "serving server=%s id=%d port=%d disks=%d chunks=%d unidentified=%d epoch=%s",
            self._own.name,
            server_id,
            self._data_port.port,
            len(store.shelves),
            store.chunk_count,
            len(store.unidentified),
            epochs.newest,
        )
        self.ready.set(self._data_port.port)

    def _report_vanished(self, outbox: Outbox) -> Callable[[ChunkId], None]:
        damaged = self._report_damage(outbox, "its slot was removed")
        return lambda chunk_id: damaged(chunk_id, 0)

    def _report_damage(self, outbox: Outbox, why: str = "") -> OnDamage:
        def report(chunk_id: ChunkId, block_index: int) -> None:
            assert self.store is not None, "damage was found before anything was served"
            self.store.note_damage(chunk_id)
            try:
                disk_id = self.store.get(chunk_id).disk_id
            except UnknownReplica:
                return  # It is gone meanwhile, with its disk perhaps.
            outbox.add_damage(DamageFound(chunk_id, disk_id, block_index))
            self._scrubbers[disk_id].suspect(chunk_id, why or f"block {block_index} is damaged")

        return report

    def _take_out(self, shelf: Shelf, why: str) -> None:
        """Go on without a disk; without the last one the server ends (D6)."""
        store, port, lanes = self.store, self._data_port, self._lanes
        obedience = self._obedience
        assert store and port and lanes and obedience, "a disk fails before it serves"
        left = store.take_out(shelf, why)
        logger.critical(
            "a disk is out of service directory=%s id=%#x replicas=%d why=%s",
            *(shelf.directory, shelf.disk_id, left, why),
        )
        self._epochs.drop(shelf.disk)
        obedience.give_up(shelf.disk_id)
        port.give_up(shelf.disk_id)
        self._scrubbers[shelf.disk_id].stop(0.0)
        if all(one.failed for one in store.shelves):
            # Else they hear silence, and wait for it to be long before they make copies anew.
            if not lanes.say_last():
                logger.error("no leader hears that the last disk is out of service")
            self.ended.set(DiskFailed(f"no disk works any more: {why}"))
            return
        lanes.register_again()

    def _enrol(self) -> ServerId | None:
        """Return the id that the masters give to the server, with its new disks (D6).

        None when stopped before a leader answered. If the process ends between their answer and the
        files, the next start brings further new disks, as empty as these.
        """
        # Before the masters hear of a port that is somebody else's.
        self._network.listen((self._own.host, self._own.port)).close()
        runtime, own = self._runtime, self._own
        ids = {one.directory: DiskId(runtime.random_u64() or 1) for one in self._disks.fresh}
        outages = Outages(runtime)
        while not self._stopping:
            disks = tuple(
                disk_facts(one.disk, ids[one.directory], 0, one.directory)
                for one in self._disks.fresh
                if one.disk is not None
            )
            try:
                reply = register(self._leader, self._facts(ServerId(0)), disks, CALL_TIMEOUT_S)
            except GfsError as error:
                if is_final(error, registered_once=False):
                    raise
                self._pause(outages.failed(error))
                continue
            outages.ended()
            cluster_id = self._config.cluster.id
            for one in list(self._disks.fresh):
                disk_id = ids[one.directory]
                self._disks.adopt(one, Identity(cluster_id, reply.server_id, disk_id, own.name))
            self._disks.keep_epoch(reply.epoch, runtime)
            if reply.lost_disks:
                logger.error(
                    "all data directories are new, and chunks lie on other disks of this server:"
                    " if these are not mounted, stop it and mount them, and say mounted = true"
                    " directories=%s disks_missing=%d",
                    ",".join(one.directory for one in self._disks.known),
                    reply.lost_disks,
                )
            logger.info("enrolled server=%s id=%d", own.name, reply.server_id)
            return reply.server_id
        return None

    def _facts(self, server_id: ServerId) -> ServerFacts:
        own = self._own
        return ServerFacts(
            *(own.name, server_id, own.host, own.port, own.rack, own.machine),
            *(self._start_id, self._boot_id, self._listening),
            credentials=self._credentials,
            ticket_keys=self._ticket_keys,
        )

    def _guard(self, server_id: ServerId) -> TicketGuard | None:
        """Return what looks at tickets; None where none are shown."""
        keys, network = self._ticket_keys, self._network
        if keys is None:
            return None
        assert isinstance(network, SealedStreams), "a closed cluster whose data port is open"
        data = self._config.data
        floor = Level.NONE if data == AUTO else Level[data.upper()]
        return TicketGuard(server_id, keys, self._runtime, network.refusals, floor)

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait(pause_s)
