"""The master put together: the one place that builds its objects, starts and stops them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec import structs

from gfs_ha.config import Config, MasterAddress, MasterConfig, check_exposure
from gfs_ha.errors import (
    ConfigError,
    DeadlineExceeded,
    Denied,
    GfsError,
    LocalError,
    StateDiverged,
)
from gfs_ha.ids import Epoch, LogIndex
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.limits import RAFT_LOG_BYTES_MAX
from gfs_ha.logs.requests import RequestLog
from gfs_ha.master.certificates import CertificateWatch
from gfs_ha.master.directory import MasterDirectory
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.handlers.dispatch import Dispatcher
from gfs_ha.master.health import space_low
from gfs_ha.master.housekeeping import Housekeeper
from gfs_ha.master.measures import MasterMeasures
from gfs_ha.master.proposals import Proposer
from gfs_ha.master.raft.contract import LEADER, RaftConfig
from gfs_ha.master.raft.identity import DATABASES as RAFT_DATABASES
from gfs_ha.master.raft.identity import bootstrap as bootstrap_store
from gfs_ha.master.raft.identity import join as join_store
from gfs_ha.master.raft.node import RaftNode
from gfs_ha.master.raft.recovery import stored_incarnation
from gfs_ha.master.raft.transport import tcp_transport
from gfs_ha.master.recount import Recounter, ensure_hash
from gfs_ha.master.recovery import Facts, recover
from gfs_ha.master.reign import Reign
from gfs_ha.master.roles import RoleKeeper
from gfs_ha.master.state.machine import Machine
from gfs_ha.master.state.tables import DATABASES as STATE_DATABASES
from gfs_ha.master.ticket_office import TicketOffice
from gfs_ha.master.verifier import Verifier
from gfs_ha.metrics.port import MetricsPort, Watched
from gfs_ha.net.door import Door
from gfs_ha.net.entry import enter_as_server
from gfs_ha.net.leader import LeaderLink
from gfs_ha.notify import service_notes
from gfs_ha.pki.names import Role
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.pulse import Pulse
from gfs_ha.runtime import Future, Runtime, Task, ThreadedRuntime, watch_stop_signals

INCARNATION = 1  # Of a new cluster; recovering from a copy raises it.
STOP_TIMEOUT_S = 5.0
SWITCH_INTERVAL_S = 0.0005  # A busy Python thread makes LMDB puts 12 -> 143 us at the default.
_DATABASES = (*RAFT_DATABASES, *STATE_DATABASES)
_DRAIN_S = 0.5
_HAND_OVER_S = 1.0
_LOOK_S = 0.2

logger = logging.getLogger(__name__)


class MasterServer:
    """One run of a master: `start`, then `stop`. An exception of its loops goes to the runtime.

    Raises (when built): ConfigError, WrongDirectory, PortTaken, OldCopy, DiskFailed, DiskFull.
    """

    def __init__(
        self, config: Config, own: MasterConfig, runtime: Runtime, bootstrap: bool = False
    ) -> None:
        address = config.cluster.master(own.name)
        if address is None:
            raise ConfigError(f"{config.path}: {own.name} is none of the cluster's masters")
        self._runtime = runtime
        self._tasks: list[Task] = []
        self.pulse = Pulse(runtime)  # Whether the three loops below turn.
        self._dispatcher = Dispatcher()
        raft_config = _raft_config(config, own)
        raft_config.check()
        self._entry = enter_as_server(config, Role.MASTER, own.name, runtime)
        with ExitStack() as undo:
            self._directory = MasterDirectory(own.directory)
            undo.callback(self._directory.close)
            self._directory.check()
            # The ports first: who cannot have them has not touched the store.
            where = (address.host, address.port)
            self._door = self._entry.network.listen(where, self._dispatcher.greet, self._dispatcher)
            undo.callback(self._close_door)
            transport = tcp_transport(raft_config, runtime, self._entry.credentials)
            undo.callback(transport.close)
            self._metrics = MetricsPort(runtime, config.metrics)
            undo.callback(self._metrics.close)
            self._kv = LmdbKV(self._directory.store, _DATABASES, own.map_bytes)
            undo.callback(self._kv.close)
            if bootstrap:
                bootstrap_store(self._kv, raft_config)
                logger.info("bootstrapped cluster=%s member=%s", config.cluster.id, own.name)
            elif join_store(self._kv, raft_config):
                logger.warning("waits to be let in cluster=%s name=%s", config.cluster.id, own.name)
            incarnation = stored_incarnation(self._kv) or INCARNATION
            raft_config = structs.replace(raft_config, incarnation=incarnation)
            ensure_hash(self._kv, runtime)
            self._recounter = Recounter(self._kv, runtime, self._stop_for_good)
            machine = Machine(_log_mistake, self._recounter)
            self._raft = RaftNode(raft_config, self._kv, machine, transport, runtime)
            self._raft.freezer.in_background = self._in_background
            self._furnish(config, own)
            self.pulse.add("door", self._door)
            self.pulse.add("raft", self._raft)
            self.pulse.add("housekeeping", self.housekeeper)
            undo.pop_all()

    @property
    def port(self) -> int:
        """Return the port of the door."""
        return self._door.port

    @property
    def raft(self) -> RaftNode:
        """Return the consensus loop."""
        return self._raft

    def start(self) -> None:
        """Begin to vote, replicate and serve."""
        spawn = self._runtime.spawn
        self._metrics.start(self._watched)
        self._tasks = [
            spawn("door", self._door.run),
            spawn("raft", self._raft.run),
            spawn("housekeeping", self.housekeeper.run),
        ]
        self._requests.start()

    def standing(self) -> str:
        """Return in a few words what this master does; for the service manager."""
        status = self._raft.status()
        if status.role == LEADER:
            return f"leads in term {status.term}"
        return f"follows {status.leader}" if status.leader else "knows no leader"

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Hand over if this master leads, answer who waits, stop the loops, close the store.

        Returns False when something still runs after `timeout_s`; the store stays open then.
        """
        self._measures.end()
        if self._tasks:
            self._hand_over()
        self.housekeeper.stop()
        if self._tasks:
            self._desk.post_quietly(self._roles.end)
        self._door.stop(_DRAIN_S)
        self._raft.stop()
        self._link.close()
        stopped = not [task for task in self._tasks if not task.join(timeout_s)]
        stopped &= self._recounter.stop(timeout_s)
        stopped &= self.verifier.stop(timeout_s)
        if self._desk.certificates is not None:
            stopped &= self._desk.certificates.stop(timeout_s)
        self._requests.stop()
        if not self._tasks:
            self._close_door()
            self._raft.close()
        stopped &= self._metrics.stop()
        if stopped:
            self._kv.close()
            self._directory.close()
        return stopped

    def _hand_over(self) -> None:
        """Let another master lead before this one goes: its clients wait for no election then."""
        if self._raft.status().role != LEADER:
            return
        future: Future[str] = self._runtime.future()

        def done(error: GfsError | None, leader: str) -> None:
            if error is not None:
                logger.warning("stops without a successor because=%s", error.message)
            future.set(leader)

        self._raft.transfer("", done)
        try:
            future.result(_HAND_OVER_S)
        except DeadlineExceeded:
            logger.warning("nobody took over within %.1f s", _HAND_OVER_S)

    def _voters(self) -> tuple[str, ...]:
        return tuple(one.member_id for one in self._raft.status().members if one.voter)

    def _facts_of_all(self) -> dict[str, MasterFacts | GfsError]:
        """Ask every member, also those that came after this master's file was written."""
        for member in self._raft.status().members:
            self._link.learn(member.member_id, *member.addresses.rpc)
        return self._link.facts()

    def _furnish(self, config: Config, own: MasterConfig) -> None:
        """Build what stands between the consensus loop and the peers."""
        masters = {master.name: master for master in config.cluster.masters}
        proposer = Proposer(self._raft, self._runtime, masters)
        network, hello = self._entry.network, self._entry.hello
        self._link = LeaderLink(config.cluster.masters, network, hello, self._runtime)
        self.verifier = Verifier(
            self._voters, self._kv, proposer, self._runtime, self._facts_of_all
        )
        self._requests = RequestLog(self._runtime, logging.getLogger(f"{__package__}.requests"))
        self._desk = Desk(
            config=config,
            name=own.name,
            incarnation=self._raft.identity.incarnation,
            kv=self._kv,
            proposer=proposer,
            runtime=self._runtime,
            post=self._door.post,
            disk_room=self._directory.room,
            rss_bytes=_rss_bytes,
            recounter=self._recounter,
            verifier=self.verifier,
            requests=self._requests,
        )
        self._dispatcher.furnish(self._desk)
        if self._entry.credentials is not None:
            watch = CertificateWatch(self._entry.credentials, self._facts_of_all, self._runtime)
            self._desk.certificates = watch
            self._desk.tickets = TicketOffice(self._runtime, config.data)
        self._roles = RoleKeeper(self._desk, self._make_reign)
        self.housekeeper = Housekeeper(self._desk, self._roles, self._every_minute)
        self._desk.metrics = self._metrics.page
        self._measures = MasterMeasures(self._desk, self._door.stats, self._raft.commit_times)
        self._watched = Watched(
            *(config.cluster.id, "master", own.name, self.pulse),
            *(self._measures.unready, self._measures.collect),
        )
        self._raft.on_role_change(self._roles.role_changed)
        self._raft.space_low_source = self._space_low

    def _every_minute(self) -> None:
        self._kv.forget_dead_readers()
        self.verifier.every_minute()
        if self._desk.certificates is not None and self._desk.reign is not None:
            self._desk.certificates.look_around()

    def _stop_for_good(self, error: GfsError) -> None:
        self._raft.condemned(error)

    def _close_door(self) -> None:
        """Give back the port of a door that never ran."""
        self._door.stop()
        self._door.run()

    def _in_background(self, work: Callable[[], None]) -> None:
        self._runtime.spawn("snapshot", work)

    def _make_reign(self, term: int) -> Reign:
        # A new member learns of the incarnation from those that let it in.
        self._desk.incarnation = self._raft.identity.incarnation
        own = self._desk.config.master
        assert own is not None, "the file of a master"
        epoch = Epoch(self._desk.incarnation, term)
        now_s, tickets = self._runtime.monotonic_s(), self._desk.tickets
        return Reign(epoch, now_s, own.dead_after_s, tickets)

    def _space_low(self) -> bool:
        stats = self._kv.stats()
        return space_low(*self._directory.room(), stats.used_bytes, stats.map_bytes)


