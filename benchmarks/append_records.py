"""Records that name themselves, as the runs of killed appends write them, and what a reader sees.

The reader knows nothing of the writers: a record is a line with its writer, its number, a checksum
and filler, so that a record that is torn, doubled, missing or out of order is seen in the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


def record(writer: int, number: int, size: int) -> bytes:
    """Return a record of exactly so many bytes."""
    head = f"{writer:04} {number:08} "
    filler = (f"{writer * 7919 + number:x}." * (size // 2 + 1)).encode()[: size - len(head) - 10]
    return head.encode() + b"%08x " % zlib.crc32(filler) + filler + b"\n"


@dataclass
class Seen:
    """What a file holds: the records of each writer in their order, and what is wrong with it."""

    order: dict[int, list[int]] = field(default_factory=dict)
    offsets: dict[tuple[int, int], int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(numbers) for numbers in self.order.values())


def look(path: Path) -> Seen:
    """Return what lies in a local copy of the file."""
    seen = Seen()
    at = 0
    with path.open("rb") as file:
        for line in file:
            _look_at(seen, at, line)
            at += len(line)
    for writer, numbers in seen.order.items():
        if numbers != sorted(numbers):
            seen.wrong.append(f"writer {writer}: its records are not in their order")
        if len(set(numbers)) != len(numbers):
            twice = len(numbers) - len(set(numbers))
            seen.wrong.append(f"writer {writer}: {twice} records are there twice")
    return seen


def _look_at(seen: Seen, at: int, line: bytes) -> None:
    parts = line.split(b" ", 3)
    try:
        writer, number, told = int(parts[0]), int(parts[1]), int(parts[2], 16)
        whole = line.endswith(b"\n") and zlib.crc32(parts[3][:-1]) == told
    except (ValueError, IndexError):
        whole = False
    if not whole:
        seen.wrong.append(f"no whole record at {at}: {line[:40]!r}")
        return
    seen.order.setdefault(writer, []).append(number)
    seen.offsets[writer, number] = at


def compare(seen: Seen, logs: Iterable[Path]) -> list[str]:
    """Return what writers were told that is not in the file as they were told."""
    wrong: list[str] = []
    for log in logs:
        for row in log.read_text().splitlines():
            writer, number, offset, _ = (int(word) for word in row.split())
            found = seen.offsets.get((writer, number))
            if found is None:
                wrong.append(f"record {number} of writer {writer} is acknowledged and not there")
            elif found != offset:
                wrong.append(
                    f"record {number} of writer {writer} lies at {found}, it was told {offset}"
                )
    return wrong
