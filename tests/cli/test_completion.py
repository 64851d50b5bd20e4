"""Completion: what could stand there, how each shell is told, and real shells that use it."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gfsctl_program import GFSCTL, Gfsctl

from gfs_ha.cli.complete.run import run
from gfs_ha.cli.complete.shells import INSTRUCTION, LINE, SCRIPTS, Candidate, answer, typed
from gfs_ha.cli.complete.sources import below, local_names
from gfs_ha.protocol.findings import FINDING_CODES

SHELL_S = 120.0


def ask(gfsctl: Gfsctl, line: str, shell: str = "bash", **more: str) -> list[str]:
    """Return what a shell is answered, by the code of the program in this process."""
    slow = {"GFS_COMPLETION_TIMEOUT": "60"}  # Of a person the patience is not that of a test.
    environment = {**gfsctl.environment(), **slow, INSTRUCTION: shell, LINE: line, **more}
    kept, stream = (sys.stdout, dict(os.environ)), io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.stdout = stream
        with contextlib.chdir(gfsctl.directory):
            run()
    finally:
        sys.stdout = kept[0]
        os.environ.clear()
        os.environ.update(kept[1])
    stream.flush()
    return stream.detach().getvalue().decode().splitlines()  # type: ignore[attr-defined,no-any-return]


# Lines of shells, without any -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "before", "last"),
    [
        ("gfsctl ", [], ""),
        ("gfsctl l", [], "l"),
        ("gfsctl ls /a", ["ls"], "/a"),
        ("gfsctl ls '/a b", ["ls"], "/a b"),
        ('gfsctl ls "/a b', ["ls"], "/a b"),
        ("gfsctl ls /a\\ b", ["ls"], "/a b"),
        ("gfsctl ls '/a b' /c", ["ls", "/a b"], "/c"),
        ("gfsctl ls /a\\", ["ls"], "/a"),
        ("gfsctl ls 'it'\\''s", ["ls"], "it's"),
        ("gfsctl ls \t x", ["ls"], "x"),
        ("", [], ""),
    ],
)
def test_a_line_is_read_as_the_shell_will(line: str, before: list[str], last: str) -> None:
    words = typed(line)
    assert (words.before, words.last) == (before, last)


def told(line: str, *values: str, shell: str = "bash") -> list[str]:
    found = [Candidate(value, "what it is") for value in values]
    return list(answer(shell, typed(line), found, {}))[1:]


def test_bash_is_told_words_as_they_have_to_stand_in_the_line() -> None:
    assert told("gfsctl ls /a", "/a b$") == ["/a\\ b\\$"]
    assert told("gfsctl ls '/a", "/a b$", "/it's") == ["/a b$", "/it'\\''s"]
    assert told('gfsctl ls "/a', '/a b$"') == ['/a b\\$\\"']
    assert told("gfsctl ls gfs://c/a", "gfs://c/ab") == ["//c/ab"], "bash ends a word at a colon"
    assert told("gfsctl --opt=x", "--opt=xy") == ["xy"]
    assert told("gfsctl ls /ü", "/ümlaut") == ["/ümlaut"]


def test_a_single_directory_wants_no_space_behind_it() -> None:
    one = [Candidate("/a/")]
    assert next(answer("bash", typed("gfsctl ls /"), one, {})) == "nospace"
    assert next(answer("bash", typed("gfsctl ls /"), [*one, Candidate("/b")], {})) == "space"
    assert next(answer("zsh", typed("gfsctl ls /"), [Candidate("/b")], {})) == "space"


def test_names_that_a_terminal_must_not_see_are_not_offered_and_never_too_many() -> None:
    assert told("gfsctl ls /", "/a\x1b[31m", "/b\n", "/c", shell="fish") == ["/c\twhat it is"]
    assert len(told("gfsctl ls /", *(f"/{number}" for number in range(500)))) == 200


@pytest.mark.parametrize("text", ["a", "abc", "ü", "\ue000", "a\x01", "\U00010000", "name 5"])
def test_names_that_begin_so_come_right_after_the_name_below(text: str) -> None:
    before = below(text).encode()
    assert before < text.encode()
    assert before >= text[:-1].encode()
    assert below("") == ""


def test_local_names_are_those_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("data.bin", "dé", ".hidden"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [one.value for one in local_names("d")] == ["data.bin", "docs/", "dé"]
    assert [one.value for one in local_names("~/da")] == ["~/data.bin"]
    assert [one.value for one in local_names(f"{tmp_path}/.h")] == [f"{tmp_path}/.hidden"]
    assert ".hidden" not in [one.value for one in local_names("")]


# The program ------------------------------------------------------------------------------------


def test_commands_and_options_come_without_a_cluster(gfsctl: Gfsctl) -> None:
    nowhere = {"GFS_CONFIG": "/nowhere.toml", "GFS_COMPLETION_TIMEOUT": "nan"}
    assert ask(gfsctl, "gfsctl tou", **nowhere) == ["space", "touch"]
    assert ask(gfsctl, "gfsctl admin mas", **nowhere) == ["space", "masters"]
    assert ask(gfsctl, "gfsctl du --so", **nowhere) == ["space", "--sort"]
    assert ask(gfsctl, "gfsctl du --sort ", **nowhere) == ["space", "files", "raw", "size"]
    assert ask(gfsctl, "gfsctl ls /", **nowhere) == ["space"], "silent when nobody answers"
    for line in ("mute ", "unmute ", "detail ", "detail DISK_WORN "):
        offered = ask(gfsctl, f"gfsctl admin health {line}", **nowhere)
        assert offered[1:] == sorted(FINDING_CODES), "nothing that it would refuse"
    assert "NotFound" in ask(gfsctl, "gfsctl explain Not", **nowhere)
    assert ask(gfsctl, "gfsctl nonsense x", **nowhere) in ([], ["space"])
    (fish,) = ask(gfsctl, "gfsctl tou", shell="fish", **nowhere)[1:]
    assert fish.startswith("touch\t")


def test_paths_and_ids_are_those_of_the_cluster(gfsctl: Gfsctl, home: str) -> None:
    for name in ("sub", "süd", "other", "a b"):
        gfsctl.library.mkdir(f"{home}/{name}")
    gfsctl.library.write_bytes(f"{home}/some", b"1")
    cluster = gfsctl.library.config.cluster
    assert ask(gfsctl, f"gfsctl ls {home}/s")[1:] == [
        f"{home}/{n}" for n in ("some", "sub/", "süd/")
    ]
    assert ask(gfsctl, f"gfsctl ls {home}/a") == ["nospace", f"{home}/a\\ b/"]
    assert ask(gfsctl, f"gfsctl ls {home}/none/x") == ["space"]
    scheme = f"gfs://{cluster.name}"
    assert ask(gfsctl, f"gfsctl cp {home}/some {scheme}{home}/o", "zsh")[1:] == [
        f"{scheme}{home}/other/"
    ]
    assert ask(gfsctl, "gfsctl ls gfs:", "zsh")[1:] == [f"{scheme}/"]
    (chunk,) = (f"0x{one:x}" for one in gfsctl.chunk_ids(f"{home}/some"))
    assert chunk in ask(gfsctl, f"gfsctl admin chunks show {chunk[:-1]}")
    assert ask(gfsctl, "gfsctl admin chunkservers show c")[1:] == ["cs1", "cs2", "cs3", "cs4"]
    (disk,) = (one for one in gfsctl.library.operations.disks.all().items if one.server == "cs1")
    named = f"cs1:0x{disk.disk_id:x}"
    for words in ("drain cs1:", "undrain cs1:0x", "replace cs1"):
        assert named in ask(gfsctl, f"gfsctl admin disks {words}", "zsh")
    (bare,) = ask(gfsctl, f"gfsctl admin disks drain {named[4:-1]}", "zsh")[1:]
    assert bare == named[4:], "an id alone is a name, too"
    (placed,) = ask(gfsctl, "gfsctl admin disks drain cs1:/", "zsh")[1:]
    assert placed == f"cs1:{disk.directory}"
    assert ask(gfsctl, "gfsctl admin disks ls cs")[1:] == ["cs1", "cs2", "cs3", "cs4"]
    assert ask(gfsctl, "gfsctl admin masters show ")[1:] == ["m1", "m2", "m3"]
    assert ask(gfsctl, "gfsctl local kill m1 m")[1:] == ["m1", "m2", "m3"]
    assert ask(gfsctl, "gfsctl local start cs")[1:] == ["cs1", "cs2", "cs3", "cs4"]
    assert ask(gfsctl, "gfsctl put --context=x")[1:] == []
    assert ask(gfsctl, f"gfsctl bench put --dir {home}/o")[1:] == [f"{home}/other/"]


def test_words_that_may_be_here_or_there_are_completed_on_both_sides(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "some.txt").touch()
    gfsctl.library.write_bytes(f"{home}/some", b"1")
    assert ask(gfsctl, "gfsctl checksum ./so")[1:] == ["./some.txt"]
    assert ask(gfsctl, f"gfsctl checksum {home}/so")[1:] == [f"{home}/some"]
    assert ask(gfsctl, "gfsctl doctor --target so")[1:] == ["some.txt"]


def test_a_directory_of_many_names_is_looked_at_where_they_begin_so(
    gfsctl: Gfsctl, home: str
) -> None:
    for number in range(205):
        gfsctl.library.mkdir(f"{home}/n{number:03d}")
    assert len(ask(gfsctl, f"gfsctl ls {home}/")) == 1 + 200
    assert ask(gfsctl, f"gfsctl ls {home}/n204")[1:] == [f"{home}/n204/"]


def test_words_of_commands_cost_no_client() -> None:
    """The rooms of the client are what takes long to import."""
    program = (
        "import sys; from gfs_ha.cli.complete.run import run; run();"
        "heavy = ('gfs_ha.client', 'gfs_ha.net', 'rich');"
        "print([name for name in sys.modules if name.startswith(heavy)], file=sys.stderr)"
    )
    environment = {**os.environ, "_GFSCTL_COMPLETE": "bash", "_GFSCTL_LINE": "gfsctl admin ch"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=SHELL_S
    )
    assert ended.stdout.split() == [b"space", b"chunkservers", b"chunks"]
    assert ended.stderr.strip() == b"[]"


# Real shells ------------------------------------------------------------------------------------

_BEGIN = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(gfsctl completion bash)"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -U compinit && compinit -u -D; source <(gfsctl completion zsh)",
    ),
    "fish": (["fish", "--private", "--no-config", "-i"], "gfsctl completion fish | source"),
}


_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Shell:
    """A real interactive shell at a terminal of its own."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        words, self._begin = _BEGIN[name]
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)
        self.seen = ""

    def begin(self) -> None:
        # The quotes keep the echo of the line from being taken for its output.
        self.type(f"{self._begin}; echo it' 'runs\n", "it runs")

    def type(self, keys: str, awaited: str) -> None:
        """Type, and wait until a pattern is seen of what comes back."""
        os.write(self._terminal, keys.encode())
        start, end_s = len(self.seen), time.monotonic() + SHELL_S
        while not re.search(awaited, _COLOURS.sub("", self.seen[start:])):
            assert time.monotonic() < end_s, f"{awaited!r} is not in {self.seen[start:]!r}"
            if select.select([self._terminal], [], [], 1.0)[0]:
                self.seen += os.read(self._terminal, 65536).decode("utf-8", "replace")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.fixture(params=sorted(_BEGIN))
