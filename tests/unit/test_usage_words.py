"""Names that clients give themselves, prefixes of paths, sketches on the wire."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gfs_ha.checksum import crc32c
from gfs_ha.client.account import own_name
from gfs_ha.errors import ProtocolError
from gfs_ha.ids import Birth, ChunkId, DiskId, ServerId
from gfs_ha.latency import class_of
from gfs_ha.master.usage_heard import STALE_S, UsageHeard
from gfs_ha.net.usage_book import TELL_S, UsageBook
from gfs_ha.protocol.codec import decode, encode
from gfs_ha.protocol.data import DataRequest, Hop, Op, decode_request, encode_request
from gfs_ha.protocol.usage import (
    BYTES,
    KEY_BYTES_MAX,
    KINDS,
    LABEL_BYTES_MAX,
    OPERATIONS,
    P99,
    TOLD_MAX,
    UNNAMED,
    UsageEntry,
    UsageFacts,
    UsageSketch,
    clean_label,
    heard_sketch,
    path_prefix,
    ranked,
    told_sketch,
    usage_row,
)
from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.sketch import Sketch
from gfs_ha.sketch_windows import HOUR, MINUTE, WINDOWS

HOPS = (Hop(ServerId(2), "10.0.0.2", 7301), Hop(ServerId(3), "host", 7302))


def request(**changes: object) -> DataRequest:
    fields = {
        "op": Op.FETCH,
        "cluster": 1,
        "target": ServerId(1),
        "chunk_id": ChunkId(7),
        "birth": Birth(1, 2),
        "offset": 0,
        "length": 10,
        "deadline_ms": 1000,
        "op_id": 3,
    }
    return DataRequest(**{**fields, **changes})  # type: ignore[arg-type]


def resealed(header: bytes) -> bytes:
    """Return a changed header with its length and its CRC made right again."""
    body = bytearray(header[:-4])
    struct.pack_into("<H", body, 6, len(body) + 4)
    return bytes(body) + struct.pack("<I", crc32c(bytes(body)))


@pytest.mark.parametrize("hops", [(), HOPS])
@pytest.mark.parametrize("label", ["", "ann@host:4711", "ü" * (LABEL_BYTES_MAX // 2)])
def test_a_request_brings_the_name_of_its_client(hops: tuple[Hop, ...], label: str) -> None:
    sent = request(hops=hops, label=label, ticket=b"t", nonce=bytes(16), proof=bytes(16))
    assert decode_request(encode_request(sent)) == sent


def test_what_a_later_release_adds_behind_name_and_disks_is_skipped() -> None:
    asked = request(hops=HOPS, label="ann", disk_id=DiskId(5))
    header = encode_request(asked)
    assert decode_request(resealed(header[:-4] + b"more" + header[-4:])) == asked
    header = encode_request(request(hops=HOPS, label="ann"))
    with pytest.raises(ProtocolError, match="disks of a request are cut off"):
        decode_request(resealed(header[:-4] + b"more" + header[-4:]))


def test_a_name_that_is_too_long_is_not_sent_and_one_that_is_cut_off_not_taken() -> None:
    with pytest.raises(ProtocolError, match="65 bytes"):
        encode_request(request(label="x" * (LABEL_BYTES_MAX + 1)))
    header = encode_request(request(label="ann"))
    with pytest.raises(ProtocolError, match="cut off"):
        decode_request(resealed(header[:-6] + header[-4:]))


def test_a_name_is_shown_only_as_it_can_be_printed() -> None:
    header = encode_request(request(label="a\x1b[2J\nb"))
    assert decode_request(header).label == "a?[2J?b"


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_name_becomes_one_that_is_printable_and_bounded(text: str) -> None:
    label = clean_label(text)
    assert label and label.isprintable()
    assert len(label.encode()) <= LABEL_BYTES_MAX
    assert clean_label(label) == label


def test_without_a_name_a_client_is_told_apart_by_its_process() -> None:
    assert clean_label("  ") == UNNAMED
    assert own_name("box").count("@box:") == 1
    assert len(own_name("m" * 300).encode()) == LABEL_BYTES_MAX
    assert own_name("box", process=False).partition("@")[2] == "box"
    assert len(own_name("m" * 300, process=False).encode()) == LABEL_BYTES_MAX


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/", "/"),
        ("/a", "/"),
        ("/a/b", "/a"),
        ("/a/b/c", "/a/b"),
        ("/a/b/c/d/e/f", "/a/b"),
        ("", "/"),
        ("/a\nb/c/d", "/a?b/c"),
    ],
)
def test_a_path_counts_for_the_first_two_directories_above_it(path: str, prefix: str) -> None:
    assert path_prefix(path) == prefix


@given(st.lists(st.text(max_size=255), max_size=4).map(lambda names: "/" + "/".join(names)))
@settings(max_examples=200, deadline=None)
def test_any_prefix_is_printable_and_bounded(path: str) -> None:
    prefix = path_prefix(path)
    assert prefix.startswith("/") and prefix.isprintable()
    assert len(prefix.encode(errors="replace")) <= KEY_BYTES_MAX


# Sketches on the wire --------------------------------------------------------------------------


def crowded() -> Sketch:
    sketch = Sketch(128)
    for number in range(1000):
        sketch.note(f"c{number % 200}", number, class_of(number / 1e4))
    sketch.note("big", 1 << 40, class_of(2.0))
    return sketch


def test_what_is_told_is_bounded_and_heard_as_it_was_told() -> None:
    told = told_sketch(crowded(), "client", MINUTE, 57.5)
    assert len(told.entries) == TOLD_MAX and told.over_ms == 57_500 and told.floor
    heard = heard_sketch(decode(UsageSketch, encode(told)))
    assert heard is not None
    assert heard.total.operations == 1001 and heard.floor == told.floor
    assert heard.tallies["big"].bytes == 1 << 40
    assert told_sketch(heard, "client", MINUTE, 57.5) == told


BAD = UsageEntry("x", 1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "nobody"},
        {"window": "1y"},
        {"floor": -1},
        {"over_ms": -1},
        {"over_ms": 1 << 63},
        {"floor": 1 << 63},
        {"total": replace(BAD, bytes=1 << 63)},
        {"total": replace(BAD, operations=-1)},
        {"total": replace(BAD, operations=0)},  # Less than its entries.
        {"entries": (replace(BAD, bytes=-1),)},
        {"entries": (replace(BAD, missed=-1),)},
        {"entries": (replace(BAD, times=((0, -1),)),)},
        {"entries": (replace(BAD, times=((5000, 1),)),)},
        {"entries": (replace(BAD, times=((1, 1), (1, 1))),)},
        {"entries": (replace(BAD, key="x" * 200),)},
        {"entries": (replace(BAD, key="\x1b"),)},
        {"entries": (BAD,) * (TOLD_MAX + 1)},
    ],
)
def test_what_no_server_of_ours_would_tell_is_not_taken(changes: dict[str, object]) -> None:
    whole = UsageSketch("client", MINUTE, 1000, UsageEntry("", 1, 1), (BAD,))
    assert heard_sketch(whole) is not None
    assert heard_sketch(replace(whole, **changes)) is None


def test_rows_are_ordered_by_what_was_asked_for() -> None:
    sketch = Sketch(8)
    sketch.note("big", 1 << 30, class_of(0.001))
    sketch.note("busy", 10, class_of(0.002), count=500)
    sketch.note("slow", 0, class_of(3.0))
    order = {sort: [key for key, _ in ranked(sketch, sort)] for sort in (BYTES, OPERATIONS, P99)}
    assert order == {
        BYTES: ["big", "busy", "slow"],
        OPERATIONS: ["busy", "big", "slow"],
        P99: ["slow", "busy", "big"],
    }
    row = usage_row("slow", sketch.tallies["slow"])
    assert row.p99_us is not None and abs(row.p99_us - 3_000_000) <= 150_000
    assert usage_row("idle", Sketch(1).total).p50_us is None


# Books and what the leader hears of them ---------------------------------------------------------


class Clock(ThreadedRuntime):
    """The real runtime, but for the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s


