"""Each code has its runbook, and the commands that runbooks name exist with these options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import gfs_ha
from gfs_ha import errors
from gfs_ha.cli.failure import conclude
from gfs_ha.cli.interrupt import Interrupted
from gfs_ha.cli.runbooks import ERROR, EXIT, FINDING, Step, codes, runbook, runbooks, steps_for
from gfs_ha.cli.shell import root
from gfs_ha.errors import GfsError
from gfs_ha.protocol.findings import FINDING_CODES

PACKAGE = Path(gfs_ha.__file__).parent
BOOKS = list(runbooks().values())


def tree(kind: type[GfsError]) -> list[type[GfsError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


def test_every_class_of_error_has_a_runbook_and_no_other_has_one() -> None:
    classes = {kind.__name__ for kind in tree(GfsError) if kind.__module__ == errors.__name__}
    assert set(codes(ERROR)) == classes


def test_every_code_of_a_finding_is_listed_and_has_a_runbook_with_its_rule() -> None:
    written: set[str] = set()
    for path in (PACKAGE / "master").glob("*.py"):
        text = path.read_text()
        if "Finding(" in text:
            written |= set(re.findall(r'Finding\(\s*"([A-Z_]+)"', text))
            written |= set(re.findall(r'": "([A-Z]+_[A-Z]+)"', text))  # By a server's state.
    assert written == set(FINDING_CODES)
    assert set(codes(FINDING)) == written
    assert all(book.rule for book in BOOKS if book.kind == FINDING)


def test_every_exit_status_that_is_used_has_a_runbook() -> None:
    used = {kind.exit_status for kind in tree(GfsError)} | {0, 1, 2}
    used |= {Interrupted(number).exit_status for number in (2, 15)}
    assert {int(code) for code in codes(EXIT)} == used


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: f"{book.kind}-{book.code}")
def test_a_runbook_says_what_it_means_and_names_commands_that_exist(book) -> None:
    assert book.means.endswith(".") and len(book.means) < 200
    assert book.next or book.code == "0", "no next step"
    for step in book.next:
        assert step.why and "  " not in step.command
        check(step)


def check(step: Step) -> None:
    """Walk the tree of commands along the words of a step."""
    words = shlex.split(step.command)
    assert words.pop(0) == "gfsctl", step
    command: click.Command = root()
    context = click.Context(command)
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            known = {name for one in command.params for name in one.opts} | {"--help"}
            assert word in known, f"{step.command}: {command.name} has no {word}"
            option = next((one for one in command.params if word in one.opts), None)
            if isinstance(option, click.Option) and not option.is_flag and not option.count:
                assert words, f"{step.command}: {word} wants a value"
                if option.name != "watch":
                    option.type.convert(words.pop(0), option, context)
        elif isinstance(command, click.Group) and word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None
            command = found
        else:
            assert any(isinstance(one, click.Argument) for one in command.params), (
                f"{step.command}: {command.name} takes no {word}"
            )
            assert not isinstance(command, click.Group), f"{step.command}: no command {word}"


def test_codes_are_found_as_people_type_them() -> None:
    for typed in ("NoLeader", "noleader", "NO_LEADER", "no-leader"):
        book = runbook(typed)
        assert book is not None and book.code == "NoLeader"
    for typed in ("CHUNKS_UNDER", "chunks-under", "8", "130"):
        assert runbook(typed) is not None
    for typed in ("", "cs3", "r-19", "/8", "0x8", "99"):
        assert runbook(typed) is None


def test_the_steps_of_a_finding_name_what_it_is_about() -> None:
    book = runbook("SERVER_DEAD")
    assert book is not None
    assert steps_for(book, "cs7")[0].command == "gfsctl admin chunkservers show cs7"
    assert steps_for(book, "") == book.next


def test_advice_and_errors_name_runbooks_that_exist() -> None:
    for path in PACKAGE.rglob("*.py"):
        for code in re.findall(r"gfsctl explain ([A-Za-z_]{3,})", path.read_text()):
            assert code in ("CODE", "PATH", "JOB", "SERVER", "lists") or runbook(code), (path, code)


def test_an_error_whose_cause_lies_elsewhere_says_where_more_is_told(capsys) -> None:
    for error, hint in (
        (errors.NoLeader("no leader for 4.2 s"), " (gfsctl explain NoLeader)"),
        (errors.NotFound("/a does not exist"), ""),
    ):
        assert conclude(error, machine_readable=False, verbose=False) == error.exit_status
        assert capsys.readouterr().err == f"gfsctl: {error.message}{hint}\n"


def test_a_code_that_is_written_out_is_never_taken_for_one_that_sounds_alike() -> None:
    for _, code in runbooks():
        found = runbook(code)
        assert found is not None and found.code == code
    assert runbook("disk-failed") is not None, "a person may write it otherwise"


def test_the_server_of_a_finding_stands_in_the_name_of_its_disk() -> None:
    book = runbook("DISK_FAILED")
    assert book is not None
    first = steps_for(book, "cs1")[0]
    assert first.command == "gfsctl admin disks replace cs1:DISK"
    named = steps_for(book, "cs1", (("disk", "0x3f2a"), ("directory", "/srv/d2")))
    assert named[0].command == "gfsctl admin disks replace cs1:0x3f2a"
