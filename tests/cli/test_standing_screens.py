"""What people read of servers that may stop, leave, or pause: verdicts, plans, modes, times."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from placed import place

from gfs_ha.cli.admin.chunkservers import labels_text, standing_text
from gfs_ha.cli.admin.drain import check_emptying
from gfs_ha.cli.admin.drain_plan import DrainPlan, lines_of
from gfs_ha.cli.admin.stopping import APPENDED, BELOW_MIN, NO_COPY, StopVerdict, judge
from gfs_ha.cli.render import names, render, text_of
from gfs_ha.cli.spans import read_span_ms
from gfs_ha.errors import PreconditionFailed
from gfs_ha.ids import ChunkId
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import DECOMMISSIONED, DRAINED, DRAINING, PlaceRow

ROWS = tuple(
    ServerRow(
        server_id=number,
        name=f"cs{number}",
        host="127.0.0.1",
        port=7300 + number,
        rack=f"r{number % 2 + 1}",
        machine=f"h{number}",
        state="live",
        disk_usage=0.1,
        chunk_count=5,
        replica_count=5,
        free_bytes=90 << 30,
        total_bytes=100 << 30,
        heartbeat_age_ms=300,
        timestamp=0,
        disks=(),
    )
    for number in range(1, 5)
)


def verdict(*places: PlaceRow, stopping: tuple[int, ...] = (1,)) -> StopVerdict:
    return judge(ROWS, [ROWS[number - 1] for number in stopping], places)


def test_one_of_three_copies_may_be_out_of_reach() -> None:
    found = verdict(place(1, (1, 2, 3)), place(2, (1, 2, 4)))
    assert found.ok and found.items == () and found.left_in_service == 3
    assert (found.copy_count, found.unrepaired_count) == (2, 0)


def test_a_chunk_below_what_it_may_be_written_with_is_named() -> None:
    found = verdict(place(1, (1, 2, 3)), place(2, (1, 3)), stopping=(1, 2))
    assert not found.ok
    assert [(row.chunk_id, row.what, row.copies) for row in found.items] == [
        (1, BELOW_MIN, 1),
        (2, BELOW_MIN, 1),
    ]
    assert "2 chunks would fall below min_copies" in found.reasons


def test_the_last_copy_comes_first() -> None:
    found = verdict(place(1, (1, 2)), place(2, (1,), goal=1, min_copies=1))
    assert [(row.chunk_id, row.what) for row in found.items] == [(2, NO_COPY), (1, BELOW_MIN)]
    assert found.no_copy_count == 1 and not found.ok


def test_what_is_out_of_reach_already_is_not_laid_to_who_stops() -> None:
    assert verdict(place(1, ())).ok
    assert verdict(place(1, (2,), goal=1, min_copies=1)).ok
    assert verdict(place(1, (2,))).ok, "it is below already, and the server has no copy of it"


def test_tails_move_and_writers_go_on_elsewhere() -> None:
    tail = place(1, (1, 2, 3), state="open", path="/log", primary=1)
    written = place(2, (1, 2, 3), state="open")
    found = verdict(tail, written)
    assert found.ok and (found.tail_count, found.open_count) == (1, 1)
    assert [(row.what, row.path) for row in found.items] == [(APPENDED, "/log")]
    shown = text_of(render(found, False), False, False)
    assert "cs1: may stop" in shown and "the next records go to other servers" in shown


def test_too_few_servers_to_write_are_a_reason() -> None:
    found = verdict(place(1, (1, 2, 3, 4), goal=4), stopping=(1, 2, 3))
    assert not found.ok and any("needed to write" in reason for reason in found.reasons)


def test_who_is_in_maintenance_counts_as_stopped() -> None:
    chunk = place(1, (1, 2, 3))
    assert verdict(chunk, stopping=(1,)).ok
    rows = (ROWS[0], replace(ROWS[1], maintenance_left_ms=60_000), *ROWS[2:])
    found = judge(rows, [rows[0]], [chunk])
    assert not found.ok and found.paused == ("cs2",) and found.below_min_count == 1
    assert "in maintenance: cs2" in text_of(render(found, False), False, False)
    beside = judge(rows, [rows[0]], [place(2, (1, 3, 4))])
    assert beside.ok, "no copy of it is on the server that pauses"
    itself = judge(rows, [rows[1]], [chunk])
    assert itself.ok and not itself.paused


def test_files_are_a_column_where_they_are_known() -> None:
    shown = text_of(render(verdict(place(1, (1,))), False), False, False)
    assert "0x1" in shown and "File" not in shown
    named = verdict(place(1, (1,), path="/log"))
    assert "File" in text_of(render(named, False), False, False)


def test_a_plan_says_what_it_moves_and_what_stands_still() -> None:
    plan = DrainPlan(
        items=(),
        servers=("cs7",),
        move_count=3,
        move_bytes=3 << 20,
        open_count=1,
        blocked_count=7,
        blocked=tuple(ChunkId(number) for number in range(1, 8)),
        reasons=("no server can take a copy",),
        eta_ms=90_000,
        left_in_service=1,
        writable=False,
    )
    lines = list(lines_of(plan))
    assert lines[0] == "to move from cs7: 3 copies (3.0 MiB), at least 1 m 30 s"
    assert "being written: 1 chunk" in lines[1]
    assert lines[2] == "cannot be moved: 7 chunks (0x1, 0x2, 0x3, 0x4, 0x5, …)"
    assert lines[3] == "  no server can take a copy"
    assert "a server more" in lines[4], "one way out"
    assert "gfsctl setrep N FILE, or setrep -R N DIR" in lines[4], "the other one"
    assert lines[-1] == "only 1 server would take new chunks: nothing could be written any more"


def test_a_plan_of_disks_names_them_and_counts_what_stays_within_among_all() -> None:
    plan = DrainPlan(
        items=(),
        servers=("cs7",),
        move_count=3,
        move_bytes=3 << 20,
        open_count=0,
        blocked_count=0,
        blocked=(),
        reasons=(),
        eta_ms=12,
        left_in_service=3,
        writable=True,
        within_count=2,
        within_bytes=2 << 20,
        disks=("cs7:0xa1",),
    )
    assert list(lines_of(plan)) == [
        "to move from cs7:0xa1: 3 copies (3.0 MiB), at least 1.0 s",
        "of them to other disks of their server: 2 (2.0 MiB)",
    ]
    assert list(names(plan)) == ["cs7:0xa1"] and not plan.doubtful
    blocked = replace(plan, blocked_count=1, blocked=(ChunkId(1),), ways=("undrain cs7:0xb2",))
    assert list(lines_of(blocked))[-1] == "undrain cs7:0xb2"
    assert any("a server or a disk more" in line for line in lines_of(blocked))
    assert blocked.doubtful == "1 chunk cannot be moved"
    bare = replace(plan, writable=False, left_in_service=1)
    assert bare.doubtful.startswith("only 1 server would take new chunks")


@pytest.mark.parametrize(
    ("more", "decommission", "said"),
    [
        ({"mode": DRAINED}, False, "cs1 is drained already"),
        ({"mode": DECOMMISSIONED}, True, "cs1 is decommissioned already"),
        ({"mode": DRAINING, "job": "d-7"}, False, "job d-7 is emptying cs1"),
    ],
)
def test_a_drain_that_would_not_begin_is_refused_before_it_is_planned(
    more: dict[str, object], decommission: bool, said: str
) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        check_emptying([ROWS[1], replace(ROWS[0], **more)], (), decommission)
    assert said in str(refused.value)
    check_emptying([replace(ROWS[0], mode=DRAINED)], (), decommission=True)


def test_how_a_server_stands_is_one_short_text() -> None:
    row = ROWS[0]
    assert standing_text(row).plain == "in-service" and labels_text(row) == "-"
    leaving = replace(row, mode=DRAINING, job="d-7", job_share=0.64)
    assert standing_text(leaving).plain == "draining d-7 64 %"
    assert standing_text(replace(row, mode=DRAINED, job="d-7")).plain == "drained"
    pausing = replace(row, maintenance_left_ms=90_000)
    assert standing_text(pausing).plain == "maintenance 1 m 30 s"
    both = replace(leaving, maintenance_left_ms=90_000)
    assert standing_text(both).plain == "draining d-7 64 %, maintenance 1 m 30 s"
    labelled = replace(row, labels=(("disk", "nvme"), ("room", "b12")))
    assert labels_text(labelled) == "disk=nvme,room=b12"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90s", 90_000), ("30m", 1_800_000), ("1h30m", 5_400_000), ("1d", 86_400_000)],
)
def test_times_are_read_as_people_write_them(text: str, milliseconds: int) -> None:
    assert read_span_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "h", "1x", "-5m", "m30", "٣m", "5", "9" * 12])
def test_what_is_no_time_is_none(text: str) -> None:
    assert read_span_ms(text) is None
