"""How events, findings and explanations look at 80, 120 and 200 columns, to the letter.

`GFS_WRITE_GOLDEN=1` writes what they look like now; look at the difference before you keep it.
"""

from __future__ import annotations

import pytest
from golden_screen import compare, screen
from msgspec.structs import replace

from gfs_ha.cli.admin import events as events_verb
from gfs_ha.cli.admin import health as health_verb
from gfs_ha.cli.admin import mutes as mutes_verb
from gfs_ha.cli.admin import placement_explained as placement_verb
from gfs_ha.cli.admin import repair as repair_verb
from gfs_ha.cli.admin.health_detail import HealthDetail, detailed
from gfs_ha.cli.admin.placement_explained import FilePlacement
from gfs_ha.cli.explained.chunk import explain_chunk
from gfs_ha.cli.explained.explanation import CodeList
from gfs_ha.cli.explained.job import explain_job
from gfs_ha.cli.explained.path import FileSeen, explain_directory, explain_file
from gfs_ha.cli.explained.server import explain_master, explain_server
from gfs_ha.cli.runbooks import runbook, runbooks
from gfs_ha.ids import ChunkId, DiskId, Epoch, InodeId, ServerId, StartId
from gfs_ha.limits import GIB, MIB
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.damage import ChunkDetail
from gfs_ha.protocol.events import EventItem, EventReport, MuteReport, MuteRow
from gfs_ha.protocol.jobs import PAUSED, RUNNING, Blocker, JobEvent, JobOptions, JobRow
from gfs_ha.protocol.metadata import FileStatus
from gfs_ha.protocol.placement import (
    NewPlacementExplained,
    PlacedRow,
    PlacementExplained,
    RejectedRow,
    SuccessorRow,
)
from gfs_ha.protocol.policy import PolicyReport
from gfs_ha.protocol.repair import (
    CopyRow,
    RepairBudgetReport,
    RepairReport,
    UnplacedRow,
    WaitingReason,
    WaitingRow,
)
from gfs_ha.protocol.reports import (
    ChunkRow,
    DiskRow,
    Finding,
    HealthReport,
    MasterRow,
    PlacedExtent,
    PlacementReport,
    ReplicaRow,
    ServerRow,
)

pytestmark = pytest.mark.usefixtures("in_utc")
WALL_NS = 1_795_707_532_000_000_000
SHOWING = (
    events_verb,
    health_verb,
    mutes_verb,
    placement_verb,
    repair_verb,
)  # Renderers are wanted.


def told(number: int, *words: str, severity: str = "info") -> EventItem:
    kind, subject, text = words
    return EventItem(number, WALL_NS + number * 10**9, kind, subject, text, severity)


EVENTS = EventReport(
    (
        told(1, "cluster", "prod", "the cluster begins: 3 copies, at least 2, chunks of 64 MiB"),
        told(2, "leader", "m2", "leads, term 41"),
        told(9, "server", "cs03", "suspect: no heartbeat, gets nothing new", severity="warning"),
        told(
            *(36, "server", "cs03", "dead: its copies are made anew elsewhere"),
            severity="error",
        ),
        told(
            *(37, "repair", "repair", "begins: 212 chunks lack copies, 13.2 GiB to copy"),
            severity="warning",
        ),
        told(
            *(140, "finding", "CHUNKS_BLOCKED", "1 chunk cannot be sealed: 0x7f"),
            severity="error",
        ),
        told(399, "repair", "repair", "over: 212 copies made, 13.2 GiB, after 6 min"),
        told(411, "job", "r-19", "rebalance begins, asked for by ann@ops1"),
        told(500, "server", "cs03", "back, it was dead after 7 min (3 more like this)"),
        told(501, "setting", "policy", "/a/long/path/to/some/directory: new files get 2 copies"),
    ),
    501,
    False,
    1,
    501,
)

