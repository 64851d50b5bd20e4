"""gfsctl append, tail and admin leases, against a real cluster."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gfsctl_program import Gfsctl, eventually, kill_member, wait_until

from gfs_ha.limits import KIB
from gfs_ha.local.cluster import LocalCluster


def _lines(count: int, start: int = 0) -> bytes:
    return b"".join(f"line {n} {'x' * (n % 50)}\n".encode() for n in range(start, start + count))


def test_texts_are_lines_and_tell_where_they_lie(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    assert gfsctl.ok("append", log, "one", "two").lines == [
        f"{log}: 4 bytes at 0",
        f"{log}: 4 bytes at 4",
    ]
    ended = gfsctl.ok("append", "-n", "-o", "json", log, "three")
    assert ended.json["kind"] == "AppendList"
    assert ended.json["items"] == [
        {"path": log, "sequence": 1, "offset": 8, "length": 5, "appended_before": False}
    ]
    assert gfsctl.ok("append", "-o", "name", log, "x").lines == [log]
    assert gfsctl.ok("append", "-q", log, "y").out == b""
    assert gfsctl.ok("cat", log).out == b"one\ntwo\nthreex\ny\n"


def test_standard_input_is_one_record_or_one_a_line(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    whole = os.urandom(100 * KIB)
    gfsctl.ok("append", log, stdin=whole)
    lines = b"a\n\nc\rd\n" + b"last without newline"
    told = gfsctl.ok("append", "--stdin-lines", "-o", "jsonl", log, stdin=lines).lines
    assert [json.loads(line)["length"] for line in told] == [2, 1, 4, 20]
    summed = gfsctl.ok("append", "--stdin-lines", log, stdin=_lines(100))
    assert summed.lines[0].startswith(f"{log}: 100 records, ")
    assert gfsctl.ok("cat", log).out == whole + lines + _lines(100)
    assert gfsctl.ok("append", "--stdin-lines", log, stdin=b"").lines == [f"{log}: 0 records, 0 B"]


def test_what_is_no_record_is_refused_with_what_to_do(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    assert "empty" in gfsctl("append", log, stdin=b"").err
    ended = gfsctl("append", log, stdin=bytes(300 * KIB))
    assert ended.status == 2 and "--stdin-lines" in ended.err and "262144" in ended.err
    long = gfsctl("append", "--stdin-lines", log, stdin=b"a\nb\n" + b"c" * 300 * KIB + b"\nd\n")
    assert long.status == 2 and "line 3" in long.err and "2 records are appended" in long.err
    assert gfsctl.ok("cat", log).out == b"a\nb\n"
    gfsctl.refused(2, "append", "--stdin-lines", log, "text")
    gfsctl.refused(2, "append", log, "-", "-")
    gfsctl.refused(2, "append", "--id", "", log, "x")
    gfsctl.refused(2, "append", "--id", "k" * 300, log, "x")
    gfsctl.refused(3, "append", f"{home}/no/log", "x")
    gfsctl.refused(4, "append", home, "x")
    gfsctl.refused(4, "append", home + "/", "x")


def test_the_same_input_under_an_id_is_appended_once(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    command = ("append", "--stdin-lines", "--id", f"{home} job", log)
    gfsctl.ok(*command, stdin=_lines(1500))
    again = gfsctl.ok(*command, stdin=_lines(3000))
    assert "1,500 of 3,000 records appended before" in again.err
    gfsctl.ok("admin", "leases", "revoke", log, "-y")
    third = gfsctl.ok(*command, "-o", "json", stdin=_lines(3001)).json
    assert (third["count"], third["appended_before_count"]) == (3001, 3000)
    assert gfsctl.ok("cat", log).out == _lines(3001)
    gfsctl.ok("append", "--id", f"{home} few", log, "one", "two")
    other = gfsctl("append", "--id", f"{home} few", log, "other", "two")
    assert other.status == 4 and "not the same input" in other.err
    assert "run the same command again" not in other.err
    same_length = gfsctl("append", "--id", f"{home} few", log, "one", "six")
    assert same_length.status == 4 and "record 2 was appended before with other" in same_length.err
    gfsctl.ok("append", "--id", f"{home} few", log, "one", "two")
    assert gfsctl.ok("cat", log).out == _lines(3001) + b"one\ntwo\n"
    gfsctl.ok("truncate", "-s", str(len(_lines(3001))), log)
    gfsctl.ok("append", log, "xxx", "yyy")
    cut = gfsctl.ok("append", "--id", f"{home} few", log, "one", "two")
    assert "2 of 2 records appended before" in cut.err, "it was: and a file may be cut later"


def test_a_killed_appender_is_run_again_for_the_rest(gfsctl: Gfsctl, home: str) -> None:
    log, content = f"{home}/log", _lines(20_000)
    source = gfsctl.directory / "source"
    source.write_bytes(content)
    command = ("append", "--stdin-lines", "--id", f"{home} killed", log)
    for least in (1, 200_000):
        with source.open("rb") as file:
            child = gfsctl.begin(*command, stdin=file)
            _wait_for_size(gfsctl, log, least, child)
            child.kill()
            gfsctl.end(child)
    assert gfsctl.process(*command, stdin=content).status == 0
    assert gfsctl.ok("cat", log).out == content


def test_two_at_once_under_one_id_append_each_record_once(gfsctl: Gfsctl, home: str) -> None:
    log, content = f"{home}/log", _lines(3000)
    source = gfsctl.directory / "source"
    source.write_bytes(content)
    command = ("append", "--stdin-lines", "--id", f"{home} both", log)
    with source.open("rb") as one, source.open("rb") as two:
        children = [gfsctl.begin(*command, stdin=file) for file in (one, two)]
    assert [gfsctl.end(child).status for child in children] == [0, 0]
    assert gfsctl.ok("cat", log).out == content


def _wait_for_size(gfsctl: Gfsctl, path: str, least: int, child: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: _size(gfsctl, path) >= least or child.poll() is not None, f"{least} bytes")


def _size(gfsctl: Gfsctl, path: str) -> int:
    if not gfsctl.library.exists(path):
        return 0
    return gfsctl.library.stat(path, exact=True).size


def test_a_signal_lets_arrive_what_is_on_its_way(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    child = gfsctl.begin("append", "--stdin-lines", log, stdin=subprocess.PIPE)
    child.stdin.write(b"one\ntwo\n")
    child.stdin.flush()
    wait_until(lambda: _size(gfsctl, log) == 8, "both records")
    child.send_signal(signal.SIGINT)
    child.wait(30)
    assert child.returncode == 130
    assert b"2 records are appended" in child.stderr.read()


def test_lines_arrive_while_the_pipe_stays_open(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    child = gfsctl.begin("append", "--stdin-lines", "-o", "jsonl", log, stdin=subprocess.PIPE)
    for number in range(3):
        child.stdin.write(f"{number}\n".encode())
        child.stdin.flush()
        assert json.loads(child.stdout.readline())["offset"] == 2 * number
    assert gfsctl.end(child).status == 0


def test_tail_shows_the_end_and_head_the_beginning(gfsctl: Gfsctl, home: str) -> None:
    log, lines = f"{home}/log", _lines(3000).splitlines(keepends=True)
    gfsctl.ok("append", "--stdin-lines", log, stdin=b"".join(lines))
    assert gfsctl.ok("tail", log).out == b"".join(lines[-10:])
    assert gfsctl.ok("tail", "-n", "2500", log).out == b"".join(lines[-2500:])
    assert gfsctl.ok("tail", "-n", "0", log).out == b""
    assert gfsctl.ok("tail", "-n", "9999", log).out == b"".join(lines)
    assert gfsctl.ok("tail", "-c", "7", log).out == b"".join(lines)[-7:]
    gfsctl.ok("append", "-n", log, "no newline")
    assert gfsctl.ok("tail", "-n", "2", log).out == lines[-1] + b"no newline"
    assert gfsctl.ok("head", log).out == b"".join(lines[:10])
    assert gfsctl.ok("head", "-n", "2999", log).out == b"".join(lines[:2999])
    assert gfsctl.ok("head", "-n", "9999", log).out == b"".join(lines) + b"no newline"
    assert gfsctl.ok("head", "-n", "0", log).out == b""
    assert gfsctl.ok("head", "-c", "70000", log).out == b"".join(lines)[:70_000]
    gfsctl.refused(2, "head", "-n", "1", "-c", "1", log)
    gfsctl.refused(2, "tail", "-n", "1", "-c", "1", log)
    gfsctl.refused(3, "tail", f"{home}/no")
    gfsctl.refused(4, "tail", home)


@pytest.fixture
def followed(gfsctl: Gfsctl, home: str) -> Iterator[tuple[str, Followed]]:
    log = f"{home}/log"
    gfsctl.ok("append", log, "first")
    followed = Followed(gfsctl.begin("tail", "-f", log))
    followed.wait_for(b"first\n")
    yield log, followed
    followed.child.send_signal(signal.SIGINT)
    assert followed.child.wait(30) == 130
    assert b"stopped" not in followed.err, "it ends quietly"


class Followed:
    """A `tail -f`, read by threads as it writes."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        self.out = bytearray()
        self.err = bytearray()
        for pipe, into in ((child.stdout, self.out), (child.stderr, self.err)):
            threading.Thread(target=self._read, args=(pipe, into), daemon=True).start()

    def _read(self, pipe, into: bytearray) -> None:
        while data := os.read(pipe.fileno(), 65_536):
            into += data

    def wait_for(self, out: bytes) -> None:
        wait_until(lambda: len(self.out) >= len(out), "what was appended")
        assert bytes(self.out) == out


