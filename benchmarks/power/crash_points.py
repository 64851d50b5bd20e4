"""Every instant of a recorded run of a master's store, and what a power cut leaves of it there.

For each instant: nothing of what was not synced, all of it, each prefix, all but one, random parts,
and parts of one write (sectors of 512 bytes, pages of 4 KiB). A process that is killed leaves all.
What is left is opened by the product's own code, in a process of its own (`store_look.py`).
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from power.recorded_disk import (
    PAGE_BYTES,
    SECTOR_BYTES,
    Piece,
    RecordedDisk,
    apply,
    build,
    read_record,
    rename,
)
from power.scripted_master import Committed
from power.store_look import EMPTY, Look

HERE = Path(__file__).parent
_RECORD_S = 120.0
_RANDOM_PARTS = 4
_TORN = 3


@dataclass(frozen=True)
class Point:
    """An instant: what is on the disk, and which commits had returned."""

    names: dict[str, int]
    files: dict[int, bytes]
    acknowledged: int  # Steps of the script.
    operation: int
    kept: str

    def key(self) -> bytes:
        """Return what is the same for equal disks."""
        found = hashlib.blake2b(digest_size=16)
        for path, inode in sorted(self.names.items()):
            found.update(path.encode() + b"\0")
            found.update(self.files.get(inode, b"") if inode else b"directory")
        return found.digest() + self.acknowledged.to_bytes(4, "big")


@dataclass
class Verdict:
    """What the points have shown."""

    operations: int = 0
    commits: int = 0
    points: int = 0
    duplicates: int = 0
    violations: list[str] = field(default_factory=list)


def record(directory: Path, shim: Path, seed: int, steps: int, mode: str = "") -> Path:
    """Run the script on `directory`/disk; return the record of it."""
    disk, log = directory / "disk", directory / "record"
    disk.mkdir()
    words = [sys.executable, "-m", "power.scripted_master", str(disk / "m1"), str(seed), str(steps)]
    subprocess.run(
        [*words, mode] if mode else words,
        env={
            **os.environ, "LD_PRELOAD": str(shim), "DISK_SHIM_DIR": str(disk),
            "DISK_SHIM_LOG": str(log),
        },
        cwd=HERE.parent, check=True, timeout=_RECORD_S,
    )  # fmt: skip
    return log


class CrashPoints:
    """The points of one record, in order; some of them, if `share` is below 1."""

    def __init__(self, log: Path, disk: Path, seed: int, share: float = 1.0) -> None:
        self._operations = list(read_record(log, disk))
        self._chance = random.Random(seed)
        self._share = share
        self.operation_count = len(self._operations)
        self.commits = [
            msgspec.json.decode(one.data, type=Committed)
            for one in self._operations
            if one.kind == "N"
        ]

    def __iter__(self) -> Iterator[Point]:
        disk = RecordedDisk()
        acknowledged = 0
        for number, operation in enumerate(self._operations):
            if operation.kind == "N":
                acknowledged += 1
            disk.issue(operation)
            yield from self._around(disk, acknowledged, number)
            disk.finish(operation)
        yield from self._around(disk, acknowledged, len(self._operations))

    def _around(self, disk: RecordedDisk, acknowledged: int, number: int) -> Iterator[Point]:
        """Yield what a cut may leave here."""
        every = disk.pieces
        whole = len(disk.namings)
        choices = [(whole, kept, what) for kept, what in self._kept(every)]
        for count in range(whole):
            choices += [(count, [], f"{count} names, no data"), (count, every, f"{count} names")]
        for count, pieces, what in choices:
            if self._chance.random() >= self._share:
                continue
            names, files = dict(disk.names), dict(disk.files)
            rename(names, disk.namings[:count])
            apply(files, pieces)
            yield Point(names, files, acknowledged, number, what)

    def _kept(self, every: list[Piece]) -> Iterator[tuple[list[Piece], str]]:
        yield [], "nothing"
        if not every:
            return
        yield every, "all"
        for count in range(1, len(every)):
            yield every[:count], f"the first {count}"
            yield every[count:], f"all but the first {count}"
        chance = self._chance
        for _ in range(_RANDOM_PARTS if len(every) > 2 else 0):
            yield [one for one in every if chance.random() < 0.5], "some"
        for unit in (SECTOR_BYTES, PAGE_BYTES):
            torn = [place for place, one in enumerate(every) if one.data and len(one.data) > unit]
            for place in torn[-2:]:
                for how in range(_TORN):
                    parts = list(self._torn(every[place], unit, how))
                    before = every[:place]
                    yield [*before, *parts], f"write {place} torn at {unit}"
                    yield [*parts, *every[place + 1 :]], f"{place} torn at {unit}, nothing before"

    def _torn(self, piece: Piece, unit: int, how: int) -> Iterator[Piece]:
        """Yield some sectors of a write: the first ones, the last ones, any."""
        assert piece.data is not None
        count = -(-len(piece.data) // unit)
        cut = self._chance.randrange(1, count)
        for number in range(count):
            if (number < cut, number >= cut, self._chance.random() < 0.5)[how]:
                start = number * unit
                part = piece.data[start : start + unit]
                yield Piece(piece.inode, piece.offset + start, part)


class Looker:
    """The process that opens stores; another one, when that died of what it found."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def look(self, directory: Path) -> Look:
        """Return what the product finds there."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "power.store_look"],
                cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{directory}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if line:
            return msgspec.json.decode(line, type=Look)
        self._process = None
        process.communicate()
        return Look(error=f"the process ended with {process.returncode}")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.communicate()


def judge(points: CrashPoints, place: Path, violations_max: int = 10, seed: int = 0) -> Verdict:
    """Open every point; return what was found, at most so many violations."""
    verdict = Verdict(points.operation_count, len(points.commits))
    seen: set[bytes] = set()
    looker = Looker()
    try:
        for point in points:
            key = point.key()
            if key in seen:
                verdict.duplicates += 1
                continue
            seen.add(key)
            directory = place / f"cut{seed}"
            directory.mkdir()
            build(directory, point.names, point.files)
            wrong = _wrong(point, looker.look(directory / "m1"), points.commits)
            shutil.rmtree(directory)
            verdict.points += 1
            if wrong:
                where = f"operation {point.operation}, kept {point.kept}"
                verdict.violations.append(f"{where}: {wrong}")
                if len(verdict.violations) >= violations_max:
                    break
    finally:
        looker.close()
    return verdict


def _wrong(point: Point, look: Look, commits: list[Committed]) -> str:
    """Return what is not as promised; empty when all is."""
    if look.error:
        return look.error
    promised = point.acknowledged
    allowed = [one.digest for one in commits[max(0, promised - 1) : promised + 1]]
    if promised == 0:
        allowed.append(EMPTY)
    if look.digest not in allowed:
        at = [number for number, one in enumerate(commits) if one.digest == look.digest]
        found = f"the store after commit {at[0]}" if at else "a store that never existed"
        return f"{promised} commits had returned, found {found}"
    if promised == 0:
        return ""
    last = commits[promised - 1]
    if look.term < last.term or (look.term == last.term and last.vote not in (None, look.vote)):
        return f"term {look.term} vote {look.vote} after {last.term} {last.vote} were promised"
    if look.applied < last.applied:
        return f"applied {look.applied} after {last.applied}"
    if look.starts != max(look.starts, last.starts) or look.start <= last.starts:
        return f"start {look.start} after {last.starts} starts"
    return ""
