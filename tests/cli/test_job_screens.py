"""How plans of a rebalance, its progress and jobs look at 80, 120 and 200 columns, to the letter.

`GFS_WRITE_GOLDEN=1` writes what they look like now; look at the difference before you keep it.
"""

from __future__ import annotations

import msgspec
import pytest
from golden_screen import compare, screen

from gfs_ha.cli.admin import rebalance_screens as rebalance_screens
from gfs_ha.cli.admin.job_screens import JobHistory, OneJob, said_text
from gfs_ha.cli.admin.jobs import changed_text
from gfs_ha.cli.admin.jobs_wait import (
    WaitWords,
    bar_text,
    blocked_text,
    check_ended,
    ended_text,
    wait_text,
)
from gfs_ha.cli.admin.rebalance import _question
from gfs_ha.cli.document import report_document
from gfs_ha.cli.explained.job import explain_job
from gfs_ha.cli.live.summary import job_spans
from gfs_ha.cli.render import names
from gfs_ha.cli.units import time_text
from gfs_ha.errors import PartlyDone, Unhealthy
from gfs_ha.ids import ChunkId, DiskId, format_id
from gfs_ha.limits import GIB, MIB
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DONE,
    FAILED,
    PAUSED,
    STUCK,
    Blocker,
    JobEvent,
    JobLog,
    JobOptions,
    JobReport,
    JobRow,
)
from gfs_ha.protocol.rebalance import BalanceRow, PlannedMove, RebalancePlan, RebalanceStatus

pytestmark = pytest.mark.usefixtures("in_utc")
WALL_NS = 1_795_707_532_000_000_000
TOTAL = 4096 * GIB


def disk(number: int, rack: int, before: float, after: float, **more: object) -> BalanceRow:
    shift = int((after - before) * TOTAL)
    return BalanceRow(
        name=f"cs{number:02}",
        rack=f"r{rack}",
        disk_id=DiskId(0x7000 + number),
        several=False,
        total_bytes=TOTAL,
        used_bytes=int(before * TOTAL),
        share=before,
        share_after=after,
        used_after=int(after * TOTAL),
        most_bytes=int(max(before, after) * TOTAL),
        bytes_in=max(0, shift),
        bytes_out=max(0, -shift),
        **more,
    )


