"""The journal is told how grave each line is, and nobody else."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from gfs_ha.logs.priorities import is_journal, priority

PROGRAM = """
import logging, os, sys
from gfs_ha.logs.start import start_logging
if sys.argv[1] == "journal":
    told = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{told.st_dev}:{told.st_ino}"
elif sys.argv[1] == "other":
    os.environ["JOURNAL_STREAM"] = "1:1"
start_logging("m1", "debug", form=sys.argv[2])
log = logging.getLogger("gfs_ha.master.server")
log.debug("a"); log.info("b"); log.warning("c"); log.error("d"); log.critical("e")
try:
    raise ValueError("no")
except ValueError:
    log.exception("f")
"""


def lines(where: str, form: str) -> list[str]:
    """Return what a process logs to a pipe that is the journal's, or is not."""
    environ = {name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"}
    command = [sys.executable, "-c", PROGRAM, where, form]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environ, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


def test_each_line_to_the_journal_says_how_grave_it_is() -> None:
    found = lines("journal", "text")
    assert [line[:3] for line in found[:6]] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<3>"]
    traceback = found[6:]
    assert traceback[0] == "<3>    Traceback (most recent call last):"
    assert traceback[-1] == "<3>    ValueError: no"
    assert all(line.startswith("<3>") for line in traceback)


def test_a_json_line_is_one_document_behind_its_mark() -> None:
    found = lines("journal", "json")
    assert len(found) == 6
    assert [json.loads(line[3:])["message"] for line in found] == ["a", "b", "c", "d", "e", "f"]


def test_why_a_daemon_did_not_start_is_an_error_in_the_journal() -> None:
    reading, writing = os.pipe()
    told = os.fstat(writing)
    environ = os.environ | {"JOURNAL_STREAM": f"{told.st_dev}:{told.st_ino}"}
    command = [sys.executable, "-m", "gfs_ha.cli.daemons", "master", "--config", "/nowhere.toml"]
    with os.fdopen(reading) as journal:
        try:
            status = subprocess.run(command, stderr=writing, env=environ, timeout=60).returncode
        finally:
            os.close(writing)
        assert status == 2
        (line,) = journal.read().splitlines()
    assert line.startswith("<3>ConfigError: /nowhere.toml: ")


@pytest.mark.parametrize("where", ["nowhere", "other"])
def test_no_line_to_anything_else_is_marked(where: str) -> None:
    assert all(not line.startswith("<") for line in lines(where, "text"))


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.INFO + 1, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
        (99, 2),
    ],
)
def test_levels_have_the_priorities_of_syslog(level: int, number: int) -> None:
    assert priority(level) == number


def test_a_descriptor_that_is_closed_is_no_journal() -> None:
    descriptor = os.dup(2)
    os.close(descriptor)
    assert not is_journal({"JOURNAL_STREAM": "0:0"}, descriptor)