def build_master(config: Config, runtime: Runtime, bootstrap: bool = False) -> MasterServer:
    """Return a master that holds its ports and its store and is not started yet.

    Raises: ConfigError, WrongDirectory, PortTaken, OldCopy, DiskFailed, DiskFull.
    """
    if config.master is None:
        raise ConfigError(f"{config.path}: has no [master]")
    return MasterServer(config, config.master, runtime, bootstrap)


def recover_master(config: Config, ask: Callable[[str], str], insecure: bool = False) -> int:
    """Make a stopped master's copy the whole cluster, see `recover`.

    Whatever would keep the master from starting afterwards is refused before anything is asked.
    """
    own = config.master
    assert own is not None, "the file of a master"
    address = config.cluster.master(own.name)
    assert address is not None, "a checked file names its own master"
    check_exposure(config, address.host, insecure)
    _check_ports((address.host, address.port), _raft_config(config, own))

    def look(masters: Sequence[MasterAddress]) -> Facts:
        runtime = ThreadedRuntime()
        entry = enter_as_server(config, Role.MASTER, own.name, runtime)
        link = LeaderLink(masters, entry.network, entry.hello, runtime)
        try:
            return link.facts() if masters else {}
        finally:
            link.close()

    return recover(config, own, _raft_config(config, own), ask, look)


