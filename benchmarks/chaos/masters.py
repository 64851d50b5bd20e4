"""Three master processes on hosts of their own: started, signalled, watched, their logs read."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gfs_ha
from chaos import kernel
from gfs_ha.local.processes import READY, start_ticks
from gfs_ha.runtime import boot_id

START_S = 40.0
PORT, RAFT_PORT = 7100, 7200
DISK_FULL_STATUS = 7
_RECEIVES = re.compile(rb"receiving a snapshot from=(\S+)")
_INSTALLS = b"installing a snapshot index="
_WAS_AWAY = b"it was away too long and waits for a snapshot"
_LEADS = re.compile(rb"leads now epoch=\d+\.(\d+)")
_WRONG = (b"Traceback (most", b"a task crashed", b"mistake of ours")
_CODE = "gfs_ha.cli.daemons"


def search_path(*first: Path) -> str:
    """Return a PYTHONPATH with which other processes run the same code as this one."""
    package = Path(gfs_ha.__file__).parent.parent
    given = filter(None, [os.environ.get("PYTHONPATH")])
    return os.pathsep.join([*map(str, first), str(package), *given])


class Broken(Exception):
    """The stage itself did not come up."""


@dataclass
class Place:
    """Where a master runs: what its process enters, its directory, its environment."""

    name: str
    directory: Path
    address: str
    enter: Callable[[], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    data: str = "data"
    log_bytes: int = 0  # Of the key `log_bytes`; 0: its default.


class Log:
    """The log of a master, read as it grows: who leads which term, snapshots, and what must not be
    there.
    """

    def __init__(self, path: Path) -> None:
        self.terms: set[int] = set()
        self.wrong: list[str] = []
        self.senders: list[str] = []  # Of each snapshot that it began to receive.
        self.installed_count = 0
        self.outdated_count = 0  # How often the log that it lacked was gone.
        self._path = path
        self._offset = 0
        self._inode = 0

    def read(self) -> None:
        try:
            with self._path.open("rb") as file:
                facts = os.fstat(file.fileno())
                if facts.st_ino != self._inode:
                    self._inode, self._offset = facts.st_ino, 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        data = data[:whole]
        self.terms.update(int(found) for found in _LEADS.findall(data))
        self.senders += [found.decode() for found in _RECEIVES.findall(data)]
        self.installed_count += data.count(_INSTALLS)
        self.outdated_count += data.count(_WAS_AWAY)
        for line in data.splitlines():
            if any(word in line for word in _WRONG):
                self.wrong.append(line.decode(errors="replace")[:300])


class MasterProcess:
    """One master; its runs follow one another."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self.place = place
        self.log = Log(place.directory / f"{place.name}.log")
        self.paused = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ended_by_itself(self) -> bool:
        """Return whether it ended although nobody here ended it."""
        return self._process is not None and self._process.poll() is not None

    def start(self, bootstrap: bool = False) -> None:
        """Start it; it serves some time later."""
        assert not self.running, f"{self.name} runs already"
        self.place.directory.mkdir(exist_ok=True)
        parent = os.getpid()
        config = self.place.directory / "gfs.toml"
        log = self.place.directory / f"{self.name}.log"
        words = [sys.executable, "-P", "-m", _CODE, "master", "--config", str(config)]
        words += ["--log-file", str(log), "--insecure"]

        def prepare() -> None:
            self.place.enter()
            kernel.end_with_parent(parent)

        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                words + (["--bootstrap"] if bootstrap else []),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.place.environment, "PYTHONPATH": search_path()},
                preexec_fn=prepare,
                process_group=0,
            )
        pid = self._process.pid
        note = f"{pid} {start_ticks(pid)} {boot_id()}\n"
        (self.place.directory / "pid").write_text(note, encoding="ascii")

    def wait_ready(self) -> None:
        """Wait until it listens. Raises: Broken."""
        deadline_s = time.monotonic() + START_S
        while READY not in self.said():
            if not self.running:
                raise Broken(f"{self.name} did not start: {self.said()[-300:]}")
            if time.monotonic() > deadline_s:
                raise Broken(f"{self.name} does not listen after {START_S:.0f} s")
            time.sleep(0.02)

    def said(self) -> str:
        """Return what this run wrote on standard output and error."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """Return how it ended by itself: status and last line."""
        assert self._process is not None
        lines = self.said().strip().splitlines()
        return f"status {self._process.returncode}: {lines[-1] if lines else 'without a word'}"

    def ended_with(self, status: int, code: str) -> bool:
        """Return whether it ended with this status and said so.

        That need not be its last line: other threads may have something to say until the very end.
        """
        assert self._process is not None
        said = any(line.startswith(f"{code}: ") for line in self.said().splitlines())
        return said and self._process.returncode == status

    def ended_full(self) -> bool:
        """Return whether it ended because its disk is full, and said so."""
        return self.ended_with(DISK_FULL_STATUS, "DiskFull")

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def end(self, number: signal.Signals, timeout_s: float = 20.0) -> bool:
        """End it by a signal; return False when SIGKILL had to follow."""
        process, self._process = self._process, None
        if process is None:
            return True
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(timeout_s)
            return True
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            return False

    @property
    def _output(self) -> Path:
        return self.place.directory / "output"


class Masters:
    """All of them. Use it with `with`; leaving it ends every process."""

    def __init__(self, places: Mapping[str, Place], config: Path, cluster_id: str) -> None:
        self.config = config
        self.all = {name: MasterProcess(place) for name, place in places.items()}
        self.gone: dict[str, MasterProcess] = {}  # Those that were taken out.
        self._head = _cluster_text(cluster_id)
        self._write_client_config()
        for place in places.values():
            self._write_config(place, places.values())

    def add(self, place: Place) -> MasterProcess:
        """Start a new master on an empty directory; it belongs to no cluster yet."""
        self._write_config(place, [*(one.place for one in self.all.values()), place])
        master = self.all[place.name] = MasterProcess(place)
        master.start()
        return master

    def remove(self, name: str) -> None:
        """End one that was taken out, and write down for new clients who is there now."""
        master = self.gone[name] = self.all.pop(name)
        master.end(signal.SIGKILL)
        self._write_client_config()

    def _write_client_config(self) -> None:
        text = self._head + "".join(_master_text(one.place) for one in self.all.values())
        fresh = self.config.with_name(self.config.name + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.config)

    def _write_config(self, place: Place, everyone: Iterable[Place]) -> None:
        place.directory.mkdir(exist_ok=True)
        text = self._head + "".join(map(_master_text, everyone))
        text += f'\n[master]\nname = "{place.name}"\ndirectory = "{place.data}"\n'
        text += 'map_bytes = "256MiB"\n'
        if place.log_bytes:
            text += f"log_bytes = {place.log_bytes}\n"
        (place.directory / "gfs.toml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Masters:
        return self

    def __exit__(self, *_: object) -> None:
        for master in self.all.values():
            master.end(signal.SIGKILL)

    def bootstrap(self) -> None:
        """Start a new cluster. Raises: Broken."""
        for master in self.all.values():
            master.start(bootstrap=True)
        for master in self.all.values():
            master.wait_ready()

    def leader(self) -> str:
        """Return who led the newest term, as the logs say; it may be gone. Or an empty string."""
        newest = {name: max(one.log.terms, default=0) for name, one in self.read_logs().items()}
        name = max(newest, key=lambda one: newest[one])
        return name if newest[name] else ""

    def terms(self) -> set[int]:
        """Return every term that had a leader which served."""
        return {term for one in self.read_logs().values() for term in one.log.terms}

    def read_logs(self) -> dict[str, MasterProcess]:
        everyone = {**self.gone, **self.all}
        for master in everyone.values():
            master.log.read()
        return everyone


def _cluster_text(cluster_id: str) -> str:
    lines = ['security = "none"', "[cluster]", f'id = "{cluster_id}"', 'name = "chaos"']
    return "\n".join(lines) + "\n"


def _master_text(place: Place) -> str:
    lines = [
        "[[cluster.masters]]",
        f'name = "{place.name}"',
        f'host = "{place.address}"',
        f"port = {PORT}",
        f"raft_port = {RAFT_PORT}",
    ]
    return "\n".join(lines) + "\n"
