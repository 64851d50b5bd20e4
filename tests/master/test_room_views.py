"""One number for the room of a cluster: whoever asks a real master, and in whatever view."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from peers import ScriptedServer
from test_chunks import put
from test_disks_asked import Shelved, places, row, rows, shelved
from test_master_measures import measured, trio
from trio import Client, Trio, wait_until

from gfs_ha.cli.data.df import space_of
from gfs_ha.limits import GIB
from gfs_ha.protocol.disk_counts import DiskCounts, disks_out_text
from gfs_ha.protocol.disks import DrainDisk, UndrainDisk
from gfs_ha.protocol.jobs import JobStarted
from gfs_ha.protocol.live import GetLive
from gfs_ha.protocol.metadata import Done
from gfs_ha.protocol.rebalance import GetRebalance
from gfs_ha.protocol.reports import GetServers, GetStatus
from gfs_ha.protocol.server_modes import DrainServer, UndrainServer
from gfs_ha.protocol.servers import ShowServer

__all__ = ["shelved", "trio"]

Room = tuple[int, int]  # All bytes, and the free ones.


def rooms(trio: Trio, client: Client) -> dict[str, Room]:
    """Return the room of the cluster as each view tells it."""
    status, live = client.ask(GetStatus()), client.ask(GetLive())
    servers = client.ask(GetServers()).items
    space = space_of(servers, "/", 3, "spread").items[0]
    told = measured(trio.watched[trio.leader()].port)
    balance = client.ask(GetRebalance()).items
    disks = [one for one in rows(client) if one.state == one.server_mode == "in-service"]
    details = [client.ask(ShowServer(one.name)).row for one in servers]
    found: dict[str, Room] = {
        "df": (space.capacity_bytes, space.free_bytes),
        "rebalance": (
            sum(one.total_bytes for one in balance),
            sum(one.total_bytes - one.used_bytes for one in balance),
        ),
    }
    if "gfs_cluster_size_bytes" in told:
        found["metrics"] = (
            int(told["gfs_cluster_size_bytes"][()]),
            int(told["gfs_cluster_free_bytes"][()]),
        )
    for name, listed in (
        ("disks ls", disks),
        ("chunkservers ls", servers),
        ("chunkservers show", details),
        ("status", status.servers),
        ("live", live.servers),
        ("totals of status", (status.overview.servers,)),
        ("totals of live", (live.overview.servers,)),
    ):
        found[name] = (
            sum(one.total_bytes for one in listed),
            sum(one.free_bytes for one in listed),
        )
    return found


def agree(trio: Trio, client: Client, total: int, free: int) -> None:
    """Wait until every view tells this room: some are made anew only every so often."""
    seen: dict[str, Room] = {}

    def same() -> bool:
        seen.clear()
        seen.update(rooms(trio, client))
        return len(seen) == 10 and set(seen.values()) == {(total, free)}

    try:
        wait_until(same, "one number everywhere")
    except AssertionError as error:
        raise AssertionError(f"{(total, free)} is told as {seen}") from error


def test_only_disks_in_service_are_room_in_every_view(
    trio: Trio, client: Client, shelved: list[Shelved]
) -> None:
    agree(trio, client, 800 * GIB, (4 * 80 + 4 * 90) * GIB)
    chunk = put(client, shelved, "/file", 1000)  # What holds nothing is forgotten when it is lost.
    holding = {one.server_id for one in chunk.replicas}
    (leaving,) = (one for one in shelved if one.server_id not in holding)
    ill, short, whole = (one for one in shelved if one.server_id in holding)
    assert isinstance(client.ask(DrainDisk(leaving.name, leaving.second)), JobStarted)
    wait_until(lambda: row(client, leaving.second).state != "in-service", "it is left")
    ill.failed = {ill.second: "EIO on sync"}
    short.stop()
    anew = Shelved(trio, short.name, short.rack, start_id=2)
    anew.server_id, anew.mounted = short.server_id, [anew.first]
    anew.start()
    wait_until(lambda: row(client, short.second).state == "lost", "it is lost")
    agree(trio, client, 500 * GIB, (4 * 80 + 90) * GIB)

    listed = {one.name: one for one in client.ask(GetServers()).items}
    assert listed[leaving.name].disk_usage == pytest.approx(0.2), "what is used of those in service"
    assert disks_out_text(listed[leaving.name].disk_counts).startswith("1 of 2 disks drain")
    assert disks_out_text(listed[ill.name].disk_counts) == "1 of 2 disks failed"
    assert disks_out_text(listed[short.name].disk_counts) == "1 of 2 disks lost"
    assert disks_out_text(listed[whole.name].disk_counts) == ""
    totals = client.ask(GetStatus()).overview.servers
    assert (totals.disks.known, totals.disks.out) == (8, 3)
    assert totals.disks.draining + totals.disks.drained == 1, "whether it is empty by now or not"
    assert (totals.disks.failed, totals.disks.lost) == (1, 1)
    fullest = client.ask(GetLive(sort="used", limit=3)).servers
    assert whole.name not in {one.name for one in fullest}, "it alone has its emptier disk"
    assert {one.disk_counts.out for one in fullest} == {1}

    # Whom placement asks for room, the same disks answer.
    chosen = [places(client) for _ in range(6)]
    assert not any({leaving.second, ill.second, short.second} & one for one in chosen), chosen

    assert client.ask(UndrainDisk(leaving.name, leaving.second)) == Done()
    agree(trio, client, 600 * GIB, (4 * 80 + 2 * 90) * GIB)


def test_servers_that_leave_or_are_empty_are_no_room_in_any_view(
    trio: Trio, client: Client, shelved: list[Shelved]
) -> None:
    job = client.ask(DrainServer("cs2"))
    assert isinstance(job, JobStarted)
    agree(trio, client, 600 * GIB, (3 * 80 + 3 * 90) * GIB)
    totals = client.ask(GetStatus()).overview.servers
    assert totals.disks.out == 0, "its disks are well, and what is told of the server is enough"
    (one, other) = (one for one in rows(client) if one.server == "cs2")
    assert (one.state, other.job) == ("in-service", job.id)
    assert client.ask(UndrainServer("cs2")) == Done()
    agree(trio, client, 800 * GIB, (4 * 80 + 4 * 90) * GIB)


def test_a_server_without_a_disk_in_service_has_no_room_and_is_not_full(
    trio: Trio, client: Client, servers: list[ScriptedServer]
) -> None:
    only = servers[0]
    assert isinstance(client.ask(DrainDisk("cs1", only.disk_id)), JobStarted)
    found = wait_until(
        lambda: next((one for one in client.ask(GetServers()).items if one.disk_counts.out), None),
        "it is left",
    )
    assert (found.name, found.total_bytes, found.free_bytes, found.disk_usage) == ("cs1", 0, 0, 0)
    totals = client.ask(GetStatus()).overview.servers
    assert "cs1" not in (totals.low, totals.high), "it is neither the emptiest nor the fullest"


def test_what_is_out_is_told_in_few_words() -> None:
    counts = DiskCounts(known=12, failed=1, drained=2)
    assert disks_out_text(counts) == "3 of 12 disks out (1 failed, 2 drained)"
    assert disks_out_text(DiskCounts(known=1, draining=1)) == "1 of 1 disk draining"
    assert disks_out_text(counts + replace(counts, failed=0)) == (
        "5 of 24 disks out (1 failed, 4 drained)"
    )
