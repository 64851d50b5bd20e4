"""Processes of this machine that outlive who started them, and are found again by pid file.

A pid alone proves nothing: the process may be gone and its number given to another. A pid file
therefore holds pid, the start time that the kernel tells, and the boot id; signals go through a
pidfd whose start time was compared after it was opened.
"""

from __future__ import annotations

import itertools
import os
import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gfs_ha.errors import DeadlineExceeded, GfsError, WrongDirectory, error_from_wire
from gfs_ha.runtime import Runtime, boot_id

READY = "ready "  # How the line on standard output begins that says a process serves.
_REMOVED = "it was removed"  # What masters say of a server that they know no more.
_POLL_S = 0.02
_TAIL_BYTES = 4096
_GONE_STATES = "ZXx"
_STOPPED_STATES = "Tt"
_START_TIME_FIELD = 19  # Field 22 of /proc/PID/stat, counted after the name in parentheses.


@dataclass(frozen=True, slots=True)
class ProcessFiles:
    """Where one process keeps its pid, and what it says on standard output and error."""

    pid: Path
    output: Path
    log: Path


@dataclass(frozen=True, slots=True)
class Process:
    """One run of a process: number and start time (kernel ticks since boot) name it for ever."""

    pid: int
    start_ticks: int

    def running(self) -> bool:
        """Return whether this very run still lives (also when it is stopped by a signal)."""
        return self._state() not in ("", *_GONE_STATES)

    def paused(self) -> bool:
        """Return whether it is stopped by SIGSTOP."""
        return self._state() in tuple(_STOPPED_STATES)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this very run; return False when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.running():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait_gone(self, runtime: Runtime, timeout_s: float) -> bool:
        """Return whether it ended within the time."""
        return _wait(lambda: not self.running(), runtime, timeout_s)

    def wait_paused(self, runtime: Runtime, timeout_s: float) -> bool:
        """Return whether it stood still within the time; one that is gone does so for ever."""
        return _wait(lambda: self.paused() or not self.running(), runtime, timeout_s)

    def _state(self) -> str:
        _reap(self.pid)
        facts = _read_stat(self.pid)
        return facts[0] if facts and facts[1] == self.start_ticks else ""


def _wait(reached: Callable[[], bool], runtime: Runtime, timeout_s: float) -> bool:
    deadline_s = runtime.monotonic_s() + timeout_s
    while not reached():
        if runtime.monotonic_s() >= deadline_s:
            return False
        runtime.sleep(_POLL_S)
    return True


def _reap(pid: int) -> None:
    # A child that ended stays a zombie until its parent asks; other people's are no children.
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _read_stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[_START_TIME_FIELD])


def find_process(pid_file: Path) -> Process | None:
    """Return the running process of a pid file; None when it is gone, also if the number is not."""
    try:
        fields = pid_file.read_text(encoding="ascii").split()
        pid, start_ticks, boot = (int(field) for field in fields)
    except (OSError, ValueError):
        return None
    if boot != boot_id():
        return None
    process = Process(pid, start_ticks)
    return process if process.running() else None


