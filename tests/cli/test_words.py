"""What gfsctl makes of words and numbers: paths, escapes, sizes, ages, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gfs_ha.cli.admin.masters import terms_table
from gfs_ha.cli.document import json_bytes, plain, report_document, streamed
from gfs_ha.cli.names import printable, remote_path
from gfs_ha.cli.options import wanted_output
from gfs_ha.cli.render import text_of
from gfs_ha.cli.units import (
    age_text,
    count_text,
    duration_text,
    mode_text,
    share_text,
    size_text,
    time_text,
)
from gfs_ha.config import ClusterConfig
from gfs_ha.errors import UsageError, WrongCluster
from gfs_ha.ids import ChunkId, DiskId, ServerId
from gfs_ha.protocol.metadata import FileStatus
from gfs_ha.protocol.reports import (
    ChunkReport,
    ChunkRow,
    HealthReport,
    LedTerm,
    MasterReport,
    ReplicaRow,
)

CLUSTER = ClusterConfig("c-1", "prod", ())


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("//a///b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("gfs://c-1/a", "/a"),
        ("gfs://prod/a/", "/a/"),
        ("gfs://c-1", "/"),
        ("/100%", "/100%"),
        ("/a%41b", "/a%41b"),
        ("/%2e%2e", "/%2e%2e"),
        ("/plus+", "/plus+"),
        ("/ä b", "/ä b"),
    ],
)
def test_a_remote_path_is_taken_as_it_is_typed(typed: str, path: str) -> None:
    assert remote_path(typed, CLUSTER) == path


@pytest.mark.parametrize("typed", ["", "a", "a/b", "./a", "-", "/caf\udce9"])
def test_what_is_no_remote_path_is_refused_in_one_line(typed: str) -> None:
    with pytest.raises(UsageError) as caught:
        remote_path(typed, CLUSTER)
    assert "\n" not in caught.value.message
    caught.value.message.encode()


def test_the_path_of_another_cluster_is_denied() -> None:
    with pytest.raises(WrongCluster) as caught:
        remote_path("gfs://other/a", CLUSTER)
    assert caught.value.exit_status == 6


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain", "plain"),
        ("[brackets]", "[brackets]"),
        ("[red]x", "[red]x"),
        (":smile:", ":smile:"),
        ("naïve 名", "naïve 名"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("caf\udce9", "caf\\xe9"),
        ("a\u202eb", "a\\u202eb"),
        ("\x9bC1", "\\x9bC1"),
    ],
)
def test_a_name_is_shown_without_moving_the_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_sizes_read_as_people_say_them() -> None:
    assert size_text(0) == "0 B"
    assert size_text(1023) == "1023 B"
    assert size_text(1024) == "1.0 KiB"
    assert size_text(1024**2 - 1) == "1.0 MiB"
    assert size_text(1.2 * 1024**3) == "1.2 GiB"
    assert size_text(5000 * 1024**6) == "5000.0 EiB"


def test_spans_of_time_read_as_people_say_them() -> None:
    assert duration_text(700) == "0.7 s"
    assert duration_text(41_000) == "41 s"
    assert duration_text(61_000) == "1 m 1 s"
    assert duration_text(11_520_000) == "3 h 12 m"
    assert duration_text(180_000_000) == "2 d 2 h"
    assert age_text(-1) == "never"
    assert age_text(3000) == "3.0 s ago"


def test_other_facts_read_as_people_say_them() -> None:
    assert count_text(1204) == "1,204"
    assert count_text(1, "file") == "1 file"
    assert count_text(2, "directory", "directories") == "2 directories"
    assert share_text(0.584) == "58 %"
    assert mode_text("directory", 0o755) == "drwxr-xr-x"
    assert mode_text("file", 0o4755) == "-rwsr-xr-x"


def test_any_moment_can_be_shown() -> None:
    for moment_ns in (-(10**18), 0, 10**18, 4 * 10**18, 10**21, -(10**20)):
        assert time_text(moment_ns)


def test_ids_are_strings_and_times_are_milliseconds_in_json() -> None:
    replica = ReplicaRow(ServerId(2**63 + 1), "cs1", "r1", "live", DiskId(255))
    chunk = ChunkRow(ChunkId(1 << 48 | 7), "open", 5, 3, 1, "disk", "put", 9, (replica,))
    found = report_document(ChunkReport((chunk,), False), {"leader": "m1", "index": None})
    assert found["api"] == "gfs/v1"
    assert found["kind"] == "ChunkList"
    assert found["meta"] == {"leader": "m1", "index": None}
    (item,) = found["items"]
    assert item["chunk_id"] == "0x1000000000007"
    assert item["claimed_by"] == "0x9"
    assert item["replicas"][0]["server_id"] == "0x8000000000000001"
    assert item["replicas"][0]["disk_id"] == "0xff"

    status = FileStatus(1, "file", 3, 0o644, "u", "g", -1_500_000)  # type: ignore[arg-type]
    shown = plain(status)
    assert shown["mode"] == "0644"
    assert shown["mtime_ms"] == -2
    assert "mtime_ns" not in shown


def test_a_report_keeps_what_stands_beside_its_items() -> None:
    report = MasterReport((), (LedTerm(3, 1, "m2", 1000, 5),))
    found = report_document(report, {"leader": "m2", "index": None})
    assert found["kind"] == "MasterList"
    assert found["terms"] == [
        {"term": 3, "incarnation": 1, "member": "m2", "since_ms": 1000, "index": 5}
    ]
    health = report_document(HealthReport(True, ()), {"leader": "m2", "index": None})
    assert health["healthy"] is True and health["items"] == []


def test_a_streamed_document_is_the_document() -> None:
    items = [{"a": 1}, {"a": "ü"}]
    meta = {"leader": "m1", "index": 7}
    for some in (items, []):
        text = b"".join(streamed("FileList", iter(some), lambda: {"more": False, "meta": meta}))
        assert json.loads(text) == {
            "api": "gfs/v1",
            "kind": "FileList",
            "items": some,
            "more": False,
            "meta": meta,
        }
    assert json_bytes({"a": 1}, "jsonl") == b'{"a":1}\n'


@pytest.mark.parametrize("count", [0, 2])
def test_a_streamed_document_that_fails_says_so_or_never_begins(count: int) -> None:
    def failing() -> Iterator[dict[str, int]]:
        yield from ({"a": number} for number in range(count))
        raise WrongCluster("it went away")

    pieces = []
    with pytest.raises(WrongCluster):
        for piece in streamed("FileList", failing(), dict):
            pieces.append(piece)
    if count == 0:
        assert not pieces
        return
    told = json.loads(b"".join(pieces))
    assert told["items"] == [{"a": 0}, {"a": 1}] and told["complete"] is False


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        (["ls", "/"], "table"),
        (["ls", "--json"], "json"),
        (["-o", "json", "ls"], "json"),
        (["ls", "-ojsonl"], "jsonl"),
        (["ls", "--output=name"], "name"),
        (["put", "--", "--json", "/x"], "table"),
    ],
)
def test_the_output_mode_is_found_in_words_that_do_not_parse(words: list[str], mode: str) -> None:
    assert wanted_output(words) == mode


def test_each_term_but_the_last_ended_when_the_next_began() -> None:
    terms = (
        LedTerm(1, 1, "m1", 0, 2),
        LedTerm(2, 1, "m2", 60_000, 9),
        LedTerm(5, 1, "m1", 90_000, 20),
    )
    lines = text_of(terms_table(terms), color=False, wide=True).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "5"]
    assert "1 m 0 s" in lines[1] and "30 s" in lines[2] and lines[3].count("leads now") == 1
    assert not any("leads now" in line for line in lines[1:3])
