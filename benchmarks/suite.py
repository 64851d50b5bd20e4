"""How fast it is, as shares of what this machine can do: each row beside its floor, alternated.

    python benchmarks/suite.py [--rounds 3] [--rows put,get,create,create8,tree,failover] [--json F]

Absolute figures differ by a factor of two between machines and by a quarter between runs; the
shares are what counts. Exit status 8 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from probe import Probe
from report import Goal, Row, table
from sample import MIB, write_random, write_small_files
from stage import CHECKOUT, Failed, Interrupted, Stage

import gfs_ha

FLOORS = CHECKOUT / "benchmarks" / "floor"
ROWS = ("put", "get", "create", "create8", "tree", "failover")
SMALL_BYTES = 4096
FLOOR_S = 600.0


def main() -> int:
    """Run the suite; return 0 when every goal is met, 8 when one is missed."""
    options = _options()
    try:
        with Stage("bench") as stage:
            stage.cluster.up(masters=3, chunkservers=4, racks=("r1", "r2"))
            rows = Suite(stage, options).run()
    except Interrupted as interrupted:
        print(f"stopped by {interrupted}; everything is taken down", file=sys.stderr)
        return interrupted.exit_status
    except Failed as error:
        print(f"BENCHMARK FAILED: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    if options.json:
        asked = {key: value for key, value in vars(options).items() if key != "json"}
        facts = {"rows": [row.facts() for row in rows], "options": asked}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")
    return 0 if all(row.met() for row in rows) else 8


class Suite:
    """The rows that were asked for, measured round by round."""

    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self._stage = stage
        self._options = options
        self._config = str(stage.cluster.config_path)
        self._big = stage.directory / "big.img"
        self._tree_source = stage.directory / "tree"

    def run(self) -> list[Row]:
        """Return the measured rows, in their order."""
        wanted = [name for name in ROWS if name in self._options.rows]
        if {"put", "get"} & set(wanted):
            write_random(self._big, self._options.mib * MIB)
        if "tree" in wanted:
            write_small_files(self._tree_source, self._options.files, SMALL_BYTES)
        rows: list[Row] = []
        for name in wanted:
            row = _fresh_row(name, self._options)
            for turn in range(1 if name == "failover" else self._options.rounds):
                self._measure(name, row, floor_first=turn % 2 == 0)
                print(f"  {name} round {turn + 1}: {row.ours[-1]:.2f} {row.unit}", flush=True)
            rows.append(row)
        return rows

    def _measure(self, name: str, row: Row, floor_first: bool) -> None:
        """Add one round: ours and the floor, one directly after the other."""
        measures = [
            lambda: self._floor(name, row),
            lambda: getattr(self, f"_{name}")(row),
        ]
        for measure in measures if floor_first else reversed(measures):
            # What an earlier measurement left in the page cache is not to be paid by the next.
            os.sync()
            measure()

    # The floors ---------------------------------------------------------------------------------

    def _floor(self, name: str, row: Row) -> None:
        size = str(self._options.mib * MIB)
        if name == "put":
            row.floor.append(self._run_floor("bare_chain", "--bytes", size)["mb_per_s"])
        elif name == "get":
            row.floor.append(self._run_floor("bare_read", "--bytes", size)["mb_per_s"])
        elif name == "create":
            p50_ms = self._run_floor("bare_commit", "--commits", "1000")["p50_ms"]
            row.floor.append(p50_ms)
            row.goals.append(2.5 * p50_ms + 0.5)
        elif name == "create8":
            row.floor.append(self._run_floor("bare_commit", "--commits", "1000")["commits_per_s"])
        elif name == "tree":
            count = str(self._options.files)
            row.floor.append(self._run_floor("bare_create", "--files", count)["files_per_s"])

    def _run_floor(self, program: str, *words: str) -> dict[str, Any]:
        command = [sys.executable, str(FLOORS / f"{program}.py"), *words]
        command += ["--directory", str(self._stage.directory)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FLOOR_S, check=False)
        if done.returncode:
            raise Failed(f"{program}: {done.stderr.strip()[-300:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    # Ours ---------------------------------------------------------------------------------------

    def _put(self, row: Row) -> None:
        with gfs_ha.connect(self._config) as cluster:
            cluster.write_bytes("/bench-warm", b"x")
            began_s = time.perf_counter()
            cluster.put(str(self._big), "/big.img")
            row.ours.append(self._mb_per_s(began_s))

    def _get(self, row: Row) -> None:
        buffer = memoryview(bytearray(MIB))
        with gfs_ha.connect(self._config) as cluster:
            if not cluster.exists("/big.img"):
                cluster.put(str(self._big), "/big.img")
            for warm in (True, False):  # The floor's file is in the page cache, too.
                began_s, total = time.perf_counter(), 0
                with cluster.open("/big.img", "rb") as file:
                    while count := file.readinto(buffer):
                        total += count
                if total != self._options.mib * MIB:
                    raise Failed(f"{total} bytes came back")
                if not warm:
                    row.ours.append(self._mb_per_s(began_s))

    def _create(self, row: Row) -> None:
        (found,) = self._create_with(1)
        row.ours.append(found["p50_ms"])

    def _create8(self, row: Row) -> None:
        row.ours.append(sum(one["count"] / one["seconds"] for one in self._create_with(8)))

    def _create_with(self, workers: int) -> list[dict[str, Any]]:
        """Run client processes that create at the same time; return what each measured."""
        program = str(CHECKOUT / "benchmarks" / "creator.py")
        began = time.time_ns()
        children = []
        try:
            for number in range(workers):
                words = [program, self._config, f"/create/{began}-{number}"]
                children.append(
                    subprocess.Popen(
                        [sys.executable, *words, str(self._options.seconds)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            for child in children:
                assert child.stdout is not None
                if child.stdout.readline() != "ready\n":
                    raise Failed("a creating client did not come up")
            for child in children:
                assert child.stdin is not None
                child.stdin.write("go\n")
                child.stdin.flush()
            outs = [child.communicate(timeout=120)[0] for child in children]
        finally:
            for child in children:
                child.kill()
                child.wait(10)
        return [json.loads(out) for out in outs]

    def _tree(self, row: Row) -> None:
        with gfs_ha.connect(self._config) as cluster:
            cluster.write_bytes("/bench-warm", b"x")
            began_s = time.perf_counter()
            result = cluster.put_tree(self._tree_source, f"/tree-{time.time_ns()}", jobs=8)
            took_s = time.perf_counter() - began_s
        if result.file_count != self._options.files or result.problems:
            raise Failed(f"the tree is not whole: {result}")
        row.ours.append(result.file_count / took_s)

    def _failover(self, row: Row) -> None:
        """Kill the leader again and again under a creating probe; each gap is one value."""
        for _ in range(self._options.kills):
            with Probe(self._config, f"/probe-{time.time_ns()}") as probe:
                if not probe.wait_for_more(50, 30):
                    raise Failed(f"the probe could not create files: {probe.errors}")
                leader = probe.cluster.leader
                killed_s = time.monotonic()
                self._stage.cluster.kill(leader, signal.SIGKILL)
                if not probe.wait_for_more(50, 30):
                    raise Failed(f"no create for 30 s after the loss of {leader}: {probe.errors}")
                probe.stop()
                if probe.errors:
                    raise Failed(f"a client error: {probe.errors[0]}")
                row.ours.append(probe.gap_s(killed_s - 0.5))
            self._stage.cluster.start(leader)
            self._stage.cluster.wait_serving()

    def _mb_per_s(self, began_s: float) -> float:
        return self._options.mib * MIB / (time.perf_counter() - began_s) / 1e6


def _fresh_row(name: str, options: argparse.Namespace) -> Row:
    size = f"{options.mib / 1024:g} GiB" if options.mib >= 1024 else f"{options.mib} MiB"
    return {
        "put": Row(f"put {size}", "MB/s", Goal(0.4, True, ">= 0.4"), "bare chain"),
        "get": Row(f"get {size}", "MB/s", Goal(0.3, True, ">= 0.3"), "sendfile + verify"),
        "create": Row(
            "create, 1 worker, p50",
            "ms",
            Goal(0, False, "<= 2.5 x + 0.5 ms"),
            "durable commit p50",
        ),
        "create8": Row("creates, 8 workers", "/s", Goal(0, True, "shown"), "durable commits"),
        "tree": Row(
            f"put -r of {options.files:,} files of 4 KiB",
            "files/s",
            Goal(2, True, ">= 2"),
            "3 creates of 8 KiB",
        ),
        "failover": Row(
            f"failover gap, {options.kills} leader kills",
            "s",
            Goal(1.0, False, "median < 1 s"),
            share=False,
        ),
    }[name]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1024, help="size of the big file")
    parser.add_argument("--files", type=int, default=2000, help="files in the small-file tree")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each create measurement")
    parser.add_argument("--kills", type=int, default=10, help="of leaders")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS))
    parser.add_argument("--json", type=Path, help="write every value there")
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
