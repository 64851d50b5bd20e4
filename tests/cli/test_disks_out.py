"""Every screen with the room of servers says which disks are no part of it."""

from __future__ import annotations

import pytest
from golden_screen import screen
from msgspec.structs import replace
from test_server_screens import LIVE, SHOWING

from gfs_ha.cli.admin.chunkservers import standing_text
from gfs_ha.cli.data.df import _warnings, space_of
from gfs_ha.cli.explained.server import explain_server
from gfs_ha.cli.live.summary import disk_spans
from gfs_ha.cli.live.tabs import _used
from gfs_ha.limits import GIB
from gfs_ha.protocol.disk_counts import DiskCounts
from gfs_ha.protocol.live import LiveServer
from gfs_ha.protocol.overview import ServerTotals
from gfs_ha.protocol.reports import ServerReport

assert SHOWING, "their renderers are wanted"
COUNTS = DiskCounts(known=3, drained=1)
SAID = "1 of 3 disks drained"
ROW = replace(LIVE, disk_counts=COUNTS)


def live(counts: DiskCounts, **more: int) -> LiveServer:
    facts = {"free_bytes": GIB, "total_bytes": 2 * GIB, "failed_disks": 0, **more}
    return LiveServer(
        server_id=ROW.server_id,
        name="cs01",
        rack="r1",
        state="live",
        mode="in-service",
        maintenance=False,
        reason="",
        disk_usage=0.5 if facts["total_bytes"] else 0.0,
        chunk_count=1,
        heartbeat_age_ms=1,
        disk_count=3,
        disk_counts=counts,
        **facts,
    )


def test_lists_status_df_and_explanations_say_how_many_disks_are_no_room() -> None:
    assert f"cs01: {SAID}" in screen(ServerReport((ROW, LIVE)), 120)
    assert "disks" not in screen(ServerReport((LIVE,)), 120)
    assert any(f"cs01 ({SAID})" in one for one in _warnings(space_of([ROW], "/", 1, "seed"), [ROW]))
    assert not any("disk" in one for one in _warnings(space_of([LIVE], "/", 1, "seed"), [LIVE]))
    assert any(SAID in text for _, text in explain_server(ROW, (), ()).facts)
    totals = ServerTotals(count=2, total_bytes=10, free_bytes=5, low="cs01", high="cs02")
    assert len(disk_spans(totals)) == 1
    for shown in (totals, replace(totals, unheard=1), replace(totals, count=1), ServerTotals()):
        (_, (said, _)) = disk_spans(replace(shown, disks=COUNTS))
        assert said == f", {SAID}"


def test_a_server_of_which_all_disks_are_out_is_not_called_in_service() -> None:
    bare = replace(ROW, disk_counts=DiskCounts(2, failed=1, drained=1), total_bytes=0, free_bytes=0)
    assert standing_text(bare).plain == "no disk in service"
    assert standing_text(ROW).plain == "in-service"
    assert standing_text(replace(bare, disk_counts=DiskCounts())).plain == "in-service", "not heard"
    assert standing_text(replace(bare, maintenance_left_ms=90_000)).plain == (
        "no disk in service, maintenance 1 m 30 s"
    )
    space = space_of([bare, ROW], "/", 2, "seed")
    assert [one.state for one in space.items if one.kind == "server"] == [
        "no disk in service",
        "live",
    ]
    assert any("only 1 server takes new files" in one for one in _warnings(space, [bare, ROW]))


def test_the_live_list_says_it_beside_what_is_used() -> None:
    assert _used(live(COUNTS))[0] == "50 % 1 disk out"
    assert _used(live(DiskCounts(3, drained=1, lost=1)))[0] == "50 % 2 disks out"
    assert _used(live(DiskCounts(3)))[0] == "50 %"
    assert "3 disks out" in _used(live(DiskCounts(3, failed=3), total_bytes=0))[0]
    assert _used(live(DiskCounts(), failed_disks=1))[0] == "50 % 1 disk out", "of a master before"


@pytest.mark.parametrize("total", [0, 4 * GIB])
def test_a_server_without_room_is_not_said_to_be_full_or_empty(total: int) -> None:
    row = replace(ROW, total_bytes=total, free_bytes=total, disk_usage=0.0)
    line = screen(ServerReport((row,)), 120).splitlines()[1].split()
    assert ("-" in line) == (total == 0)
