"""What people read of single disks: how they stand, how they are named, the way to change one."""

from __future__ import annotations

import pytest
from golden_screen import compare, screen
from msgspec.structs import replace
from placed import place

from gfs_ha.cli.admin import disk_drain
from gfs_ha.cli.admin import disk_replace as disk_replace  # What the guide looks like.
from gfs_ha.cli.admin.disks import named_disks, short_name
from gfs_ha.cli.admin.drain_plan import DrainPlan, least_eta_ms
from gfs_ha.cli.admin.replace_steps import MissedThere, guide_of
from gfs_ha.cli.admin.simulate import fills_table
from gfs_ha.cli.document import report_document
from gfs_ha.cli.explained.disk import explain_disk
from gfs_ha.cli.render import render, text_of
from gfs_ha.client.disks import DiskReport
from gfs_ha.errors import NotFound, PreconditionFailed
from gfs_ha.ids import DiskId, ServerId, format_id
from gfs_ha.protocol.disks import FAILED, LOST, SILENT, DiskStanding
from gfs_ha.protocol.events import EventItem
from gfs_ha.protocol.placement import FillRow
from gfs_ha.protocol.repair import RepairBudgetReport
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.protocol.server_modes import DRAINED, DRAINING, IN_SERVICE, PlaceRow

A = DiskStanding(
    server_id=ServerId(1),
    server="cs1",
    rack="r1",
    server_state="live",
    disk_id=DiskId(0xA1),
    directory="/disks/a",
    state=IN_SERVICE,
    total_bytes=100 << 30,
    free_bytes=75 << 30,
    chunk_count=12,
    serving=1,
)
B = replace(
    A,
    disk_id=DiskId(0xB2),
    directory="/disks/b",
    state=DRAINING,
    mode=DRAINING,
    places=7,
    job="x-4",
    job_share=0.5,
    since_ns=1,
)
OTHER = replace(A, server_id=ServerId(10), server="cs10", disk_id=DiskId(0xC3))
ROWS = (A, B, OTHER)


def missed(*places: PlaceRow) -> MissedThere:
    found = MissedThere()
    for one in places:
        found.add(ServerId(1), one)
    return found


def shown(row: DiskStanding, *places: PlaceRow) -> str:
    return text_of(render(guide_of(row, missed(*places)), False), color=False, wide=False)


def test_disks_are_listed_with_what_is_left_on_those_that_leave() -> None:
    text = text_of(render(DiskReport(ROWS), False), color=False, wide=False)
    lines = [line.split() for line in text.splitlines()]
    assert " ".join(lines[0]) == "Server Disk State Used Chunks Left Directory"
    assert lines[1][:3] == ["cs1", "0xa1", "in-service"] and lines[1][-1] == "/disks/a"
    assert "draining x-4 50 %" in text and lines[2][-2] == "7"
    few = text_of(render(DiskReport((A, OTHER)), True), color=False, wide=True)
    assert "Left" not in few and "Journal" in few and "Scrub" in few
    assert text_of(render(DiskReport(()), False), color=False, wide=False).strip() == "no disks"


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_disks_look_as_they_did(columns: int) -> None:
    long = replace(OTHER, server="storage-node-eu-central-1a-rack17-cs10", state=SILENT)
    deep = replace(long, directory="/srv/storage/by-shelf/shelf-3/disk-11/gfs", why="cs10 is dead")
    ids = (0x73150C85711B3F7C, 0xA6D8C6F69ADA14B, 0x1D1D5F737B11F718)
    rows = (replace(row, disk_id=DiskId(at)) for at, row in zip(ids, (A, B, deep), strict=True))
    compare(f"disks_{columns}.txt", screen(DiskReport(tuple(rows)), columns))


def test_many_places_are_said_to_be_at_least_so_many() -> None:
    text = text_of(render(DiskReport((replace(B, places=1000),)), False), color=False, wide=False)
    assert "1,000+" in text