DISKS = (
    disk(1, 1, 0.72, 0.59),
    disk(2, 1, 0.31, 0.49),
    disk(3, 2, 0.54, 0.54, trouble="is suspect (no heartbeat for 4 s)"),
    disk(4, 2, 0.88, 0.62, outside="no emptier server has room for its copies"),
    disk(5, 3, 0.02, 0.49),
)
MOVES = tuple(
    PlannedMove(
        *(ChunkId(0x100000000002E + at), 64 * MIB, "cs01", "cs05"),
        why="72.0 % full to 2.0 %, rack r1 to r3",
    )
    for at in range(7)
)
PLAN = RebalancePlan(
    *(DISKS, MOVES, 25_344, 1596 * GIB, 0.54, 0.05, 400 * MIB, 4_100_000, False),
    left_out=("cs06 is dead", "cs07 is being drained"),
)
JOB = JobRow(
    id="r-19",
    kind="rebalance",
    phase="running",
    server="",
    disk_id=DiskId(0),
    share=0.42,
    planned_bytes=1596 * GIB,
    planned_moves=25_344,
    moved_bytes=670 * GIB,
    moves=10_720,
    left_bytes=926 * GIB,
    left_moves=14_624,
    bytes_per_s=380 * MIB,
    eta_ms=2_460_000,
    made_ns=WALL_NS,
    ended_ns=0,
    asked_by="ann@ops1",
    last_error="cs05 could not copy: No space left on device",
    last_error_ns=WALL_NS,
    options=JobOptions(0.03, 400 * MIB, 16, "22:00-06:00"),
)
DRAIN = JobRow(
    id="d-7",
    kind="drain",
    phase="running",
    server="cs07",
    disk_id=DiskId(0),
    share=0.64,
    planned_bytes=0,
    planned_moves=0,
    moved_bytes=64 * GIB,
    moves=1_000,
    left_bytes=36 * GIB,
    left_moves=560,
    bytes_per_s=0,
    eta_ms=-1,
    made_ns=WALL_NS,
    ended_ns=0,
    asked_by="ann@ops1",
    last_error="",
    last_error_ns=0,
    options=JobOptions(),
    waits="chunks lack copies: these come first",
    blocked=2,
    blockers=(
        Blocker(
            ChunkId(0x3F2A),
            "/backup/big.img",
            "wants 5 copies (goal 5), only 4 other servers in service",
            ("gfsctl setrep 4 /backup/big.img", "bring another server into service"),
        ),
    ),
)
WAYS = ("add a server", "want fewer copies: gfsctl setrep 6 /data/wide")
GROUPED = msgspec.structs.replace(
    DRAIN,
    waits="",
    blocked=260,
    blockers=(
        *(
            Blocker(ChunkId(0x220 + at), "/data/wide", "wants 7 copies (goal 7), only 6", WAYS)
            for at in range(6)
        ),
        Blocker(ChunkId(0x300), "", "wants 9 copies (goal 9), only 6 servers", WAYS[:1]),
    ),
)
DONE_JOB = msgspec.structs.replace(
    JOB,
    phase=DONE,
    ended_ns=WALL_NS + 4200 * 10**9,
    end="is done: 5 disks are within 5.0% of the mean, 54.0%; 10,720 moves (670.0 GiB), foreseen"
    " 25,344 (1,596.0 GiB): 31.0 GiB less is in use than when it began",
)
CANCELLED_JOB = msgspec.structs.replace(
    JOB,
    id="r-17",
    phase=CANCELLED,
    ended_ns=WALL_NS + 60 * 10**9,
    end="was cancelled: asked for by ann@ops1",
)
REPORTS = {
    "plan": PLAN,
    "balanced": RebalancePlan(DISKS[2:3], (), 0, 0, 0.54, 0.05, 0, -1, True),
    "status": RebalanceStatus(DISKS, 0.54, 0.05, 1596 * GIB, JOB, ("cs06 is in maintenance",)),
    "never": RebalanceStatus(DISKS[2:3], 0.54, 0.05, 0, None),
    "job": OneJob((JOB,)),
    "blocked": OneJob((DRAIN,)),
    "grouped": OneJob((GROUPED,)),
    "ended": OneJob((DONE_JOB,)),
    "status_ended": RebalanceStatus(DISKS, 0.54, 0.05, 0, DONE_JOB),
    "status_cancelled": RebalanceStatus(DISKS[2:3], 0.54, 0.05, 0, CANCELLED_JOB),
    "history": JobHistory((JOB, DONE_JOB, CANCELLED_JOB)),
    "jobs": JobReport((JOB, DRAIN, DONE_JOB, CANCELLED_JOB)),
    "log": JobLog((JobEvent(1, WALL_NS, "begins"), JobEvent(2, WALL_NS, "is done")), "r-19"),
}


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("name", list(REPORTS))
def test_a_screen_looks_as_it_did(name: str, columns: int) -> None:
    compare(f"{name}_{columns}.txt", screen(REPORTS[name], columns) + "\n")


def test_wide_screens_show_all_moves_and_the_highest_fill() -> None:
    shown = screen(PLAN, 200, wide=True)
    assert "At most" in shown and shown.count("0x1000000000") == len(MOVES)


def test_a_wide_screen_names_all_chunks_that_are_known_to_be_in_the_way() -> None:
    shown = screen(OneJob((GROUPED,)), 200, wide=True)
    assert shown.count("0x22") == 6 and "and 253 chunks more" in shown and "-o wide" not in shown


def test_files_of_which_the_same_is_said_are_counted_and_not_listed() -> None:
    ways = ("add a server", "want fewer copies of all files there: gfsctl setrep -R 2 /logs")
    blockers = tuple(Blocker(ChunkId(at), f"/logs/{at}", "wants 3", ways) for at in range(1, 40))
    many = msgspec.structs.replace(GROUPED, blocked=39, blockers=blockers)
    shown = screen(OneJob((many,)), 120)
    assert "39 chunks of /logs/1 and 38 files more, each wants 3" in shown
    assert shown.count("setrep -R 2 /logs") == 1 and "/logs/7" not in shown
    (told,) = explain_job(many, ()).troubles
    assert "0x1 and 38 more of /logs/1 and 38 files more cannot be moved: wants 3" in told


