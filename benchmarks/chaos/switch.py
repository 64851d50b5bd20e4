"""The switch between the hosts: a process that carries frames, and loses, delays or drops them.

    python switch.py '{"1": FD, "2": FD}'

Each line on standard input is the whole list of faults: [[source, target, fault], ...]. It ends
with its standard input. Frames of one direction keep their order.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import sys
import time
from typing import Any

_FRAME_BYTES_MAX = 1 << 16
_BURST = 64  # Frames of one host before the others have their turn.
_QUEUE_S_MAX = 0.5  # What a slow link holds; more is dropped, as a full queue does.
_IPV4 = b"\x08\x00"

_Way = tuple[int, int]


class Switch:
    """Carries frames until its standard input ends."""

    def __init__(self, taps: dict[int, int], seed: int) -> None:
        self._taps = taps
        self._chance = random.Random(seed)
        self._faults: dict[_Way, dict[str, Any]] = {}
        self._free_s: dict[_Way, float] = {}  # When a slow link has sent what it holds.
        self._last_s: dict[_Way, float] = {}  # When the newest frame of a direction arrives.
        self._late: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._heard = b""

    def run(self) -> None:
        poll = select.epoll()
        sources = {descriptor: number for number, descriptor in self._taps.items()}
        for descriptor in (*sources, 0):
            poll.register(descriptor, select.EPOLLIN)
        while True:
            wait_s = 1.0
            if self._late:
                wait_s = max(0.0, self._late[0][0] - time.monotonic())
            for descriptor, _ in poll.poll(wait_s):
                if descriptor == 0:
                    if not self._hear():
                        return
                else:
                    self._carry(sources[descriptor], descriptor)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, target, frame = heapq.heappop(self._late)
                self._write(target, frame)

    def _hear(self) -> bool:
        """Read what there is on standard input; the newest whole line counts. False at its end."""
        # Not through sys.stdin: lines that wait in its buffer would wake nobody.
        data = os.read(0, _FRAME_BYTES_MAX)
        *lines, self._heard = (self._heard + data).split(b"\n")
        if lines:
            self._faults = {(one[0], one[1]): one[2] for one in json.loads(lines[-1])}
        return bool(data)

    def _carry(self, source: int, descriptor: int) -> None:
        for _ in range(_BURST):
            try:
                frame = os.read(descriptor, _FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            # Only what is meant for one host: there is nothing to resolve or to discover here.
            target = frame[5]
            if frame[12:14] != _IPV4 or target not in self._taps or frame[0] & 1:
                continue
            fault = self._faults.get((source, target))
            if fault is None and (source, target) not in self._last_s:
                self._write(target, frame)
            else:
                self._hold_up((source, target), fault or {}, frame)

    def _hold_up(self, way: _Way, fault: dict[str, Any], frame: bytes) -> None:
        if fault.get("cut") or self._chance.random() < fault.get("loss", 0.0):
            return
        now_s = time.monotonic()
        due_s = now_s
        if fault.get("bytes_per_s"):
            free_s = max(now_s, self._free_s.get(way, 0.0))
            if free_s - now_s > _QUEUE_S_MAX:
                return
            due_s = self._free_s[way] = free_s + len(frame) / fault["bytes_per_s"]
        jitter_ms = fault.get("jitter_ms", 0.0)
        due_s += max(0.0, fault.get("delay_ms", 0.0) + self._chance.uniform(0, jitter_ms)) / 1000
        # Nothing overtakes what is still under way, also after the fault is over.
        due_s = max(due_s, self._last_s.get(way, 0.0))
        if due_s <= now_s:
            self._last_s.pop(way, None)
            self._write(way[1], frame)
            return
        self._last_s[way] = due_s
        self._count += 1
        heapq.heappush(self._late, (due_s, self._count, way[1], frame))

    def _write(self, target: int, frame: bytes) -> None:
        try:
            os.write(self._taps[target], frame)
        except OSError:
            pass  # Its queue is full or it is going away: a lost frame, as on a wire.


def main() -> None:
    taps = {int(number): int(tap) for number, tap in json.loads(sys.argv[1]).items()}
    Switch(taps, int(os.environ.get("SWITCH_SEED", "0"))).run()


if __name__ == "__main__":
    main()