DEAD = Finding(
    "SERVER_DEAD",
    "error",
    "chunkserver cs03 is dead (no heartbeat for 41 s)",
    "start cs03 or mend its network",
    "cs03",
    (("last heartbeat", "41.0 s ago"), ("dead after", "30 s"), ("rack", "r1")),
    WALL_NS,
)
SKEW = Finding(
    *("CLOCK_SKEW", "warning", "the clock of cs07 differs from the leader's by 6.2 s"),
    *("set its clock (NTP); only shown times depend on it", "cs07", (), WALL_NS, 3_480_000),
    "NTP comes on Friday",
)
MUTES = (
    MuteRow("CLOCK_SKEW", 3_480_000, "NTP comes on Friday", "ann@ops1", WALL_NS),
    MuteRow("SCRUB_LATE", 600_000_000, "", "bob@ops2", WALL_NS),
)


def chunk(number: int, copies: int, replicas: tuple[ReplicaRow, ...], **more: str) -> ChunkRow:
    state = more.pop("state", "sealed")
    fields = (state, 64 * MIB, 3, copies, "disk", "put", 0, replicas)
    return ChunkRow(ChunkId(0x1000000000000 + number), *fields, **more)


def replicas(*health: str) -> tuple[ReplicaRow, ...]:
    return tuple(
        ReplicaRow(ServerId(number), f"cs{number:02}", f"r{(number + 1) // 2}", one)
        for number, one in enumerate(health, 1)
    )


WHOLE = chunk(1, 3, replicas("live", "live", "live"))
SHORT = chunk(2, 2, replicas("live", "dead", "live"))
WAITS = chunk(3, 1, replicas("dead", "dead", "live"))
BLOCKED = chunk(4, 0, replicas("live", "dead"), state="sealing", blocked="cs02 does not answer")
BUDGET = RepairBudgetReport(0, 200 * MIB, 2, 256)
REPAIR = RepairReport(
    chunk_count=2,
    copy_count=3,
    lacking_bytes=192 * MIB,
    lost_count=0,
    copying=(CopyRow(SHORT.chunk_id, "cs05", 48 * MIB, 64 * MIB, True),),
    waiting=(WaitingRow(WAITS.chunk_id, 3, 64 * MIB, "the servers have copies enough under way"),),
    failures=(),
    deleting_count=0,
    made_count=9,
    bytes_per_s=100 * MIB,
    eta_ms=41_000,
    hold="",
    budget=BUDGET,
)
STATUS = FileStatus(InodeId(7), "file", 250 * MIB, 0o644, "ann", "ops", WALL_NS, growing=True)
POLICY = PolicyReport("/logs/big.log", "file", 3, "spread", 64 * MIB, goal_from="/logs")
LEASE = LeaseRow(
    *(BLOCKED.chunk_id, InodeId(7), "/logs/big.log", "cs01", ServerId(1), StartId(5), Epoch(1, 2)),
    *(9, 0, 1000, 55_000, 130_000, 3, 20),
)


def placed(*rows: ChunkRow) -> PlacementReport:
    extents = tuple(PlacedExtent(at * 64 * MIB, 64 * MIB, 0, row) for at, row in enumerate(rows, 0))
    return PlacementReport("/logs/big.log", 250 * MIB, "spread", extents, False, goal=3)


FILE = FileSeen(
    "/logs/big.log", STATUS, POLICY, placed(WHOLE, SHORT, WAITS, BLOCKED), REPAIR, (LEASE,)
)


def holder(number: int, rack: int, why: str, used: float) -> PlacedRow:
    return PlacedRow(ServerId(number), f"cs{number:02}", f"r{rack}", why, 1 - used, used)


def rejected(number: int, rack: int, why: str) -> RejectedRow:
    return RejectedRow(ServerId(number), f"cs{number:02}", f"r{rack}", why)


