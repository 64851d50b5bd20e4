"""Records appended to one file beside MooseFS and GlusterFS, and beside the bare floor, in one run.

    python benchmarks/beside_append.py --peers DIR [--work DIR] [--rounds 3] [--seconds 4]

DIR holds `up_NAME.sh WORK` and `down_NAME.sh WORK` for moosefs and glusterfs: three copies, FUSE
mounts WORK/NAME/mount1 to mount4. It needs root, /dev/fuse, and both installed. Rows: records of
4 KiB by 1 and 16 writers, without sync (ours: `open(path, "ab")` with durability `memory`; on
mounts the same without fsync) and each on the disks before the next (ours: `append`; fsync of the
mounts). `acks` is ours without sync, every record answered by three servers and 64 on their way.
The floor is one synced write on three servers, with group commit: where it is below ten times a
peer no system can reach that goal. MooseFS never syncs, so its fsync counts as none. Whatever was
started is ended at the end, also after a failure. Exit status 8 when a goal is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from comparison import compare, rounds_parser
from stage import Failed, Stage

import gfs_ha

HERE = Path(__file__).parent
FLOOR = HERE / "floor" / "bare_journal.py"
SIZE = 4096
MOUNTS = 4
WRITERS = (1, 16)
DEPTH = 64
PATIENCE_S = 300.0
DURABLE = {"ours": True, "glusterfs": True, "moosefs": False, "floor": True}
# Against the best peer: without sync, and with every record on the disks.
GOALS = {"memory": 3.0, "disk": 10.0}

Figures = dict[str, Any]


@contextlib.contextmanager
def peer(name: str, options: argparse.Namespace) -> Iterator[Path]:
    """Have a peer run; yields where its mounts are."""
    environment = {**os.environ, "CLIENTS": str(MOUNTS)}
    scripts = options.peers.resolve()

    def script(verb: str) -> None:
        done = subprocess.run(
            [str(scripts / f"{verb}_{name}.sh"), str(options.work)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip()
            raise Failed(f"{verb} of {name}: {told[-300:]}")

    try:
        script("up")
        yield options.work / name
    finally:
        script("down")


@contextlib.contextmanager
def journals(directory: Path) -> Iterator[list[int]]:
    """Have three bare servers run; yields their ports."""
    children: list[subprocess.Popen[str]] = []
    try:
        for number in range(3):
            words = [sys.executable, str(FLOOR), "serve", str(directory / f"journal{number}")]
            children.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        yield [int(child.stdout.readline()) for child in children]  # type: ignore[union-attr]
    finally:
        for child in children:
            child.kill()
            child.wait(10)
        for path in directory.glob("journal*"):
            path.unlink()


def run(commands: list[list[str]]) -> Figures:
    """Run a process for each writer, all begin together; return what they did. Raises: Failed."""
    children = [
        subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in commands
    ]
    try:
        time.sleep(1.0)  # They import what they need.
        told = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        for child in children:
            out, err = child.communicate(timeout=PATIENCE_S)
            if child.returncode:
                raise Failed(f"{child.args}: {err.strip()[-400:]}")
            told.append(json.loads(out))
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.communicate()
    waits = sorted(wait for one in told for wait in one["waits"])
    return {
        "count": sum(one["count"] for one in told),
        "per_s": sum(one["count"] / one["took_s"] for one in told),
        "p50_ms": waits[len(waits) // 2] * 1e3,
        "p99_ms": waits[len(waits) * 99 // 100] * 1e3,
        "load": os.getloadavg()[0],
    }


def load_words(
    system: str, where: str, path: str, seconds: float, row: str, depth: int = 1
) -> list[str]:
    words = [system, where, path, str(SIZE), str(seconds), row, str(depth)]
    return [sys.executable, str(HERE / "append_load.py"), *words]


def our_rows(stage: Stage, turn: int, seconds: float) -> Iterator[tuple[str, int, Figures]]:
    config = str(stage.cluster.config_path)
    for row in ("memory", "acks", "disk"):
        for writers in WRITERS:
            path = f"/{row}{writers}.{turn}"
            kind = "file" if row == "memory" else "records"
            how = ("disk", 1) if row == "disk" else ("memory", DEPTH)
            found = run([load_words(kind, config, path, seconds, *how)] * writers)
            with gfs_ha.connect(config) as cluster:
                size = cluster.stat(path, exact=True).size
                cluster.remove(path)
            yield row, writers, kept(found, size, writers)


def peer_rows(name: str, place: Path, seconds: float) -> Iterator[tuple[str, int, Figures]]:
    for row in GOALS:
        for writers in WRITERS:
            paths = [place / f"mount{1 + at % MOUNTS}" / f"{row}{writers}" for at in range(writers)]
            paths[0].touch()
            found = run([load_words("mount", "-", str(path), seconds, row) for path in paths])
            time.sleep(2.0)  # Mounts remember sizes for a second.
            yield row, writers, kept(found, paths[0].stat().st_size, writers)
            paths[0].unlink()


def floor_rows(directory: Path, seconds: float) -> Iterator[tuple[str, int, Figures]]:
    for writers in WRITERS:
        with journals(directory) as ports:
            told = ",".join(str(port) for port in ports)
            words = [sys.executable, str(FLOOR), "load", told, str(SIZE), str(seconds)]
            yield "disk", writers, run([words] * writers)


def kept(found: Figures, size: int, writers: int) -> Figures:
    """Note the share of the records that are in the file; each writer sent one more at first."""
    return {**found, "kept": size / SIZE / (found["count"] + writers)}


def measure(stage: Stage, options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Return the figures of each (system, row, writers), one per round."""
    found: dict[str, list[Figures]] = {}
    names = ["ours", "moosefs", "glusterfs", "floor"]
    for turn in range(options.rounds):
        for name in names[turn % 4 :] + names[: turn % 4]:
            os.sync()
            with contextlib.ExitStack() as stack:
                if name == "ours":
                    rows = our_rows(stage, turn, options.seconds)
                elif name == "floor":
                    rows = floor_rows(stage.directory, options.seconds)
                else:
                    place = stack.enter_context(peer(name, options))
                    rows = peer_rows(name, place, options.seconds)
                for row, writers, figures in rows:
                    found.setdefault(f"{name} {row} {writers}", []).append(figures)
                    print(
                        f"  round {turn + 1} {name} {row} {writers}: {figures['per_s']:.0f}/s"
                        f" load {figures['load']:.1f}",
                        flush=True,
                    )
    return found