def shell(request: pytest.FixtureRequest, gfsctl: Gfsctl) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} on this machine")
    path = f"{Path(GFSCTL).parent}:{os.environ['PATH']}"
    facts = {"PATH": path, "TERM": "xterm", "PS1": "$ ", "GFS_COMPLETION_TIMEOUT": "60"}
    running = Shell(request.param, {**gfsctl.environment(), **facts})
    try:
        running.begin()
        yield running
    finally:
        running.end()


def test_a_real_shell_completes_commands_paths_and_quoted_names(
    shell: Shell, gfsctl: Gfsctl
) -> None:
    gfsctl.library.mkdir("/with spaces/it's $mine", parents=True)
    gfsctl.library.write_bytes("/with spaces/file", b"what it holds")
    name = gfsctl.library.config.cluster.name
    shell.type("gfsctl trunc\t", "gfsctl.*ate ")
    shell.type("\x15gfsctl ls /with\\ sp\t", r"/with\\ spaces/")
    shell.type("\x15gfsctl cat /with\\ spaces/fi\t\n", "what it holds")
    shell.type("\x15gfsctl ls '/with spaces/f\t", "/with spaces/file")
    shell.type(f"\x15gfsctl cat gfs://{name}/with\\ spaces/fi\t\n", "what it holds")


def test_every_shell_that_is_known_has_a_script(gfsctl: Gfsctl) -> None:
    assert sorted(_BEGIN) == sorted(SCRIPTS)
    for name, script in SCRIPTS.items():
        assert gfsctl.ok("completion", name).out.decode() == script
    assert "bash" in gfsctl.refused(2, "completion", "tcsh")
