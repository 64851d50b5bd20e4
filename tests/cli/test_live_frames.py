"""What the live screens show of a simulated cluster, as text: at 80, 120 and 200 columns.

To write the pictures anew after a change that is wanted: GFS_SCREENS=write pytest THIS_FILE.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from gfs_ha.cli.live import keys
from gfs_ha.cli.live.frame import draw
from gfs_ha.cli.live.history import POINTS_MAX, SERVER_POINTS, SERVERS_MAX, History
from gfs_ha.cli.live.look import TABS, Look
from gfs_ha.cli.live.sight import Looked, Sight
from gfs_ha.cli.live.spans import PLAIN, WARN, length, plain
from gfs_ha.cli.live.summary import cluster_pieces, disk_spans, summary
from gfs_ha.protocol.events import EventItem
from gfs_ha.protocol.live import GetLive
from gfs_ha.protocol.overview import GoalRow, MasterClock, RepairTotals, ServerTotals
from gfs_ha.protocol.rates import ServedRate
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.sim.live_scene import LiveScene

SCREENS = Path(__file__).parent / "live_screens"
SIZES = ((80, 24), (120, 40), (200, 60))
CLOCK = "13:04:11"


def compare(name: str, text: str) -> None:
    """Compare a picture with the one that a person has looked at."""
    path = SCREENS / f"{name}.txt"
    if os.environ.get("GFS_SCREENS") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def seen(scene: LiveScene, looks: int = 30) -> Sight:
    """What somebody knows who has looked at a scene for a while."""
    sight = Sight()
    for _ in range(looks):
        scene.step()
        report = scene.report(GetLive(limit=100))
        said = {row.name: row.facts for row in report.status.masters if row.facts}
        sight.take(Looked(scene.now_s, report, (said, report.overview.clocks)))
    return sight


def text_of(look: Look, sight: Sight, size: tuple[int, int], now_s: float) -> str:
    frame = draw(look, sight, size, (now_s, CLOCK))
    assert len(frame.lines) == size[1]
    assert all(length(line) <= size[0] for line in frame.lines)
    return "\n".join(plain(line).rstrip() for line in frame.lines) + "\n"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("tab", ["Servers", "Masters", "Chunks", "Jobs", "Leases", "help"])
def test_the_screens_are_as_they_were_looked_at(tab: str, size: tuple[int, int]) -> None:
    scene = LiveScene()
    sight = seen(scene)
    look = Look(tab=TABS.index(tab)) if tab in TABS else Look(help=True)
    compare(f"{tab.lower()}-{size[0]}", text_of(look, sight, size, scene.now_s))


@pytest.mark.usefixtures("in_utc")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_events_are_as_they_were_looked_at(size: tuple[int, int]) -> None:
    scene = LiveScene()
    sight = seen(scene)
    told = (
        ("job", "r-19", "rebalance is done: 7 disks are within 2.0 % of the mean, 14.3 %", "info"),
        ("server", "storage-node-eu-central-1a-rack17-cs03", "is in maintenance", "info"),
        ("repair", "repair", "begins: 212 chunks lack copies, 13.2 GiB to copy", "warning"),
        ("server", "cs09", "dead: its copies are made anew elsewhere", "error"),
        ("setting", "/projects/天文台/観測データ", "new files get 2 copies", "info"),
        ("leader", "m2", "leads, term 41", "info"),
    )
    sight.events = tuple(
        EventItem(100 - at, (1_795_001_000 - 61 * at) * 10**9, *one) for at, one in enumerate(told)
    )
    text = text_of(Look(tab=TABS.index("Events")), sight, size, scene.now_s)
    compare(f"events-{size[0]}", text)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_status_is_as_it_was_looked_at(width: int) -> None:
    report = LiveScene().report()
    lines = summary(report.status, report.overview, width)
    assert all(length(line) <= width for line in lines)
    compare(f"status-{width}", "\n".join(plain(line).rstrip() for line in lines) + "\n")


def test_a_status_without_a_width_has_each_part_on_one_line() -> None:
    report = LiveScene().report()
    lines = [plain(line) for line in summary(report.status, report.overview, 10_000)]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        *("cluster", "masters", "servers", "clients", "chunks"),
        *("leases", "repair", "scrub", "files", "jobs", "alerts"),
    ]


@pytest.mark.parametrize("size", [(40, 10), (41, 12), (60, 15), (79, 23), (300, 100)], ids=str)
@pytest.mark.parametrize("tab", range(len(TABS)))
def test_a_frame_fills_every_size_and_exceeds_none(tab: int, size: tuple[int, int]) -> None:
    scene = LiveScene(200)
    text_of(Look(tab=tab), seen(scene, 2), size, scene.now_s)


def test_a_piece_that_is_longer_than_a_line_goes_on_in_the_next() -> None:
    report = LiveScene().report()
    jobs = [replace(one, server="storage-node-eu-central-1a-rack17-cs07") for one in report.jobs]
    overview = replace(report.overview, running=tuple(jobs[1:2]), jobs=1)
    lines = [plain(one).rstrip() for one in summary(report.status, overview, 80)]
    assert all(len(one) <= 80 and "…" not in one.replace(" … ", "") for one in lines)
    at = next(at for at, one in enumerate(lines) if one.startswith("jobs"))
    drain = " ".join(one.strip() for one in lines[at : at + 2])
    assert "cs07 d-7 64 % 96.0 MiB/s ETA 18 m 3 chunks blocked" in drain


def test_chunks_of_a_silent_server_are_not_called_whole() -> None:
    scene = LiveScene()
    report = scene.report(GetLive(limit=100))
    overview = replace(report.overview, repair=RepairTotals())
    told = "215 below their goal, none to copy yet"
    lines = [plain(one) for one in summary(report.status, overview, 120)]
    assert any(f"repair {told}" in one for one in lines)
    sight = Sight()
    sight.take(Looked(scene.now_s, replace(report, overview=overview)))
    text = text_of(Look(), sight, (80, 24), scene.now_s)
    assert told in text and "all whole" not in text
    goals = (GoalRow(2, (0, 0, 41_022, 0)), GoalRow(3, (0, 0, 0, 12)), GoalRow(5, (0, 0, 0, 3)))
    whole = replace(report, overview=replace(overview, goals=goals))
    sight.take(Looked(scene.now_s, whole))
    assert "all whole" in text_of(Look(), sight, (80, 24), scene.now_s)


def test_chunks_that_lack_one_of_six_copies_are_in_a_column_of_their_own() -> None:
    scene = LiveScene()
    report = scene.report(GetLive(limit=100))
    three = GoalRow(3, (0, 0, 212, 1_904_118), (0, 0, 212, 1_904_118, 0, 0, 0, 0, 0))
    six = GoalRow(6, (0, 0, 0, 1_000_000), (0, 0, 0, 0, 0, 29, 999_970, 0, 1))
    overview = replace(report.overview, goals=(three, six), repair=RepairTotals())
    lines = summary(report.status, overview, 80)
    told = [plain(one).split() for one in lines]
    at = next(at for at, words in enumerate(told) if words[:2] == ["chunks", "copies"])
    assert told[at] == ["chunks", "copies", "0", "1", "2", "3", "4", "5", "6+"]
    assert told[at + 1] == ["goal", "3", "0", "0", "212", "1,904,118", "0", "0", "0"]
    assert told[at + 2] == ["goal", "6", "0", "0", "0", "0", "0", "29", "999,971"]
    assert all(len(plain(one)) <= 80 for one in lines[at : at + 3])
    styles = {text.strip(): style for text, style in lines[at + 2]}
    assert (styles["29"], styles["999,971"]) == (WARN, PLAIN)
    assert any("241 below their goal" in plain(one) for one in lines)


def test_a_terminal_that_is_too_small_says_so() -> None:
    frame = draw(Look(), Sight(), (20, 5), (0.0, CLOCK))
    assert plain(frame.lines[0]).startswith("the terminal is too…")


def test_without_a_leader_what_was_known_stays_and_is_faint_and_says_since_when() -> None:
    scene = LiveScene()
    sight = seen(scene)
    before = list(sight.history.of("read"))
    report = scene.report()
    # A master that does not lead has heard nobody; twice, as it goes on.
    status = replace(report.status, leader="", term=42, masters=(), leader_age_ms=1_500)
    unheard = replace(
        report, status=status, servers=(), matching=0, leads=False, answered_by="m1", age_ms=700
    )
    for _ in range(2):
        sight.take(Looked(scene.now_s, unheard))
    frame = draw(Look(), sight, (120, 40), (scene.now_s + 2.0, CLOCK))
    lines = [plain(line) for line in frame.lines]
    assert "no leader since 2.0 s   m1 answers, 0.7 s old" in lines[0]
    assert "10 live" in lines[2] and any("cs03" in line for line in lines)
    body = [line for line in frame.lines if "cs03" in plain(line)]
    assert {style for _, style in body[0]} == {"faint"}
    assert list(sight.history.of("read")) == before, "the history has no gap"

    scene.step()
    sight.take(Looked(scene.now_s, scene.report()))
    assert len(sight.history.of("read")) == len(before) + 1
    lines = [plain(line) for line in draw(Look(), sight, (120, 40), (scene.now_s, CLOCK)).lines]
    assert "leader m2" in lines[0]


def test_who_begins_to_look_without_a_leader_is_told_since_when_and_of_no_dead_cluster() -> None:
    scene = LiveScene()
    report = scene.report()
    totals = ServerTotals(count=13, racks=3)  # As a master tells them that does not lead.
    alone = replace(
        report,
        status=replace(report.status, leader="", masters=(), leader_age_ms=100),
        overview=replace(report.overview, servers=totals),
        servers=tuple(replace(one, state="unheard", heartbeat_age_ms=-1) for one in report.servers),
        leads=False,
        answered_by="m1",
        age_ms=31_400,
    )
    sight = Sight()
    sight.take(Looked(scene.now_s, alone))
    lines = [plain(one) for one in draw(Look(), sight, (120, 40), (scene.now_s, CLOCK)).lines]
    assert "no leader since 31 s   m1 answers, 31.4 s old" in lines[0]
    assert any(one.startswith("servers 13 known, heard by no leader   racks 3") for one in lines)
    assert "0 live" not in "".join(lines) and "never" not in "".join(lines)


def test_what_servers_do_moves_no_column_from_one_look_to_the_next() -> None:
    scene = LiveScene()
    busy = scene.report(GetLive(limit=100))
    idle = replace(busy, servers=tuple(replace(one, rates=None) for one in busy.servers))
    titles = []
    for report in (busy, idle):
        sight = Sight()
        sight.take(Looked(scene.now_s, report))
        frame = draw(Look(), sight, (80, 24), (scene.now_s, CLOCK))
        titles += [plain(one) for one in frame.lines if plain(one).startswith("server ")]
    assert titles[0] == titles[1]


def test_long_names_keep_both_ends_and_push_no_count_out() -> None:
    scene = LiveScene()
    report = scene.report(GetLive(limit=100))
    named = "storage-node-eu-central-1a-rack17-{}".format
    totals = report.overview.servers
    totals = replace(
        totals,
        suspects=tuple(map(named, totals.suspects)),
        gone=tuple(map(named, totals.gone)),
    )
    status = replace(report.status, cluster_name="production-eu-central-1a-cold-storage-03")
    servers = tuple(replace(one, name=named(one.name)) for one in report.servers)
    overview = replace(report.overview, servers=totals)
    sight = Sight()
    sight.take(
        Looked(scene.now_s, replace(report, status=status, overview=overview, servers=servers))
    )
    text = text_of(Look(), sight, (80, 24), scene.now_s)
    assert "10 live   1 dead   1 suspect   1 leaving" in text
    assert "production-e…ld-storage-03  NOT HEALTHY  leader m2 (term 41" in text
    assert "storage-no…ack17-cs09  dead" in text


def test_what_is_seen_now_is_named_whatever_led_to_it() -> None:
    scene = LiveScene()
    look = Look(tab=TABS.index("Leases"))
    look.stack += [("file", "/projects/天文台/" + "deep/" * 20 + "night.log"), ("chunk", 0x3F2A)]
    text = text_of(look, seen(scene, 2), (80, 24), scene.now_s)
    assert "deep/night.log > chunk 0x3f2a" in text


def test_how_full_disks_are_is_told_with_how_many_servers_are_still_to_be_heard() -> None:
    totals = ServerTotals(count=3, live=3, total_bytes=100, free_bytes=75, low="a", high="b")
    (text,) = disk_spans(totals)
    assert text == "disk 25 % (a 0 % … b 0 %)"
    (text,) = disk_spans(replace(totals, unheard=2))
    assert text == "disk 25 % (2 not heard yet)"


def test_a_new_leader_that_has_measured_nothing_leaves_the_history_as_it_is() -> None:
    scene = LiveScene()
    sight = seen(scene)
    count = len(sight.history.of("read"))
    report = scene.report()
    sight.take(Looked(scene.now_s, replace(report, overview=replace(report.overview, measured=0))))
    assert len(sight.history.of("read")) == count


def test_what_masters_answer_becomes_a_rate_and_a_restart_begins_anew() -> None:
    scene = LiveScene()
    sight = seen(scene)
    assert sight.calls["m2"].per_s == pytest.approx(1830, rel=0.01)
    report = scene.report()
    facts = {row.name: row.facts for row in report.status.masters if row.facts}
    assert isinstance(facts["m2"], MasterFacts) and facts["m2"].calls is not None
    fewer = replace(
        facts["m2"],
        calls=replace(facts["m2"].calls, served=replace(facts["m2"].calls.served, count=3)),
    )
    sight.take(Looked(scene.now_s + 5, report, ({"m2": fewer}, ())))
    assert "m2" not in sight.calls


def test_names_that_could_move_the_cursor_are_shown_escaped() -> None:
    from gfs_ha.cli.live.spans import Palette

    assert Palette(color=False).text((("a\x1b[2Jb\n", ""),)) == "a\\x1b[2Jb\\n"


def test_without_colours_what_matters_is_still_told_by_attributes() -> None:
    from gfs_ha.cli.live.spans import BAD, GOOD, Palette

    told = Palette(color=False).text((("dead", BAD), ("live", GOOD)))
    assert told == "\x1b[1mdead\x1b[0mlive"
    assert Palette(unicode=False).text((("▁▇…━─", ""),)) == "_#~=-"


def test_keys_of_a_terminal_are_read_also_in_pieces() -> None:
    reader = keys.KeyReader()
    assert reader.feed(b"j\x1b[A\x1b[6~\xc3") == ["j", keys.UP, keys.PAGE_DOWN]
    assert reader.feed(b"\xa4\r\x1bOB") == ["ä", keys.ENTER, keys.DOWN]
    assert reader.feed(b"\x1b") == [] and reader.waiting
    assert reader.settle() == [keys.ESCAPE] and not reader.waiting
    assert reader.feed(b"\x1b[") == [] and reader.feed(b"Z") == [keys.BACK_TAB]
    assert reader.feed(b"\x1bq") == [keys.ESCAPE, "q"]
    assert reader.feed(b"\xff\x00" + b"\x1b[" + b"1" * 100) == []
    assert reader.feed(b"x") == ["x"]


def test_what_is_kept_of_servers_and_numbers_is_bounded() -> None:
    history = History()
    for number in range(SERVERS_MAX + 5):
        history.note_server(f"cs{number}", number)
    for number in range(POINTS_MAX + 5):
        history.note("read", number)
        history.note_server("cs7", number)
    assert not history.of_server("cs4") and list(history.of_server("cs5")) == [5]
    assert list(history.of("read")) == list(range(5, POINTS_MAX + 5))
    assert len(history.of_server("cs7")) == SERVER_POINTS


def test_what_is_muted_is_no_alert_and_still_named() -> None:
    report = LiveScene().report()
    dead, suspect = report.status.health.items
    muted = replace(dead, muted_ms=3_600_000)
    health = replace(report.status.health, items=(muted, suspect))
    lines = [
        plain(one) for one in summary(replace(report.status, health=health), report.overview, 120)
    ]
    (alert,) = [one for one in lines if one.startswith("alerts")]
    (quiet,) = [one for one in lines if one.startswith("muted")]
    assert "SERVER_SUSPECT" in alert and "SERVER_DEAD (1 h 0 m)" in quiet
    assert not any("94 s" in one for one in lines)


def test_more_failovers_than_are_recorded_are_not_told_as_all_there_were() -> None:
    report = LiveScene().report()
    longest = " (longest 0.7 s)"
    for week, told in ((0, "7 d: 0"), (998, "7 d: 998"), (999, "7 d: 999+")):
        pieces = cluster_pieces(replace(report.status, week_failovers=week), report.overview)
        assert "".join(text for text, _ in pieces[-1]) == f"failovers {told}{longest}"
    older = replace(report.status, week_failovers=-1, failover_count=12)
    assert cluster_pieces(older, report.overview)[-1][0][0] == "12 failovers"


def test_the_longest_time_without_a_leader_is_that_of_any_master_or_of_none() -> None:
    report = LiveScene().report()
    bare = tuple(
        replace(row, facts=replace(row.facts, longest_gap_ms=-1) if row.name != "m1" else None)
        for row in report.status.masters
        if row.facts is not None
    )
    pieces = cluster_pieces(replace(report.status, masters=bare), report.overview)
    assert "".join(text for text, _ in pieces[-1]) == "failovers 7 d: 2"


def test_columns_of_masters_stay_where_they_are_when_numbers_get_longer() -> None:
    def title(clock_us: int, per_s: float, late_us: int) -> str:
        scene = LiveScene()
        report = scene.report(GetLive(limit=100))
        sight = Sight()
        sight.take(Looked(scene.now_s, report))
        sight.clocks = tuple(MasterClock(one, clock_us, 900) for one in ("m1", "m3"))
        sight.calls = {"m2": ServedRate(per_s, 0, late_us, late_us)}
        text = text_of(Look(tab=TABS.index("Masters")), sight, (80, 24), scene.now_s)
        return next(row for row in text.splitlines() if row.startswith("master "))

    usual = title(800, 9.0, 3_440)
    assert usual.split() == [
        "master",
        "role",
        "term",
        "behind",
        "clock",
        "commit",
        "p50",
        "p99",
        "calls",
        "p99",
    ]
    assert title(-99_900, 12_345.0, 812_000) == title(3_400, 1_830.0, 55_000) == usual