def test_tail_follows_through_seals_deaths_and_other_files(
    gfsctl: Gfsctl, followed: tuple[str, Followed], whole_cluster: LocalCluster
) -> None:
    log, seen = followed
    shown = b"first\n"
    gfsctl.ok("append", log, "second")
    shown += b"second\n"
    seen.wait_for(shown)
    gfsctl.ok("admin", "leases", "revoke", log, "-y")
    gfsctl.ok("append", log, "behind the seal")
    shown += b"behind the seal\n"
    seen.wait_for(shown)
    (row,) = (one for one in gfsctl.library.operations.leases() if one.path == log)
    kill_member(whole_cluster, row.holder)
    gfsctl.ok("append", log, "another primary")
    kill_member(whole_cluster, gfsctl.library.operations.status().leader)
    gfsctl.ok("append", "--stdin-lines", log, stdin=_lines(500))
    shown += b"another primary\n" + _lines(500)
    seen.wait_for(shown)
    gfsctl.ok("mv", log, log + ".1")
    gfsctl.ok("append", log, "a new file")
    shown += b"a new file\n"
    seen.wait_for(shown)
    # Another thread reads what it says than what it shows.
    news = (b"another file now", b"was removed")
    wait_until(lambda: any(one in seen.err for one in news), "the news")
    told = len(seen.err)
    gfsctl.ok("rm", log)
    wait_until(lambda: b"was removed" in seen.err[told:], "the end of the file")


