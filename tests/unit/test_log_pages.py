"""Pages of log lines, as a process answers them from memory."""

from __future__ import annotations

import logging

import pytest

from gfs_ha.errors import InvalidArgument
from gfs_ha.ids import TraceId
from gfs_ha.logs import ring as ring_module
from gfs_ha.logs.ring import RING_LINES_MAX, LogRing
from gfs_ha.logs.trace import traced
from gfs_ha.net.log_pages import page_of
from gfs_ha.protocol.frames import FRAME_BODY_BYTES_MAX
from gfs_ha.protocol.logs import (
    PAGE_BYTES_MAX,
    PATTERN_CHARACTERS_MAX,
    LogLine,
    LogPage,
    ReadLog,
    decode_page,
    encode_page,
)


def ring_of(*texts: str, level: int = logging.INFO) -> LogRing:
    ring = LogRing()
    add(ring, *texts, level=level)
    return ring


def add(ring: LogRing, *texts: str, level: int = logging.INFO) -> None:
    for text in texts:
        ring.handle(logging.LogRecord("gfs_ha.x", level, "", 0, "%s", (text,), None))


def all_lines(ring: LogRing, wanted: ReadLog) -> list[LogLine]:
    """Read page after page, as a client does."""
    lines: list[LogLine] = []
    while True:
        page = decode_page(encode_page(page_of(ring, "m1", wanted)))
        assert len(encode_page(page)) <= FRAME_BODY_BYTES_MAX
        lines += page.lines
        wanted = ReadLog(
            page.next, page.run, 0, wanted.level, wanted.pattern, wanted.since_ms, wanted.trace_id
        )
        if not page.more:
            return lines


def texts(page: LogPage) -> list[str]:
    return [line.text for line in page.lines]


def test_all_lines_come_once_in_pages_that_fit_a_frame() -> None:
    ring = ring_of(*(f"line {number} {'y' * 3000}" for number in range(100)))
    add(ring, "ü" * 3999, "\ud800")
    found = all_lines(ring, ReadLog())
    assert [line.number for line in found] == list(range(1, 103))
    assert found[-1].text == "?"
    assert sum(len(line.text) for line in page_of(ring, "m1", ReadLog()).lines) < PAGE_BYTES_MAX


def test_the_newest_that_are_wanted_come_oldest_first() -> None:
    ring = ring_of("a 1", "b 2", "a 3", "b 4", "a 5")
    assert texts(page_of(ring, "m1", ReadLog(newest=2, pattern="A "))) == ["a 3", "a 5"]
    assert [line.text for line in all_lines(ring, ReadLog(newest=9))] == [
        *("a 1", "b 2", "a 3", "b 4", "a 5")
    ]


def test_who_follows_goes_on_where_it_stood() -> None:
    ring = ring_of("one", "two")
    page = page_of(ring, "m1", ReadLog(pattern="nothing"))
    assert not page.lines and page.next == 2
    assert not page_of(ring, "m1", ReadLog(page.next, page.run)).lines
    add(ring, "three")
    assert texts(page_of(ring, "m1", ReadLog(page.next, page.run))) == ["three"]


def test_another_run_of_the_process_is_read_from_its_beginning() -> None:
    before = page_of(ring_of("a", "b", "c"), "m1", ReadLog())
    again = page_of(ring_of("anew"), "m1", ReadLog(before.next, before.run))
    assert texts(again) == ["anew"] and again.run != before.run and again.lost == 0


def test_lines_that_came_too_fast_are_counted() -> None:
    ring = ring_of("first")
    page = page_of(ring, "m1", ReadLog())
    add(ring, *("x" for _ in range(RING_LINES_MAX + 20)))
    assert page_of(ring, "m1", ReadLog(page.next, page.run)).lost == 20


def test_lines_are_chosen_by_level_time_module_and_trace() -> None:
    ring = ring_of("fine")
    add(ring, "odd", level=logging.WARNING)
    add(ring, "worse", level=logging.CRITICAL)
    with traced(TraceId(77)):
        add(ring, "traced")
    worst = page_of(ring, "m1", ReadLog(level="error")).lines
    assert [(line.text, line.level) for line in worst] == [("worse", "critical")]
    assert texts(page_of(ring, "m1", ReadLog(level="warning"))) == ["odd", "worse"]
    assert texts(page_of(ring, "m1", ReadLog(trace_id=TraceId(77)))) == ["traced"]
    last_ms = ring.entries()[-1].time_ms
    assert not page_of(ring, "m1", ReadLog(since_ms=last_ms + 60_000)).lines
    assert len(page_of(ring, "m1", ReadLog(since_ms=last_ms - 60_000)).lines) == 4
    assert len(page_of(ring, "m1", ReadLog(pattern="x")).lines) == 4  # The module's name.


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no level"):
        page_of(ring_of(), "m1", ReadLog(level="loud"))
    with pytest.raises(InvalidArgument, match="characters"):
        page_of(ring_of(), "m1", ReadLog(pattern="x" * (PATTERN_CHARACTERS_MAX + 1)))


def test_the_lines_in_memory_are_bounded_by_their_length_and_warnings_outlive_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ring_module, "RING_CHARACTERS_MAX", 2_000)
    monkeypatch.setattr(ring_module, "KEPT_CHARACTERS_MAX", 1_000)
    ring = LogRing()
    add(ring, *("w" * 400 + str(number) for number in range(3)), level=logging.WARNING)
    add(ring, *("x" * 300 + str(number) for number in range(3)))
    assert [one.text[0] for one in ring.entries()] == ["w", "x", "x", "x"], "each once"
    add(ring, *("x" * 300 + str(number) for number in range(3, 9)))
    kept = [one.text for one in ring.entries()]
    assert kept == ["w" * 400 + "2"] + ["x" * 300 + str(number) for number in (5, 6, 7, 8)]
    add(ring, *("y" for _ in range(100)))
    assert [one.text[0] for one in ring.entries()] == ["w"] + 19 * ["y"], "short ones take less"
    assert ring.newest == 112 == ring.entries()[-1].number
