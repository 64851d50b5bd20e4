"""What the files that are appended to must hold: each acknowledged record once, where it was told.

A record says who it is: a number of the run, its length, and bytes that follow from the number.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

from gfs_ha.sim.checkers import Violation

_HEAD = struct.Struct(">4sQI")  # magic, number, length of what follows
_MAGIC = b"REC!"


def make_record(tag: int, size: int) -> bytes:
    """Return the bytes of a record."""
    return _HEAD.pack(_MAGIC, tag, size) + random.Random(tag).randbytes(size)


@dataclass(slots=True)
class RecordHistory:
    """One file that many append to."""

    name: str
    acked: dict[int, int] = field(default_factory=dict)  # The offset of each record.
    open: dict[int, None] = field(default_factory=dict)  # On their way, or never known.
    refused: dict[int, None] = field(default_factory=dict)
    grown: int = 0  # What somebody saw or was told that is there.
    _prefix: bytes = b""  # The longest that anybody read.

    def begins(self, tag: int) -> None:
        self.open[tag] = None

    def acknowledged(self, tag: int, offset: int, length: int) -> None:
        del self.open[tag]
        self.acked[tag] = offset
        self.grown = max(self.grown, offset + length)

    def found_again(self, tag: int, offset: int, length: int) -> None:
        """Note what a later run of a writer was told of a record; -1: it is there, somewhere.

        Raises: Violation.
        """
        told = self.acked.get(tag)
        if told is None and offset >= 0:
            self.acknowledged(tag, offset, length)
        elif told is not None and offset not in (-1, told):
            raise Violation(f"moved: record {tag} of {self.name} was at {told}, now at {offset}")

    def not_applied(self, tag: int) -> None:
        del self.open[tag]
        self.refused[tag] = None

    def check(self, data: bytes, least: int, acked: dict[int, int]) -> None:
        """Judge what somebody read who knew that `least` bytes and `acked` records were there.

        Raises: Violation.
        """
        if len(data) < least:
            raise Violation(f"short: {self.name} has {len(data)} bytes, {least} were told before")
        shorter = min(len(data), len(self._prefix))
        if data[:shorter] != self._prefix[:shorter]:
            raise Violation(f"changed: {self.name} does not begin with what was read before")
        if len(data) > len(self._prefix):
            self._prefix = data
        found: dict[int, int] = {}
        at = 0
        while at < len(data):
            tag, length = self._parse(data, at)
            if tag in found:
                raise Violation(f"doubled: record {tag} of {self.name} at {found[tag]} and {at}")
            if tag in self.refused:
                raise Violation(f"false refusal: record {tag} of {self.name} is at {at}")
            found[tag] = at
            at += length
        for tag, offset in acked.items():
            if found.get(tag) != offset:
                raise Violation(
                    f"lost: record {tag} of {self.name} was told to be at {offset},"
                    f" it is at {found.get(tag)}"
                )

    def _parse(self, data: bytes, at: int) -> tuple[int, int]:
        head = data[at : at + _HEAD.size]
        if len(head) < _HEAD.size or head[:4] != _MAGIC:
            raise Violation(f"torn: {self.name} has no record at {at}")
        _, tag, size = _HEAD.unpack(head)
        record = make_record(tag, size)
        if data[at : at + len(record)] != record:
            raise Violation(f"torn: record {tag} of {self.name} at {at} has other bytes")
        return tag, len(record)
