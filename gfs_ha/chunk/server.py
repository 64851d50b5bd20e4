"""The chunkserver put together: the one place that builds its objects, starts and stops them."""

from __future__ import annotations

import logging
import signal

import msgspec

from gfs_ha.chunk.compacting import CompactRoom
from gfs_ha.chunk.compactions import Compactions
from gfs_ha.chunk.copies import Copies
from gfs_ha.chunk.dataport import DataPort, ServerRun
from gfs_ha.chunk.disk import Disk
from gfs_ha.chunk.epochs import EpochBook
from gfs_ha.chunk.heartbeat import (
    CALL_TIMEOUT_S,
    HeartbeatLanes,
    Outages,
    ServerFacts,
    is_final,
    register,
)
from gfs_ha.chunk.machine import Machine, this_machine
from gfs_ha.chunk.obey import Obedience
from gfs_ha.chunk.outbox import Outbox
from gfs_ha.chunk.repair_pace import RepairPace
from gfs_ha.chunk.scrub import Scrubber
from gfs_ha.chunk.slots.identity import Identity, check_identity, read_identity, write_identity
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.config import ChunkserverConfig, Config, check_exposure
from gfs_ha.errors import ConfigError, DeadlineExceeded, DiskFailed, GfsError
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.protocol.codec import Hello
from gfs_ha.protocol.control import (
    BucketListing,
    CopyProgress,
    DamageFound,
    DiskFacts,
    DiskTally,
    LedTail,
    OpenReplica,
)
from gfs_ha.protocol.rates import LoadFacts
from gfs_ha.protocol.repair import RepairAllowance, RepairFacts
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.usage import UsageFacts
from gfs_ha.runtime import (
    Future,
    Runtime,
    Task,
    ThreadedRuntime,
    watch_stop_signals,
)

STOP_TIMEOUT_S = 5.0
_LOOK_S = 0.2

logger = logging.getLogger(__name__)


class StoreInventory:
    """What a heartbeat tells of one store, its data port and its copies."""

    def __init__(
        self, store: ChunkStore, data_port: DataPort, copies: Copies, scrubber: Scrubber
    ) -> None:
        self._store = store
        self._data_port = data_port
        self._copies = copies
        self._scrubber = scrubber

    def disks(self) -> tuple[DiskFacts, ...]:
        shelf = self._store.shelves[0]
        facts = _disk_facts(shelf.disk, shelf.identity, self._store.chunk_count)
        journal = shelf.journal
        return (
            msgspec.structs.replace(
                facts,
                journal_bytes=journal.file_bytes,
                journal_used_bytes=journal.used_bytes,
                journal_trouble=journal.broken,
            ),
        )

    def open_replicas(self) -> tuple[OpenReplica, ...]:
        listed = self._store.list_open()
        self._scrubber.listed([one.chunk_id for one in listed if one.state == "damaged"])
        return listed

    def stream_count(self) -> int:
        return self._data_port.serving_count

    def copies(self) -> tuple[CopyProgress, ...]:
        return self._copies.progress()

    def tallies(self) -> tuple[DiskTally, ...]:
        return tuple(DiskTally(one.disk_id, one.tally.packed()) for one in self._store.shelves)

    def list_buckets(self, wanted: tuple[tuple[DiskId, int], ...]) -> tuple[BucketListing, ...]:
        found: list[BucketListing] = []
        for shelf in self._store.shelves:
            buckets = {bucket for disk_id, bucket in wanted if disk_id == shelf.disk_id}
            found += self._store.list_buckets(shelf, buckets)
        return tuple(found)

    def led(self) -> tuple[LedTail, ...]:
        return self._data_port.primary.led()

    def note_lease(self, asked_s: float, lease_ms: int) -> None:
        self._data_port.primary.lease.granted(asked_s, lease_ms)

    def scrub(self) -> tuple[ScrubFacts, ...]:
        return (self._scrubber.facts(),)

    def note_scrub(self, wanted: ScrubWanted) -> None:
        self._scrubber.take(wanted)

    def repair(self) -> RepairFacts:
        return self._copies.pace.facts()

    def load(self) -> LoadFacts:
        return self._data_port.load()

    def usage(self) -> UsageFacts | None:
        return self._data_port.usage()

    def note_repair(self, allowance: RepairAllowance) -> None:
        self._copies.allow(allowance)


