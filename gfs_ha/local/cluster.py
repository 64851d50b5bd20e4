"""A real cluster of processes on this machine, kept in one directory: up, down, kill, start."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from gfs_ha.errors import (
    ConfigError,
    DeadlineExceeded,
    NotFound,
    PortTaken,
    PreconditionFailed,
    UsageError,
    WrongDirectory,
)
from gfs_ha.local import certificates, launcher, processes
from gfs_ha.local.layout import (
    MASTER,
    Home,
    Layout,
    Member,
    Plan,
    default_directory,
    read_member,
)
from gfs_ha.local.locking import locked
from gfs_ha.local.member_text import HOST
from gfs_ha.local.ports import choose_ports
from gfs_ha.local.processes import Process
from gfs_ha.local.ready import wait_serving
from gfs_ha.local.replacing import forget, replaced
from gfs_ha.local.shape import Growth, check_majority, check_shape
from gfs_ha.runtime import Runtime, ThreadedRuntime

START_TIMEOUT_S = 30.0
STOP_GRACE_S = 5.0
_FIRST_START_TRIES = 3

RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One process: is it there? `pid` is 0 when it is stopped."""

    name: str
    role: str
    state: str  # RUNNING, PAUSED (by SIGSTOP) or STOPPED.
    pid: int
    port: int
    rack: str
    log: Path
    metrics_port: int = 0  # 0: it has none.
    error: str = ""  # What is wrong with its configuration; then port and rack are not known.


@dataclass(frozen=True, slots=True)
class UpReport:
    """What `up` found running, and what it started."""

    directory: Path
    config: Path
    created: bool
    running: tuple[str, ...]
    started: tuple[str, ...]


