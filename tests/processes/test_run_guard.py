"""Whatever becomes of a run of the tests, the processes that it started go away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
WAIT_S = 20.0
RUN = """
import subprocess, sys
sys.path.append(sys.argv[1])
import run_guard
before = subprocess.Popen(["sleep", "300"])
run_guard.watch()
after = subprocess.Popen(["sleep", "300"], start_new_session=True)
print(before.pid, after.pid, flush=True)
sys.stdin.read()
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2][1] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def run() -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A run with a process of before it was watched, and one of after that."""
    command = [sys.executable, "-c", RUN, str(TESTS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        before, after = (int(word) for word in process.stdout.readline().split())
        try:
            yield process, before, after
        finally:
            process.kill()  # Nobody, once it was waited for: its number may be another's.
            for pid in (before, after):
                with suppress(ProcessLookupError):
                    if not gone(pid):
                        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, None])
def test_what_a_run_started_ends_with_it_and_nothing_else_does(
    run: tuple[subprocess.Popen[str], int, int], number: signal.Signals | None
) -> None:
    process, before, after = run
    assert not gone(after)
    if number is None:
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.send_signal(number)
    process.wait(WAIT_S)
    until_s = time.monotonic() + WAIT_S
    while not gone(after):
        assert time.monotonic() < until_s, "nobody ended it"
        time.sleep(0.02)
    assert not gone(before), "it is none of the run's that is watched"
