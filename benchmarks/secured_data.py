"""What tickets and sealed bytes cost: put, get, read, create and stat at each level, by turns.

    python benchmarks/secured_data.py [--mib 256] [--rounds 3] [--calls 400] [--level encrypt ...]

`plain` is an open cluster, `none`, `integrity` and `encrypt` are closed ones at that level. Each
turn starts a cluster of its own (three masters, three chunkservers), so that none of them works
beside another, and each round begins with another level. Ratios are to plain of the same round,
since a machine may be faster in one minute than in the next: the median of all rounds. Processor
time is that of all daemons and the client.

`get` writes a local file, `read` takes the same bytes into memory. A virtual machine that gives
free memory back to its host pays for each page that was free for some seconds up to eight times
what the copy costs: by chance in one turn and not in the next, and more than for all the rest of a
get. So before each transfer a file is written and removed, whose pages are taken again: 0.2 s of
the kernel per GB then, else 0.8 to 1.8 (memory that was no file's does not help).

Prints one JSON object per level; ends with status 1 where less is left than the goals ask for
(put and get 0.7, create and stat 0.8, of the level `encrypt`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from stage import Failed, Stage

import gfs_ha
from gfs_ha.limits import MIB
from gfs_ha.local import launcher
from gfs_ha.local.home import Home
from gfs_ha.local.processes import Process

PLAIN = "plain"
LEVELS = ("none", "integrity", "encrypt")
GOALS = {"put": 0.7, "get": 0.7, "create": 0.8, "stat": 0.8}
_SAID, _WANTED = 'security = "tls"\n', '[security]\nmode = "tls"\ndata = "{level}"\n'
_WARM_BYTES = 8 * MIB
_COPIES = 3
_TRANSFERS = 3  # Of each kind in a turn; the median counts.
_PIECE_BYTES = 4 * MIB

Turn = dict[str, float]


def _launch(level: str, home: Home, role: str, options: Sequence[str]) -> Process:
    """Start a daemon of a closed cluster at a level, which its configuration does not say yet."""
    text = home.config_path.read_text(encoding="utf-8")
    home.config_path.write_text(text.replace(_SAID, _WANTED.format(level=level)), encoding="utf-8")
    return launcher.launch(home, role, options)


def _processor_s(stage: Stage) -> float:
    """Return what all daemons and this process have used."""
    ticks = 0
    for member in stage.cluster.status():
        fields = Path(f"/proc/{member.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def measure(level: str, source: Path, calls: int) -> Turn:
    """Return MB/s and calls per second of one cluster, and what processor time they took."""
    plain = level == PLAIN
    launch = launcher.launch if plain else partial(_launch, level)
    with Stage("secured-data", launch=launch) as stage:
        stage.cluster.up(masters=3, chunkservers=3, closed=not plain)
        with gfs_ha.connect(stage.cluster.config_path) as cluster:
            cluster.write_bytes("/warm", os.urandom(_WARM_BYTES))
            cluster.read_bytes("/warm")
            turn = _transfer(stage, cluster, source)
            cluster.mkdir("/calls")
            for name, call in (
                ("create", lambda path: cluster.write_bytes(path, b"")),
                ("stat", cluster.stat),
            ):
                before_s, began_s = _processor_s(stage), time.perf_counter()
                for number in range(calls):
                    call(f"/calls/{number}")
                turn[name] = calls / (time.perf_counter() - began_s)
                turn[f"{name}_cpu_ms"] = (_processor_s(stage) - before_s) / calls * 1000
    return turn


def _transfer(stage: Stage, cluster: gfs_ha.Cluster, source: Path) -> Turn:
    """Return MB/s and processor time of transfers; the medians. Raises: Failed."""
    size = source.stat().st_size
    back = stage.directory / "back"
    piece = memoryview(bytearray(_PIECE_BYTES))

    def read() -> None:
        with cluster.open("/file-0") as file:
            while file.readinto(piece):
                pass

    found: dict[str, list[float]] = {}
    for number in range(_TRANSFERS):
        put = partial(cluster.put, source, f"/file-{number}")
        get = partial(cluster.get, "/file-0", back)
        for name, transfer, written in (
            ("put", put, _COPIES * size),
            ("get", get, size),
            ("read", read, 0),
        ):
            _have_memory(stage, written)
            before_s, began_s = _processor_s(stage), time.perf_counter()
            transfer()
            took_s = time.perf_counter() - began_s
            found.setdefault(name, []).append(size / took_s / 1e6)
            used_s = _processor_s(stage) - before_s
            found.setdefault(f"{name}_cpu_s_per_gb", []).append(used_s / (size / 1e9))
        if back.read_bytes() != source.read_bytes():
            raise Failed("another file came back")
        back.unlink()
    return {name: statistics.median(values) for name, values in found.items()}


def _have_memory(stage: Stage, size: int) -> None:
    """Have the host give as much memory for files as will be written."""
    scratch = stage.directory / "scratch"
    piece = os.urandom(_PIECE_BYTES)
    with scratch.open("wb", buffering=0) as file:
        for _ in range(size // _PIECE_BYTES):
            file.write(piece)
    scratch.unlink()


def _in_turn(levels: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield round and level; each round begins with the level after that of the one before."""
    for number in range(rounds):
        first = number % len(levels)
        for level in (*levels[first:], *levels[:first]):
            yield number, level


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--level", nargs="+", choices=LEVELS, default=LEVELS)
    options = parser.parse_args()
    turns: dict[str, list[Turn]] = {level: [] for level in (PLAIN, *options.level)}
    source = Path(__file__).resolve().parent.parent / "build" / f"secured-data-{os.getpid()}"
    source.parent.mkdir(exist_ok=True)
    try:
        source.write_bytes(os.urandom(MIB) * options.mib)
        for number, level in _in_turn(list(turns), options.rounds):
            turn = measure(level, source, options.calls)
            turns[level].append(turn)
            told = " ".join(f"{name}={value:.1f}" for name, value in turn.items())
            print(f"# round {number} {level}: {told}", file=sys.stderr, flush=True)
    finally:
        source.unlink(missing_ok=True)
    missed = False
    for level, found in turns.items():
        row: dict[str, object] = {"level": level}
        for name in found[0]:
            values = [turn[name] for turn in found]
            row[name] = round(statistics.median(values), 2)
            if level != PLAIN:
                pairs = zip(values, turns[PLAIN], strict=True)
                share = statistics.median(value / plain[name] for value, plain in pairs)
                row[f"{name}_of_plain"] = round(share, 2)
                missed = missed or (level == "encrypt" and share < GOALS.get(name, 0.0))
        print(json.dumps(row))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
