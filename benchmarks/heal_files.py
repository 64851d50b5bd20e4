"""Files that name themselves: whoever knows a name knows every byte that the file must have.

So a reader that knows nothing of the writers can tell a lost, torn or wrong file from a good one.
"""

from __future__ import annotations

import random

_BASE_BYTES = 4 << 20
SIZES = (300, 4_096, 60_000, 250_000, 1_000_000, 2_600_000)


class Contents:
    """The bytes of all files, cut from one random block that is the same in every process."""

    def __init__(self) -> None:
        self._base = random.Random(20031019).randbytes(_BASE_BYTES)

    def name(self, number: int, size: int = 0) -> str:
        """Return the name of a file; without a size, one of the usual ones."""
        return f"{number:07}-{size or SIZES[number % len(SIZES)]}"

    def data(self, name: str) -> bytes:
        """Return what a file must hold."""
        number, size = (int(part) for part in name.split("-"))
        head = f"{name}\n".encode()
        start = number * 7_919 % (_BASE_BYTES // 2)
        body = self._base[start:] + self._base[:start]
        whole = head + body * (size // _BASE_BYTES + 1)
        return whole[:size]

    def wrong(self, name: str, data: bytes) -> str:
        """Return what is wrong with a file's bytes, empty if nothing is."""
        try:
            expected = self.data(name)
        except ValueError:
            return f"{name}: nobody writes files of this name"
        if len(data) != len(expected):
            return f"{name}: {len(data)} bytes"
        return "" if data == expected else f"{name}: other bytes than it was written with"
