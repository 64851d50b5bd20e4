"""Three masters beside full-speed bulk writers on one disk: does the leader keep leading? (M3)

    python benchmarks/beside_bulk.py [--seconds 3600] [--writers 1] [--clients 8]

A real local cluster, bulk writers that write as chunkservers do, and clients that create files all
the while. Exit status 1 when there was a single election after the first, or a client error.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time

from stage import CHECKOUT, Failed, Interrupted, Stage

import gfs_ha
from gfs_ha.errors import GfsError

NAMES = 1000  # Each client writes these names over and over, so that the tree stays small.
REPORT_S = 60.0


class Creators:
    """Clients that create empty files, one in flight each, and what they saw."""

    def __init__(self, config: str, count: int) -> None:
        self.took_s: list[float] = []
        self.errors: list[str] = []
        self.longest_s = 0.0
        self.count = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(config, number), daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all of them."""
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, config: str, number: int) -> None:
        with gfs_ha.connect(config) as cluster:
            cluster.mkdir(f"/bulk/{number}", parents=True)
            turn = 0
            while not self._ended.is_set():
                turn += 1
                began_s = time.perf_counter()
                try:
                    cluster.write_bytes(f"/bulk/{number}/{turn % NAMES}", b"")
                except GfsError as error:
                    with self._lock:
                        self.errors.append(str(error))
                    continue
                took_s = time.perf_counter() - began_s
                with self._lock:
                    self.count += 1
                    self.longest_s = max(self.longest_s, took_s)
                    if turn % 10 == 0:  # A sample: an hour of all of them is not worth its memory.
                        self.took_s.append(took_s)


def measure(stage: Stage, options: argparse.Namespace) -> None:
    """Run it and print what happened. Raises: Failed."""
    stage.cluster.up(masters=3, chunkservers=3)
    config = str(stage.cluster.config_path)
    writer = str(CHECKOUT / "benchmarks" / "bulk_writer.py")
    writers = [
        subprocess.Popen(
            [sys.executable, writer, str(stage.directory / f"bulk{number}"), str(options.seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(options.writers)
    ]
    creators = Creators(config, options.clients)
    began_s = time.monotonic()
    try:
        with gfs_ha.connect(config) as cluster:
            before = len(cluster.operations.masters().terms)
            while time.monotonic() - began_s < options.seconds:
                left_s = options.seconds - (time.monotonic() - began_s)
                time.sleep(max(0.0, min(REPORT_S, left_s)))
                terms = len(cluster.operations.masters().terms)
                print(
                    f"{time.monotonic() - began_s:7.0f} s  {creators.count} creates,"
                    f" longest {creators.longest_s * 1000:.0f} ms, {len(creators.errors)} errors,"
                    f" {terms - before} elections",
                    flush=True,
                )
            creators.stop()
            elections = len(cluster.operations.masters().terms) - before
            facts = [row.facts for row in cluster.operations.masters().items if row.facts]
        written = sum(int(child.communicate(timeout=60)[0]) for child in writers)
    finally:
        creators.stop()
        for child in writers:
            child.kill()
            child.wait()
    seconds = time.monotonic() - began_s
    took_ms = sorted(second * 1000 for second in creators.took_s)
    for one in facts:
        print(
            f"{one.name}: commit p50 {one.commit_p50_us / 1000:.1f} ms,"
            f" p99 {one.commit_p99_us / 1000:.1f} ms, {one.role}, term {one.term}"
        )
    print(
        f"{seconds:.0f} s beside {options.writers} bulk writers at"
        f" {written / seconds / 1e9:.2f} GB/s: {elections} elections,"
        f" {creators.count / seconds:.0f} creates/s with {options.clients} clients,"
        f" p50 {took_ms[len(took_ms) // 2]:.1f} ms, p99 {took_ms[len(took_ms) * 99 // 100]:.1f} ms,"
        f" longest {creators.longest_s * 1000:.0f} ms, {len(creators.errors)} client errors"
    )
    if elections or creators.errors:
        raise Failed(f"{elections} elections, {len(creators.errors)} client errors")


def main() -> int:
    """Parse the options, run, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--writers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    try:
        with Stage("bulk") as stage:
            measure(stage, options)
    except Failed as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except Interrupted as error:
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
