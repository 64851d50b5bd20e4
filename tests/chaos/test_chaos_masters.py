"""Real masters through a few seconds of faults, and what is left when the runner is killed."""

from __future__ import annotations

import contextlib
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
SEED = 45228  # A master is replaced, one paused, the leader killed; a host leaves, a disk is full.
SECONDS = 7
LIMIT_S = 180.0


def test_masters_keep_their_promises_through_faults() -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--seconds", str(SECONDS), "--seed", str(SEED)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode == NOT_ALLOWED_STATUS:
        pytest.skip(done.stderr.strip())
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations" in done.stdout


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
    deadline_s = time.monotonic() + 20.0
    while not reached():
        assert time.monotonic() < deadline_s, f"not within 20 s: {what}"
        time.sleep(0.02)
