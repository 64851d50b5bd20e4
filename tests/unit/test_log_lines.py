"""Log lines as JSON, in memory, with the trace of a command, and those about requests."""

from __future__ import annotations

import io
import json
import logging
import math
from pathlib import Path

import pytest

from gfs_ha.ids import NO_TRACE, TraceId, format_trace, parse_trace
from gfs_ha.logs.facts import LINE_CHARACTERS_MAX
from gfs_ha.logs.requests import (
    BEATS_PERIOD_S,
    BURST_LINES,
    LINES_PER_S,
    QUEUE_LINES_MAX,
    TOLD_PERIOD_S,
    RequestLog,
)
from gfs_ha.logs.ring import (
    KEPT_LINES_MAX,
    RING_CHARACTERS_MAX,
    RING_LINES_MAX,
    LogRing,
    ring_of_process,
)
from gfs_ha.logs.start import start_logging
from gfs_ha.logs.trace import current_trace, trace_process, traced
from gfs_ha.runtime import ThreadedRuntime

pytestmark = pytest.mark.usefixtures("logging_put_back")

TRACE = TraceId(0x3F2A00000000BEEF)


class HandClock(ThreadedRuntime):
    """Time that the test moves."""

    now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)


def json_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_json_line_has_the_facts_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    start_logging("m1", file=path, form="json")
    logger = logging.getLogger("gfs_ha.master.roles")
    with traced(TRACE):
        logger.info("led chunk=%#x by=%s term=%d took_s=%.2f: 100%% of %s", 7, "m1", 4, 0.257, "it")
    (line,) = json_lines(path)
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "INFO",
        "process": "m1",
        "module": "master.roles",
        "message": "led : 100% of it",
        "fields": {"chunk": "0x7", "by": "m1", "term": 4, "took_s": 0.26},
        "trace": "3f2a00000000beef",
    }


def test_a_json_line_is_bounded_and_keeps_what_is_no_field(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    start_logging("m1", file=path, form="json")
    logger = logging.getLogger("x")
    logger.info("name=%s id=%d", "y\n" * 10_000, 1 << 63)
    logger.info("plain 100%")
    logger.info("%(a)s by name", {"a": 1})
    logger.info("same a=%d a=%d", 1, 2)
    long, plain, named, same = json_lines(path)
    fields = long["fields"]
    assert isinstance(fields, dict) and fields["id"] == str(1 << 63)
    assert len(fields["name"]) < LINE_CHARACTERS_MAX + 50 and "\n" not in fields["name"]
    assert plain["message"] == "plain 100%" and "trace" not in plain
    assert named["message"] == "1 by name"
    assert same["fields"] == {"a": 1} and same["message"] == "same a=2"


def test_a_json_line_is_json_whatever_number_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    start_logging("m1", file=path, form="json")
    logging.getLogger("x").info("odd a=%.1f b=%g c=%f", math.inf, math.nan, -math.inf)

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    (line,) = path.read_text().splitlines()
    fields = json.loads(line, parse_constant=refuse)["fields"]
    assert fields == {"a": "inf", "b": "nan", "c": "-inf"}


def test_a_json_line_of_an_error_has_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    start_logging("m1", file=path, form="json")
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("x").exception("stopped")
    (line,) = json_lines(path)
    assert "ValueError: boom" in str(line["traceback"])


def test_a_line_of_text_ends_with_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    start_logging("m1", file=path)
    with traced(TRACE):
        logging.getLogger("x").info("push done chunk=%d", 7)
    logging.getLogger("x").info("no longer")
    first, second = path.read_text().splitlines()
    assert first.endswith("push done chunk=7 trace=3f2a00000000beef")
    assert second.endswith("no longer") and current_trace() == NO_TRACE


def test_a_trace_id_is_sixteen_digits_and_nothing_else() -> None:
    assert parse_trace(format_trace(TRACE)) == TRACE and format_trace(TraceId(5)) == "0" * 15 + "5"
    assert parse_trace("3F2A00000000BEEF") == TRACE
    for text in ("", "0" * 16, "3f2a", "3f2a00000000beeg", "+f2a00000000beef", "3f2a00000000beef0"):
        assert parse_trace(text) is None


def test_the_newest_lines_are_kept_in_memory_and_are_bounded() -> None:
    start_logging("m1", keep=True)
    ring = ring_of_process()
    assert ring is not None
    logging.getLogger().handlers = [ring]
    logger = logging.getLogger("gfs_ha.x")
    logger.warning("bad news")
    for index in range(RING_LINES_MAX + 10):
        logger.info("line index=%d", index)
    entries = ring.entries()
    assert [entry.text for entry in entries[:2]] == ["bad news", "line index=10"]
    assert entries[-1].number == ring.newest == RING_LINES_MAX + 11
    assert len(entries) == RING_LINES_MAX + 1 and entries[0].module == "x"
    for index in range(2 * KEPT_LINES_MAX):
        logger.warning("more index=%d %s", index, "y" * 3900)
    entries = ring.entries()
    assert sum(len(entry.text) for entry in entries) <= 2 * RING_CHARACTERS_MAX
    assert [one.number for one in entries] == sorted({one.number for one in entries})


def test_a_line_that_cannot_be_made_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    ring = LogRing()
    record = logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None)
    ring.handle(record)
    assert not ring.entries() and "TypeError" in said.getvalue()


