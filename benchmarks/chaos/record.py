"""The record of what clients did: one line per event, readable however the client ended.

    ["call", number, kind, name, target, tag, replace, called_s]
    ["return", number, returned_s, answer]
    ["return", number, returned_s, answer, index, age_ms, bound_ms, seen_index, degraded]
                                              ... of any master, who may answer from the past
    ["unknown", number, returned_s]  the library says that it may or may not have happened
    ["nothing", number, returned_s, code]     ... that it certainly did not
    ["odd", number, returned_s, message]      an error that a client must not see

A call without a second line is unknown, too: its client was killed.

An answer from the past is judged like any other, as if the client had asked as long ago as the age
says: what it shows was true at some moment since then.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gfs_ha.sim.masters.history import READS, History, Operation

_CLOCK_ERROR = 0.04  # By which the age that a master counts may be too small: its clock is slow.
_MS_S = 0.001


class Recorder:
    """Writes the events of one client. Thread-safe; each line is in the kernel when it returns."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags, 0o644)
        self._lock = threading.Lock()
        self._number = 0

    def call(self, operation: Operation) -> int:
        with self._lock:
            self._number += 1
            number = self._number
        self._write(
            "call",
            number,
            operation.kind,
            operation.name,
            operation.target,
            operation.tag,
            operation.replace,
            operation.called_s,
        )
        return number

    def end(self, event: str, number: int, *facts: str | int | float) -> None:
        self._write(event, number, *facts)

    def _write(self, *event: str | int | float) -> None:
        os.write(self._file, json.dumps(event).encode() + b"\n")


@dataclass
class Record:
    """What all clients of a run saw together."""

    history: History = field(default_factory=History)
    acknowledged_s: list[float] = field(default_factory=list)  # Of changes, sorted.
    counts: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    ages_ms: list[int] = field(default_factory=list)  # Of answers from the past.
    undue: list[str] = field(default_factory=list)  # Answers that are older than they may be.


def read(paths: Iterable[Path]) -> Record:
    """Return the record of a run."""
    record = Record()
    for path in paths:
        _read_client(path, record)
    record.acknowledged_s.sort()
    return record


def _read_client(path: Path, record: Record) -> None:
    open_operations: dict[int, Operation] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event: list[Any] = json.loads(line)
        except ValueError:
            continue  # The last line of a client that was killed.
        if event[0] == "call":
            kind, name, target, tag, replace, called_s = event[2:]
            operation = Operation(path.stem, kind, name, target, tag, replace, called_s)
            open_operations[event[1]] = operation
            continue
        operation = open_operations.pop(event[1])
        if event[0] == "return":
            operation.returned_s, operation.answer = event[2], event[3]
            if len(event) > 4:
                _date(operation, event[4:], record)
            record.counts["reads" if operation.kind in READS else "changes"] += 1
            if operation.kind not in READS:
                record.acknowledged_s.append(event[2])
            record.history.add(operation)
        elif event[0] == "nothing":
            record.counts[f"refused {event[3]}"] += 1
        else:
            if event[0] == "odd":
                record.odd.append(f"{operation}: {event[3]}")
            record.counts["unknown"] += 1
            record.history.add(operation)
    for operation in open_operations.values():
        record.counts["unknown"] += 1
        record.history.add(operation)


def _date(operation: Operation, facts: Sequence[int], record: Record) -> None:
    """Let a dated answer count from as early as its age allows; note one that is too old."""
    index, age_ms, bound_ms, seen_index, degraded = facts
    record.counts["dated"] += 1
    record.counts["degraded"] += degraded
    if index < seen_index:
        record.undue.append(f"back in time from {seen_index} to {index}: {operation}")
    if not 0 <= age_ms <= bound_ms:
        record.undue.append(f"{age_ms} ms old, {bound_ms} were allowed: {operation}")
    if age_ms > 0:
        record.ages_ms.append(age_ms)
        operation.called_s -= age_ms / 1000 * (1 + _CLOCK_ERROR) + _MS_S