def find_strays(mark: Sequence[str]) -> list[Process]:
    """Return the running processes that were started with these arguments, one after another.

    It finds what a pid file lost: who started it was killed before it wrote the file.
    """
    found = []
    wanted = b"\0%s\0" % b"\0".join(os.fsencode(argument) for argument in mark)
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            arguments = Path(f"/proc/{entry}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        facts = _read_stat(int(entry))
        if wanted in arguments and facts and facts[0] not in _GONE_STATES:
            found.append(Process(int(entry), facts[1]))
    return found


def start_process(command: Sequence[str], files: ProcessFiles, environ: dict[str, str]) -> Process:
    """Start a process in a session of its own; it does not end with who started it.

    Its standard output and error go to `files.output`, written anew for each run.
    Raises: GfsError when it cannot be started.
    """
    files.output.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            command[0],
            list(command),
            environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(files.output), flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
    except OSError as error:
        raise GfsError(f"cannot start {command[0]}: {error.strerror}") from error
    ticks = start_ticks(pid)
    # Renamed into place: a reader finds a whole pid file or none.
    fresh = files.pid.with_name(files.pid.name + ".new")
    fresh.write_text(f"{pid} {ticks} {boot_id()}\n", encoding="ascii")
    fresh.replace(files.pid)
    return Process(pid, ticks)


def start_ticks(pid: int) -> int:
    """Return when a process started, in kernel ticks since boot; 0 when there is none."""
    facts = _read_stat(pid)
    return facts[1] if facts else 0


def wait_ready(
    name: str, process: Process, files: ProcessFiles, runtime: Runtime, timeout_s: float
) -> str:
    """Wait for the line that says the process serves, and return it.

    Raises: the error that the process ended with; DeadlineExceeded when it says nothing in time.
    """
    deadline = runtime.monotonic_s() + timeout_s
    while True:
        running = process.running()  # Asked before the file is read: its last words count.
        for line in read_tail(files.output):
            if line.startswith(READY):
                return line
        if not running:
            raise start_error(name, files)
        if runtime.monotonic_s() >= deadline:
            raise DeadlineExceeded(
                f"{name} is not ready after {timeout_s:.0f} s; its log is {files.log}"
            )
        runtime.sleep(_POLL_S)


def start_error(name: str, files: ProcessFiles) -> GfsError:
    """Return the error that a process ended with, from its last line, with the name of its log."""
    code, message = _last_words(files)
    if not code:
        return GfsError(f"{name} did not start: {message} (log: {files.log})")
    if _was_removed(code, message):
        message += (
            "; to have this local cluster forget it, move its directory aside (it stays whole"
            f" there; delete it once nothing of it is missed): {_aside((files,))}"
        )
    return error_from_wire(code, f"{name} did not start: {message} (log: {files.log})", {})


def start_errors(ended: Sequence[tuple[str, ProcessFiles]]) -> GfsError:
    """Return the errors of all processes that ended, as one; of many that were removed once."""
    if len(ended) == 1:
        return start_error(*ended[0])
    words = [(name, files, *_last_words(files)) for name, files in ended]
    removed = [(name, files) for name, files, *said in words if _was_removed(*said)]
    texts = []
    if removed:
        texts.append(
            f"{', '.join(name for name, _ in removed)} did not start: they are unknown here:"
            " they were removed, or their data directories belong to another cluster; with empty"
            " ones they come as new servers; to have this local cluster forget them, move their"
            " directories aside (they stay whole there; delete them once nothing of them is"
            f" missed): {_aside([files for _, files in removed])}"
        )
    texts += [
        start_error(name, files).message for name, files in ended if (name, files) not in removed
    ]
    code = WrongDirectory.__name__ if removed else words[0][2] or GfsError.__name__
    return error_from_wire(code, "; ".join(texts), {})


def _last_words(files: ProcessFiles) -> tuple[str, str]:
    """Return (code, message) of the error that a process ended with; no code if it is no error."""
    lines = [*read_tail(files.log)[-1:], *read_tail(files.output)]
    last = lines[-1] if lines else "it said nothing"
    # A daemon ends with `Code: message`; its exit status is kept that way.
    code, colon, message = last.partition(": ")
    if colon and code.isidentifier() and code[0].isupper():
        return code, message
    return "", last


def _was_removed(code: str, message: str) -> bool:
    return code == WrongDirectory.__name__ and _REMOVED in message


def _aside(removed: Sequence[ProcessFiles]) -> str:
    """Return the command that moves their directories to names that no process of a cluster has.

    Nothing is deleted: they may hold the only copies of something, or be another cluster's.
    """
    homes = [files.log.parent for files in removed]
    return " && ".join(shlex.join(("mv", str(home), str(_free(home)))) for home in homes)


def _free(home: Path) -> Path:
    # Where a directory lies already `mv` would move into that.
    names = (f"{home.name}.aside{number or ''}" for number in itertools.count())
    return next(path for path in map(home.with_name, names) if not os.path.lexists(path))


def read_tail(path: Path) -> list[str]:
    """Return the last lines of a text file; none when there is no such file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            data = file.read(_TAIL_BYTES)
    except FileNotFoundError:
        return []
    return data.decode("utf-8", errors="replace").splitlines()


def end_processes(
    processes: Sequence[Process], runtime: Runtime, grace_s: float, kill_s: float = 5.0
) -> None:
    """End processes: politely, and after `grace_s` with SIGKILL. Stopped ones are woken first.

    Raises: DeadlineExceeded when one survives even that (the kernel does not let it go).
    """
    for process in processes:
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
    deadline = runtime.monotonic_s() + grace_s
    for process in processes:
        if not process.wait_gone(runtime, max(0.0, deadline - runtime.monotonic_s())):
            process.send(signal.SIGKILL)
    deadline = runtime.monotonic_s() + kill_s
    for process in processes:
        if not process.wait_gone(runtime, max(0.0, deadline - runtime.monotonic_s())):
            raise DeadlineExceeded(f"process {process.pid} does not end, not even by SIGKILL")
