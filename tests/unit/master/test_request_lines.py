"""What a master tells of calls: every change, and of reads those that fail or take long."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from gfs_ha.cli.admin.trace import client_of
from gfs_ha.errors import Busy, InternalError, NoSpace, NotFound, NotLeader
from gfs_ha.ids import ChunkId, Epoch, SessionId, TraceId
from gfs_ha.logs.requests import BURST_LINES, RequestLog
from gfs_ha.logs.ring import LogRing
from gfs_ha.master.handlers.request_lines import (
    PATHS_CHARACTERS_MAX,
    QUIET,
    SLOW_S,
    CallLines,
    about,
)
from gfs_ha.protocol.calls import Asked, Request
from gfs_ha.protocol.codec import encode, failure
from gfs_ha.protocol.damage import VerifyChunk
from gfs_ha.protocol.extents import StageCopy
from gfs_ha.protocol.metadata import (
    AllocateChunk,
    ChunkAllocated,
    Done,
    LedMutation,
    Locate,
    Mkdir,
    OpenSession,
    Publish,
    Published,
    PublishedFile,
    PublishFile,
    PureMutation,
    Rename,
    SessionOpened,
    Stat,
)
from gfs_ha.protocol.server_modes import DrainServer
from gfs_ha.runtime import ThreadedRuntime

TRACE = TraceId(0xBEEF)
FAST_S = 0.0021


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class House:
    """A log of requests whose lines are looked at."""

    def __init__(self) -> None:
        self.ring = LogRing()
        logging.getLogger().handlers = [self.ring]
        logging.getLogger().setLevel("INFO")
        self.log = RequestLog(ThreadedRuntime(), logging.getLogger("gfs_ha.requests"))

    def told(self, *replied: tuple[Any, Any], took_s: float = FAST_S) -> list[str]:
        """Return the lines of one call with these requests and replies (or errors)."""
        asked = tuple(Asked(request, SessionId(7), 1) for request, _ in replied)
        lines = CallLines(self.log, "ann@host", TRACE, asked)
        before = self.ring.newest
        for position, (_, reply) in enumerate(replied):
            failed = isinstance(reply, Exception)
            word = failure(reply) if isinstance(reply, Exception) else reply  # type: ignore[arg-type]
            lines.answered(position, encode(word), failed)
        lines.note(took_s)
        self.log.write()
        found = [entry for entry in self.ring.entries() if entry.number > before]
        assert all(entry.trace_id == TRACE for entry in found)
        return [entry.text for entry in found]


def publish(*paths: str) -> Publish:
    return Publish(tuple(PublishFile(path, 0, 0o644, 0) for path in paths))


def test_a_change_is_told_with_what_who_outcome_and_time() -> None:
    assert House().told((Mkdir("/a b"), Done())) == [
        'request what=mkdir on="/a b" client=ann@host outcome=done ms=2.1 session=7'
    ]


@pytest.mark.parametrize("blank", [" ", "\u2003", "\t"])
def test_no_name_of_a_file_says_what_became_of_it_or_who_asked(blank: str) -> None:
    forged = f'/a"{blank}client=eve outcome=InternalError ms=1.0 x="\\'
    (line,) = House().told((Mkdir(forged), Done()))
    told = line.removeprefix("request what=mkdir on=")
    quoted = re.match(r'"((?:[^"\\]|\\.)*)" client=ann@host outcome=done ', told)
    assert quoted is not None, line
    assert client_of(line) == "ann@host"
    if blank != "\t":  # That one is shown as an escape.
        assert re.sub(r"\\(.)", r"\1", quoted.group(1)) == forged


def test_each_request_of_a_call_has_its_line() -> None:
    lines = House().told(
        (Rename("/a", "/b"), Done()),
        (Mkdir("/c"), Busy("later", retry_ms=5)),
        (Stat("/d"), Done()),
    )
    assert [line.partition(" client")[0] for line in lines] == [
        "request what=rename on=/a->/b",
        "request what=mkdir on=/c",
    ]
    assert "outcome=Busy" in lines[1]


def test_reads_are_told_when_they_fail_or_take_long() -> None:
    house = House()
    assert not house.told((Stat("/d"), Done()))
    assert not house.told((Stat("/d"), NotLeader("m2 leads")))
    assert "what=stat on=/d" in house.told((Stat("/d"), NotFound("/d")))[0]
    (slow,) = house.told((Locate((ChunkId(7), ChunkId(8))), Done()), took_s=SLOW_S)
    assert slow.startswith("request what=locate on=0x7,0x8 ") and "ms=1000.0" in slow


def test_files_of_a_publish_that_failed_are_told() -> None:
    house = House()
    files = (PublishedFile("/a"), PublishedFile("/b", "AlreadyExists", "/b"))
    (line,) = house.told((publish("/a", "/b"), Published(files)))
    assert "on=/a,/b " in line and "outcome=AlreadyExists(1/2)" in line
    (line,) = house.told((publish("/b"), Published(files[1:])))
    assert "outcome=AlreadyExists ms" in line
    (line,) = house.told((publish("/a"), Published(files[:1])))
    assert "outcome=done" in line


def test_ids_that_were_given_are_told() -> None:
    house = House()
    allocated = ChunkAllocated(ChunkId(0x1F), Epoch(1, 2), 1, (), 3, 2, "disk")
    (line,) = house.told((AllocateChunk(), allocated))
    assert "what=allocate_chunk on=0x1f " in line
    (line,) = house.told((OpenSession("ann@host"), SessionOpened(SessionId(99))))
    assert line.endswith("session=99")


def test_mistakes_of_ours_are_errors_and_trouble_is_a_warning() -> None:
    house = House()
    house.told((Mkdir("/a"), InternalError("oh")), (Mkdir("/a"), NoSpace("full")))
    house.told((Mkdir("/a"), NotFound("/")))
    levels = [entry.level for entry in house.ring.entries()]
    assert levels == [logging.ERROR, logging.WARNING, logging.INFO]


def test_what_a_request_is_about_is_bounded() -> None:
    names = [f"/{'x' * 99}{number}" for number in range(250)]
    text = about(publish(*names))
    assert len(text) < PATHS_CHARACTERS_MAX + 20 and text.endswith("+241")
    assert len(about(Mkdir("/" + "y" * 4000))) <= PATHS_CHARACTERS_MAX + 3


def test_many_changes_do_not_flood_the_log() -> None:
    house = House()
    lines = sum(len(house.told((Mkdir("/a"), Done()))) for _ in range(BURST_LINES + 300))
    assert BURST_LINES <= lines < BURST_LINES + 300


def test_no_change_is_quiet() -> None:
    changes = {*get_args(LedMutation), *get_args(PureMutation), StageCopy, DrainServer, VerifyChunk}
    assert changes <= set(get_args(Request)) and not changes & QUIET
