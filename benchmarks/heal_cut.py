"""The fault of a server that only the masters reach: new clients come all the time meanwhile.

A client knows after one failure whom to avoid; what a new one meets shows what the leader has
understood. One file has its tail on the cut server from the beginning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from append_records import compare, look, record
from heal_clients import CUT
from heal_figures import Healed
from heal_files import Contents
from heal_ward import HEAL_S, Ward

import gfs_ha
from gfs_ha.errors import GfsError
from gfs_ha.master.unreached import BELIEVED_MAX_S

APART = "cs8"  # The server that has a host of its own, where there are hosts.
CUT_S = 40.0
_DETECT_S = 30.0
_MET_SHARE = 0.25  # Of new clients, once the leader knows; somebody has to try it now and then.
_TARGET_MAX = 3  # Copies that are tried onto the cut server, once the leader knows.
_VISIT_S = 0.4
_TRIES = 300
_WRITER, _RECORD_BYTES = 2, 2_048
_SIZE = 100_000
_TROUBLES = (  # How the log of a client begins when a server did not do its part.
    *("push incomplete", "batch incomplete", "replica failed", "append stream lost"),
    *("primary not reached", "primary does not tell"),
)


class _Met(logging.Handler):
    """Counts what a client of this process meets of servers that it cannot use."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.getMessage().startswith(_TROUBLES)

    def __enter__(self) -> _Met:
        room = logging.getLogger("gfs_ha.client")
        room.setLevel(logging.INFO)
        room.propagate = False
        room.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("gfs_ha.client").removeHandler(self)


@dataclass(frozen=True, slots=True)
class Visit:
    """What one new client met."""

    begun_s: float
    took_s: float
    met: int


@dataclass
class Visitors:
    """New clients, each of which puts a file, gets another one and appends a record."""

    ward: Ward
    path: str
    visits: list[Visit] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # What was acknowledged of the records.
    _names: list[str] = field(default_factory=list)

    def come(self, while_true: Callable[[], bool]) -> None:
        """Have one after another come."""
        contents = Contents()
        while while_true():
            begun_s = time.monotonic()
            with _Met() as met:
                try:
                    self._visit(contents)
                except GfsError as error:
                    self.errors.append(f"a new client: {error.code}: {error.message}")
            self.visits.append(Visit(begun_s, time.monotonic() - begun_s, met.count))
            time.sleep(_VISIT_S)

    def _visit(self, contents: Contents) -> None:
        number = len(self.visits) + 1
        name = contents.name(number + 3_000_000 + int(time.monotonic()) % 1_000 * 1_000, _SIZE)
        with gfs_ha.connect(self.ward.cluster.config_path) as client:
            client.write_bytes(f"{CUT}/{name}", contents.data(name))
            self._names.append(name)
            old = self._names[number * 7919 % len(self._names)]
            wrong = contents.wrong(old, client.read_bytes(f"{CUT}/{old}"))
            if wrong:
                self.errors.append(f"a new client: {wrong}")
            with client.appender(self.path) as appender:
                done = appender.append(record(_WRITER, number, _RECORD_BYTES))
                self.told.append(f"{_WRITER} {number} {done.result(60.0).offset} 0\n")

    def met_since(self, since_s: float) -> tuple[int, int]:
        """Return how many came since then, and how many of them met a server they could not use."""
        later = [one for one in self.visits if one.begun_s >= since_s]
        return len(later), sum(one.met > 0 for one in later)

    def wrong_records(self, directory: Path) -> list[str]:
        """Return what is wrong with the file that was appended to."""
        copy, rows = directory / "cut.copy", directory / "cut.rows"
        with gfs_ha.connect(self.ward.cluster.config_path) as client:
            client.get(self.path, copy)
        rows.write_text("".join(self.told))
        seen = look(copy)
        copy.unlink()
        return seen.wrong + compare(seen, [rows])