def test_tail_ends_quietly_when_nobody_reads(gfsctl: Gfsctl, home: str) -> None:
    log = f"{home}/log"
    gfsctl.ok("append", log, "first")
    child = gfsctl.begin("tail", "-f", log)
    assert child.stdout.readline() == b"first\n"
    child.stdout.close()
    assert child.wait(30) == 0
    assert child.stderr.read() == b""


def test_stat_and_ls_show_a_growing_file(gfsctl: Gfsctl, home: str) -> None:
    numbers = itertools.count()
    # A tail that loses a server is sealed: then another file is looked at.
    eventually(lambda: _is_shown_growing(gfsctl, f"{home}/{next(numbers)}"))


def _is_shown_growing(gfsctl: Gfsctl, log: str) -> None:
    gfsctl.ok("append", log, "12345")
    assert "6 bytes (6 B), growing" in gfsctl.ok("stat", "--exact", log).out.decode()
    assert "growing: as reported" in gfsctl.ok("stat", log).out.decode()
    item = gfsctl.ok("stat", "--exact", "-o", "json", log).json["items"][0]
    assert item["growing"] and item["size"] == 6
    wait_until(lambda: b" 6 " in gfsctl.ok("ls", "-l", log).out, "the reported size")
    gfsctl.ok("admin", "leases", "revoke", log, "-y")
    assert not gfsctl.ok("stat", "-o", "json", log).json["items"][0]["growing"]