def _disk_facts(disk: Disk, identity: Identity, chunk_count: int) -> DiskFacts:
    try:
        usage = disk.usage()
    except DiskFailed as error:
        return DiskFacts(identity.disk_id, 0, 0, chunk_count, failed=error.message)
    return DiskFacts(identity.disk_id, usage.total, usage.free, chunk_count)


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
        """Take the data directory; without a `machine` that of this one.

        Raises: WrongDirectory, DiskFailed.
        """
        machine = machine or this_machine(own, runtime)
        self.ready: Future[int] = runtime.future()
        self.ended: Future[GfsError] = runtime.future()
        self._config = config
        self._own = own
        self._runtime = runtime
        self._network = machine.streams
        self._disk = machine.disk
        self._boot_id = machine.boot_id
        self._start_id = machine.start_id
        try:
            self._identity = read_identity(self._disk)
            if self._identity is not None:
                check_identity(self._identity, config.cluster.id, own.name)
        except BaseException:
            self._disk.close()
            raise
        hello = Hello(config.cluster.id, PROTOCOL_VERSION, "chunkserver", own.name)
        self._leader = LeaderLink(config.cluster.masters, machine.network, hello, runtime)
        self._leader.keep_learning()
        self._changed = runtime.condition()
        self._stopping = False
        self._starting: Task | None = None
        self._serving: Task | None = None
        self.store: ChunkStore | None = None  # Once it serves.
        self._data_port: DataPort | None = None
        self._copies: Copies | None = None
        self._compactions: Compactions | None = None
        self._scrubber: Scrubber | None = None
        self._obedience: Obedience | None = None
        self._lanes: HeartbeatLanes | None = None

    @property
    def name(self) -> str:
        return self._own.name

    def start(self) -> None:
        """Begin; a directory that is new waits for the masters to give the server its id."""
        self._starting = self._runtime.spawn("start", self._start)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """End everything; False when something still runs after `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._leader.close()
        ended = self._starting is None or self._starting.join(timeout_s)
        if self._lanes is not None:
            ended &= self._lanes.stop(timeout_s)
        if self._data_port is not None and self._serving is not None:
            self._data_port.stop()
            ended &= self._serving.join(timeout_s)
        if self._obedience is not None:
            ended &= self._obedience.stop(timeout_s)
        if self._compactions is not None:
            ended &= self._compactions.stop(timeout_s)
        if self._copies is not None:
            ended &= self._copies.stop(timeout_s)
        if self._scrubber is not None:
            ended &= self._scrubber.stop(timeout_s)
        if ended:
            self._disk.close()
        return ended

    def _start(self) -> None:
        try:
            identity = self._identity or self._enrol()
            if identity is not None:
                self._serve(identity, enrolled=self._identity is None)
        except GfsError as error:
            self.ended.set(error)

    def _serve(self, identity: Identity, enrolled: bool) -> None:
        runtime = self._runtime
        store = self.store = ChunkStore.on(self._disk, identity, runtime, self._boot_id)
        epochs = EpochBook([self._disk], runtime)
        outbox = Outbox(runtime)

        def report(chunk_id: ChunkId, block_index: int) -> None:
            store.note_damage(chunk_id)
            outbox.add_damage(DamageFound(chunk_id, identity.disk_id, block_index))
            scrubber.suspect(chunk_id, f"block {block_index} is damaged")

        pace = RepairPace(runtime)
        scrubber = self._scrubber = Scrubber(store, report, runtime, pace)
        listen = (self._own.host, self._own.port)
        self._data_port = DataPort(
            *(listen, store, self._network, runtime, report),
            server_run=ServerRun(self._start_id, lambda: epochs.newest, outbox.add_finished, pace),
        )
        streams = StreamPool(self._network, runtime)
        self._copies = Copies(store, streams, epochs, outbox, pace, runtime)
        tails = self._data_port.primary
        self._obedience = Obedience(store, tails, self._copies, epochs, outbox, runtime)
        own = self._own
        room = CompactRoom(store, streams, self._leader, runtime, own.name, (own.machine, own.rack))
        self._compactions = Compactions(room, epochs, outbox)
        self._obedience.compactions = self._compactions
        inventory = StoreInventory(store, self._data_port, self._copies, scrubber)
        self._lanes = HeartbeatLanes(
            self._facts(identity.server_id), inventory, self._obedience, self._leader, runtime
        )
        self._serving = runtime.spawn("data port", self._data_port.run)
        self._copies.start()
        self._compactions.start()
        scrubber.start()
        self._obedience.start()
        self._lanes.start(self.ended.set, registered=enrolled)
        logger.info(
            "serving server=%s id=%d port=%d chunks=%d unidentified=%d epoch=%s",
            self._own.name,
            identity.server_id,
            self._data_port.port,
            store.chunk_count,
            len(store.unidentified),
            epochs.newest,
        )
        self.ready.set(self._data_port.port)

    def _enrol(self) -> Identity | None:
        """Make the directory that of this server; None when stopped before a leader answered.

        The id comes from the masters (D6). If the process ends between their answer and the file,
        the next start is a further new disk, as empty as this one.
        """
        # Before the masters hear of a port that is somebody else's.
        self._network.listen((self._own.host, self._own.port)).close()
        disk_id = DiskId(self._runtime.random_u64())
        nobody = Identity(self._config.cluster.id, ServerId(0), disk_id)
        outages = Outages(self._runtime)
        while not self._stopping:
            disks = (_disk_facts(self._disk, nobody, 0),)
            try:
                reply = register(self._leader, self._facts(ServerId(0)), disks, CALL_TIMEOUT_S)
            except GfsError as error:
                if is_final(error, registered_once=False):
                    raise
                self._pause(outages.failed(error))
                continue
            outages.ended()
            identity = Identity(self._config.cluster.id, reply.server_id, disk_id, self._own.name)
            write_identity(self._disk, identity)
            EpochBook([self._disk], self._runtime).told(reply.epoch)
            logger.info("enrolled server=%s id=%d", self._own.name, reply.server_id)
            return identity
        return None

    def _facts(self, server_id: ServerId) -> ServerFacts:
        own = self._own
        return ServerFacts(
            own.name,
            server_id,
            own.host,
            own.port,
            own.rack,
            own.machine,
            self._start_id,
            self._boot_id,
        )

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait(pause_s)


def build_chunkserver(config: Config, runtime: Runtime) -> Chunkserver:
    """Return a chunkserver that holds its data directory and is not started yet.

    Raises: ConfigError, WrongDirectory (another cluster's, or in use), DiskFailed.
    """
    if config.chunkserver is None:
        raise ConfigError(f"{config.path}: has no [chunkserver]")
    return Chunkserver(config, config.chunkserver, runtime)


def run_chunkserver(config: Config, insecure: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Prints `ready name=… port=…` once the data port serves. Raises: the GfsError that ended it.
    """
    own = config.chunkserver
    if own is None:
        raise ConfigError(f"{config.path}: has no [chunkserver]")
    check_exposure(config, own.host, insecure)
    crashed: list[BaseException] = []

    def note_crash(task: str, error: BaseException) -> None:
        logger.critical("a task crashed task=%s", task, exc_info=error)
        crashed.append(error)

    runtime = ThreadedRuntime(note_crash)
    stop = watch_stop_signals(runtime)
    server = build_chunkserver(config, runtime)
    try:
        server.start()
        _wait_for_end(server, crashed, stop)
    finally:
        clean = server.stop()
    if crashed:
        raise GfsError(f"a task of {own.name} crashed: {crashed[0]!r}") from crashed[0]
    if server.ended.done():
        raise server.ended.result(0.0)
    logger.info("stopped server=%s clean=%s", own.name, clean)
    return 0


def _wait_for_end(
    server: Chunkserver, crashed: list[BaseException], stop: Future[signal.Signals]
) -> None:
    said = False
    while not crashed and not server.ended.done():
        if not said and server.ready.done():
            print(f"ready name={server.name} port={server.ready.result(0.0)}", flush=True)
            said = True
        try:
            number = stop.result(_LOOK_S if said else _LOOK_S / 10)
        except DeadlineExceeded:
            continue
        logger.info("stopping signal=%s", number.name)
        return