def test_a_book_tells_every_few_seconds_whom_it_serves() -> None:
    clock = Clock()
    book = UsageBook(clock)
    assert book.news() == UsageFacts(), "who serves nobody says so"
    book.note("ann", "read", 100, 0.01)
    assert book.news() is None
    clock.now_s += TELL_S
    told = book.news()
    assert told is not None
    assert {(one.by, one.window) for one in told.sketches} == {
        (by, window) for by in ("client", "op") for window in WINDOWS
    }
    assert all(one.total.bytes == 100 for one in told.sketches)
    clock.now_s += 3700.0
    assert book.news() == UsageFacts()


def test_a_book_counts_paths_apart_from_clients() -> None:
    book = UsageBook(Clock())
    book.note_paths([("/a", 7)], 0.01)
    assert [book.window(by, HOUR)[0].total.operations for by in KINDS] == [0, 1, 0]


def test_the_leader_leaves_out_who_is_silent_and_who_started_again() -> None:
    clock = Clock()
    book, heard = UsageBook(clock), UsageHeard()
    book.note("ann", "read", 100, 0.01)
    facts = book.news()
    assert facts is not None
    heard.heard(ServerId(1), facts, 10.0)
    heard.heard(ServerId(2), facts, 30.0)
    heard.heard(ServerId(3), UsageFacts(facts.sketches * 9), 30.0)  # Nobody of ours.

    def clients(now_s: float) -> list[int]:
        return [one.total.bytes for one, _ in heard.sketches("client", HOUR, now_s)]

    assert clients(30.0) == [100, 100] and heard.count(30.0) == 2
    assert clients(10.1 + STALE_S) == [100]
    heard.forget(ServerId(2))
    assert clients(10.1 + STALE_S) == [] and heard.count(10.1 + STALE_S) == 0