def test_chunks_of_a_file_are_counted_whole_only_where_all_in_the_way_are_known() -> None:
    all_known = msgspec.structs.replace(GROUPED, blocked=len(GROUPED.blockers))
    some = screen(OneJob((GROUPED,)), 120)
    assert "at least 6 chunks of /data/wide, each" in some
    assert "and 253 chunks more, of these files or of others" in some
    whole = screen(OneJob((all_known,)), 120)
    assert "  6 chunks of /data/wide, each" in whole and "at least" not in whole
    assert "chunk 0x220 and at least 5 more of /data/wide" in explain_job(GROUPED, ()).troubles[0]
    assert "chunk 0x220 and 5 more of /data/wide" in explain_job(all_known, ()).troubles[0]


def test_who_pauses_or_cancels_a_job_is_told_of_the_moves_that_still_count() -> None:
    asked = msgspec.structs.replace(JOB, phase=CANCELLED, moves=6, moved_bytes=5 * MIB)
    told = changed_text(asked)
    assert "r-19 is cancelled (6 moves done, 5.0 MiB; one whose copy is whole already" in told
    over = changed_text(msgspec.structs.replace(asked, ended_ns=WALL_NS))
    assert "(6 moves done, 5.0 MiB); what was moved stays" in over, "it was cancelled before"
    paused = changed_text(msgspec.structs.replace(asked, phase=PAUSED))
    assert "5.0 MiB; those under way come to their end); gfsctl admin jobs resume r-19" in paused


LONG_DISK = DiskId(0x1234_5678_9ABC_DEF0)


def test_the_id_of_a_disk_stays_on_its_line_in_80_columns() -> None:
    rows = tuple(
        msgspec.structs.replace(row, disk_id=LONG_DISK, several=True) for row in PLAN.items
    )
    moves = tuple(
        msgspec.structs.replace(move, source_disk=LONG_DISK, target_disk=LONG_DISK)
        for move in MOVES
    )
    reports = (
        msgspec.structs.replace(PLAN, items=rows, moves=moves),
        RebalanceStatus(rows, 0.54, 0.05, 1596 * GIB, JOB),
    )
    for report, name in zip(reports, ("plan_disks", "status_disks"), strict=True):
        for columns in (80, 120):
            shown = screen(report, columns)
            compare(f"{name}_{columns}.txt", shown)
            for row in rows:
                assert f"{row.name}:{format_id(LONG_DISK)}  {row.rack}  " in shown
        narrow = screen(report, 50)  # It folds then, but no line is longer than that.
        assert "…" not in narrow
    plan, place = screen(reports[0], 80), f":{format_id(LONG_DISK)}"
    assert f" cs01{place}  cs05{place}" in plan and "Why" not in plan
    assert "72.0 % full to 2.0 %" in screen(reports[0], 100)


def test_of_a_rebalance_that_found_no_more_to_move_it_is_said_when_that_was() -> None:
    stuck = msgspec.structs.replace(DONE_JOB, end=f"is done: {STUCK}: cs04 (62.0 %)")
    shown = screen(RebalanceStatus(DISKS, 0.54, 0.05, 1596 * GIB, stuck), 120)
    assert f"; r-19 found no more to move at {time_text(DONE_JOB.ended_ns)}\n" in shown
    assert "TiB to move" not in shown
    later = screen(RebalanceStatus(DISKS, 0.54, 0.05, 1596 * GIB, DONE_JOB), 120)
    assert "; about 1.6 TiB to move" in later and "no more to move" not in later


def test_an_error_that_a_job_got_over_is_not_told_once_it_is_done() -> None:
    assert said_text(JOB).plain.startswith("cs05 could not copy")
    assert said_text(DONE_JOB).plain == ""
    stuck = msgspec.structs.replace(
        DONE_JOB, last_error="nothing more", end="is done: nothing more: cs2 is full"
    )
    assert said_text(stuck).plain == "nothing more: cs2 is full"
    assert said_text(ended(FAILED)).plain == JOB.last_error