def cut(ward: Ward, healed: Healed, both_ways: bool, victim: str = "") -> None:
    """Cut the server for a while, and see that all goes on around it.

    Args: `victim` is a server that is lost meanwhile and has to be made good without it.
    """
    assert ward.hosts is not None, "there are no hosts"
    visitors = Visitors(ward, _tail_on(ward, APART, healed))
    begun_s = time.monotonic()
    mend = ward.hosts.cut(both_ways)
    try:
        visitors.come(lambda: not _avoided(ward) and time.monotonic() < begun_s + _DETECT_S)
        known_s = time.monotonic()
        if _avoided(ward):
            healed.detect_s = known_s - begun_s
            ward.on_detected()
        else:
            healed.wrong.append(f"{healed.name}: the leader did not see that {APART} is cut off")
        if victim:
            _lose(ward, healed, visitors, victim)
        visitors.come(lambda: time.monotonic() < begun_s + CUT_S)
        ward.whole(healed, begun_s)
    finally:
        mend()
        mended_s = time.monotonic()
    _judge(ward, healed, visitors, known_s)
    if victim:
        ward.start(victim)
    back_s = ward.watch.wait(lambda now: APART not in now.avoided, BELIEVED_MAX_S + HEAL_S)
    if back_s is None:
        healed.wrong.append(f"{healed.name}: {APART} is avoided for ever")
    else:
        healed.facts["trusted again s"] = round(back_s - mended_s, 1)
    healed.wrong += [f"{healed.name}: {one}" for one in visitors.wrong_records(ward.directory)]


def _judge(ward: Ward, healed: Healed, visitors: Visitors, known_s: float) -> None:
    """Hold it against the cluster when it goes on to use the cut server."""
    came, met = visitors.met_since(known_s)
    tried = sum(f" {APART} " in f" {one} " for one in ward.watch.failures(known_s))
    slowest_s = max(one.took_s for one in visitors.visits if one.begun_s >= known_s)
    healed.facts |= {"visits": came, "that met it": met, "copies tried onto it": tried}
    healed.facts["longest visit s"] = round(slowest_s, 1)
    healed.errors += visitors.errors
    if met > _MET_SHARE * came:
        healed.wrong.append(f"{healed.name}: {met} of {came} new clients met the cut server")
    if tried > _TARGET_MAX:
        healed.wrong.append(f"{healed.name}: {tried} copies were tried onto the cut server")


def _lose(ward: Ward, healed: Healed, visitors: Visitors, victim: str) -> None:
    """Kill a server, and have its copies made anew while another one is cut off."""
    begun_s = time.monotonic()
    ward.lose(victim)
    limit_s = begun_s + ward.dead_after_s + 30.0
    visitors.come(
        lambda: ward.watch.newest.states.get(victim) != "dead" and time.monotonic() < limit_s
    )
    dead_s = time.monotonic()
    if ward.watch.newest.states.get(victim) != "dead":
        healed.wrong.append(f"{healed.name}: {victim} never counted as dead")
    visitors.come(lambda: ward.watch.newest.under > 0 and time.monotonic() < dead_s + HEAL_S)
    healed.facts["victim dead s"] = round(dead_s - begun_s, 1)
    healed.facts["victim made good s"] = round(time.monotonic() - dead_s, 1)


def _avoided(ward: Ward) -> bool:
    return APART in ward.watch.newest.avoided


def _tail_on(ward: Ward, server: str, healed: Healed) -> str:
    """Return a file whose tail is led by a server."""
    with gfs_ha.connect(ward.cluster.config_path) as client:
        for number in range(_TRIES):
            path = f"{CUT}-{healed.name}-{number}"
            with client.appender(path) as appender:
                appender.append(record(_WRITER, 0, _RECORD_BYTES)).result(60.0)
            if any(row.path == path and row.holder == server for row in client.operations.leases()):
                return path
            client.remove(path)
    raise AssertionError(f"{server} leads none of {_TRIES} tails")
