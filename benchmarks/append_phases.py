"""Shorter runs of append-kills: a writer killed over and over, logs rotated, one copy recovered.

The reader at the end of each knows nothing of the writers: it finds every record once, in order.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from append_records import compare, look, record
from stage import GFSCTL, Failed, Stage

import gfs_ha
from gfs_ha.errors import GfsError

TWICE = "/twice"
TWICE_WRITER = 3000  # Its number.
TWICE_RECORDS = 10_000
TWICE_KILLS = 12
RECOVERED = "/recovered"
ROTATED = "/rotated"
ROTATIONS = 15
APPENDERS = 4
START_S = 60.0
END_S = 120.0


def twice(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Kill a writer with an id while it writes, and start it again at once with the same input.

    What the killed run had on its way may lie in the open tail, be under way to it, or be nowhere:
    the primary and the leader have to know it before the same record comes again.
    """
    chance = random.Random(options.seed)
    source = stage.directory / "twice"
    lines = (record(TWICE_WRITER, at, options.size) for at in range(TWICE_RECORDS))
    source.write_bytes(b"".join(lines))
    words = [str(GFSCTL), "append", "--stdin-lines", "--id", "twice", TWICE]
    errors = stage.directory / "twice.err"
    kills = 0
    with gfs_ha.connect(stage.cluster.config_path) as cluster:
        cluster.write_bytes(TWICE, b"")
        while True:
            before = _size(cluster, TWICE)
            with source.open("rb") as stdin, errors.open("ab") as told:
                child = subprocess.Popen(
                    words,
                    env=stage.environment,
                    stdin=stdin,
                    stdout=subprocess.DEVNULL,
                    stderr=told,
                )
            try:
                if kills < TWICE_KILLS:
                    # In the middle of its records, whatever the machine has to do beside.
                    _wait(lambda: _size(cluster, TWICE) > before or child.poll() is not None)  # noqa: B023
                    time.sleep(chance.uniform(0.0, 0.05))
                else:
                    child.wait(END_S)
            finally:
                if child.poll() is None:
                    kills += 1
                    child.kill()
                child.wait(10)
            if child.returncode == 0:
                break
            if child.returncode != -signal.SIGKILL:
                raise Failed(f"the writer of {TWICE}: {errors.read_text()[-500:]}")
    copy = stage.directory / "twice.copy"
    stage.run("get", TWICE, str(copy))
    seen = look(copy)
    print(f"{'killed and run again':24}{kills} times, {seen.count:,} records", flush=True)
    found = seen.order.get(TWICE_WRITER, [])
    wrong = [] if found == list(range(TWICE_RECORDS)) else [f"{TWICE}: {len(found)} records"]
    return seen.wrong + wrong