def test_why_a_disk_does_not_serve_is_said_below_the_table() -> None:
    ill = replace(A, state=FAILED, why="EIO on sync", places=3)
    away = replace(OTHER, state=SILENT, why="cs10 is dead")
    text = text_of(render(DiskReport((ill, away)), False), color=False, wide=False)
    assert text.splitlines()[-2:] == ["cs1:0xa1: EIO on sync", "cs10:0xc3: cs10 is dead"]
    assert "not reported" in text


def test_what_is_the_same_of_all_disks_of_a_server_is_said_once() -> None:
    why = "cs1 is drained by d-1: it takes nothing new on any disk"
    shelf = [replace(A, disk_id=DiskId(at), why=why) for at in (1, 2, 3, 4)]
    other = replace(OTHER, why=why.replace("cs1", "cs10"))
    text = text_of(render(DiskReport((*shelf, other)), False), color=False, wide=True)
    assert text.splitlines()[-2:] == [
        f"cs1:0x1, 0x2 and 2 more: {why}",
        f"cs10:0xc3: {other.why}",
    ]


@pytest.mark.parametrize(
    ("word", "disk"),
    [
        *(("cs1:0xa1", A), ("0xB2", B), ("cs1:/disks/b", B), ("cs1:/disks/b/", B)),
        *(("cs10:0xc3", OTHER), ("cs1:b", B), ("cs1:disks/b", B), ("cs10:a", OTHER)),
    ],
)
def test_a_disk_is_named_by_its_id_or_by_where_it_is(word: str, disk: DiskStanding) -> None:
    assert named_disks(ROWS, (word,)) == [disk]
    assert named_disks(ROWS, (word, word)) == [disk]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cs1:0x9", "there are cs1:a, cs1:b"),
        ("cs7:0xa1", "there is no chunkserver 'cs7'; there are cs1, cs10"),
        ("cs10:0xa1", "there are cs10:a"),
        ("161", "there are cs1:a"),
        ("cs1:", "there are cs1:a"),
        ("cs1", "cs1 is a chunkserver, and no disk; there are cs1:a, cs1:b"),
        ("cs1:/b", "there is no disk cs1:/b; there are cs1:a"),
        ("b", "there is no disk b; there are cs1:a"),
        ("cs1:/b", "of one that was forgotten tells gfsctl admin events --subject cs1 --kind disk"),
        ("cs1:isks/b", "there is no disk cs1:isks/b; there are"),
        ("", "there are cs1:a"),
    ],
)
def test_a_disk_that_is_not_there_is_refused_with_those_that_are(word: str, said: str) -> None:
    with pytest.raises(NotFound) as refused:
        named_disks(ROWS, (word,))
    assert said in str(refused.value)


def test_two_disks_in_one_directory_are_told_apart_by_their_ids() -> None:
    twin = replace(B, directory="/disks/a", state=LOST)
    with pytest.raises(NotFound) as refused:
        named_disks((A, twin), ("cs1:/disks/a",))
    assert "names 2 disks; say which one: cs1:0xa1, cs1:0xb2" in str(refused.value)


def test_the_last_part_of_a_directory_is_no_name_where_two_end_so() -> None:
    twin = replace(B, directory="/more/a")
    with pytest.raises(NotFound) as refused:
        named_disks((A, twin), ("cs1:a",))
    assert "say which one: cs1:0xa1, cs1:0xb2" in str(refused.value)
    assert named_disks((A, twin), ("cs1:more/a",)) == [twin]
    bare = replace(B, directory="a")
    assert named_disks((A, bare), ("cs1:a",)) == [bare], "a whole name comes first"
    assert named_disks((A, replace(B, directory="/x/0xa1")), ("cs1:0xa1",)) == [A]