def test_what_blocked_a_job_is_no_error_of_it_any_more_once_nothing_does() -> None:
    blocked = msgspec.structs.replace(JOB, last_error="blocked: too few servers", blocked=2)
    assert "last error  blocked: too few servers (" in screen(OneJob((blocked,)), 120)
    free = msgspec.structs.replace(blocked, blocked=0)
    assert said_text(free).plain == ""
    for row in (free, msgspec.structs.replace(free, phase=DONE, ended_ns=WALL_NS, end="is done")):
        shown = screen(OneJob((row,)), 120)
        assert "got over" in shown and "last error" not in shown
    unknown = msgspec.structs.replace(free, waits="the leader looks first")
    assert "last error" in screen(OneJob((unknown,)), 120), "nobody knows yet"


@pytest.mark.parametrize("columns", [40, 79, 119])
def test_the_bar_of_a_job_fits_on_one_line(columns: int) -> None:
    for row in (JOB, DRAIN):
        assert len(bar_text(row, columns)) <= columns


def test_the_bar_of_a_job_says_how_far_it_is() -> None:
    bar = "r-19 [==========              ] 42 %  670.0 GiB of 1.6 TiB  380.0 MiB/s  ETA 41 m 0 s"
    assert bar_text(JOB, 119) == bar


def ended(phase: str) -> JobRow:
    return msgspec.structs.replace(JOB, phase=phase, ended_ns=WALL_NS + 60 * 10**9)


def test_the_exit_status_of_a_wait_says_how_the_job_ended() -> None:
    check_ended(ended(DONE))
    with pytest.raises(PartlyDone, match="r-19 was cancelled after 10,720 moves"):
        check_ended(ended(CANCELLED))
    with pytest.raises(Unhealthy, match=r"r-19 has failed after 10,720 moves.*No space left"):
        check_ended(ended(FAILED))
    assert ended_text(ended(DONE)).startswith("r-19 is done: 10,720 moves, 670.0 GiB in 1 m 0 s")
    assert "paused" in bar_text(ended(PAUSED), 119)


def test_a_wait_warns_once_and_of_nothing_that_is_over_in_a_moment() -> None:
    words = WaitWords()
    said = [words.new("the leader looks first", False, now_s) for now_s in (0.0, 0.5, 1.0)]
    assert not any(said) and not words.new("", False, 1.5)
    said = [words.new("outside its window", False, now_s) for now_s in (2.0, 3.0, 4.1, 5.0, 60.0)]
    assert said == [False, False, True, False, False]
    assert words.new("3 chunks blocked", True, 61.0) and not words.new("3 chunks blocked", True, 62)


def test_a_wait_says_once_what_blocks_a_job_and_the_ways_out() -> None:
    away = Blocker(ChunkId(1), "", "cs07 is away: no heartbeat for 4 s", ("bring cs07 back",))
    row = msgspec.structs.replace(
        DRAIN, last_error="blocked: cs07 is away", blockers=(away,), blocked=3
    )
    assert blocked_text(row) == "blocked: cs07 is away; bring cs07 back"
    both = msgspec.structs.replace(away, ways=("add a server", "gfsctl setrep 2 /a"))
    row = msgspec.structs.replace(row, blockers=(away, both))
    assert blocked_text(msgspec.structs.replace(row, blockers=(both,))) == (
        "blocked: cs07 is away; add a server; or gfsctl setrep 2 /a"
    )
    assert blocked_text(msgspec.structs.replace(row, last_error="", blockers=())) == (
        "3 chunks blocked"
    )
    assert blocked_text(msgspec.structs.replace(row, blocked=0)) == ""


