"""What people do wrong: the right exit status, one clear line, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, GFSCTL, Gfsctl


@pytest.mark.parametrize("verb", ["ls", "cat", "stat", "rm"])
def test_an_unknown_path_is_not_found(gfsctl: Gfsctl, home: str, verb: str) -> None:
    assert f"{home}/none" in gfsctl.refused(3, verb, f"{home}/none")


def test_an_unknown_path_is_not_found_by_the_verbs_with_two(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    gfsctl.refused(3, "get", f"{home}/none", tmp_path / "x")
    gfsctl.refused(3, "mv", f"{home}/none", f"{home}/other")
    gfsctl.refused(3, "admin", "placement", "show", f"{home}/none")
    assert "nope" in gfsctl.refused(3, "put", tmp_path / "nope", f"{home}/x")
    gfsctl.refused(3, "put", "/dev/null", f"{home}/no/such/parent")
    gfsctl.refused(3, "mkdir", f"{home}/no/such/parent")
    assert os.listdir(tmp_path) == []
    assert gfsctl.names(home) == []


def test_a_directory_where_a_file_is_expected(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    gfsctl.ok("mkdir", f"{home}/d")
    gfsctl.refused(4, "cat", f"{home}/d")
    gfsctl.refused(4, "get", f"{home}/d", tmp_path / "x")
    gfsctl.refused(4, "rm", f"{home}/d")
    gfsctl.refused(4, "put", "-", f"{home}/d")
    (tmp_path / "local").mkdir()
    gfsctl.refused(4, "put", tmp_path / "local", f"{home}/x")
    assert gfsctl.tree(home) == [f"{home}/d"]
    assert os.listdir(tmp_path) == ["local"]


def test_a_file_where_a_directory_is_expected(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"f")
    gfsctl.refused(4, "ls", f"{home}/f/below")
    gfsctl.refused(4, "put", "/dev/null", f"{home}/f/below")
    gfsctl.refused(4, "mkdir", f"{home}/f")
    gfsctl.refused(4, "mkdir", "-p", f"{home}/f/below")
    gfsctl.refused(4, "mv", f"{home}/f", f"{home}/f/below")
    assert gfsctl.ok("cat", f"{home}/f").out == b"f"


def test_mkdir_says_what_exists_unless_parents_are_wanted(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.refused(4, "mkdir", home)
    gfsctl.ok("mkdir", "-p", home, f"{home}/a/b/c")
    assert gfsctl.tree(home) == [f"{home}/a", f"{home}/a/b", f"{home}/a/b/c"]


def test_mv_moves_into_a_directory_and_replaces_a_file(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("mkdir", f"{home}/d")
    for name in "abc":
        gfsctl.ok("put", "-", f"{home}/{name}", stdin=name.encode())
    gfsctl.ok("mv", f"{home}/a", f"{home}/b")
    assert gfsctl.ok("cat", f"{home}/b").out == b"a"
    gfsctl.ok("mv", f"{home}/b", f"{home}/c", f"{home}/d/")
    assert gfsctl.tree(home) == [f"{home}/d", f"{home}/d/b", f"{home}/d/c"]
    gfsctl.refused(4, "mv", f"{home}/d/b", f"{home}/d/c", f"{home}/new")
    gfsctl.refused(3, "mv", f"{home}/d/b", f"{home}/new/")
    ended = gfsctl("mv", f"{home}/d", f"{home}/d/inside")
    assert ended.status in (2, 4), ended.err
    assert gfsctl.tree(home) == [f"{home}/d", f"{home}/d/b", f"{home}/d/c"]


def test_a_recursive_rm_without_a_terminal_needs_a_yes(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("mkdir", f"{home}/d")
    gfsctl.ok("put", "-", f"{home}/d/f", stdin=b"12345")
    told = gfsctl.refused(2, "rm", "-r", f"{home}/d")
    assert "1 file" in told and "5 B" in told and "-y" in told
    assert gfsctl.tree(home) == [f"{home}/d", f"{home}/d/f"]
    told = gfsctl.ok("rm", "-r", "-n", f"{home}/d").out.decode()
    assert told == f"would remove {home}/d with 1 file (5 B) and 0 directories\n"
    assert gfsctl.tree(home) == [f"{home}/d", f"{home}/d/f"]
    gfsctl.ok("rm", "-r", "-y", f"{home}/d")
    assert gfsctl.names(home) == []
    gfsctl.refused(2, "rm", "-r", "-y", "/")


def test_the_program_itself_has_the_same_status_and_words(gfsctl: Gfsctl, home: str) -> None:
    for words, stdin in (
        (("put", "-", f"{home}/f"), b"content"),
        (("cat", f"{home}/f"), b""),
        (("stat", "-o", "json", f"{home}/f"), b""),
        (("cat", f"{home}/none"), b""),
        (("ls", "--none"), b""),
    ):
        real, here = gfsctl.process(*words, stdin=stdin), gfsctl(*words, stdin=stdin)
        assert real == here
    assert gfsctl.process("--help").out.startswith(b"Examples:")


def test_a_closed_pipe_ends_quietly(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=os.urandom(3 * CHUNK_BYTES))
    for words in (("cat", f"{home}/f"), ("get", f"{home}/f", "-")):
        child = gfsctl.begin(*words)
        assert child.stdout is not None
        child.stdout.read(10)
        child.stdout.close()
        child.stdout = None
        ended = gfsctl.end(child)
        assert (ended.status, ended.err) == (0, "")


def test_a_full_disk_behind_standard_output_is_told(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"x" * CHUNK_BYTES)
    with open("/dev/full", "wb") as full:
        for words in (("cat", f"{home}/f"), ("ls", home)):
            ended = gfsctl.end(gfsctl.begin(*words, stdout=full))
            assert ended.status == 7, ended.err
            assert ended.err.count("\n") == 1


def test_no_master_within_reach_is_temporary_and_names_them(gfsctl: Gfsctl, tmp_path: Path) -> None:
    dead = tmp_path / "dead.toml"
    masters = "".join(
        f'[[cluster.masters]]\nname = "m{n}"\nhost = "127.0.0.1"\n'
        f"port = {n}\nraft_port = {n + 10}\n"
        for n in (1, 2, 3)
    )
    dead.write_text(f'[cluster]\nid = "gone"\n{masters}')
    options = ("--config", dead, "--timeout", "1")
    told = gfsctl.refused(5, *options, "ls", "/")
    assert "no leader for" in told and "tried m1, m2, m3" in told
    gfsctl.refused(5, *options, "mkdir", "/x")
    gfsctl.refused(5, *options, "put", "/dev/null", "/x")
    gfsctl.refused(5, *options, "admin", "rebalance", "plan")  # Which may take two minutes.
    error = json.loads(gfsctl(*options, "ls", "/", "-o", "json").err)["error"]
    assert error["code"] == "NoLeader" and error["retryable"] is True


def test_another_cluster_behind_the_address_is_denied(gfsctl: Gfsctl, tmp_path: Path) -> None:
    text = gfsctl.config.read_text()
    wrong = tmp_path / "wrong.toml"
    line = next(line for line in text.splitlines() if line.startswith("id"))
    wrong.write_text(text.replace(line, 'id = "another"'))
    told = gfsctl.refused(6, "--config", wrong, "ls", "/")
    assert "another" in told
    gfsctl.refused(6, "--config", wrong, "put", "/dev/null", "/x")


def test_a_typo_in_the_configuration_names_file_line_and_key(
    gfsctl: Gfsctl, tmp_path: Path
) -> None:
    typo = tmp_path / "typo.toml"
    typo.write_text(gfsctl.config.read_text().replace("[cluster]", "[cluster]\nnaem = 1", 1))
    told = gfsctl.refused(2, "--config", typo, "ls", "/")
    assert str(typo) in told and "naem" in told
    gfsctl.refused(2, "--config", tmp_path / "missing.toml", "ls", "/")


def test_a_put_from_a_pipe_needs_the_name_of_a_file(gfsctl: Gfsctl, home: str) -> None:
    ended = gfsctl("put", "-", home, stdin=b"x")
    assert ended.status == 4, ended.err
    assert gfsctl.names(home) == []


def test_a_directory_is_not_written_to_standard_output(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("mkdir", f"{home}/d")
    assert gfsctl("get", "-r", f"{home}/d", "-").status in (2, 4)


def test_standard_input_that_is_closed_is_an_error_and_no_empty_file(
    gfsctl: Gfsctl, home: str
) -> None:
    child = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" put - "$1" <&-', GFSCTL, f"{home}/f"],
        env=gfsctl.environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 2, child.stderr
    assert b"standard input" in child.stderr
    assert gfsctl.names(home) == []