def test_a_whole_server_in_the_place_of_a_disk_is_told_how_it_is_drained() -> None:
    with pytest.raises(NotFound) as refused:
        named_disks(ROWS, ("cs1",), "gfsctl admin chunkservers drain")
    assert str(refused.value).endswith("; for all of it: gfsctl admin chunkservers drain cs1")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (replace(A, state=FAILED, why="EIO"), "disk cs1:0xa1 has failed (EIO)"),
        (replace(A, state=LOST, why="gone"), "gfsctl admin disks replace cs1:0xa1"),
        (replace(A, state=DRAINED, mode=DRAINED), "disk cs1:0xa1 is drained already"),
        (replace(A, state=SILENT, mode=DRAINED), "disk cs1:0xa1 is drained already"),
        (B, "job x-4 is emptying disk cs1:0xb2 already"),
    ],
)
def test_what_would_not_begin_is_refused_before_it_is_planned(row: DiskStanding, said: str) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        disk_drain.check_drainable([OTHER, row], ())
    assert said in str(refused.value)


def test_a_disk_of_a_server_that_is_being_emptied_is_left_to_that_job() -> None:
    where = ("127.0.0.1", 7301, "r1", "h1")
    counts = (0.1, 5, 5, 90 << 30, 100 << 30, 100, 0)
    server = ServerRow(ServerId(1), "cs1", *where, "live", *counts, (), mode=DRAINING, job="d-7")
    with pytest.raises(PreconditionFailed) as refused:
        disk_drain.check_drainable([A], [server])
    assert "job d-7 is emptying all of cs1 already" in str(refused.value)


@pytest.mark.parametrize(
    ("state", "why", "said"),
    [
        (DRAINED, "", "is in service"),
        (FAILED, "EIO", "is not drained any more, and has failed"),
        (LOST, "gone", "is not drained any more, and is lost"),
        (SILENT, "cs1 is dead", "is in service once it is back: cs1 is dead"),
    ],
)
def test_a_disk_that_is_taken_back_is_not_said_to_serve_if_it_does_not(
    state: str, why: str, said: str
) -> None:
    assert disk_drain.back_text(replace(A, state=state, why=why, mode=DRAINED)) == said


def test_other_disks_of_the_server_that_were_drained_are_the_way_out() -> None:
    disk_drain.check_drainable([A, OTHER], ())
    drained = replace(B, state=DRAINED, mode=DRAINED)
    lost = replace(B, disk_id=DiskId(0xE5), state=LOST, mode=DRAINED)
    elsewhere = replace(OTHER, state=DRAINED, mode=DRAINED)
    found = list(disk_drain.ways_out([A], (A, drained, lost, elsewhere)))
    assert found == ["cs1:0xb2 is drained and could take them: gfsctl admin disks undrain cs1:0xb2"]


def test_a_disk_that_works_is_emptied_before_it_is_changed() -> None:
    text = shown(A, place(1, (1, 2, 3)))
    assert "is in service: empty it first" in text
    assert "1. empty it: gfsctl admin disks replace cs1:0xa1 --wait" in text
    assert "in the place of /disks/a, an empty directory" in " ".join(text.split())
    assert "only disk" not in text
    assert "only disk in service of cs1" in " ".join(shown(replace(A, serving=0)).split())
    guide = guide_of(A, missed(place(1, (1, 2, 3))))
    assert not guide.ready and guide.places == 1


def test_a_disk_that_is_being_emptied_is_waited_for_by_its_job() -> None:
    text = shown(B, place(1, (1, 2, 3)))
    assert "wait for x-4" in text and "gfsctl admin jobs show x-4" in text


def test_an_empty_disk_may_be_taken_out() -> None:
    row = replace(B, state=DRAINED, mode=DRAINED, job="x-4", job_share=-1.0, places=0)
    guide = guide_of(row, missed())
    assert guide.ready and "may be taken out" in guide.verdict
    assert any("undrain cs1:0xb2" in one for one in guide.steps)


