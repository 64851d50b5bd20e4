"""`gfsctl admin logs` and `admin trace`, asked of real masters and chunkservers."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import time
from typing import Any

import pytest
from gfsctl_program import Ended, Gfsctl, eventually

from gfs_ha.cli.admin.log_lines import check_any
from gfs_ha.cli.admin.trace import way_lines
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.logs import LogSource, NodeLines
from gfs_ha.errors import Denied, ProtocolError, Unreachable
from gfs_ha.ids import ChunkId, Epoch
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.logs.requests import WRITE_PERIOD_S
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import DataRequest, Op, encode_request
from gfs_ha.protocol.logs import LogLine
from gfs_ha.runtime import ThreadedRuntime

SOON_S = 90.0  # Lines about requests are written within 0.2 s; a busy machine needs longer.


def wait_for_line(gfsctl: Gfsctl, pattern: str, count: int = 1) -> list[dict[str, object]]:
    """Return the lines with a text in them, once there are so many."""
    until_s = time.monotonic() + SOON_S
    while True:
        items = gfsctl.ok("admin", "logs", "--grep", pattern, "-o", "json", "-n", "1000").json
        found: list[dict[str, object]] = items["items"]
        if len(found) >= count:
            return found
        assert time.monotonic() < until_s, (pattern, found)
        time.sleep(0.1)


def wait_for_pushes(gfsctl: Gfsctl, trace: str, count: int) -> Any:
    """Return what is told of a trace once so many servers have: each does when it comes to it.

    And once nothing is added for longer than lines about requests are gathered.
    """
    until_s = time.monotonic() + SOON_S
    before = None
    while True:
        told = gfsctl.ok("admin", "trace", trace, "-o", "json").json
        if (len(pushed(told)) >= count and told == before) or time.monotonic() > until_s:
            return told
        before = told
        time.sleep(2 * WRITE_PERIOD_S)


def pushed(told: Any) -> list[str]:
    return [item["node"] for item in told["items"] if item["text"].startswith("push ")]


def put(gfsctl: Gfsctl, path: str, length: int = 100_000) -> str:
    """Put a file; return the trace of the command, as all processes tell it."""
    (gfsctl.directory / "bytes").write_bytes(b"x" * length)
    gfsctl.ok("put", "bytes", path)
    lines = wait_for_line(gfsctl, f"what=publish on={path} ")
    (trace,) = {str(line["trace"]) for line in lines}
    return trace


def test_a_put_is_traced_through_the_leader_and_every_server_of_its_chain(
    gfsctl: Gfsctl, home: str
) -> None:
    numbers = itertools.count()
    # On a busy machine a chain may lose a server on the way: then another file is put.
    eventually(lambda: _is_traced(gfsctl, f"{home}/{next(numbers)}"))


def _is_traced(gfsctl: Gfsctl, path: str) -> None:
    trace = put(gfsctl, path)
    told = wait_for_pushes(gfsctl, trace, 3)
    assert told["kind"] == "Trace" and {item["trace"] for item in told["items"]} == {trace}
    holders = gfsctl.library.operations.placement(path).items[0].chunk.replicas
    assert sorted(pushed(told)) == sorted(holder.name for holder in holders)
    told_by_master = [item["text"] for item in told["items"] if item["node"].startswith("m")]
    kinds = [re.findall(r"what=(\w+)", text)[0] for text in told_by_master]
    for kind in ("open_session", "allocate_chunk", "finish_chunk", "publish"):
        assert kind in kinds, kinds
    times = [item["time_ms"] for item in told["items"]]
    assert times == sorted(times)

    def told_alike() -> None:  # A server may come to a line of it between two looks.
        told, named = (
            gfsctl.ok("admin", "trace", typed, "-o", "json").json
            for typed in (trace, f"0x{trace.upper()}")
        )
        assert named == told, "however it was typed"

    eventually(told_alike)
    screen = gfsctl.ok("admin", "trace", f"0x{trace.upper()}").out.decode()
    assert f"trace   {trace}" in screen and "copies=3/3" in screen and "client=" not in screen


def test_a_traceback_on_the_way_takes_one_line_whoever_asked() -> None:
    for clients in ("", " client=ann", " client=ann client=bob"):
        line = LogLine(1, 5, "error", "chunk.push", f"broke{clients}\nTraceback\n  ValueError", 9)
        told = way_lines([("cs1", line)], "0" * 15 + "9")
        assert told[-1].startswith("      0 ms  cs1  ERROR broke"), told
        assert not any("\n" in one or "Traceback" in one for one in told)
    named = LogLine(1, 5, "error", "x", "broke\nTraceback client=eve", 9)
    assert way_lines([("cs1", named)], "9" * 16)[1] == "client  unknown"
    text = 'request what=mkdir on="/x client=eve outcome=done" client=ann outcome=done ms=1.0'
    told = way_lines([("m1", LogLine(1, 5, "info", "x", text, 9))], "9" * 16)
    assert told[1] == "client  ann"
    assert told[-1].endswith('on="/x client=eve outcome=done" outcome=done ms=1.0')


def test_records_are_traced_to_the_servers_below_their_primary(gfsctl: Gfsctl, home: str) -> None:
    numbers = itertools.count()
    # On a busy machine a chain may begin with a server less: then another file grows.
    eventually(lambda: _records_are_traced(gfsctl, f"{home}/{next(numbers)}"))


def _records_are_traced(gfsctl: Gfsctl, path: str) -> None:
    gfsctl.ok("append", path, "--stdin-lines", stdin=b"one\ntwo\n")
    (granted, *_) = wait_for_line(gfsctl, f"what=grant_append on={path} ")
    until_s = time.monotonic() + SOON_S
    while True:  # Each server writes its line when it comes to it.
        told = gfsctl.ok("admin", "trace", str(granted["trace"]), "-o", "json").json["items"]
        primary = {item["node"] for item in told if "records=2 outcome=done" in item["text"]}
        below = {item["node"] for item in told if item["text"].startswith("push ")}
        if (len(primary), len(below)) == (1, 2) or time.monotonic() > until_s:
            break
    assert len(primary) == 1 and len(below - primary) == 2


def test_an_error_names_a_trace_that_can_be_looked_up(gfsctl: Gfsctl, home: str) -> None:
    ended = gfsctl("mkdir", home, "-o", "json")
    assert ended.status == 4
    trace = json.loads(ended.err)["error"]["trace"]
    wait_for_line(gfsctl, f"what=mkdir on={home} ", 2)

    def told() -> None:  # On a busy machine one may not answer in time.
        items = gfsctl.ok("admin", "trace", trace, "-o", "json").json["items"]
        assert any("outcome=AlreadyExists" in item["text"] for item in items)

    eventually(told)
    verbose = gfsctl("ls", f"{home}/none", "-v")
    assert re.search(r"\(NotFound; trace [0-9a-f]{16}\)$", verbose.err.strip())
    assert "; trace" not in gfsctl.refused(3, "ls", f"{home}/none")


def test_logs_are_of_the_wanted_processes_and_in_order_of_time(gfsctl: Gfsctl, home: str) -> None:
    put(gfsctl, f"{home}/file")

    def of_all() -> Any:  # On a busy machine one may not answer in time.
        items = gfsctl.ok("admin", "logs", "--since", "1d", "-o", "json").json["items"]
        assert {item["node"] for item in items} >= {"m1", "m2", "m3", "cs1", "cs2", "cs3", "cs4"}
        return items

    every = eventually(of_all)
    assert [item["time_ms"] for item in every] == sorted(item["time_ms"] for item in every)

    def of_two() -> None:
        two = gfsctl.ok("admin", "logs", "m1", "cs2", "-o", "jsonl", "-n", "500").lines
        assert {json.loads(line)["node"] for line in two} == {"m1", "cs2"}

    eventually(of_two)
    few = gfsctl.ok("admin", "logs", "-n", "5", "-o", "json").json["items"]
    assert len(few) == 5
    assert gfsctl.ok("admin", "logs", "-n", "0").out == b""
    line = eventually(lambda: gfsctl.ok("admin", "logs", "cs2", "-n", "1")).out.decode()
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z [A-Z]+ cs2 [a-z._]+: ", line)
    levels = gfsctl.ok("admin", "logs", "--level", "warning", "-o", "json").json["items"]
    assert levels and {item["level"] for item in levels} <= {"warning", "error", "critical"}


def test_following_shows_what_is_logged_and_a_signal_ends_it_quietly(
    gfsctl: Gfsctl, home: str
) -> None:
    follower = gfsctl.begin("admin", "logs", "-f", "-n", "1", "-o", "jsonl", "--grep", "what=")
    assert follower.stdout is not None
    seen = [json.loads(follower.stdout.readline())]
    gfsctl.ok("mkdir", f"{home}/seen")
    while f"what=mkdir on={home}/seen" not in seen[-1]["text"]:
        seen.append(json.loads(follower.stdout.readline()))
    numbers = [(line["node"], line["number"]) for line in seen]
    assert len(set(numbers)) == len(numbers)
    follower.send_signal(signal.SIGINT)
    ended: Ended = gfsctl.end(follower)
    assert ended.status == 130
    late = re.compile("gfsctl: .* (did not answer: .*|does not answer: .*|answers again)")
    assert all(late.fullmatch(line) for line in ended.err.splitlines()), ended.err


def test_who_does_not_answer_is_named_and_the_others_are_shown(
    whole_cluster: LocalCluster, gfsctl: Gfsctl
) -> None:
    paused = int((whole_cluster.directory / "cs3/pid").read_text().split()[0])
    os.kill(paused, signal.SIGSTOP)
    whole_cluster.kill("cs4")
    try:
        until_s = time.monotonic() + SOON_S
        while True:  # On a busy machine somebody else may take longer than 3 s, too.
            ended = gfsctl.ok("admin", "logs", "-n", "2000", "-o", "json")
            if ended.err.count("\n") == 2 or time.monotonic() > until_s:
                break
        assert "cs3 did not answer: no answer within 3 s" in ended.err
        assert "cs4 did not answer" in ended.err and ended.err.count("\n") == 2
        nodes = {item["node"] for item in ended.json["items"]}
        assert nodes >= {"m1", "m2", "m3", "cs1", "cs2"} and not nodes & {"cs3", "cs4"}
        assert "cs4" in gfsctl.refused(5, "admin", "logs", "cs4").splitlines()[-1]
    finally:
        os.kill(paused, signal.SIGCONT)


def test_where_nobody_tells_anything_each_is_named() -> None:
    found = [
        NodeLines(LogSource("m1", "master"), error=Unreachable("no way there")),
        NodeLines(LogSource("m2", "master"), error=Denied("not you")),
    ]
    with pytest.raises(Unreachable, match=r"m1 did not answer \(nor .* m2\): no way there"):
        check_any(found)
    check_any([*found, NodeLines(LogSource("m3", "master"))])


def test_what_is_not_there_is_said_plainly(gfsctl: Gfsctl) -> None:
    assert "there are m1" in gfsctl.refused(3, "admin", "logs", "nobody")
    assert "no trace id" in gfsctl.refused(2, "admin", "trace", "3f2a")
    assert "too old" in gfsctl.refused(3, "admin", "trace", "00000000000000ff")
    assert "say 1h" in gfsctl.refused(2, "admin", "logs", "--since", "yesterday")
    assert "characters" in gfsctl.refused(2, "admin", "logs", "--grep", "x" * 201)


def test_a_data_port_refuses_questions_that_are_none(gfsctl: Gfsctl) -> None:
    server = gfsctl.library.operations.servers().items[0]
    runtime = ThreadedRuntime()
    room = DataRoom(gfsctl.library.config.cluster.id, TcpStreams(runtime), runtime)
    try:
        for query, words in ((b"x" * 5000, "question about a log"), (b"\xc1", "no valid ReadLog")):
            request = DataRequest(
                *(Op.LOG, room.cluster, server.server_id, ChunkId(0), Epoch(0, 0), 0, len(query)),
                *(60_000, 1),
            )
            stream = room.streams.take((server.host, server.port), 60.0)
            reader = AnswerReader(stream, 1, Deadline(runtime, 60.0), 60.0)
            stream.send([encode_request(request), query], reader.stall)
            with pytest.raises(ProtocolError, match=words):
                reader.wait()
            stream.close()
    finally:
        room.close()