PLACED = PlacementExplained(
    chunk=WHOLE,
    rule="seed",
    rule_text="one near the writer, one in the same rack, the rest in other racks",
    misplaced="",
    holders=(
        holder(2, 1, "head of the chain", 0.42),
        holder(5, 1, "same rack; it is suspect (no heartbeat for 5 s)", 0.58),
        holder(9, 2, "other rack", 0.19),
    ),
    open_to=(holder(4, 1, "same rack", 0.23), holder(6, 2, "rack of cs09", 0.5)),
    rejected=(
        rejected(3, 1, "is draining"),
        rejected(11, 2, "is above the high-water mark (96 %)"),
        rejected(12, 3, "is dead (no heartbeat for 1 h 0 m)"),
    ),
    if_lost=(
        SuccessorRow("cs02", "cs04", "r1", 0.77, "cs05", "same rack"),
        SuccessorRow("cs05", "cs04", "r1", 0.77, "cs09", "same rack"),
        SuccessorRow("cs09", "", "", 0.0, "", "nobody can take its copy: cs12 is dead"),
    ),
    changes=("cs03 back in service", "room on cs11 (below 95 %): a rebalance, or a bigger disk"),
)
NEW = NewPlacementExplained(
    *("/new/file", 3, "spread", "copies in as many racks as there are"),
    (holder(4, 1, "on the writer's machine", 0.23), holder(9, 2, "other rack", 0.19)),
    (rejected(3, 1, "is draining"), rejected(6, 2, "same rack as cs09")),
    ("only 2 of 3 copies: no third rack has room",),
    "",
)
DETAIL = ChunkDetail(WAITS, "1:2", 64 * MIB, 2, 0, 1, 5, 4, "a client was silent", True, "/logs/a")

JOB = JobRow(
    *("o-7", "decommission", RUNNING, "cs07", DiskId(0), 0.64, 100 * GIB, 1600),
    *(64 * GIB, 1024, 36 * GIB, 576, 200 * MIB, 185_000, WALL_NS, 0, "ann@ops1", "", 0),
    JobOptions(window="22:00-06:00"),
    waits="",
    blocked=3,
    blockers=tuple(
        Blocker(
            ChunkId(0x1000000000007 + at),
            "/db/a",
            "no other server in rack r3 has room",
            ("add a server to rack r3", "gfsctl setrep 2 /db/a"),
        )
        for at in range(3)
    ),
)
RUNS = JobRow(
    *("r-9", "rebalance", RUNNING, "", DiskId(0), 0.0, 0, 0, 0, 0, -1, -1, 0, -1, WALL_NS, 0),
    *("ann@ops1", "", 0, JobOptions()),
)
RESTING = JobRow(
    *("r-8", "rebalance", PAUSED, "", DiskId(0), 0.1, 100 * GIB, 1600),
    *(10 * GIB, 160, -1, -1, 0, -1, WALL_NS, 0, "", "cs04 failed a copy", WALL_NS, JobOptions()),
)
SERVER = ServerRow(
    server_id=ServerId(3),
    name="cs03",
    host="10.0.0.3",
    port=7300,
    rack="r1",
    machine="h3",
    state="dead",
    disk_usage=0.58,
    chunk_count=1200,
    replica_count=1204,
    free_bytes=400 * GIB,
    total_bytes=1000 * GIB,
    heartbeat_age_ms=41_000,
    timestamp=0,
    disks=(DiskRow(DiskId(0x11), 1000 * GIB, 400 * GIB, 1200, ""),),
    reason="",
    mode="draining",
    job="d-4",
    labels=(("tier", "ssd"),),
)
LOG = (JobEvent(1, WALL_NS, "begins, asked for by ann@ops1"),)

REPORTS = {
    "events": EVENTS,
    "health": HealthReport(False, (DEAD, SKEW), MUTES),
    "health_detail": HealthDetail(False, (detailed(DEAD), detailed(SKEW))),
    "mutes": MuteReport(MUTES),
    "placement": PLACED,
    "new_placement": NEW,
    "explain_error": runbook("NoLeader"),
    "explain_finding": runbook("CHUNKS_BLOCKED"),
    "explain_exit": runbook("5"),
    "explain_codes": CodeList(tuple(runbooks().values())[:40]),
    "explain_file": explain_file(FILE),
    "explain_directory": explain_directory("/logs", STATUS, POLICY),
    "explain_chunk": explain_chunk(DETAIL, PLACED, REPAIR),
    "explain_job": explain_job(JOB, LOG),
    "explain_young_job": explain_job(RUNS, LOG[:1]),
    "explain_paused_job": explain_job(RESTING, LOG),
    "explain_server": explain_server(SERVER, (DEAD,), EVENTS.items[2:4]),
    "explain_master": explain_master(MasterRow("m2", "10.0.1.2", 7000, True), "m2", (), ()),
}


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("name", list(REPORTS))
def test_a_screen_looks_as_it_did(name: str, columns: int) -> None:
    compare(f"told_{name}_{columns}.txt", screen(REPORTS[name], columns) + "\n")