def test_a_disk_of_a_server_that_leaves_or_is_empty_is_not_to_be_emptied_itself() -> None:
    row = replace(A, server_mode=DRAINED, job="d-1", serving=0)
    empty = guide_of(row, missed())
    assert empty.ready and not guide_of(row, missed(place(1, (1, 2, 3)))).ready
    assert (
        empty.verdict == "cs1:0xa1 works, its server is drained: it is empty and may be taken out."
    )
    assert any("gfsctl admin chunkservers undrain cs1" in one for one in empty.steps)
    leaving = guide_of(replace(row, server_mode=DRAINING), missed(place(1, (1, 2, 3))))
    assert not leaving.ready and leaving.steps[0].startswith("wait for d-1")
    for said in (*empty.steps, *leaving.steps):
        assert "empty it" not in said and "disks undrain" not in said

    told = explain_disk(row, ())
    assert told.verdict == "works, and takes nothing: its server is drained"
    commands = [step.command for step in told.next]
    assert commands[0] == "gfsctl admin chunkservers undrain cs1"
    assert not any("disks drain" in one or "disks undrain" in one for one in commands)
    going = explain_disk(replace(row, server_mode=DRAINING), ()).next
    assert going[0].command == "gfsctl explain d-1"


def test_the_only_copies_on_a_failed_disk_forbid_to_throw_it_away() -> None:
    row = replace(A, state=FAILED, why="EIO")
    guide = guide_of(row, missed(place(1, ()), place(2, (2,)), place(3, (2, 3, 4))))
    assert not guide.ready and (guide.alone_count, guide.short_count) == (1, 1)
    assert "do not throw it away" in guide.verdict and guide.alone == (1,)
    assert "bring it back" in guide.steps[0] and "chunks show 0x1" in guide.steps[1]
    text = shown(row, place(1, ()), place(2, (2,)))
    assert "1 chunk (0x1)" in text and "1 chunk (0x2)" in text


def test_a_failed_disk_may_go_once_its_chunks_have_their_copies_elsewhere() -> None:
    row = replace(A, state=FAILED, why="EIO")
    waits = guide_of(row, missed(place(2, (2, 3)), place(4, (), state="open")))
    assert not waits.ready and "being made anew" in waits.verdict
    assert "wait for the repair" in waits.steps[0]
    ready = guide_of(row, missed(place(2, (2, 3, 4))))
    assert ready.ready and "nothing on it is missed" in ready.verdict
    assert "restart cs1: what it has counts again" in ready.steps[0]
    assert "stop the chunkserver" in ready.steps[1]


@pytest.mark.parametrize("state", [FAILED, LOST])
def test_a_disk_whose_chunks_no_other_server_can_take_is_changed_for_that(state: str) -> None:
    row = replace(A, state=state, why="EIO")
    # Of one that is short only by a server in maintenance, or gets a copy, fewer are unplaced.
    for others in ((), (place(2, (2, 3), unplaced=1), place(9, (2,), goal=5, unplaced=4))):
        for one in (place(3, (2, 3)), place(3, (2,), goal=4, unplaced=2)):
            found = missed(*others, one)
            assert found.waited_for == 1 and not disk_replace.may_go(row, found)
            guide = guide_of(row, found)
            assert not guide.ready and not guide.stuck, "repair has something left to do"
            assert "1 chunk has too few copies elsewhere, which" in guide.verdict
    found = missed(place(2, (2, 3), unplaced=1), place(3, (2, 3), unplaced=1))
    guide = guide_of(row, found)
    assert guide.ready and guide.stuck and disk_replace.may_go(row, found)
    assert "more of them: they are made anew once cs1 has" in guide.verdict
    assert not any("wait for the repair" in step for step in guide.steps)
    assert any("stop the chunkserver, and change its file" in step for step in guide.steps)
    found.add(ServerId(1), place(1, ()))
    assert not guide_of(row, found).ready, "an only copy is never given up"


def test_a_lost_disk_comes_back_or_is_forgotten() -> None:
    row = replace(A, state=LOST, directory="", why="cs1 came back without it")
    guide = guide_of(row, missed())
    assert guide.ready and guide.steps[-1].endswith("cs1:0xa1 --forget")
    assert "mount it and restart cs1" in guide.steps[0]
    away = guide_of(replace(A, state=SILENT, why="cs1 is dead"), missed(place(1, (2, 3))))
    assert not away.ready and "chunkservers show cs1" in away.steps[0]


