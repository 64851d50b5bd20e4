"""Three real masters, each on a disk of its own that loses power, under clients that make names.

What counts as acknowledged was acknowledged before the cut began: this kernel can return from a
sync that the cut overtook, while without power nothing is acknowledged any more.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from chaos.masters import Masters, Place

import gfs_ha
from gfs_ha.errors import GfsError
from power.cut_disk import CutDisk

DISK_BYTES = 64 << 20
NAMES = ("m1", "m2", "m3")
_CLIENTS = 4
_CALL_S = 1.0
_SETTLE_S = 60.0


class Violated(Exception):
    """A promise was broken."""


class _Load:
    """Clients that make names until they are stopped; `acknowledged` is what they were told."""

    def __init__(self, config: Path, prefix: str) -> None:
        self._config = config
        self._prefix = prefix
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._made: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(_CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def acknowledged(self) -> list[str]:
        """Return what was made up to now."""
        with self._lock:
            return list(self._made)

    def stop(self) -> None:
        """End the clients."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        with gfs_ha.connect(self._config, timeout_s=_CALL_S) as fs:
            number = 0
            while not self._stopped.is_set():
                name = f"{self._prefix}-{client}-{number}"
                number += 1
                try:
                    fs.mkdir(f"/{name}")
                except GfsError:
                    continue
                with self._lock:
                    self._made.append(name)


class RealCuts:
    """Use it with `with`; leaving it ends the processes and the disks. Raises: OSError."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self.acknowledged: list[str] = []
        self.cuts = 0
        net = f"127.{os.getpid() % 250 + 1}.{self._chance.randrange(1, 250)}"
        try:
            self._disks = {}
            for name in NAMES:
                disk = CutDisk(directory / name / "disk", DISK_BYTES)
                self._stack.callback(disk.close)
                self._disks[name] = disk
            places = {
                name: Place(
                    name,
                    directory / name,
                    f"{net}.{number}",
                    lambda: None,
                    data=str(self._disks[name].outside / "data"),
                )
                for number, name in enumerate(NAMES, 1)
            }
            self._masters = Masters(places, directory / "client.toml", "power")
            self._stack.enter_context(self._masters)
            self._masters.bootstrap()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> RealCuts:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cut_all(self) -> None:
        """Cut the power of all at once, start them again, check. Raises: Violated."""
        load = self._loaded()
        try:
            self.acknowledged += load.acknowledged()
            for disk in self._disks.values():
                disk.cut()
            for master in self._masters.all.values():
                master.end(signal.SIGKILL)
        finally:
            load.stop()
        for disk in self._disks.values():
            disk.plug_in()
        for master in self._masters.all.values():
            master.start()
        for master in self._masters.all.values():
            master.wait_ready()
        self.check()

    def cut_one(self, name: str = "") -> str:
        """Cut the power of one master's disk: it stops by itself and the others go on; start it
        again, check. Returns what it said at its end. Raises: Violated."""
        name = name or self._chance.choice(NAMES)
        master, disk = self._masters.all[name], self._disks[name]
        load = self._loaded()
        try:
            disk.cut()
            self._wait(lambda: master.ended_by_itself, f"{name} stops without its disk")
            before = len(load.acknowledged())
            self._wait(
                lambda: len(load.acknowledged()) > before, f"the others go on without {name}"
            )
        finally:
            load.stop()
        self.acknowledged += load.acknowledged()
        said = master.said()
        if not master.ended_with(1, "DiskFailed"):
            raise Violated(f"{name} without its disk ended with {master.last_words()}")
        master.end(signal.SIGKILL)
        disk.plug_in()
        master.start()
        master.wait_ready()
        self.check()
        return said

    def check(self) -> None:
        """Everything acknowledged is there, on masters of one state. Raises: Violated."""
        with gfs_ha.connect(self._masters.config, timeout_s=_SETTLE_S) as fs:
            found = {entry.name for entry in fs.listdir("/")}
            lost = [name for name in self.acknowledged if name not in found]
            if lost:
                raise Violated(f"{len(lost)} acknowledged names are gone, such as {lost[0]}")

            def all_equal() -> bool:
                report = fs.operations.verify_states(deep=True)
                wrong = [row.name for row in report.items if row.verdict == "differs"]
                if wrong or report.diverged:
                    raise Violated(f"{wrong or report.diverged} have another state")
                counts = [row.count for row in report.items if row.count is not None]
                if any(count.done and count.kept != count.counted for count in counts):
                    raise Violated(f"a kept hash is not that of the rows: {counts}")
                return all(row.verdict == "equal" for row in report.items)

            self._wait(all_equal, "all masters have one state")
        self.cuts += 1

    def _loaded(self) -> _Load:
        """Return a load that is under way for a moment of the seed's choice."""
        load = _Load(self._masters.config, f"c{self.cuts}")
        wanted = self._chance.randrange(20, 300)
        try:
            self._wait(lambda: len(load.acknowledged()) >= wanted, "clients make names")
        except BaseException:
            load.stop()
            raise
        return load

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + _SETTLE_S
        while True:
            try:
                if reached():
                    return
            except GfsError as error:
                last = f" ({error.code}: {error.message})"
            else:
                last = ""
            if time.monotonic() > deadline_s:
                raise Violated(f"not within {_SETTLE_S:.0f} s: {what}{last}")
            time.sleep(0.01)
