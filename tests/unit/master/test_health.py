"""Findings: what makes a cluster unhealthy, with which code, and what is only said."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from gfs_ha.config import SettingsConfig
from gfs_ha.ids import ChunkId
from gfs_ha.limits import GIB, MIB
from gfs_ha.master.health import Symptoms, examine, space_low
from gfs_ha.master.quorum import short_of_room
from gfs_ha.master.raft.contract import MemberStatus, PeerStatus, RaftStatus
from gfs_ha.master.raft.members import Addresses
from gfs_ha.master.server_health import GoneDisk
from gfs_ha.master.state.records import InternalErrors, Settings, StateCheck
from gfs_ha.protocol.repair import CopyRow, RepairBudgetReport, RepairReport, UnplacedRow
from gfs_ha.protocol.reports import DiskRow, ServerRow

RAFT = RaftStatus(
    "m1",
    "leader",
    3,
    "m1",
    10,
    10,
    10,
    1,
    0,
    (PeerStatus("m2", True, 10, 10, 20), PeerStatus("m3", True, 10, 10, 20)),
    False,
    False,
    1.0,
    1.0,
    1.0,
    None,
    None,
)
SETTINGS = Settings(1, "c1", "test", 1, 64 * MIB, 3, 2, 0)


def server(number: int, **changes: object) -> ServerRow:
    fields: dict[str, object] = {
        "server_id": number,
        "name": f"cs{number}",
        "host": "h",
        "port": 1,
        "rack": f"r{number % 2}",
        "machine": "m",
        "state": "live",
        "disk_usage": 0.1,
        "chunk_count": 0,
        "replica_count": 0,
        "free_bytes": GIB,
        "total_bytes": GIB,
        "heartbeat_age_ms": 100,
        "timestamp": 0,
        "disks": (),
    }
    return ServerRow(**{**fields, **changes})  # type: ignore[arg-type]


CHECK = StateCheck(9, b"a" * 16, ("m1", "m2", "m3"), (), (), (), 0, 0)


WELL = Symptoms(
    raft=RAFT,
    settings=SETTINGS,
    file_settings=SettingsConfig(64 * MIB, 3, 2),
    servers=tuple(server(number) for number in range(1, 5)),
    clocks_ahead_ms={"cs1": 40},
    under_count=0,
    under_more=False,
    blocked={},
    damaged={},
    internal_errors=None,
    wall_ns=10_000 * 10**9,
    disk_free_bytes=50 * GIB,
    disk_total_bytes=100 * GIB,
    state_bytes=MIB,
    map_bytes=GIB,
)


def peers(**changes: object) -> RaftStatus:
    fields: dict[str, object] = {"member_id": "m3", "connected": True, "answer_age_ms": 20}
    peer = PeerStatus(**{**fields, **changes})  # type: ignore[arg-type]
    return RaftStatus(
        **{
            **{name: getattr(RAFT, name) for name in RAFT.__struct_fields__},
            "peers": (RAFT.peers[0], peer),
        }
    )


def test_a_cluster_that_is_well_has_no_findings() -> None:
    report = examine(WELL)
    assert report.healthy and report.items == ()


def mistake(first_s: int, last_s: int) -> InternalErrors:
    return InternalErrors(2, 9, "Mkdir", "KeyError", first_s * 10**9, last_s * 10**9)


def test_a_mistake_of_ours_is_dated_and_is_no_news_after_an_hour_without_another() -> None:
    [found] = examine(replace(WELL, internal_errors=mistake(4_000, 6_401))).items
    assert "the first 100 min ago" in found.message
    assert "the last 59 min ago at log index 9" in found.message
    assert examine(replace(WELL, internal_errors=mistake(4_000, 6_399))).healthy
    ahead = examine(replace(WELL, internal_errors=mistake(4_000, 99_000)))
    assert not ahead.healthy, "by the clock of another leader"


BAD_DISK = server(4, disks=(DiskRow(5, 1, 1, 0, "read error"),))


@pytest.mark.parametrize(
    ("symptoms", "code", "words"),
    [
        (replace(WELL, raft=peers(connected=False)), "NO_QUORUM_MARGIN", "m3 does not answer"),
        (replace(WELL, raft=peers(answer_age_ms=-1)), "NO_QUORUM_MARGIN", "m3"),
        (replace(WELL, raft=peers(answer_age_ms=9000)), "NO_QUORUM_MARGIN", "m3"),
        (replace(WELL, raft=peers(connected=False, refusal="OldCopy")), "NO_QUORUM_MARGIN", "Old"),
        (replace(WELL, raft=peers(behind=True)), "MASTER_OUTDATED", "m3"),
        (
            replace(WELL, servers=(*WELL.servers, server(5, state="suspect", heartbeat_age_ms=-1))),
            "SERVER_SUSPECT",
            "cs5 is suspect (not heard yet)",
        ),
        (
            replace(WELL, servers=WELL.servers[:1]),
            "TOO_FEW_SERVERS",
            "1 live chunkservers in service, 2",
        ),
        (replace(WELL, under_count=7), "CHUNKS_UNDER", "7 chunks"),
        (replace(WELL, under_count=7, under_more=True), "CHUNKS_UNDER", "at least 7 chunks"),
        (replace(WELL, blocked={"0x7": "no answer from 3"}), "CHUNKS_BLOCKED", "0x7 (no answer"),
        (replace(WELL, damaged={"0x7": "cs1: block 2 is damaged"}), "REPLICAS_DAMAGED", "cs1"),
        (replace(WELL, disk_free_bytes=GIB // 2), "SPACE_LOW", "m1"),
        (
            replace(WELL, internal_errors=InternalErrors(2, 9, "Mkdir", "KeyError")),
            "INTERNAL_ERRORS",
            "Mkdir",
        ),
        (replace(WELL, settings=None), "NOT_INITIALIZED", "no settings"),
    ],
)
def test_what_makes_a_cluster_unhealthy(symptoms: Symptoms, code: str, words: str) -> None:
    report = examine(symptoms)
    assert not report.healthy
    [found] = [finding for finding in report.items if finding.severity == "error"]
    assert found.code == code
    assert words in found.message
    assert found.advice


@pytest.mark.parametrize(
    ("symptoms", "code", "words"),
    [
        (replace(WELL, servers=WELL.servers[:2]), "TOO_FEW_SERVERS", "goal of 3"),
        (
            replace(WELL, servers=tuple(server(n, rack="r1") for n in range(1, 5))),
            "RACKS_MISSING",
            "rack r1",
        ),
        (replace(WELL, clocks_ahead_ms={"cs1": -60_000}), "CLOCK_SKEW", "-60.0 s"),
        (replace(WELL, file_settings=SettingsConfig(MIB)), "SETTINGS_DIFFER", "chunk_size"),
        (replace(WELL, file_settings=SettingsConfig(placement="hdfs")), "SETTINGS_DIFFER", "hdfs"),
        (replace(WELL, disk_free_bytes=3 * GIB // 2), "SPACE_LOW", "soon"),
    ],
)
def test_what_is_said_of_a_cluster_that_is_healthy(
    symptoms: Symptoms, code: str, words: str
) -> None:
    report = examine(symptoms)
    assert report.healthy
    [found] = report.items
    assert (found.code, found.severity) == (code, "warning")
    assert words in found.message


REPAIR = RepairReport(
    chunk_count=9,
    copy_count=9,
    lacking_bytes=9 * MIB,
    lost_count=0,
    copying=(CopyRow(ChunkId(7), "cs4", 5, 9, True),),
    waiting=(),
    failures=(),
    deleting_count=0,
    made_count=3,
    bytes_per_s=MIB,
    eta_ms=8_500,
    hold="",
    budget=RepairBudgetReport(0, 0, 2, 9),
)


def test_repair_under_way_is_told_with_its_count_and_the_time_to_go() -> None:
    [found] = examine(replace(WELL, under_count=9, repair=REPAIR)).items
    told = "1 copy under way, 3 made by this leader, moves of jobs too, about 9 s to go"
    assert told in found.message
    silent = server(5, state="suspect", heartbeat_age_ms=4000)
    waits = replace(WELL, servers=(*WELL.servers, silent), under_count=9, repair=REPAIR)
    [found] = [one for one in examine(waits).items if one.code == "CHUNKS_UNDER"]
    assert "to go" not in found.message and "cs5 are made anew only once that" in found.message
    idle = msgspec.structs.replace(REPAIR, copying=())
    [found] = examine(replace(WELL, under_count=9, repair=idle)).items
    assert "to go" not in found.message, "nothing is under way"
    held = msgspec.structs.replace(REPAIR, hold="3 of 4 chunkservers are dead")
    [found] = examine(replace(WELL, under_count=9, repair=held)).items
    assert "repair waits: 3 of 4" in found.message


STUCK = msgspec.structs.replace(
    REPAIR,
    copying=(),
    unplaced_count=9,
    unplaced_copies=9,
    unplaced=tuple(
        UnplacedRow(ChunkId(at), path, 6, 5, 9) for at, path in enumerate(("/a", "/b", "/b", ""), 1)
    ),
    ways=("add a server", "want fewer copies: gfsctl setrep 5 /a /b"),
)


def test_copies_that_no_server_can_take_are_not_said_to_be_made_by_themselves() -> None:
    [found] = examine(replace(WELL, under_count=9, repair=STUCK)).items
    assert (found.code, found.severity) == ("CHUNKS_UNDER", "error")
    beyond = "no server is left that can take 9 copies of 9 chunks"
    assert found.message.endswith(f"{beyond}: /a, /b and others want 6, 5 are possible now")
    assert found.advice.startswith("add a server, or want fewer copies: gfsctl setrep 5 /a /b")
    assert "by themselves" not in found.advice
    assert ("of these, without a server to take them", "9") in found.facts


def test_files_of_several_chunks_that_are_all_named_are_not_told_with_others() -> None:
    rows = STUCK.unplaced[:3]
    counts = {"copy_count": 3, "unplaced_count": 3, "unplaced_copies": 3}
    repair = msgspec.structs.replace(STUCK, unplaced=rows, **counts)
    [found] = examine(replace(WELL, under_count=3, repair=repair)).items
    assert found.message.endswith(
        "can take 3 copies of 3 chunks: /a, /b want 6, 5 are possible now"
    )


def test_of_chunks_below_their_goal_those_that_repair_can_help_are_told_apart() -> None:
    some = msgspec.structs.replace(STUCK, copying=REPAIR.copying, unplaced_copies=2)
    [found] = examine(replace(WELL, under_count=9, repair=some)).items
    assert "can take 2 copies of 9 chunks" in found.message
    assert "1 copy under way" in found.message
    assert "add a server" in found.advice and "the others are copied by themselves" in found.advice


@pytest.mark.parametrize("zero", ["copies", "copies_per_server"])
def test_a_budget_that_lets_no_copy_begin_is_a_warning_also_while_nothing_lacks(zero: str) -> None:
    budget = msgspec.structs.replace(REPAIR.budget, **{zero: 0})
    report = examine(replace(WELL, repair=msgspec.structs.replace(REPAIR, budget=budget)))
    assert [one.code for one in report.items] == ["REPAIR_HELD"] and report.healthy
    assert examine(replace(WELL, repair=REPAIR)).items == ()


def test_a_chunk_without_a_good_copy_is_an_error_of_its_own() -> None:
    lost = msgspec.structs.replace(REPAIR, lost_count=2)
    codes = {one.code for one in examine(replace(WELL, under_count=9, repair=lost)).items}
    assert codes == {"CHUNKS_UNDER", "CHUNKS_LOST"}


def test_a_dead_server_on_which_nothing_rests_any_more_is_only_a_warning() -> None:
    gone = server(5, state="dead", heartbeat_age_ms=42_000)
    report = examine(replace(WELL, servers=(*WELL.servers, gone)))
    assert report.healthy and report.items[0].code == "SERVER_DEAD"
    assert "on other servers" in report.items[0].advice
    needed = examine(replace(WELL, servers=(*WELL.servers, gone), under_count=1))
    [found] = [one for one in needed.items if one.code == "SERVER_DEAD"]
    assert found.severity == "error" and "cs5 is dead (no heartbeat for 42 s)" in found.message


@pytest.mark.parametrize("state", ["suspect", "dead"])
def test_a_server_that_ended_for_its_disks_is_not_told_to_have_a_bad_network(state: str) -> None:
    broken = (
        msgspec.structs.replace(BAD_DISK.disks[0], disk_id=1),
        msgspec.structs.replace(BAD_DISK.disks[0], disk_id=2),
    )
    gone = server(5, state=state, heartbeat_age_ms=4000, disks=broken)
    report = examine(replace(WELL, servers=(*WELL.servers, gone)))
    (away,) = [one for one in report.items if one.code == f"SERVER_{state.upper()}"]
    assert "ended when its last disk failed" in away.message
    assert "network" not in away.advice and "disks that work" in away.advice
    failed = [dict(one.facts) for one in report.items if one.code == "DISK_FAILED"]
    assert [one["other disks in service"] for one in failed] == ["0", "0"]
    half = (broken[0], msgspec.structs.replace(broken[1], failed=""))
    report = examine(replace(WELL, servers=(*WELL.servers, server(5, state=state, disks=half))))
    (away,) = [one for one in report.items if one.code == f"SERVER_{state.upper()}"]
    assert "disk" not in away.message and "network" in away.advice
    (failed,) = [one for one in report.items if one.code == "DISK_FAILED"]
    assert dict(failed.facts)["other disks in service"] == "1"
    assert failed.severity == "warning", "nothing is missed of it"


@pytest.mark.parametrize(
    ("places", "coming", "severity", "said"),
    [
        (3, 0, "error", "3 chunks have a place there still, made anew elsewhere"),
        (0, 2, "error", "2 chunks are just copied to other disks of that server"),
        (0, 0, "warning", "no chunk has a place there any more"),
    ],
)
def test_a_failed_disk_is_an_error_only_while_something_that_was_on_it_is_missing(
    places: int, coming: int, severity: str, said: str
) -> None:
    gone = GoneDisk(BAD_DISK.name, BAD_DISK.disks[0].disk_id, places, False, coming)
    # Chunks of other servers lack copies, too: for ever, maybe.
    symptoms = replace(WELL, servers=(*WELL.servers, BAD_DISK), under_count=1, gone_disks=(gone,))
    (failed,) = [one for one in examine(symptoms).items if one.code == "DISK_FAILED"]
    assert failed.severity == severity and "read error" in failed.message
    assert failed.message.endswith(said)


def test_a_server_that_beats_and_that_others_do_not_reach_is_told() -> None:
    cut_off = server(5, reason="it beats, but others cannot reach it: it is avoided for 9 s")
    [found] = examine(replace(WELL, servers=(*WELL.servers, cut_off))).items
    assert (found.code, found.severity) == ("SERVER_CUT_OFF", "warning")
    assert "cs5" in found.message and "avoided for 9 s" in found.message


@pytest.mark.parametrize(
    ("free", "total", "used", "low"),
    [
        (GIB, 100 * GIB, 0, False),
        (GIB - 1, 100 * GIB, 0, True),  # 1 GiB is less than 10 %.
        (GIB // 2, 4 * GIB, 0, False),  # 10 % is less than 1 GiB.
        (4 * GIB // 11, 4 * GIB, 0, True),
        (50 * GIB, 100 * GIB, 90 * MIB, False),
        (50 * GIB, 100 * GIB, 91 * MIB, True),
    ],
)
def test_room_is_short_below_the_smaller_of_a_tenth_and_a_gibibyte_or_a_tenth_of_the_map(
    free: int, total: int, used: int, low: bool
) -> None:
    assert space_low(free, total, used, 100 * MIB) is low


def test_a_master_that_differed_is_named_as_long_as_it_is_written_down() -> None:
    assert examine(replace(WELL, state_check=CHECK)).healthy
    check = StateCheck(9, b"a" * 16, ("m1", "m2"), (), ("m3",), ("m3",), 0, 0)
    report = examine(replace(WELL, state_check=check))
    [finding] = report.items
    assert (finding.code, finding.severity, report.healthy) == ("MASTER_DIVERGED", "error", False)
    assert "master m3" in finding.message and "disk of m3" in finding.advice


def test_states_that_differ_without_a_majority_are_an_error_and_silence_is_none() -> None:
    check = StateCheck(9, b"", (), ("m1", "m2"), ("m3",), (), 0, 0)
    [finding] = examine(replace(WELL, state_check=check)).items
    assert finding.code == "STATES_DIFFER" and "m1, m2" in finding.message
    silence = StateCheck(9, b"", (), (), ("m2", "m3"), (), 0, 0)
    assert examine(replace(WELL, state_check=silence)).items == ()


def test_who_never_starts_again_is_to_be_replaced() -> None:
    gone = peers(connected=False, refusal="m3 runs on an old copy", ended=True)
    [found] = [one for one in examine(replace(WELL, raft=gone)).items if one.severity == "error"]
    assert "(m3 runs on an old copy)" in found.message
    assert "masters replace m3 NEW" in found.advice and "start m3" not in found.advice


def test_a_master_that_is_refused_is_not_only_to_be_started() -> None:
    why = "the certificate of master m3 (serial 1a) is revoked"
    [found] = examine(replace(WELL, raft=peers(connected=False, refusal=why))).items
    assert why in found.message and found.advice.startswith("put right what m3 is refused for")
    [silent] = examine(replace(WELL, raft=peers(connected=False))).items
    assert silent.advice.startswith("start m3")


def test_an_even_number_of_masters_that_vote_is_told() -> None:
    def members(count: int) -> RaftStatus:
        return msgspec.structs.replace(
            RAFT,
            members=tuple(
                MemberStatus(f"m{number}", True, Addresses(("h", number)))
                for number in range(1, count + 1)
            ),
        )

    for count, codes in (
        (1, ["MASTER_ALONE"]),
        (2, ["NO_QUORUM_MARGIN"]),
        (3, []),
        (4, ["MASTERS_EVEN"]),
    ):
        report = examine(replace(WELL, raft=members(count)))
        assert [finding.code for finding in report.items] == codes, count
        assert report.healthy == (count != 2), "in a replacement four vote, and all is well"


def test_who_is_short_of_room_is_named() -> None:
    low = msgspec.structs.replace(peers(space_low=True), any_voter_low=True)
    assert short_of_room(low) == ("m3",)
    assert short_of_room(msgspec.structs.replace(low, space_low=True)) == ("m1", "m3")
    assert short_of_room(RAFT) == ("m1",), "it says so without having heard of another one"
    [finding] = examine(replace(WELL, raft=low)).items
    assert finding.code == "SPACE_LOW" and "master m3" in finding.message


def test_many_leaders_within_an_hour_are_a_warning_and_old_ones_are_not() -> None:
    now_ms = WELL.wall_ns // 10**6
    recent = tuple(now_ms - 60_000 * number for number in range(7))
    [finding] = examine(replace(WELL, led_since_ms=recent)).items
    assert finding.code == "LEADERS_CHANGE" and finding.severity == "warning"
    assert "7 leaders" in finding.message and "disk" in finding.advice
    assert examine(replace(WELL, led_since_ms=recent[:6])).items == ()
    old = tuple(now_ms - 3_600_001 - number for number in range(50))
    assert examine(replace(WELL, led_since_ms=(*recent[:6], *old))).items == ()


def test_a_learner_that_does_not_answer_is_told_and_one_that_is_behind_is_not() -> None:
    assert examine(replace(WELL, raft=peers(voter=False, behind=True))).items == ()
    report = examine(replace(WELL, raft=peers(voter=False, connected=False, refusal="OldCopy")))
    [finding] = report.items
    assert finding.code == "LEARNER_SILENT" and "m3" in finding.message and report.healthy
    assert "(OldCopy)" in finding.message and "masters remove m3" in finding.advice


@pytest.mark.parametrize("left", [1, 2])
def test_too_few_servers_name_one_that_was_taken_out(left: int) -> None:
    out = server(5, mode="drained")
    dead = server(4, mode="drained", state="dead", heartbeat_age_ms=60_000)
    symptoms = replace(WELL, servers=(*WELL.servers[:left], dead, out))
    [found] = [one for one in examine(symptoms).items if one.code == "TOO_FEW_SERVERS"]
    assert "take one back: gfsctl admin chunkservers undrain cs5" in found.advice
    plain = replace(WELL, servers=WELL.servers[:left])
    [found] = [one for one in examine(plain).items if one.code == "TOO_FEW_SERVERS"]
    assert "undrain" not in found.advice