def test_the_guide_says_where_the_server_told_of_other_chunks_than_the_tables_have() -> None:
    assert "1 (1000 B) by the tables; its server told of 12 last" in shown(A, place(1, (1, 2, 3)))
    assert "by the tables" not in shown(replace(A, chunk_count=1), place(1, (1, 2, 3)))
    assert "by the tables" not in shown(replace(A, state=LOST), place(1, (1, 2, 3)))


def test_the_guide_is_a_document_for_programs() -> None:
    found = report_document(guide_of(A, missed(place(0x1F, ()))), {})
    assert found["kind"] == "DiskReplacement" and found["alone"] == ["0x1f"]
    assert found["items"][0]["disk_id"] == "0xa1" and found["ready"] is False
    assert report_document(DiskReport(ROWS), {})["kind"] == "DiskList"


def test_a_server_is_left_without_a_disk_only_if_all_that_serve_are_drained() -> None:
    both = replace(B, state=IN_SERVICE, mode=IN_SERVICE)
    assert disk_drain.left_without([A]) == frozenset()
    assert disk_drain.left_without([A, both]) == {1}
    assert disk_drain.left_without([replace(A, serving=0)]) == {1}
    assert disk_drain.left_without([replace(A, serving=0), OTHER]) == {1}


def test_copies_go_to_other_disks_of_their_server_while_these_have_room() -> None:
    small = replace(A, disk_id=DiskId(0xD4), total_bytes=10_000, free_bytes=1_600)
    rooms = disk_drain.OwnRooms([A], (A, small, OTHER))
    assert rooms.take(A, place(1, (1, 2, 3)))
    assert not rooms.take(A, place(2, (1, 2, 3))), "600 bytes are left"
    assert not rooms.take(A, place(3, (1, 2, 3), length=1, state="open"))
    assert not rooms.take(A, place(4, (1, 2, 3), length=1, holds=False))
    assert rooms.take(A, place(5, (1, 2, 3), length=200))
    assert not rooms.take(A, place(6, (1, 2, 3), length=1)), "above the mark"
    assert (rooms.count, rooms.size) == (2, 1_200)
    leaving = replace(B, free_bytes=1 << 30)
    assert not disk_drain.OwnRooms([A], (A, leaving, OTHER)).take(A, place(1, (1, 2)))


@pytest.mark.parametrize(
    ("state", "alone", "may"),
    [
        ("drained", 0, True),
        ("failed", 0, True),
        ("lost", 0, True),
        ("lost", 1, False),
        ("not reported", 0, False),
        ("in-service", 0, False),
    ],
)
def test_a_disk_may_go_when_nothing_on_it_is_missed(state: str, alone: int, may: bool) -> None:
    assert disk_replace.may_go(replace(A, state=state), MissedThere(alone_count=alone)) == may


def test_the_first_digits_of_an_id_do_where_they_mean_one_disk() -> None:
    long = replace(A, disk_id=DiskId(0x3F2A_0000_0000_0001))
    like = replace(B, disk_id=DiskId(0x3F2A_7000_0000_0001))
    for word in ("cs1:0x3f2a0", "0x3F2A0", "cs1:0x3f2a000000000001"):
        assert named_disks((long, like), (word,)) == [long]
    with pytest.raises(NotFound, match="names 2 disks; say which one"):
        named_disks((long, like), ("cs1:0x3f2a",))
    with pytest.raises(NotFound, match="there is no disk cs1:0x3f2"):
        named_disks((long,), ("cs1:0x3f2",))
    named = replace(like, directory="/x/0x3f2a0")
    assert named_disks((long, named), ("cs1:0x3f2a0",)) == [named], "a directory comes first"


