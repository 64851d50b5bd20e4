"""How lists of servers look at 80, 120 and 200 columns, to the letter, also with long names."""

from __future__ import annotations

import pytest
from golden_screen import compare, screen
from msgspec.structs import replace

from gfs_ha.cli.admin import chunkserver as chunkserver_verb
from gfs_ha.cli.admin import chunkservers as chunkservers_verb
from gfs_ha.client.server_detail import ChunkserverReport
from gfs_ha.ids import ChunkId, DiskId, Epoch, InodeId, LogIndex, ServerId, StartId
from gfs_ha.limits import GIB, MIB
from gfs_ha.protocol.append import LeaseRow
from gfs_ha.protocol.reports import DiskRow, ServerReport, ServerRow
from gfs_ha.protocol.scrub import ScrubFacts, ScrubWanted
from gfs_ha.protocol.servers import ServerDetail

pytestmark = pytest.mark.usefixtures("in_utc")
SHOWING = (chunkserver_verb, chunkservers_verb)  # Their renderers are wanted.
LIVE = ServerRow(
    ServerId(1),
    name="cs01",
    host="10.0.1.1",
    port=7300,
    rack="r1",
    machine="node1",
    state="live",
    disk_usage=0.58,
    chunk_count=412_887,
    replica_count=412_887,
    free_bytes=1_720 * GIB,
    total_bytes=4_096 * GIB,
    heartbeat_age_ms=400,
    timestamp=0,
    disks=(),
)
LONG = "storage-node-eu-central-1a-rack17-{}".format
SERVERS = (
    LIVE,
    replace(LIVE, name="cs02", rack="r2", mode="draining", job="d-14", job_share=0.86),
    replace(
        LIVE,
        name="cs03",
        state="dead",
        heartbeat_age_ms=850_000,
        reason="no heartbeat for 14 m 10 s, over 30 s: its copies are made anew elsewhere",
    ),
    replace(
        LIVE,
        name="cs10",
        state="suspect",
        heartbeat_age_ms=7_400,
        maintenance_left_ms=7_200_000,
        reason="no heartbeat for 7 s: it gets no new chunks; after 30 s it counts as dead",
    ),
    replace(LIVE, name="cs11", chunk_count=0, free_bytes=4_096 * GIB, disk_usage=0.0),
)
NAMED = tuple(
    replace(one, name=LONG(one.name), rack=f"rack-eu-central-1a-{one.rack}") for one in SERVERS
)


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize(("name", "servers"), [("servers", SERVERS), ("long_servers", NAMED)])
def test_servers_look_as_they_did(name: str, servers: tuple[ServerRow, ...], columns: int) -> None:
    compare(f"{name}_{columns}.txt", screen(ServerReport(servers), columns))


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_no_number_and_no_name_is_cut(columns: int) -> None:
    shown = screen(ServerReport(NAMED), columns)
    assert "…" not in shown and shown.count("412,887") == 4 and shown.count("1.7 TiB") == 4


def disk(number: int, failed: str = "", mode: str = "in-service") -> DiskRow:
    return DiskRow(
        DiskId(0xDFCAF9BF2CA56357 + number),
        total_bytes=4_096 * GIB,
        free_bytes=1_720 * GIB,
        chunk_count=206_443,
        failed=failed,
        journal_bytes=16 * MIB,
        journal_used_bytes=3 * MIB,
        directory=f"/srv/d{number + 1}",
        mode=mode,
    )


def scrub(of: DiskRow) -> ScrubFacts:
    return ScrubFacts(
        *(of.disk_id, ScrubWanted(0, 604_800), "reading", "", 7, 1_795_000_000_000, False),
        *(31 * GIB, 100 * GIB, 310, 1_000, 0, 0, 50 * MIB, 1_414_000, 0),
        ended_ms=1_794_400_000_000,
        found_ever=2,
    )


DISKS = (
    disk(0),
    disk(1, failed="Input/output error, out since 14:02"),
    disk(2, mode="draining"),
)


def test_a_failed_disk_keeps_its_id_among_those_of_its_server() -> None:
    shown = screen(ServerReport((replace(SERVERS[1], disks=DISKS),)), 400, wide=True)
    assert "0xdfcaf9bf2ca56357, 0xdfcaf9bf2ca56358 failed, 0xdfcaf9bf2ca56359" in shown


LEASE = LeaseRow(
    *(
        ChunkId(0x10000000001F2),
        InodeId(9),
        "/projects/天文台/観測データ/2026年/log of the night.txt",
    ),
    *("cs03", ServerId(3), StartId(4), Epoch(1, 1), LogIndex(7)),
    *(0, 28 * MIB, 37_000, 867_000, 14, 300),
)
DETAIL = ServerDetail(
    replace(SERVERS[1], disks=DISKS, heartbeat_age_ms=400),
    start_id=StartId(0x36452F8E2BCA93BA),
    boot_id=1,
    beating_ms=1_162_000,
    clock_ahead_ms=-19,
    streams=3,
    leases=(LEASE,),
    lease_count=1,
    lease_left_ms=37_000,
    scrub=tuple(scrub(one) for one in DISKS[:1]),
)


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_one_server_looks_as_it_did(columns: int) -> None:
    shown = screen(ChunkserverReport(DETAIL, (), False), columns)
    assert "0xdfcaf9bf2ca56357 " in shown and "0x10000000001f2 " in shown, "ids can be copied"
    compare(f"server_{columns}.txt", shown)