def rotated(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Rename a log over and over under its writers, while leaders and primaries are killed."""
    cluster, kept = stage.cluster, []
    logs = [stage.directory / f"rotated{at}.log" for at in range(2 * APPENDERS)]
    down = ""
    with gfs_ha.connect(cluster.config_path) as client:
        client.write_bytes(ROTATED, b"")
        with _writers(stage, options, (ROTATED, logs)) as children:
            for number in range(ROTATIONS):
                _wait(lambda: client.exists(ROTATED) and _size(client, ROTATED) > 100_000)
                if number % 3 == 1:
                    down = client.operations.status().leader
                    cluster.kill(down, signal.SIGKILL)
                elif number % 3 == 2:
                    rows = [row for row in client.operations.leases() if row.path == ROTATED]
                    down = rows[0].holder if rows else ""
                    if down:
                        cluster.kill(down, signal.SIGKILL)
                kept.append(f"{ROTATED}.{number}")
                client.rename(ROTATED, kept[-1])
                if down:
                    cluster.start(down)
                    down = ""
            wrong = [_ended(child) for child in children]
    parts = []
    for path in (*kept, ROTATED):
        parts.append(stage.directory / path[1:])
        stage.run("get", path, str(parts[-1]))
    whole = stage.directory / "rotated.whole"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    seen = look(whole)
    print(f"{'rotated':24}{len(kept)} times, {seen.count:,} records", flush=True)
    acknowledged = {
        (int(row.split()[0]), int(row.split()[1])) for log in logs for row in log.open()
    }
    lost = acknowledged - seen.offsets.keys()
    wrong += [f"record {one[1]} of writer {one[0]} is in none of the logs" for one in lost]
    return [one for one in wrong if one] + seen.wrong


def recovered(stage: Stage, options: argparse.Namespace) -> list[str]:
    """Lose two masters for good under living appenders, and go on from the copy of the third."""
    cluster = stage.cluster
    with gfs_ha.connect(cluster.config_path) as client:
        client.write_bytes(RECOVERED, b"")
        kept = client.operations.status().leader
    lost = [one.name for one in cluster.status() if one.role == "master" and one.name != kept]
    logs = [stage.directory / f"recovered{at}.log" for at in range(APPENDERS)]
    began_s = time.monotonic()
    with _writers(stage, options, (RECOVERED, logs)) as children:
        _wait_grown(cluster.config_path, 0)
        for name in (*lost, kept):
            cluster.kill(name, signal.SIGKILL)
        for name in lost:
            data = cluster.directory / name / "data"
            data.rename(data.with_name("lost"))
        with _recovery(stage, kept):
            served_s = time.monotonic()
            _wait_grown(cluster.config_path, _known(cluster.config_path))
            print(
                f"{'recovered':24}from the copy of {kept}, records"
                f" {time.monotonic() - served_s:.1f} s after it led",
                flush=True,
            )
            for name in lost:
                list(cluster.replace_master(name))
            _wait_grown(cluster.config_path, _known(cluster.config_path))
            wrong = [_ended(child) for child in children]
            copy = stage.directory / "recovered.copy"
            stage.run("get", RECOVERED, str(copy))
    seen = look(copy)
    took_s = time.monotonic() - began_s
    print(f"{'through a recovery':24}{seen.count:,} records in {took_s:.0f} s", flush=True)
    return [one for one in wrong if one] + seen.wrong + compare(seen, logs)


@contextmanager
def _writers(
    stage: Stage, options: argparse.Namespace, to: tuple[str, list[Path]]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    program = str(Path(__file__).with_name("append_writer.py"))
    path, logs = to
    facts = (str(options.size), "4", "0")
    children = [
        subprocess.Popen(
            [
                *(sys.executable, program, str(stage.cluster.config_path), path),
                *(str(at), *facts, str(log)),
            ],
            env=stage.environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for at, log in enumerate(logs)
    ]
    try:
        yield children
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.communicate()


def _ended(child: subprocess.Popen[bytes]) -> str:
    """Have a writer end; return what went wrong with it."""
    _, told = child.communicate(timeout=END_S)
    return told.decode(errors="replace").strip()[-500:] if child.returncode else ""


@contextmanager
def _recovery(stage: Stage, name: str) -> Iterator[None]:
    """Have a master go on from its copy alone, as a person does."""
    home = stage.cluster.directory / name
    with (stage.directory / "recovery.err").open("wb") as told:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gfs_ha.cli.daemons", "master"),
                *("--config", str(home / "gfs.toml"), "--log-file", str(home / f"{name}.log")),
                "--recover-from-this-copy",
            ],
            env=stage.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
        )
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"local\n")
        process.stdin.flush()
        if not process.stdout.readline().startswith(b"ready "):
            raise Failed(f"{name} does not go on from its copy")
        yield
    finally:
        process.kill()
        process.communicate()


def _wait_grown(config: Path, length: int) -> None:
    """Wait until the file has grown well beyond a length."""
    _wait(lambda: _known(config) > length + 200_000)


def _known(config: Path) -> int:
    try:
        with gfs_ha.connect(config, timeout_s=5.0) as client:
            return _size(client, RECOVERED)
    except GfsError:
        return -1


def _size(client: gfs_ha.Cluster, path: str) -> int:
    return client.stat(path, exact=True).size


def _wait(there: Callable[[], bool]) -> None:
    until_s = time.monotonic() + END_S
    while not there():
        if time.monotonic() > until_s:
            raise Failed(f"it did not come within {END_S:.0f} s")
        time.sleep(0.02)