def test_what_a_job_got_over_is_not_what_it_waits_for() -> None:
    row = msgspec.structs.replace(DRAIN, last_error="blocked: cs07 is away", blocked=2, waits="")
    assert wait_text(row, shown=False).startswith("blocked: cs07 is away")
    over = msgspec.structs.replace(row, blocked=0, blockers=())
    assert wait_text(over, shown=False) == "" == wait_text(over, shown=True)
    waits = msgspec.structs.replace(over, waits="outside its window")
    assert wait_text(waits, shown=False) == "outside its window"
    assert wait_text(waits, shown=True) == "", "the bar says it"


def test_the_end_of_a_drain_says_what_became_of_its_disk() -> None:
    of_disk = msgspec.structs.replace(ended(DONE), disk_id=DiskId(1), end="is done: it is lost")
    assert ended_text(of_disk).endswith("/s); it is lost")
    assert ended_text(msgspec.structs.replace(of_disk, end="is done")).endswith("/s)")


def test_moves_between_disks_of_a_server_name_the_disks_and_no_time_is_none() -> None:
    within = PlannedMove(
        *(ChunkId(1), MIB, "cs02", "cs02", "9.0 % full to 2.0 %, its server keeps it"),
        source_disk=DiskId(0xA1),
        target_disk=DiskId(0xB2),
    )
    plan = msgspec.structs.replace(PLAN, moves=(within,), eta_ms=3)
    shown = screen(plan, 120)
    assert "cs02:0xa1" in shown and "cs02:0xb2" in shown
    assert "at least 1.0 s" in shown and "0.0 s" not in shown
    (row,) = report_document(plan, {})["moves"]
    assert (row["source"], row["source_disk"], row["target_disk"]) == ("cs02", "0xa1", "0xb2")


def test_names_of_disks_in_a_rebalance_are_those_that_commands_take() -> None:
    assert next(iter(names(REPORTS["status"]))) == "cs01:0x7001"


def test_the_drain_of_a_disk_names_the_disk() -> None:
    more = {"kind": "disk-drain", "id": "x-4", "disk_id": DiskId(0x3F2A)}
    row = msgspec.structs.replace(DRAIN, **more)
    assert "x-4 disk-drain cs07:0x3f2a" in screen(OneJob((row,)), 120)
    assert "disk-drain cs07:0x3f2a" in screen(JobReport((row,)), 120)


def test_a_job_that_waits_says_for_what_and_no_time_to_go() -> None:
    waits = msgspec.structs.replace(JOB, waits="2 places being sealed", eta_ms=0, left_bytes=0)
    line = bar_text(waits, 119)
    assert "waits: 2 places being sealed" in line and "ETA" not in line
    shown = screen(OneJob((waits,)), 120)
    assert "2 places being sealed" in shown
    explained = explain_job(msgspec.structs.replace(waits, eta_ms=-1), ())
    assert explained.coming == ("it goes on by itself; now it waits: 2 places being sealed",)
    said = "".join(one if isinstance(one, str) else one[0] for one in job_spans(waits))
    assert said.endswith("waits: 2 places being sealed")
    assert "time to go: not known while it waits" in screen(
        OneJob((msgspec.structs.replace(waits, eta_ms=-1),)), 120
    )


def test_the_question_before_a_rebalance_says_between_what_is_moved() -> None:
    within = PlannedMove(ChunkId(9), MIB, "cs01", "cs01", "", DiskId(1), DiskId(2))
    between = MOVES[0]

    def asked(*moves: PlannedMove, more: int = 0) -> str:
        plan = msgspec.structs.replace(PLAN, moves=moves, move_count=len(moves) + more)
        return _question(plan).partition("moves ")[2] or _question(plan).partition("move ")[2]

    assert _question(PLAN).endswith("between servers?")
    assert asked(between, between) == "between servers?"
    assert asked(within, within) == "between disks of one server?"
    assert asked(within, between) == "between servers, and between disks of one server?"
    assert asked(within, within, more=1) == "between servers, and between disks of one server?"


def test_a_job_that_has_ended_is_not_to_be_watched() -> None:
    done = msgspec.structs.replace(JOB, phase="done", ended_ns=JOB.made_ns + 1, eta_ms=-1)
    commands = [one.command for one in explain_job(done, ()).next]
    assert commands == ["gfsctl admin jobs show r-19", "gfsctl admin jobs logs r-19"]
