"""`gfsctl admin chunkservers show`: one server in every form, with its journal and its places."""

from __future__ import annotations

import json

import pytest
from gfsctl_program import Gfsctl, wait_until
from msgspec.structs import replace

from gfs_ha.cli.admin import chunkserver as chunkserver  # What its report looks like.
from gfs_ha.cli.admin.chunkservers import journal_text
from gfs_ha.cli.render import render, text_of
from gfs_ha.client.server_detail import ChunkserverReport
from gfs_ha.ids import DiskId, StartId
from gfs_ha.protocol.reports import DiskRow, ServerReport, ServerRow
from gfs_ha.protocol.servers import ServerDetail


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
def test_one_chunkserver_has_every_form(gfsctl: Gfsctl, home: str, mode: str) -> None:
    gfsctl.library.write_bytes(f"{home}/f", b"x" * 1000)
    gfsctl.wait_heard()
    shown = gfsctl.ok("admin", "chunkservers", "show", "cs2", "-o", mode).out.decode()
    if mode == "json":
        found = json.loads(shown)
        assert found["kind"] == "Chunkserver"
        [item] = found["items"]
        assert item["detail"]["row"]["name"] == "cs2" and not item["places_more"]
        assert item["detail"]["row"]["server_id"].startswith("0x")
        assert {one["state"] for one in item["places"]} >= {"holder", "open", "late"}
    elif mode == "jsonl":
        assert json.loads(shown)["detail"]["row"]["rack"] in ("r1", "r2")
    elif mode == "name":
        assert shown == "cs2\n"
    else:
        assert "Journal" in shown and "Scrub" in shown and "Places" in shown


def test_a_chunkserver_that_is_not_there_is_named_with_those_that_are(gfsctl: Gfsctl) -> None:
    assert "there are cs1, cs2" in gfsctl.refused(3, "admin", "chunkservers", "show", "cs77")


def test_a_tail_shows_with_its_primary_and_in_its_journal(gfsctl: Gfsctl, home: str) -> None:
    path = f"{home}/log"
    operations = gfsctl.library.operations

    def shown() -> bool:
        # Sealed at any moment by whatever goes on beside: the next record opens another.
        gfsctl.library.append(path, b"record")
        rows = [one for one in operations.leases() if one.path == path]
        if not rows:
            return False
        report = operations.show_server(rows[0].holder)
        used = sum(disk.journal_used_bytes for disk in report.detail.row.disks)
        whole = sum(disk.journal_bytes for disk in report.detail.row.disks)
        led = {one.path for one in report.detail.leases}
        return path in led and report.detail.lease_count >= 1 and 0 < used <= whole

    wait_until(shown, "the tail with its primary, and records in the journal there", 60.0)
    gfsctl.wait_heard()
    wide = gfsctl.ok("admin", "chunkservers", "ls", "-o", "wide").out.decode()
    assert "Journals" in wide and "16.0 MiB" in wide


def test_the_journal_of_a_disk_says_how_full_it_is() -> None:
    disk = DiskRow(DiskId(1), 1000, 500, 3, "")
    assert journal_text(disk) == "none yet"
    used = replace(disk, journal_bytes=16 << 20, journal_used_bytes=4 << 20)
    assert journal_text(used).startswith("25")
    broken = replace(used, journal_trouble="fdatasync failed")
    assert journal_text(broken) == "takes nothing: fdatasync failed"


def test_what_a_new_leader_was_not_told_yet_is_no_number() -> None:
    row = ServerRow(
        server_id=7,
        name="cs7",
        host="127.0.0.1",
        port=7307,
        rack="r1",
        machine="h7",
        state="suspect",
        disk_usage=0.0,
        chunk_count=0,
        replica_count=5,
        free_bytes=0,
        total_bytes=0,
        heartbeat_age_ms=-1,
        timestamp=0,
        disks=(),
        reason="not heard since this leader was elected 5 s ago",
    )
    listed = text_of(render(ServerReport((row,)), False), False, False)
    assert "not yet" in listed and "0 %" not in listed and "0 B" not in listed
    detail = ServerDetail(row, StartId(0), 0, -1, 0, 0, (), (), 0, (), 0, ())
    shown = text_of(render(ChunkserverReport(detail, (), False), False), False, False)
    assert "not yet, by this leader" in shown and "never" not in shown
    assert "0 %" not in shown and "0 ms" not in shown and "Journal" not in shown
