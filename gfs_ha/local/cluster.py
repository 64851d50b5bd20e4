"""A real cluster of processes on this machine, kept in one directory: up, down, kill, start."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

from gfs_ha.errors import (
    ConfigError,
    DeadlineExceeded,
    Denied,
    GfsError,
    NotFound,
    PortTaken,
    PreconditionFailed,
    UsageError,
    WrongDirectory,
)
from gfs_ha.local import certificates, launcher, processes
from gfs_ha.local.home import MASTER, Home
from gfs_ha.local.layout import Layout, Member, Newcomer, Plan, default_directory, read_member
from gfs_ha.local.locking import locked, no_cluster
from gfs_ha.local.member_status import MemberStatus, UpReport, status_of
from gfs_ha.local.member_text import HOST
from gfs_ha.local.ports import choose_ports
from gfs_ha.local.processes import Process
from gfs_ha.local.ready import wait_serving
from gfs_ha.local.replacing import forget, replaced
from gfs_ha.local.shape import Growth, check_majority, check_shape
from gfs_ha.runtime import Runtime, ThreadedRuntime

START_TIMEOUT_S = 30.0
STOP_GRACE_S = 5.0
_KNOWN_S = 3.0
_FIRST_START_TRIES = 3
_Errors = tuple[type[GfsError], ...]


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
        try:
            with self._locked():
                ended = launcher.end_all(self._layout.homes(), self._runtime, STOP_GRACE_S)
                if wipe:
                    self._layout.mark_incomplete()  # First: it may be broken off.
                    certificates.forget(self._layout)
                    self._layout.remove()
        except NotFound:
            return ()  # Somebody else wiped it meanwhile.
        return ended

    def status(self) -> tuple[MemberStatus, ...]:
        """Return every process of the cluster, masters first; nothing when there is none."""
        if not self._layout.exists():
            return ()
        return tuple(status_of(home) for home in self._layout.homes())

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

        When that fails or is broken off, those that no master has heard of are not there; `up`
        starts the others. Raises: NotFound when there is no cluster; PreconditionFailed while too
        few masters run; UsageError for what cannot be; PortTaken; DeadlineExceeded.
        """
        with self._locked():
            if not self.complete:
                raise NotFound(no_cluster(self.directory))
            members, awake = self._layout.members(), self._awake()
            check_majority(self.directory, self._layout.voters(), awake)
            fresh = growth.newcomers(self._layout.plan(), members, awake)
            try:
                added = self._start_newcomers(fresh)
            except BaseException as error:
                self._withdraw(fresh, error)
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
                new = self._layout.lay_out_master(old, self._choose_ports(3))
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

    def wait_known(self, name: str) -> None:
        """Wait a moment for the leader to say that a chunkserver is live, if there is a leader.

        Raises: the error that it ended with when it is not taken back, as one that was removed.
        """
        member, voters = self.member(name), self._layout.voters()
        if member.role == MASTER or 2 * len(self._awake() & set(voters)) <= len(voters):
            return
        try:
            self._wait_serving((member,), _KNOWN_S)
        except (ConfigError, DeadlineExceeded, Denied):
            pass  # It serves its port, and goes on asking for a leader.

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
            raise NotFound(no_cluster(self.directory))
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

    def _start_newcomers(self, fresh: Sequence[Newcomer]) -> tuple[Member, ...]:
        """Lay chunkservers out and start them, on other ports when one is taken meanwhile."""
        for left in reversed(range(_FIRST_START_TRIES)):
            added = self._layout.lay_out_servers(fresh, self._choose_ports(2 * len(fresh)))
            certificates.certify(self._layout)
            try:
                self._start(added, bootstrap=False, wait=True)
                break
            except PortTaken:
                if not left:
                    raise
        return added

    def _withdraw(self, fresh: Sequence[Newcomer], error: BaseException) -> None:
        """Remove the newcomers that do not run and were never known to a master, but their logs."""
        names = {one.name for one in fresh}
        for home in self._layout.homes():
            if home.name in names and not home.enrolled() and launcher.find(home) is None:
                log = home.withdraw()
                if isinstance(error, GfsError):
                    error.message = error.message.replace(str(home.files.log), str(log))
                    error.args = (error.message,)

    def _awake(self) -> set[str]:
        found = ((home.name, launcher.find(home)) for home in self._layout.homes())
        return {name for name, process in found if process is not None and not process.paused()}

    def _choose_ports(self, count: int) -> tuple[int, ...]:
        """Return free ports which are none of a process either that is stopped now."""
        return choose_ports(HOST, count, self._runtime, self._layout.ports())

    def _wait_serving(self, members: Sequence[Member], timeout_s: float) -> None:
        def ended() -> list[Member]:
            return [member for member in members if launcher.find(member.home) is None]

        gone = wait_serving(self.config_path, members, self._runtime, timeout_s, ended)
        if gone:
            raise processes.start_errors([(one.name, one.home.files) for one in gone])

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
        self._start(stopped, bootstrap=False, wait=True, passing=(WrongDirectory,))
        self._wait_serving(members, self._timeout_s)  # It tells of all that ended.
        started = tuple(member.name for member in stopped)
        return UpReport(self.directory, self.config_path, False, tuple(running), started)

    def _start(
        self,
        members: Sequence[Member],
        bootstrap: bool,
        wait: bool,
        passing: tuple[type[GfsError], ...] = (),
    ) -> None:
        """Start them all, then wait for all; when one does not start, none of these stays.

        But for one that ends with an error of `passing`: the others need not end for that.
        """
        begun: list[tuple[Member, Process]] = []
        try:
            for member in members:
                begun.append((member, self._launch(member, bootstrap)))
            if wait:
                for member, process in begun:
                    with suppress(*passing):
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
