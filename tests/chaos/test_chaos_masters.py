"""Real masters through a few seconds of faults, and what is left when the runner is killed."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import chaos
import pytest
from chaos import leftovers

from gfs_ha.local.processes import find_process

pytestmark = pytest.mark.processes

BENCHMARKS = Path(chaos.__file__).parent.parent
PROGRAM = BENCHMARKS / "chaos_masters.py"
BUILD = BENCHMARKS.parent / "build"
NOT_ALLOWED_STATUS = 77
# A leader is asked to hand over to nobody, paused and killed; a disk is full; a master is replaced
# by an operator who dies half way and begins again.
KINDS = "kill,pause,leave,full-disk,replace,handover,grow,rivals"
SEED = 17570
SECONDS = 7
# A master is cut off until the log it lacks is gone, and killed while it receives a snapshot.
SNAPSHOT_SEED = 26
SNAPSHOT_SECONDS = 5
LIMIT_S = 240.0


def run(seed: int, seconds: int, kinds: str) -> str:
    done = subprocess.run(
        [
            *(sys.executable, str(PROGRAM), "--seconds", str(seconds)),
            *("--seed", str(seed), "--kinds", kinds),
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode == NOT_ALLOWED_STATUS:
        pytest.skip(done.stderr.strip())
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_masters_keep_their_promises_through_faults() -> None:
    assert "violations" in run(SEED, SECONDS, KINDS)


def test_who_was_away_too_long_comes_back_by_a_snapshot_that_is_broken_off() -> None:
    found = run(SNAPSHOT_SEED, SNAPSHOT_SECONDS, "snapshot")
    assert re.search(r"^absences ended +by a snapshot [1-9]", found, re.MULTILINE), found


@pytest.fixture
def runner() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            sys.executable,
            str(PROGRAM),
            "--seconds",
            "120",
            "--seed",
            "1",
            "--kinds",
            "kill",
            "--log",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        leftovers.remove_leftovers(BUILD, "chaos-masters")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_runner_that_is_ended(
    runner: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert runner.stdout is not None and runner.stderr is not None
    if not runner.stdout.readline():  # The first fault; else it ended.
        assert runner.wait(LIMIT_S) == NOT_ALLOWED_STATUS, runner.stderr.read()
        pytest.skip("namespaces are not allowed here")
    directory = directory_of(runner.pid)
    notes = [*directory.glob("*/pid"), *directory.glob("*.pid")]
    processes = [found for note in notes if (found := find_process(note)) is not None]
    assert len(processes) >= 4  # Two masters at least, and two clients.
    runner.send_signal(number)
    runner.wait(LIMIT_S)
    wait_until(lambda: not any(one.running() for one in processes), "its processes are gone")
    wait_until(lambda: str(directory) not in all_command_lines(), "its helpers are gone")
    if number == signal.SIGKILL:
        assert directory.name in leftovers.remove_leftovers(BUILD, "chaos-masters")
    assert not directory.exists()


def directory_of(pid: int) -> Path:
    for note in BUILD.glob("chaos-masters-*/runner"):
        if note.read_text().split()[0] == str(pid):
            return note.parent
    pytest.fail("the run has no directory")


def all_command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return "\n".join(found)


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 60.0
    while not reached():
        assert time.monotonic() < deadline_s, f"not within 60 s: {what}"
        time.sleep(0.02)
