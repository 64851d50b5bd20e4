"""The clients of the constant load, as their driver sees them: started, read, ended, judged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from append_records import compare, look
from heal_files import Contents
from heal_load import LOG_FILE, PUTS

import gfs_ha
from gfs_ha.errors import GfsError

RATES = {"put": 3.0, "get": 8.0, "append": 25.0}  # Per second.
BIG = "/big"
CUT = "/cut"  # What new clients put while a server is cut off.
_END_S = 180.0


@dataclass
class Answers:
    """What the clients were answered in some span of time, by kind; latencies in ms, sorted."""

    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def percentile_ms(self, kind: str, share: float) -> float:
        """Return a percentile of one kind; NaN when there was nothing."""
        found = self.latencies_ms.get(kind, [])
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")

    @property
    def count(self) -> int:
        return sum(len(found) for found in self.latencies_ms.values())


class Clients:
    """A process for each kind of the load. Use it with `with`.

    Args: `enter` is called in each process before it begins (to enter a namespace).
    """

    def __init__(
        self, directory: Path, config: Path, rates: Mapping[str, float], environ: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._config = config
        self._rates = rates
        self._environ = environ
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._read: dict[str, tuple[int, list[tuple[float, float, str]]]] = {}

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            if child.poll() is None:
                child.kill()
                child.wait(10)

    def start(self, enter: Callable[[], None] | None = None) -> None:
        """Start them."""
        program = str(Path(__file__).with_name("heal_load.py"))
        for kind, rate in self._rates.items():
            with self._errors(kind).open("wb") as told:
                self._children[kind] = subprocess.Popen(
                    [sys.executable, program, kind, str(self._config), self._log(kind), str(rate)],
                    env=dict(self._environ),
                    stdin=subprocess.PIPE,
                    stderr=told,
                    preexec_fn=enter,
                )

    def stop(self) -> list[str]:
        """Have them end, and return what went wrong with them."""
        wrong = []
        for child in self._children.values():
            assert child.stdin is not None
            child.stdin.close()
        for kind, child in self._children.items():
            try:
                child.wait(_END_S)
            except subprocess.TimeoutExpired:
                wrong.append(f"the client of {kind} does not end")
                child.kill()
                child.wait(10)
            if child.returncode:
                wrong.append(f"the client of {kind}: {self._errors(kind).read_text()[-500:]}")
        return wrong

    def answers(self, since_s: float, until_s: float) -> Answers:
        """Return the operations that ended in a span of time."""
        found = Answers()
        for kind in self._rates:
            for begun_s, took_ms, what in self._rows(kind):
                ended_s = begun_s + took_ms / 1000
                if not since_s <= ended_s < until_s:
                    continue
                if what.startswith("ERROR"):
                    found.errors.append(what)
                else:
                    found.latencies_ms.setdefault(kind, []).append(took_ms)
        for latencies in found.latencies_ms.values():
            latencies.sort()
        return found

    def acknowledged(self, kind: str) -> list[str]:
        """Return what was acknowledged, without the kind's name."""
        return [
            what.partition(" ")[2]
            for _, _, what in self._rows(kind)
            if not what.startswith("ERROR")
        ]

    def _rows(self, kind: str) -> list[tuple[float, float, str]]:
        at, rows = self._read.get(kind, (0, []))
        path = Path(self._log(kind))
        if path.exists():
            with path.open("rb") as file:
                file.seek(at)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            for line in whole.decode().splitlines():
                begun, took, what = line.split(" ", 2)
                rows.append((float(begun), float(took), what))
            at += len(whole)
        self._read[kind] = at, rows
        return rows

    def _log(self, kind: str) -> str:
        return str(self._directory / f"{kind}.log")

    def _errors(self, kind: str) -> Path:
        return self._directory / f"{kind}.err"


@dataclass
class Verified:
    """What an independent reader found."""

    files: int = 0
    records: int = 0
    bytes_read: int = 0
    bytes_lost: int = 0
    wrong: list[str] = field(default_factory=list)


def verify(config: Path, clients: Clients, directory: Path) -> Verified:
    """Read everything with a client of its own, and compare with names and acknowledgements."""
    found = Verified()
    contents = Contents()
    with gfs_ha.connect(config) as cluster:
        for folder in (PUTS, BIG, CUT):
            _verify_files(cluster, contents, folder, found)
        there = {entry.name for entry in cluster.listdir(PUTS)}
        for name in clients.acknowledged("put"):
            if name not in there:
                found.wrong.append(f"{PUTS}/{name} was acknowledged and is not there")
                found.bytes_lost += int(name.split("-")[1])
        copy = directory / "log.copy"
        cluster.get(LOG_FILE, copy)
    seen = look(copy)
    found.records = seen.count
    found.bytes_read += copy.stat().st_size
    rows = directory / "append.rows"
    lines = [f"{what} 0\n" for what in clients.acknowledged("append")]
    rows.write_text("".join(lines))
    wrong = seen.wrong + compare(seen, [rows])
    found.bytes_lost += 2_048 * len(wrong)
    found.wrong += wrong
    os.unlink(copy)
    return found


def _verify_files(
    cluster: gfs_ha.Cluster, contents: Contents, folder: str, found: Verified
) -> None:
    for entry in cluster.listdir(folder):
        try:
            data = cluster.read_bytes(f"{folder}/{entry.name}")
        except GfsError as error:
            found.wrong.append(f"{folder}/{entry.name}: {error.code}: {error.message}")
            found.bytes_lost += entry.status.size
            continue
        wrong = contents.wrong(entry.name, data)
        found.files += 1
        found.bytes_read += len(data)
        if wrong:
            found.wrong.append(f"{folder}/{wrong}")
            found.bytes_lost += entry.status.size
