"""The frame of gfsctl without a cluster: help, options, errors, exit codes, start-up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from gfs_ha.cli.failure import conclude, note_trace
from gfs_ha.cli.interrupt import Interrupted, resend
from gfs_ha.cli.output import ClosedPipe
from gfs_ha.cli.render import text_of
from gfs_ha.cli.shell import run
from gfs_ha.errors import NoLeader, NotFound
from gfs_ha.runtime import ThreadedRuntime

VERBS = [
    *("put", "get", "ls", "cat", "stat", "mkdir", "mv", "cp", "truncate", "rm", "version"),
    *("admin status", "admin health", "admin masters ls", "admin chunkservers ls"),
    *("admin chunks ls", "admin placement show"),
    *("local up", "local down", "local status", "local kill", "local start", "local env"),
]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("GFS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_examples_before_anything_else(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(("Examples:\n  gfsctl ", "Examples:\n  eval "))
    assert text.index("Examples:") < text.index("Usage:") < text.index("Common options:")
    assert f"gfsctl {verb}" in text


@pytest.mark.parametrize("group", ["", "admin", "local"])
def test_help_of_a_group_shows_examples_before_its_commands(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*group.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Examples:\n  gfsctl ")
    assert text.index("Examples:") < text.index("Usage:") < text.index("Commands:")


def test_the_list_of_commands_needs_no_library() -> None:
    code = (
        "import sys; from gfs_ha.cli.shell import run; run(['--help']);"
        "heavy = {'rich', 'msgspec', 'rpyc', 'lmdb', 'pysyncobj'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "put" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["admin", "nonsense"],
        ["ls", "--nonsense"],
        ["ls", "-o", "xml"],
        ["put"],
        ["--timeout", "soon", "ls"],
        ["--timeout", "nan", "ls", "/"],
        ["admin", "status", "--watch=nan"],
        ["admin", "scrub", "budget", "--period", "nan"],
        ["admin", "scrub", "budget", "--period", "inf"],
        ["admin", "sim", "run", "--seeds", "1", "--minutes", "nan"],
        ["rm"],
    ],
)
def test_what_cannot_be_understood_is_one_line_and_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("gfsctl: ") and told.count("\n") == 1


def test_with_json_an_error_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "/", "-o", "json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "ConfigError" and error["retryable"] is False
    assert run(["ls", "--nonsense", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "UsageError"


def test_a_missing_configuration_names_the_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "/"]) == 2
    told = capsys.readouterr().err
    assert "--config" in told and "GFS_CONFIG" in told


def test_a_typo_in_the_configuration_names_file_line_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "typo.toml"
    file.write_text(
        '[cluster]\nid = "c"\nnmae = "x"\n[[cluster.masters]]\n'
        'name = "m1"\nhost = "127.0.0.1"\nport = 1\nraft_port = 2\n'
    )
    assert run(["--config", str(file), "ls", "/"]) == 2
    told = capsys.readouterr().err
    assert str(file) in told and "3" in told and "nmae" in told


def test_a_verb_takes_the_common_options_before_and_after_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["-o", "json", "version"], ["version", "-o", "json"], ["version", "--json"]):
        assert run(words) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == "Version"
    monkeypatch.setenv("GFS_OUTPUT", "json")
    assert run(["version"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "Version"
    assert run(["version", "-o", "name"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"
    assert run(["version", "-o", "jsonl"]) == 0  # As everywhere: the items, without an envelope.
    assert json.loads(capsys.readouterr().out)["version"] == "0.1.0"


def test_the_version_is_shown_as_everybody_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("gfs-ha 0.1.0 ")
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == shown
    assert run(["--version", "-o", "name"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"


def test_errors_become_one_line_and_their_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(NotFound("/x: no such\nfile"), False, False) == 3
    assert capsys.readouterr().err == "gfsctl: /x: no such file\n"
    assert conclude(NoLeader("no leader for 4.2 s; tried m1, m2, m3"), True, False) == 5
    error = json.loads(capsys.readouterr().err)["error"]
    assert error == {
        "code": "NoLeader",
        "message": "no leader for 4.2 s; tried m1, m2, m3",
        "retryable": True,
    }


def test_an_error_of_the_cluster_names_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    error = NoLeader("no leader for 4.2 s")
    note_trace(error, "3f2a00000000beef")
    conclude(error, False, False)
    told = capsys.readouterr().err
    hint = "gfsctl explain NoLeader; trace 3f2a00000000beef"
    assert told == f"gfsctl: no leader for 4.2 s ({hint})\n"
    conclude(error, True, False)
    assert json.loads(capsys.readouterr().err)["error"]["trace"] == "3f2a00000000beef"
    plain = NotFound("/x: not there")
    note_trace(plain, "3f2a00000000beef")
    conclude(plain, False, False)
    assert capsys.readouterr().err == "gfsctl: /x: not there\n"
    conclude(plain, False, True)
    assert "/x: not there (NotFound; trace 3f2a00000000beef)\n" in capsys.readouterr().err


def test_what_is_no_number_is_said_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["admin", "rebalance", "plan", "--threshold", "x"]) == 2
    assert "'x' is no number (see" in capsys.readouterr().err
    assert run(["admin", "rebalance", "plan", "--max-moves", "1.5"]) == 2
    assert "'1.5' is no whole number (see" in capsys.readouterr().err


def test_a_name_in_an_error_cannot_move_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    conclude(NotFound("/\x1b[2J\udce9"), False, False)
    assert capsys.readouterr().err == "gfsctl: /\\x1b[2J\\xe9\n"


def test_a_traceback_is_shown_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(ValueError("our own mistake"), False, False) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert conclude(ValueError("our own mistake"), False, True) == 1
    assert "ValueError" in capsys.readouterr().err


def test_local_files_errors_name_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(FileNotFoundError(2, "No such file", "gone.txt"), False, False) == 3
    assert capsys.readouterr().err == "gfsctl: gone.txt: No such file or directory\n"
    assert conclude(PermissionError(13, "Permission denied", b"secret"), False, False) == 6
    assert conclude(OSError(28, "No space left"), False, False) == 7
    assert conclude(IsADirectoryError(21, "Is a directory", "d"), False, False) == 4


def test_signals_have_the_shell_s_status_and_a_closed_pipe_none() -> None:
    assert conclude(Interrupted(2), False, False) == 130
    assert conclude(Interrupted(15), False, False) == 143
    assert conclude(KeyboardInterrupt(), False, False) == 130
    assert conclude(ClosedPipe(), False, False) == 0


def test_a_signal_is_sent_again_until_it_is_heard() -> None:
    heard: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        resend(ThreadedRuntime(), signal.SIGUSR1, lambda: len(heard) >= 2)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert len(heard) >= 2


@pytest.mark.parametrize("name", ["[brackets]", "[red]x", ":smile:", "[/]", "x" * 300])
def test_tables_show_names_as_they_are(name: str) -> None:
    table = Table("Name", "Size", box=None)
    table.add_row(name, "1")
    assert name in text_of(table, color=True, wide=False)
