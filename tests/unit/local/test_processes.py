"""Processes that outlive their starter: found again only as the very run that was started."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gfs_ha.errors import DeadlineExceeded, GfsError, PortTaken, WrongDirectory
from gfs_ha.local import processes
from gfs_ha.local.processes import Process, ProcessFiles
from gfs_ha.runtime import ThreadedRuntime, boot_id

RUNTIME = ThreadedRuntime()
SERVES = "print('ready name=x', flush=True); import signal; signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SERVES}"


class Starter:
    """Starts processes in a directory, and ends all of them."""

    def __init__(self, directory: Path) -> None:
        self.files = ProcessFiles(directory / "pid", directory / "output", directory / "x.log")
        self.started: list[Process] = []

    def start(self, code: str, *arguments: str) -> Process:
        command = [sys.executable, "-c", code, *arguments]
        process = processes.start_process(command, self.files, dict(os.environ))
        self.started.append(process)
        return process

    def wait_ready(self, process: Process, timeout_s: float = 20) -> str:
        return processes.wait_ready("x", process, self.files, RUNTIME, timeout_s)


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    made = Starter(tmp_path)
    yield made
    processes.end_processes(made.started, RUNTIME, 0.0)


def test_a_process_is_found_again_by_its_pid_file(starter: Starter) -> None:
    process = starter.start(SERVES)
    assert starter.wait_ready(process) == "ready name=x"
    assert processes.find_process(starter.files.pid) == process
    assert os.getsid(process.pid) == process.pid, "it has a session of its own"


def test_a_killed_process_is_gone_although_its_pid_file_stays(starter: Starter) -> None:
    process = starter.start(SERVES)
    assert process.send(signal.SIGKILL)
    assert process.wait_gone(RUNTIME, 20)
    assert starter.files.pid.exists()
    assert processes.find_process(starter.files.pid) is None
    assert not process.send(signal.SIGTERM)


@pytest.mark.parametrize("field", ["start time", "boot"])
def test_a_pid_that_another_process_has_now_is_not_touched(starter: Starter, field: str) -> None:
    process = starter.start(SERVES)
    start_ticks, boot = process.start_ticks, boot_id()
    if field == "start time":
        start_ticks -= 1
    else:
        boot ^= 1
    starter.files.pid.write_text(f"{process.pid} {start_ticks} {boot}\n")
    assert processes.find_process(starter.files.pid) is None
    if field == "start time":
        assert not Process(process.pid, start_ticks).send(signal.SIGKILL)
    assert process.running()


@pytest.mark.parametrize("text", ["", "12", "x y z", "1 2 3 4", "\x00\xff"])
def test_a_damaged_pid_file_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert processes.find_process(tmp_path / "pid") is None
    assert processes.find_process(tmp_path / "gone") is None


def test_a_process_without_pid_file_is_found_by_its_argument(
    starter: Starter, tmp_path: Path
) -> None:
    path = str(tmp_path / "gfs.toml")
    process = starter.start(SERVES, "--config", path)
    starter.wait_ready(process)  # Its arguments can be read a moment after it was begun only.
    starter.files.pid.unlink()
    assert processes.find_strays(("--config", path)) == [process]
    assert processes.find_strays((path,)) == [process]
    assert processes.find_strays(("--config", path[:-1])) == []
    assert processes.find_strays((path, "--config")) == []


def test_what_a_process_ended_with_is_what_its_starter_says(starter: Starter) -> None:
    process = starter.start("import sys; sys.exit('PortTaken: port 7 is taken')")
    with pytest.raises(PortTaken, match=r"x did not start: port 7 is taken \(log: .*x\.log\)"):
        starter.wait_ready(process)


def test_of_a_server_that_was_removed_it_says_how_the_cluster_forgets_it(starter: Starter) -> None:
    said = "cs8 says it is server 8, which is unknown here: it was removed, or so"
    process = starter.start(f"import sys; sys.exit('WrongDirectory: {said}')")
    home = starter.files.log.parent
    forget = "; to have this local cluster forget it, move its directory aside (it stays whole"
    with pytest.raises(WrongDirectory, match=re.escape(said + forget)) as caught:
        starter.wait_ready(process)
    assert f"nothing of it is missed): mv {home} {home}.aside (log: " in caught.value.message
    process = starter.start("import sys; sys.exit('WrongDirectory: it is of another cluster')")
    with pytest.raises(WrongDirectory, match=r"another cluster \(log"):
        starter.wait_ready(process)


def test_of_several_that_ended_each_is_told_once(tmp_path: Path) -> None:
    said = {
        "cs8": "WrongDirectory: cs8 says it is server 8: it was removed, or so",
        "cs 9": "WrongDirectory: cs9 says it is server 9: it was removed, or so",
        "cs2": "PortTaken: port 7 is taken",
        "cs3": "well",
    }
    (tmp_path / "cs 9.aside").mkdir()
    ended = []
    for name, last in said.items():
        home = tmp_path / name
        home.mkdir()
        (home / "output").write_text(f"ready name={name}\n{last}\n")
        ended.append((name, ProcessFiles(home / "pid", home / "output", home / "x.log")))
    error = processes.start_errors(ended)
    assert type(error) is WrongDirectory
    first, *others = error.message.split("; ")
    assert first.startswith("cs8, cs 9 did not start: they are unknown here: they were removed")
    assert others == [
        "with empty ones they come as new servers",
        "to have this local cluster forget them, move their directories aside (they stay whole"
        " there",
        f"delete them once nothing of them is missed): mv {tmp_path}/cs8 {tmp_path}/cs8.aside"
        f" && mv '{tmp_path}/cs 9' '{tmp_path}/cs 9.aside1'",
        f"cs2 did not start: port 7 is taken (log: {tmp_path}/cs2/x.log)",
        f"cs3 did not start: well (log: {tmp_path}/cs3/x.log)",
    ]
    assert type(processes.start_errors(ended[2:])) is PortTaken
    assert type(processes.start_errors(ended[3:] * 2)) is GfsError
    assert processes.start_errors(ended[2:3]).message == others[3]


def test_any_other_last_words_are_repeated_too(starter: Starter) -> None:
    process = starter.start("print('well'); import sys; sys.exit('Traceback or so')")
    with pytest.raises(GfsError, match="x did not start: Traceback or so") as caught:
        starter.wait_ready(process)
    assert type(caught.value) is GfsError
    process = starter.start("")
    with pytest.raises(GfsError, match="x did not start: it said nothing"):
        starter.wait_ready(process)


def test_a_process_that_never_gets_ready_is_given_up(starter: Starter) -> None:
    process = starter.start("import signal; signal.pause()")
    with pytest.raises(DeadlineExceeded, match=r"x is not ready after 0 s; its log is .*x\.log"):
        starter.wait_ready(process, 0.0)


@pytest.mark.parametrize("code", [SERVES, STUBBORN], ids=["polite", "stubborn"])
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_ending_ends_every_process(starter: Starter, code: str, paused: bool) -> None:
    process = starter.start(code)
    starter.wait_ready(process)
    if paused:
        process.send(signal.SIGSTOP)
        assert process.wait_paused(RUNTIME, 20)
    processes.end_processes([process], RUNTIME, 0.2)
    assert not process.running()
    assert not Path(f"/proc/{process.pid}").exists(), "no zombie stays either"


def test_a_program_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    files = ProcessFiles(tmp_path / "pid", tmp_path / "output", tmp_path / "log")
    with pytest.raises(GfsError, match="cannot start /nowhere/python"):
        processes.start_process(["/nowhere/python"], files, {})
    assert not files.pid.exists()


def test_only_the_end_of_a_long_output_is_read(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"x" * 100_000 + b"\nlast \xff\n")
    assert processes.read_tail(path)[-1] == "last \ufffd"
    assert processes.read_tail(tmp_path / "gone") == []