def _check_ports(door: tuple[str, int], raft_config: RaftConfig) -> None:
    """Raises: PortTaken, when a process listens where this master would."""
    runtime, dispatcher = ThreadedRuntime(), Dispatcher()
    tcp_transport(raft_config, runtime).close()
    taken = Door(runtime, door, dispatcher.greet, dispatcher)
    taken.stop()
    taken.run()


def run_master(config: Config, bootstrap: bool = False, insecure: bool = False) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Prints `ready name=… port=…` once it listens. A fatal error of the consensus loop ends the
    process at once: what is in memory may differ from what is on disk.
    """
    own = config.master
    if own is None:
        raise ConfigError(f"{config.path}: has no [master]")
    address = config.cluster.master(own.name)
    assert address is not None, "a checked file names its own master"
    check_exposure(config, address.host, insecure)
    crashed: list[BaseException] = []

    def note_crash(task: str, error: BaseException) -> None:
        if isinstance(error, LocalError | Denied | StateDiverged):
            # A broken disk, or a stop that is meant: no trace of ours explains it.
            logger.critical("stops task=%s error=%s reason=%s", task, error.code, error.message)
        else:
            logger.critical("a task crashed task=%s", task, exc_info=error)
        crashed.append(error)

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    runtime = ThreadedRuntime(note_crash)
    stop = watch_stop_signals(runtime)
    server = build_master(config, runtime, bootstrap)
    server.start()
    print(f"ready name={own.name} port={server.port}", flush=True)
    notes = service_notes(server.pulse, runtime)
    notes.ready(server.standing())
    while not crashed:
        try:
            number = stop.result(_LOOK_S)
        except DeadlineExceeded:
            notes.look(server.standing())
            continue
        logger.info("stopping signal=%s", number.name)
        break
    if crashed:
        _die(crashed[0])
    notes.stopping("hands over what it leads, and ends")
    clean = server.stop()
    logger.info("stopped master=%s clean=%s", own.name, clean)
    return 0


def _die(error: BaseException) -> None:
    if isinstance(error, GfsError):
        line, status = f"{error.code}: {error.message}", error.exit_status
    else:
        line, status = f"InternalError: {type(error).__name__}: {error}", 1
    print(line, file=sys.stderr, flush=True)
    logging.shutdown()
    os._exit(status or 1)


def _raft_config(config: Config, own: MasterConfig) -> RaftConfig:
    return RaftConfig(
        cluster_id=config.cluster.id,
        incarnation=INCARNATION,
        member_id=own.name,
        members={master.name: (master.host, master.raft_port) for master in config.cluster.masters},
        doors={master.name: (master.host, master.port) for master in config.cluster.masters},
        state_databases=STATE_DATABASES,
        log_bytes_max=min(own.log_bytes, own.map_bytes // 4),
        log_room_bytes=min(RAFT_LOG_BYTES_MAX, own.map_bytes // 4),
    )


def _log_mistake(index: LogIndex, command: str, error: Exception) -> None:
    logger.error(
        "a command failed by a mistake of ours index=%d command=%s", index, command, exc_info=error
    )


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