def test_a_disk_is_named_by_the_end_of_its_directory_only_where_that_names_no_other() -> None:
    twin = replace(B, directory="/other/a")
    assert [short_name(one, ROWS) for one in ROWS] == ["cs1:a", "cs1:b", "cs10:a"]
    assert [short_name(one, (A, twin)) for one in (A, twin)] == ["cs1:0xa1", "cs1:0xb2"]
    for directory in ("", "/disks/0xc3", "/disks/a:b"):
        assert short_name(replace(A, directory=directory), ROWS) == "cs1:0xa1"
    rows = (A, B, twin, OTHER)
    for one in (A, B, OTHER):
        assert named_disks(ROWS, [short_name(one, ROWS)]) == [one], "what is told can be typed"
    with pytest.raises(NotFound, match="no disk cs1:none"):
        named_disks(rows, ["cs1:none"])


@pytest.mark.parametrize(
    ("row", "verdict", "command"),
    [
        (A, "in service", "gfsctl admin disks drain cs1:0xa1 -n"),
        (B, "draining: ", "gfsctl explain x-4"),
        (
            replace(B, state=DRAINED, mode=DRAINED),
            "drained: ",
            "gfsctl admin disks undrain cs1:0xb2",
        ),
        (replace(A, state="failed", why="EIO"), "failed: ", "gfsctl admin disks replace cs1:0xa1"),
        (replace(A, state="lost", why="gone"), "lost: ", "gfsctl admin disks replace cs1:0xa1"),
        (replace(A, state=SILENT, why="away"), "not reported: ", "gfsctl explain cs1"),
    ],
)
def test_a_disk_is_explained_by_how_it_stands_and_what_would_change_that(
    row: DiskStanding, verdict: str, command: str
) -> None:
    shown_id = format_id(row.disk_id)
    own = EventItem(1, 5, "disk", "cs1", f"disk {shown_id} is draining", "info")
    alien = EventItem(2, 6, "disk", "cs1", "disk 0xdd is drained", "info")
    found = explain_disk(row, (own, alien))
    assert (found.about, found.name) == ("disk", f"cs1:{shown_id}")
    assert found.verdict.startswith(verdict)
    assert command in [one.command for one in found.next]
    assert found.well == (row.state == IN_SERVICE) and found.troubles == (row.why,) * bool(row.why)
    assert bool(found.coming) == (row.state != IN_SERVICE) == bool(found.rules)
    told = [text for _, text in found.facts]
    assert any(own.text in text for text in told) and not any(alien.text in one for one in told)
    text = text_of(render(found, False), color=False, wide=False)
    assert "/disks/" in text and verdict in text


def fill(name: str, bytes_in: int) -> FillRow:
    return FillRow(name, "r1", "stays", 100_000, 0.5, 0.5, bytes_in, 0)


def test_a_plan_shows_no_share_of_a_server_without_room() -> None:
    drained = FillRow("cs1", "r1", "is drained", 0, 1.0, 1.0, 0, 0)
    shown = text_of(fills_table([drained, fill("cs2", 7)]), color=False, wide=False)
    assert shown.split().count("-") == 2 and "100 %" not in shown and shown.count("50 %") == 2


def test_what_stays_within_a_server_takes_its_time_too() -> None:
    rooms = disk_drain.OwnRooms([A], (A, replace(B, state=IN_SERVICE, mode=IN_SERVICE), OTHER))
    assert rooms.take(A, place(1, (1, 2, 3), length=3_000))
    items = (fill("cs1", 500), fill("cs2", 7))
    coming = rooms.coming(DrainPlan(items, ("cs1",), 2, 3_507, 0, 0, (), (), 0, 2, True))
    assert coming == {"cs1": 3_500, "cs2": 7}
    server, both = RepairBudgetReport(0, 1_000, 2, 9), RepairBudgetReport(100, 1_000, 2, 9)
    free = RepairBudgetReport(0, 0, 2, 9)
    assert least_eta_ms(server, coming) == 3_500, "by the server that takes most"
    assert least_eta_ms(both, coming) == 35_070, "or by what all may take together"
    assert least_eta_ms(server, {"cs1": 1}) == 1, "less than a moment is not nothing"
    assert least_eta_ms(free, coming) == -1, "nothing limits it"
    assert least_eta_ms(free, {}) == 0