def report(found: dict[str, list[Figures]]) -> bool:
    """Print the table; return whether every goal is met."""
    print(f"{'records of 4 KiB':24}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}{'kept':>7}  ours / it")
    met = True
    for row, goal in GOALS.items():
        for writers in WRITERS:
            ours = found[f"ours {row} {writers}"]
            best = float("inf")
            for name in ("ours", "moosefs", "glusterfs", "floor"):
                rounds = found.get(f"{name} {row} {writers}")
                if rounds is None:
                    continue
                syncs = row == "memory" or DURABLE[name]
                shares = [
                    one["per_s"] / two["per_s"] for one, two in zip(ours, rounds, strict=True)
                ]
                if name in ("moosefs", "glusterfs") and syncs:
                    best = min(best, median(shares))
                told = f"{median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"
                told = "" if name == "ours" else told if syncs else f"{told}, does not sync"
                print_row(f"{name} {row}, {writers}", rounds, told)
            if row == "memory":
                print_row(f"ours acks, {writers}", found[f"ours acks {writers}"], "")
            good = best >= goal
            met = met and good
            print(f"{'':24}the best peer: {best:.2f}, goal {goal:g}: {'yes' if good else 'NO'}")
    loads = [one["load"] for rounds in found.values() for one in rounds]
    print(f"load average {min(loads):.1f} to {max(loads):.1f}")
    return met


def print_row(name: str, rounds: list[Figures], told: str) -> None:
    rate, middle, late = (median(one[key] for one in rounds) for key in _FIGURES)
    whole = min(one.get("kept", 1.0) for one in rounds)
    print(f"{name:24}{rate:9.0f}{middle:9.2f}{late:9.2f}{whole:7.3f}  {told}")


_FIGURES = ("per_s", "p50_ms", "p99_ms")


def main() -> int:
    parser = rounds_parser(__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="where the scripts are")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "gfs-peers", help="of the peers"
    )
    options = parser.parse_args()
    if not (options.peers / "up_glusterfs.sh").exists() or not (options.work / "bin").is_dir():
        print("the scripts of the peers, or the peers, are not there", file=sys.stderr)
        return 2
    return compare("beside-append", ("r1", "r2", "r3"), options, measure, report)


if __name__ == "__main__":
    sys.exit(main())