class LocalCluster:
    """A cluster below `directory` (default: $GFS_LOCAL_DIR, else ~/.gfs-ha/local).

    Its processes live on without this object. Several callers may use one directory: what changes
    the set of processes takes a lock there.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        runtime: Runtime | None = None,
        timeout_s: float = START_TIMEOUT_S,
        launch: Callable[[Home, str, Sequence[str]], Process] = launcher.launch,
    ) -> None:
        """Args: `launch` starts a daemon, for who runs them elsewhere than beside this process."""
        self._layout = Layout(directory if directory is not None else default_directory())
        self._runtime = runtime or ThreadedRuntime()
        self._timeout_s = timeout_s
        self._launch_daemon = launch

    @property
    def directory(self) -> Path:
        return self._layout.directory

    @property
    def config_path(self) -> Path:
        """The configuration for clients."""
        return self._layout.client_config

    def up(
        self,
        masters: int | None = None,
        chunkservers: int | None = None,
        racks: Sequence[str] | None = None,
        chunk_bytes: int | None = None,
        capacities: Sequence[int] | None = None,
        disks: int | None = None,
        closed: bool | None = None,
    ) -> UpReport:
        """Make the cluster if there is none, start what is stopped, return when it serves.

        None means: as the cluster is; for a new one 3 masters, 4 chunkservers, racks r1 and r2,
        chunks of 64 MiB, one disk each and all of it, not closed. In a closed one everybody shows a
        certificate. Racks and capacities go in turns. Ready is: a leader serves, and every
        chunkserver is live for it.
        Raises: UsageError when the cluster has another shape; PortTaken; DeadlineExceeded;
        WrongDirectory when the directory holds something else.
        """
        wanted = {
            "masters": masters,
            "chunkservers": chunkservers,
            "racks": tuple(racks) if racks is not None else None,
            "chunk_bytes": chunk_bytes,
            "capacities": tuple(capacities) if capacities is not None else None,
            "disks": disks,
            "closed": closed,
        }
        given = {key: value for key, value in wanted.items() if value is not None}
        plan = replace(Plan(), **given)  # type: ignore[arg-type]
        plan.check()
        with self._locked(claim=True):
            if self.complete:
                check_shape(self.directory, self._layout.plan(), given)
                return self._start_stopped()
            return self._create(plan)

    @property
    def there(self) -> bool:
        """Return whether the directory holds a local cluster, also one that never was complete."""
        return self._layout.claimed()

    @property
    def complete(self) -> bool:
        """Return whether a cluster is there that may hold data: its shape stays."""
        return self._layout.exists() and self._layout.complete()

    def down(self, wipe: bool = False) -> tuple[str, ...]:
        """End all processes, and with `wipe` remove all data. Return the names that were running.

        Raises: DeadlineExceeded when a process cannot be ended.
        """
        if not self._layout.claimed():
            return ()
        with self._locked():
            ended = launcher.end_all(self._layout.homes(), self._runtime, STOP_GRACE_S)
            if wipe:
                certificates.forget(self._layout)
                self._layout.remove()
        return ended

    def status(self) -> tuple[MemberStatus, ...]:
        """Return every process of the cluster, masters first; nothing when there is none."""
        if not self._layout.exists():
            return ()
        return tuple(_status_of(home) for home in self._layout.homes())

    def kill(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to one process, wait for what it does, and return the pid.

        After SIGKILL and SIGTERM the process is gone, after SIGSTOP it stands still. No
        configuration is read. Raises: NotFound for an unknown name or one that does not run;
        DeadlineExceeded.
        """
        process = launcher.find(self._home(name))
        if process is None or not process.send(number):
            raise NotFound(f"{name} does not run")
        if number == signal.SIGSTOP:
            done = process.wait_paused(self._runtime, self._timeout_s)
        elif number == signal.SIGKILL or (number == signal.SIGTERM and not process.paused()):
            done = process.wait_gone(self._runtime, self._timeout_s)
        else:
            return process.pid
        if not done:
            raise DeadlineExceeded(
                f"{name} (pid {process.pid}) does not follow {number.name} within "
                f"{self._timeout_s:.0f} s"
            )
        return process.pid

    def start(self, name: str, wait: bool = True) -> bool:
        """Start one stopped process; return False when it runs already.

        With `wait` it serves its port on return (a master may not have a leader yet).
        Raises: NotFound; PreconditionFailed (it is paused); the error that it ended with;
        ConfigError; DeadlineExceeded.
        """
        member = self.member(name)
        with self._locked():
            process = launcher.find(member.home)
            if process is not None and process.paused():
                raise PreconditionFailed(
                    f"{name} (pid {process.pid}) is paused, not stopped; to let it go on:"
                    f" `gfsctl local kill {name} --signal CONT`"
                )
            if process is not None:
                return False
            self._start((member,), bootstrap=False, wait=wait)
        return True

    def add(self, growth: Growth) -> tuple[Member, ...]:
        """Give the cluster further chunkservers; return them once the leader knows them as live.

        What was broken off on the way is gone on with by `up`. Raises: NotFound when there is no
        cluster; PreconditionFailed while too few masters run; UsageError for what cannot be;
        PortTaken; DeadlineExceeded.
        """
        if not self.complete:
            raise NotFound(
                f"there is no cluster in {self.directory} yet; `gfsctl local up` makes one"
            )
        with self._locked():
            members = self._layout.members()
            running = {one.name for one in members if launcher.find(one.home) is not None}
            check_majority(self.directory, members, running)
            fresh = growth.newcomers(self._layout.plan(), members)
            for left in reversed(range(_FIRST_START_TRIES)):
                ports = choose_ports(HOST, 2 * len(fresh), self._runtime)
                added = self._layout.lay_out_servers(fresh, ports)
                certificates.certify(self._layout)
                try:
                    self._start(added, bootstrap=False, wait=True)
                    break
                except PortTaken:
                    if not left:
                        raise
            self._wait_serving(added, self._timeout_s)
        return added

    def replace_master(self, old: str) -> Iterator[str]:
        """Put a new master on an empty directory into the place of one, which may be dead.

        Yields what was done, a line a step; what was broken off is gone on with by the next call.
        Raises: NotFound, UsageError (no master), NoLeader, DeadlineExceeded.
        """
        if self._layout.exists() and (gone := self._layout.replaced(old)):
            with self._locked():
                forget(self._layout, old, self._runtime, STOP_GRACE_S)
            yield gone
            return
        if self.member(old).role != MASTER:
            raise UsageError(f"{old} is no master")
        with self._locked():
            new = self._layout.newcomer()
            if new is not None and old not in (begun := self._layout.misses(new)):
                raise UsageError(
                    f"{new.name} is on its way into the place of {', '.join(begun)}; first end that"
                    f" with `gfsctl local replace-master {', '.join(begun)}`"
                )
            if new is None:
                new = self._layout.lay_out_master(old, choose_ports(HOST, 3, self._runtime))
            certificates.certify(self._layout)
            if launcher.find(new.home) is None:
                self._start((new,), bootstrap=False, wait=True)
                yield f"{new.name} runs, on an empty directory"
            yield from replaced(self.config_path, old, new, self._runtime, self._timeout_s)
            launcher.end_all((self.member(old).home,), self._runtime, STOP_GRACE_S)
            self._layout.put_in_place(old, new)
            yield f"{new.name} is in the configurations instead of {old}"

    def wait_serving(self, timeout_s: float | None = None) -> None:
        """Wait until a leader serves and the chunkservers that run are live for it.

        Raises: the error that one of them ends with meanwhile; DeadlineExceeded.
        """
        members = [one for one in self._layout.members() if launcher.find(one.home) is not None]
        self._wait_serving(members, self._timeout_s if timeout_s is None else timeout_s)

    def env(self) -> dict[str, str]:
        """Return the environment that points clients to this cluster."""
        return {"GFS_CONFIG": str(self._layout.client_config)}

    def member(self, name: str) -> Member:
        """Return what is configured under a name; reads its own file only.

        Raises: NotFound, ConfigError.
        """
        return read_member(self._home(name))

    def _home(self, name: str) -> Home:
        """Return the directory of a process. Raises: NotFound."""
        homes = self._layout.homes() if self._layout.exists() else ()
        for home in homes:
            if home.name == name:
                return home
        if not homes:
            raise NotFound(f"there is no local cluster in {self.directory}; `gfsctl local up`")
        known = ", ".join(one.name for one in homes)
        raise NotFound(f"there is no process {name!r} here; there are {known}")

    # Below: the lock is held ------------------------------------------------------------------

    def _create(self, plan: Plan) -> UpReport:
        """Lay out a cluster and start it; a first start that was broken off is begun anew."""
        for left in reversed(range(_FIRST_START_TRIES)):
            launcher.end_all(self._layout.homes(), self._runtime, 0.0)
            for home in self._layout.homes():
                shutil.rmtree(home.directory)
            certificates.forget(self._layout)
            ports = choose_ports(HOST, plan.ports_needed(), self._runtime)
            cluster_id = f"local-{self._runtime.random_u64():016x}"
            self._layout.write(plan, cluster_id, ports)
            certificates.certify(self._layout)
            members = self._layout.members()
            try:
                self._start(members, bootstrap=True, wait=True)
                break
            except PortTaken:
                # Someone was faster than us; nobody has seen this cluster yet.
                if not left:
                    raise
        # From here on somebody may put files into it: it is never begun anew.
        self._layout.mark_complete()
        self._wait_serving(members, self._timeout_s)
        names = tuple(member.name for member in members)
        return UpReport(self.directory, self.config_path, True, (), names)

    def _wait_serving(self, members: Sequence[Member], timeout_s: float) -> None:
        def check() -> None:
            for member in members:
                if launcher.find(member.home) is None:
                    raise processes.start_error(member.name, member.home.files)

        wait_serving(self.config_path, members, self._runtime, timeout_s, check)

    def _start_stopped(self) -> UpReport:
        certificates.certify(self._layout)
        members = self._layout.members()
        running = []
        stopped = []
        for member in members:
            process = launcher.find(member.home)
            if process is None:
                stopped.append(member)
                continue
            process.send(signal.SIGCONT)
            running.append(member.name)
        self._start(stopped, bootstrap=False, wait=True)
        self._wait_serving(members, self._timeout_s)
        return UpReport(
            self.directory,
            self.config_path,
            False,
            tuple(running),
            tuple(member.name for member in stopped),
        )

    def _start(self, members: Sequence[Member], bootstrap: bool, wait: bool) -> None:
        """Start them all, then wait for all; when one does not start, none of these stays."""
        begun: list[tuple[Member, Process]] = []
        try:
            for member in members:
                begun.append((member, self._launch(member, bootstrap)))
            if wait:
                for member, process in begun:
                    processes.wait_ready(
                        member.name, process, member.home.files, self._runtime, self._timeout_s
                    )
        except BaseException:
            # Also on Ctrl-C: what is not ready now would be a process that nobody asked for.
            processes.end_processes([one for _, one in begun], self._runtime, 1.0)
            raise

    def _launch(self, member: Member, bootstrap: bool) -> Process:
        options = (launcher.BOOTSTRAP,) if bootstrap and member.role == MASTER else ()
        return self._launch_daemon(member.home, member.role, options)

    def _locked(self, claim: bool = False) -> AbstractContextManager[None]:
        """Have one caller at a time change the cluster."""
        return locked(self._layout, self._runtime, claim)


def _status_of(home: Home) -> MemberStatus:
    """Return a process; also of one whose configuration is wrong, since it may well run."""
    process = launcher.find(home)
    state = STOPPED if process is None else PAUSED if process.paused() else RUNNING
    pid, log = process.pid if process else 0, home.files.log
    try:
        member = read_member(home)
    except (ConfigError, WrongDirectory, NotFound) as error:
        return MemberStatus(home.name, home.role, state, pid, 0, "", log, error=error.message)
    where = (member.port, member.rack, log, member.metrics_port)
    return MemberStatus(member.name, member.role, state, pid, *where)