def test_wide_events_have_their_number_and_kind() -> None:
    first = screen(EVENTS, 200, wide=True).splitlines()[1]
    assert first.split()[0] == "1" and "cluster" in first


def test_a_file_that_is_well_says_so_and_nothing_else_comes() -> None:
    seen = FileSeen("/f", STATUS, POLICY, placed(WHOLE), REPAIR)
    found = explain_file(seen)
    assert found.well and found.verdict == "all is well"
    assert not found.troubles and not found.coming


def test_a_file_without_any_good_copy_of_a_chunk_cannot_be_read() -> None:
    lost = chunk(9, 0, replicas("dead", "dead", "dead"))
    found = explain_file(FileSeen("/f", STATUS, POLICY, placed(WHOLE, lost), REPAIR))
    assert not found.well and "cannot be read" in found.verdict
    assert "cs01 (dead)" in found.troubles[0]


def test_many_chunks_in_trouble_are_counted_rather_than_listed() -> None:
    many = [chunk(number, 2, replicas("live", "dead")) for number in range(20, 40)]
    found = explain_file(FileSeen("/f", STATUS, POLICY, placed(*many), REPAIR))
    assert len(found.troubles) == 6 and found.troubles[-1] == "and 15 chunks more"


def test_a_rule_from_which_several_findings_follow_is_told_once() -> None:
    found = explain_server(SERVER, (DEAD, DEAD, replace(DEAD, code="SERVER_SUSPECT")), ())
    assert len(set(found.rules)) == len(found.rules) <= 2
    assert sum(DEAD.code in rule for rule in found.rules) == 1
    assert len(found.coming) == 1


def test_a_server_that_a_new_leader_has_not_heard_is_not_said_to_be_heard_never() -> None:
    found = explain_server(replace(SERVER, state="dead", heartbeat_age_ms=-1), (), ())
    assert ("heard", "not yet by this leader") in found.facts


def test_of_a_dead_server_in_maintenance_nothing_is_said_to_be_made_anew_yet() -> None:
    found = explain_server(replace(SERVER, state="dead", maintenance_left_ms=60_000), (), ())
    assert found.verdict == "dead: its copies are made anew elsewhere once its maintenance ends"


ALL_TAKEN = "no server can take a copy: all 5 servers have a place of it"
SIX = replace(chunk(5, 5, replicas(*["live"] * 5)), goal=6)
STUCK = replace(
    REPAIR,
    chunk_count=29,
    copy_count=29,
    lacking_bytes=29 * 64 * MIB,
    copying=(),
    waiting=(WaitingRow(SIX.chunk_id, 6, 64 * MIB, ALL_TAKEN, True),),
    bytes_per_s=0,
    eta_ms=-1,
    unplaced_count=29,
    unplaced_copies=29,
    unplaced_bytes=29 * 64 * MIB,
    unplaced=(UnplacedRow(SIX.chunk_id, "/logs/other", 6, 5, 64 * MIB),),
    ways=("add a server", "want fewer copies: gfsctl setrep 5 /logs/other"),
    reasons=(WaitingReason(ALL_TAKEN, 29, 29 * 64 * MIB, True, (SIX.chunk_id,)),),
)


MADE = "9 copies made by this leader, moves of jobs too"


def test_what_cannot_be_read_now_is_not_called_nothing_to_repair() -> None:
    quiet = replace(REPAIR, chunk_count=0, copy_count=0, copying=(), waiting=())
    assert screen(quiet, 120).strip() == f"nothing to repair; {MADE}"
    # As `admin status` says it, of a server that is silent or in maintenance.
    silent = replace(quiet, below_count=39)
    assert (
        screen(silent, 120).strip()
        == f"39 chunks below the goal by the last count, none to copy yet; {MADE}"
    )


