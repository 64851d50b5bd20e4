"""How lists of servers look at 80, 120 and 200 columns, to the letter, also with long names."""

from __future__ import annotations

import pytest
from golden_screen import compare, screen
from msgspec.structs import replace

from gfs_ha.cli.admin import chunkservers as chunkservers_verb
from gfs_ha.ids import ServerId
from gfs_ha.limits import GIB
from gfs_ha.protocol.reports import ServerReport, ServerRow

SHOWING = (chunkservers_verb,)  # Its renderers are wanted.
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