def note(
    requests: RequestLog,
    kind: str,
    level: int,
    message: str,
    args: tuple[object, ...],
    trace_id: TraceId,
) -> None:
    if requests.admits(kind, level):
        requests.note(level, message, args, trace_id)


def request_log() -> tuple[RequestLog, LogRing, HandClock]:
    logging.getLogger().handlers = [ring := LogRing()]
    logging.getLogger().setLevel("INFO")
    runtime = HandClock()
    return RequestLog(runtime, logging.getLogger("gfs_ha.requests")), ring, runtime


def test_a_request_is_told_with_the_time_and_trace_it_had() -> None:
    requests, ring, runtime = request_log()
    note(requests, "rpc", logging.INFO, "request what=%s", ("publish",), TRACE)
    runtime.now_s += 5
    assert not ring.entries()  # Who serves does not wait for a disk.
    requests.write()
    (entry,) = ring.entries()
    assert entry[1:] == (1_000_000, logging.INFO, "requests", "request what=publish", TRACE)


def test_many_requests_leave_lines_out_and_say_how_many() -> None:
    requests, ring, runtime = request_log()
    for index in range(BURST_LINES + 500):
        note(requests, "rpc", logging.INFO, "request number=%d", (index,), TRACE)
    note(requests, "push", logging.INFO, "push", (), TRACE)
    note(requests, "rpc", logging.WARNING, "odd", (), TRACE)
    requests.write()
    texts = [entry.text for entry in ring.entries()]
    assert len(texts) == BURST_LINES + 2 and texts[-2:] == ["push", "odd"]
    runtime.now_s += TOLD_PERIOD_S
    requests.write()
    assert ring.entries()[-1].text == "lines left out count=500 kind=rpc"
    for index in range(BURST_LINES):
        note(requests, "rpc", logging.INFO, "again number=%d", (index,), TRACE)
    requests.write()
    again = [entry for entry in ring.entries() if entry.text.startswith("again")]
    assert len(again) == TOLD_PERIOD_S * LINES_PER_S


def test_errors_are_never_left_out() -> None:
    requests, ring, _ = request_log()
    for index in range(BURST_LINES + 50):
        note(requests, "rpc", logging.INFO, "request number=%d", (index,), TRACE)
        note(requests, "rpc", logging.ERROR, "failed number=%d", (index,), TRACE)
    requests.write()
    failed = [one for one in ring.entries() if one.level == logging.ERROR]
    assert len(failed) == BURST_LINES + 50


def test_what_waits_to_be_written_is_bounded() -> None:
    requests, ring, _ = request_log()
    for index in range(QUEUE_LINES_MAX + 7):
        note(requests, "rpc", logging.ERROR, "failed number=%d", (index,), TRACE)
    requests.write(all_of_it=True)
    assert ring.newest == QUEUE_LINES_MAX + 1
    assert ring.entries()[-1].text == "lines left out count=7 kind=rpc!"


def test_heartbeats_are_one_line_a_minute() -> None:
    requests, ring, runtime = request_log()
    for _ in range(300):
        requests.beat("cs1")
        requests.beat("cs2")
    requests.write()
    assert not ring.entries()
    runtime.now_s += BEATS_PERIOD_S
    requests.write()
    (entry,) = ring.entries()
    assert entry.text == "heartbeats count=600 from=2 s=60"
    runtime.now_s += BEATS_PERIOD_S
    requests.write()
    assert len(ring.entries()) == 1  # Nobody beat.


def test_what_was_noted_is_written_at_the_end() -> None:
    requests, ring, _ = request_log()
    requests.start()
    note(requests, "rpc", logging.INFO, "last", (), TRACE)
    assert requests.stop()
    assert [entry.text for entry in ring.entries()] == ["last"]


def test_a_level_that_is_not_wanted_costs_no_memory() -> None:
    requests, ring, _ = request_log()
    logging.getLogger().setLevel("WARNING")
    note(requests, "rpc", logging.INFO, "request", (), TRACE)
    logging.getLogger().setLevel("INFO")
    requests.write(all_of_it=True)
    assert not ring.entries()


def test_counts_are_lines_of_a_level_too(tmp_path: Path) -> None:
    path = tmp_path / "m1.log"
    start_logging("m1", "warning", path)
    runtime = HandClock()
    requests = RequestLog(runtime, logging.getLogger("gfs_ha.requests"))
    for number in range(BURST_LINES + 9):
        note(requests, "rpc", logging.INFO, "request number=%d", (number,), TRACE)
        note(requests, "rpc", logging.WARNING, "full number=%d", (number,), TRACE)
        requests.beat("cs1")
    requests.write(all_of_it=True)
    lines = path.read_text().splitlines()
    assert all(" WARNING m1 requests: " in line for line in lines)
    assert lines[-1].endswith("lines left out count=9 kind=rpc!"), "what was wanted and is missing"
    assert len(lines) == BURST_LINES + 1


def test_a_process_of_one_command_has_its_trace_in_all_threads(tmp_path: Path) -> None:
    path = tmp_path / "gfsctl.log"
    start_logging("gfsctl", file=path)
    try:
        trace_process(TRACE)
        runtime = ThreadedRuntime()
        assert runtime.spawn("worker", lambda: logging.getLogger("x").info("there")).join(5.0)
    finally:
        trace_process(NO_TRACE)
    logging.getLogger("x").info("after it")
    first, second = path.read_text().splitlines()
    assert first.endswith("there trace=3f2a00000000beef") and second.endswith("after it")