def test_a_reason_that_many_chunks_wait_for_is_told_once_with_the_ways_out() -> None:
    lines = screen(STUCK, 120).splitlines()
    beyond = "29 copies (1.8 GiB) that no server can take"
    assert lines[0] == f"29 chunks below the goal, {beyond}; {MADE}"
    assert sum("all 5 servers have a place" in one for one in lines) == 1
    assert "29 chunks" in lines[2] and "1.8 GiB" in lines[2]
    assert lines[-2:] == [
        "way out  add a server",
        "     or  want fewer copies: gfsctl setrep 5 /logs/other",
    ]
    assert "0x1000000000005" in screen(STUCK, 120, wide=True).split("Waiting")[1]
    some = replace(STUCK, copy_count=31, lacking_bytes=31 * 64 * MIB, eta_ms=2_000)
    head = screen(some, 120).splitlines()[0]
    assert head.startswith("29 chunks below the goal, 2 copies (128.0 MiB) to make, 0 B/s, 2.0 s")
    assert beyond in head


def test_a_chunk_that_waits_for_a_server_is_not_said_to_be_whole_at_any_time() -> None:
    found = explain_file(FileSeen("/logs/big.log", STATUS, POLICY, placed(SIX), STUCK))
    assert found.coming == (
        "0x1000000000005 waits for a server: all 5 servers have a place of it",
        "that does not change by itself: add a server, or want fewer copies:"
        " gfsctl setrep 5 /logs/big.log",
    )
    assert any(step.command == "gfsctl setrep 5 /logs/big.log" for step in found.next)
    named = explain_chunk(replace(DETAIL, row=SIX), None, STUCK)
    assert named.coming[-1].endswith("gfsctl setrep 5 /logs/other")
    some = replace(STUCK, copy_count=31, eta_ms=2_000)
    mixed = explain_file(FileSeen("/logs/big.log", STATUS, POLICY, placed(SIX, WAITS), some))
    assert mixed.coming[-1] == "repair of all (2 copies lacking) is through in about 2.0 s"
    alone = explain_file(FileSeen("/logs/big.log", STATUS, POLICY, placed(SIX), some))
    assert not any("repair of all" in line for line in alone.coming), "it does not help this file"
    other = replace(SIX, chunk_id=ChunkId(SIX.chunk_id + 1))
    two = replace(
        STUCK,
        waiting=tuple(WaitingRow(one, 6, 64 * MIB, ALL_TAKEN, True) for one in ids(SIX, other)),
        unplaced=tuple(
            UnplacedRow(one, "/logs/big.log", 6, possible, 64 * MIB)
            for one, possible in zip(ids(SIX, other), (5, 4), strict=True)
        ),
    )
    least = explain_file(FileSeen("/logs/big.log", STATUS, POLICY, placed(SIX, other), two))
    assert any(step.command == "gfsctl setrep 4 /logs/big.log" for step in least.next)


def ids(*rows: ChunkRow) -> tuple[ChunkId, ...]:
    return tuple(row.chunk_id for row in rows)


def test_a_copy_that_nobody_could_take_is_told_with_the_ways_out() -> None:
    whole = replace(PLACED, way="add a server", possible=2)
    said = (
        "ways out, unless who dies comes back: add a server, or want fewer copies: gfsctl setrep 2"
    )
    assert f"{said} FILE" in " ".join(screen(whole, 200).split())
    assert f"{said} FILE" in explain_chunk(replace(DETAIL, row=WHOLE), whole, REPAIR).coming
    short = replace(PLACED, chunk=SHORT, way="add a server", possible=2)
    file = FilePlacement((short,), "/a file", 3, 1, False, NEW)
    told = " ".join(screen(file, 200).split())
    assert "ways out: add a server, or want fewer copies: gfsctl setrep 2 '/a file'" in told
    assert "ways out" not in screen(PLACED, 200)
