"""Real input for the demo and the benchmarks, and the comparison of what came back."""

from __future__ import annotations

import os
import shutil
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
_LEFT_OUT = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "*.pyc")
_DIFFERENCES_MAX = 20


def copy_standard_library(target: Path) -> tuple[int, int]:
    """Copy Python's standard library without packages and caches; return (files, bytes)."""
    shutil.copytree(sysconfig.get_path("stdlib"), target, ignore=_LEFT_OUT)
    return measure(target)


def measure(tree: Path) -> tuple[int, int]:
    """Return how many files a tree has, and their bytes."""
    sizes = [os.path.getsize(path) for path in _files(tree)]
    return len(sizes), sum(sizes)


def write_random(target: Path, size: int) -> None:
    """Write a file that no part of the way can compress or guess."""
    with target.open("wb", buffering=0) as file:
        for start in range(0, size, 8 * MIB):
            file.write(os.urandom(min(8 * MIB, size - start)))


def write_small_files(target: Path, count: int, size: int, per_directory: int = 200) -> None:
    """Write a tree of equal small files."""
    data = os.urandom(size + count)
    for number in range(count):
        directory = target / f"d{number // per_directory:04d}"
        if number % per_directory == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number:06d}").write_bytes(data[number : number + size])


def differences(first: Path, second: Path) -> list[str]:
    """Return what differs between two trees or files, at most 20: names, bytes, modes, times."""
    found: list[str] = []
    for line in _differences(first, second):
        found.append(line)
        if len(found) >= _DIFFERENCES_MAX:
            break
    return found


def _differences(first: Path, second: Path) -> Iterator[str]:
    ours = _names(first)
    theirs = _names(second)
    for name in sorted(ours.keys() - theirs.keys()):
        yield f"{name or first.name} is missing"
    for name in sorted(theirs.keys() - ours.keys()):
        yield f"{name} was not there before"
    for name in sorted(ours.keys() & theirs.keys()):
        here, there = first / name, second / name
        one, two = here.stat(), there.stat()
        if stat.S_IFMT(one.st_mode) != stat.S_IFMT(two.st_mode):
            yield f"{name} is of another kind"
        elif stat.S_ISREG(one.st_mode) and not same_bytes(here, there):
            yield f"{name or first.name} has other bytes"
        elif stat.S_IMODE(one.st_mode) != stat.S_IMODE(two.st_mode):
            yield f"{name} has mode {two.st_mode:o}, not {one.st_mode:o}"
        elif stat.S_ISREG(one.st_mode) and one.st_mtime_ns != two.st_mtime_ns:
            yield f"{name} has another time"


def same_bytes(first: Path, second: Path) -> bool:
    """Return whether two files are equal, byte for byte."""
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb", buffering=0) as one, second.open("rb", buffering=0) as two:
        here, there = bytearray(4 * MIB), bytearray(4 * MIB)
        while True:
            count = one.readinto(here)
            if two.readinto(there) != count:
                # Regular files give what is asked for until their end.
                return False
            if not count:
                return True
            if memoryview(here)[:count] != memoryview(there)[:count]:
                return False


def _names(tree: Path) -> dict[str, None]:
    if not tree.is_dir():
        return {"": None}
    return {str(path.relative_to(tree)): None for path in tree.rglob("*")}


def _files(tree: Path) -> Iterator[str]:
    for directory, _, names in os.walk(tree):
        for name in names:
            yield os.path.join(directory, name)