def test_get_of_a_growing_file_is_what_was_acknowledged(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    log = f"{home}/log"
    gfsctl.ok("append", "--stdin-lines", log, stdin=_lines(1000))
    gfsctl.ok("get", log, "copy")
    assert (tmp_path / "copy").read_bytes() == _lines(1000)
    gfsctl.ok("get", "-r", home, "tree")
    assert (tmp_path / "tree" / "log").read_bytes() == _lines(1000)


def test_leases_are_listed_shown_revoked_and_remembered(gfsctl: Gfsctl, home: str) -> None:
    numbers = itertools.count()
    # A tail that loses a server is sealed: then another file is looked at.
    eventually(lambda: _its_lease_is_shown(gfsctl, f"{home}/{next(numbers)}"))


def _its_lease_is_shown(gfsctl: Gfsctl, log: str) -> None:
    gfsctl.ok("append", log, "x")
    (item,) = gfsctl.ok("admin", "leases", "show", log, "-o", "json").json["items"]
    assert item["path"] == log and 0 < item["left_ms"] <= 60_000
    chunk_id, holder = item["chunk_id"], item["holder"]
    listed = gfsctl.ok("admin", "leases", "ls", "--server", holder, "-o", "json").json["items"]
    assert chunk_id in [one["chunk_id"] for one in listed]
    assert chunk_id in gfsctl.ok("admin", "leases", "ls", "-o", "wide").out.decode()
    titles, *_ = gfsctl.ok("admin", "leases", "ls", "-o", "table").lines
    assert " ".join(titles.split()).startswith("Chunk File Holder Ends in Epoch Idle")
    assert "say -y" in gfsctl.refused(2, "admin", "leases", "revoke", chunk_id)
    dry = gfsctl.ok("admin", "leases", "revoke", "--server", holder, "-n").out.decode()
    assert dry.startswith(f"would revoke the lease of {holder}")
    assert gfsctl.ok("admin", "leases", "revoke", "-y", chunk_id).lines == ["1 chunk sealed"]
    gfsctl.refused(3, "admin", "leases", "show", log)
    gfsctl.refused(3, "admin", "leases", "ls", "--server", "nobody")
    gfsctl.refused(3, "admin", "leases", "revoke", "-y", chunk_id)
    gfsctl.refused(3, "admin", "leases", "revoke", "-y", "--server", "nobody")
    gfsctl.refused(2, "admin", "leases", "revoke", "-y")
    gfsctl.refused(2, "admin", "leases", "show", "neither")
    events = gfsctl.ok("admin", "leases", "history", "-o", "json").json["items"]
    ours = [(one["kind"], one["reason"]) for one in events if one["chunk_id"] == chunk_id]
    assert ours == [("ended", "revoked by an operator"), ("granted", "")]
    assert gfsctl.ok("append", log, "y").lines == [f"{log}: 2 bytes at 2"]
