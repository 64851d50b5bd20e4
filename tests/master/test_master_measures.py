"""What masters tell those who watch them, and that only the leader speaks for the cluster."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from free_ports import free_ports
from peers import ScriptedServer
from prometheus_client.parser import text_string_to_metric_families
from trio import NAMES, WAIT_S, Client, Trio, started, wait_until

from gfs_ha.chunk.run import build_chunkserver
from gfs_ha.chunk.server import Chunkserver
from gfs_ha.config import ChunkserverConfig, DiskConfig, MetricsConfig
from gfs_ha.limits import LED_TERMS_MAX
from gfs_ha.master.measures import LeaderChanges
from gfs_ha.protocol.metadata import Mkdir
from gfs_ha.protocol.reports import LedTerm

HOST = "127.0.0.1"
Values = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    """Three masters, each with a port for who watches it."""
    cluster = Trio(tmp_path)
    for name, port in zip(NAMES, free_ports(3), strict=True):
        cluster.watched[name] = MetricsConfig(HOST, port)
    with started(cluster) as running:
        yield running


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def measured(port: int) -> Values:
    status, text = get(port, "/metrics")
    assert status == 200, text
    found: Values = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            found.setdefault(one.name, {})[tuple(sorted(one.labels.items()))] = one.value
    return found


def ready(trio: Trio, name: str) -> bool:
    return get(trio.watched[name].port, "/readyz") == (200, "ready\n")


def speaks_for_the_cluster(trio: Trio) -> list[str]:
    """Return the masters that tell anything of the cluster."""
    return [
        name
        for name in trio.servers
        if any(one.startswith("gfs_cluster_") for one in measured(trio.watched[name].port))
    ]


def leading(trio: Trio) -> dict[str, Values] | None:
    """Return what all masters tell, once exactly one of them leads."""
    told = {name: measured(trio.watched[name].port) for name in trio.servers}
    led = [name for name, values in told.items() if values["gfs_master_leads"][()]]
    return told if len(led) == 1 and "gfs_master_peer_lag_entries" in told[led[0]] else None


def test_every_master_becomes_ready_and_one_leads(trio: Trio) -> None:
    for name in NAMES:
        wait_until(lambda name=name: ready(trio, name), f"{name} to be ready")
    values = wait_until(lambda: leading(trio), "one leader")
    for name, told in values.items():
        assert told["gfs_master_leader_known"][()] == 1 and told["gfs_master_votes"][()] == 1
        assert told["gfs_master_commit_duration_seconds_count"][()] > 0
        assert told["gfs_master_state_age_seconds"][()] < 60
        assert set(told["gfs_loop_silence_seconds"]) == {
            (("loop", loop),) for loop in ("door", "raft", "housekeeping")
        }
        peers = {dict(labels)["peer"] for labels in told["gfs_master_peer_connected"]}
        assert peers == set(NAMES) - {name}
        leads = told["gfs_master_leads"][()] == 1
        assert ("gfs_master_peer_lag_entries" in told) == leads


def test_only_the_leader_speaks_for_the_cluster_also_after_another_one_was_elected(
    trio: Trio,
) -> None:
    short = (("code", "TOO_FEW_SERVERS"), ("severity", "error"))
    for count in (3, 2):

        def told() -> Values | None:
            speakers = speaks_for_the_cluster(trio)
            if len(speakers) != 1:
                return None  # One speaks for the last time, or nobody does yet.
            values = measured(trio.watched[speakers[0]].port)
            # The first leader makes the root, and is written down then.
            made = values.get("gfs_cluster_directories", {}).get(()) == 1
            found = values.get("gfs_cluster_findings", {}).get(short) == 1
            return values if made and found else None

        values = wait_until(told, f"a leader of {count} to speak")
        assert values["gfs_master_leads"][()] == 1
        assert values["gfs_cluster_healthy"][()] == 0
        if count == 3:
            trio.stop(trio.leader())


def changes(trio: Trio) -> dict[str, float]:
    """Return the changes of the leader as all masters tell them."""
    return {
        name: measured(trio.watched[name].port)["gfs_master_failovers_total"][()]
        for name in trio.servers
    }


def test_changes_of_the_leader_are_counted_by_who_saw_them(trio: Trio) -> None:
    Client(trio).ask(Mkdir("/begun"))  # What leads is written down before.
    begun = trio.servers[trio.leader()].raft.status().applied

    def seen_by_all() -> bool:
        told = [measured(trio.watched[name].port) for name in NAMES]
        return all(one["gfs_master_applied_index"][()] >= begun for one in told)

    wait_until(seen_by_all, "all to know who leads")
    before = changes(trio)  # Some may have seen another leader before.
    leader = trio.leader()
    trio.stop(leader)
    wait_until(
        lambda: all(count > before[name] for name, count in changes(trio).items()),
        "the change to be counted by all who saw it",
    )
    trio.start(leader)
    wait_until(lambda: ready(trio, leader), "it to be back, with all that was written down")
    seen = changes(trio)
    assert seen[leader] == 0 and min(seen[name] for name in NAMES if name != leader) >= 1


def test_changes_are_counted_beyond_those_that_are_kept() -> None:
    counted = LeaderChanges()
    kept: list[LedTerm] = []
    counted.see(kept)
    for term in range(3, 3 * LED_TERMS_MAX, 2):  # Elections that nobody won lie between.
        kept = [LedTerm(term, 1, "m1", 0, term), *kept[: LED_TERMS_MAX - 1]]
        counted.see(kept)
        counted.see(kept)
    led = len(range(3, 3 * LED_TERMS_MAX, 2))
    assert led > LED_TERMS_MAX and counted.count == led - 1, "the first is no change"
    counted.see([LedTerm(1, 2, "m1", 0, 1), *kept])
    assert counted.count == led, "also in another life of the cluster"


def test_a_master_without_a_majority_is_alive_and_not_ready(trio: Trio) -> None:
    leader = trio.leader()
    for name in [one for one in NAMES if one != leader]:
        trio.stop(name)
    port = trio.watched[leader].port
    wait_until(lambda: get(port, "/readyz")[0] == 503, "it to say that it does not serve")
    assert get(port, "/livez") == (200, "alive\n")
    wait_until(lambda: not measured(port)["gfs_master_leads"][()], "its reign to end")
    told = measured(port)
    assert told["gfs_ready"][()] == 0 and told["gfs_alive"][()] == 1
    assert speaks_for_the_cluster(trio) == []


def test_a_master_that_stops_is_not_ready_from_its_first_moment_on(trio: Trio) -> None:
    name = next(one for one in NAMES if one != trio.leader())
    wait_until(lambda: ready(trio, name), f"{name} to be ready")
    server = trio.servers[name]
    said: list[str] = []
    go_on = server.housekeeper.stop

    def note() -> None:
        said.append(get(trio.watched[name].port, "/readyz")[1])
        go_on()

    server.housekeeper.stop = note  # type: ignore[method-assign]
    trio.stop(name)
    assert said == ["it stops\n"]


def test_a_master_whose_consensus_loop_hangs_says_so_while_it_hangs(trio: Trio) -> None:
    name = trio.leader()
    server, port = trio.servers[name], trio.watched[name].port
    server.pulse.add("raft", server.raft, limit_s=1.0)  # Half a minute in earnest.
    gate = threading.Event()
    server.raft.read_index(WAIT_S, lambda error: gate.wait(WAIT_S) and None)
    try:
        wait_until(lambda: get(port, "/livez")[0] == 503, "it to be found")
        assert get(port, "/livez")[1].startswith("raft hangs for ")
        assert get(port, "/readyz") == (503, "a loop hangs, see /livez\n")
        told = measured(port)  # What needs the loop is as it was; nobody waits for it.
        assert told["gfs_alive"][()] == 0
        assert told["gfs_loop_silence_seconds"][(("loop", "raft"),)] > 1.0
    finally:
        gate.set()
    wait_until(lambda: get(port, "/livez") == (200, "alive\n"), "it to turn again")


def test_servers_are_told_by_name_and_state(trio: Trio) -> None:
    for number in (1, 2, 3):
        ScriptedServer(trio, f"cs{number}", f"r{number % 2}").start()
    told: Values = {}

    def live() -> bool:
        told.clear()
        told.update(measured(trio.watched[trio.leader()].port))
        return told.get("gfs_cluster_servers", {}).get((("state", "live"),)) == 3

    wait_until(live, "three live servers")
    states = told["gfs_cluster_server_state"]
    assert {dict(labels)["server"]: value for labels, value in states.items()} == {
        "cs1": 0,
        "cs2": 0,
        "cs3": 0,
    }


def chunkserver(trio: Trio, directories: list[Path]) -> tuple[Chunkserver, int]:
    """Return a chunkserver that starts, and the port for who watches it."""
    port, data_port = free_ports(2)
    disks = tuple(DiskConfig(one) for one in directories)
    own = ChunkserverConfig("cs1", disks, HOST, data_port, "r1", "here")
    watched = MetricsConfig(HOST, port)
    config = replace(trio.config("m1"), master=None, chunkserver=own, metrics=watched)
    server = build_chunkserver(config, trio.runtime)
    server.start()
    trio.at_close(lambda: server.stop(WAIT_S))
    return server, port


def test_a_chunkserver_is_ready_while_a_leader_answers_it(trio: Trio, tmp_path: Path) -> None:
    _, port = chunkserver(trio, [tmp_path / "d1", tmp_path / "d2"])
    wait_until(lambda: get(port, "/readyz") == (200, "ready\n"), "it to be ready")
    told = measured(port)
    assert told["gfs_chunkserver_registered"][()] == 1
    assert told["gfs_chunkserver_heartbeats_total"][()] >= 1
    assert told["gfs_chunkserver_disk_in_service"] == {
        (("directory", str(tmp_path / one)),): 1.0 for one in ("d1", "d2")
    }
    assert all(value > 0 for value in told["gfs_chunkserver_disk_size_bytes"].values())
    assert told["gfs_chunkserver_operation_duration_seconds_count"] == {
        (("operation", one),): 0.0 for one in ("read", "write", "append")
    }
    for name in list(trio.servers):
        trio.stop(name)
    wait_until(lambda: get(port, "/readyz")[0] == 503, "it to miss its leader")
    assert get(port, "/livez")[0] == 200
    assert measured(port)["gfs_chunkserver_heartbeats_failed_total"][()] >= 1


def test_a_chunkserver_that_no_leader_took_is_alive_and_not_ready(
    trio: Trio, tmp_path: Path
) -> None:
    for name in list(trio.servers):
        trio.stop(name)
    _, port = chunkserver(trio, [tmp_path / "d1"])
    assert get(port, "/readyz") == (503, "it starts\n")
    assert get(port, "/livez")[0] == 200
    assert measured(port)["gfs_ready"][()] == 0


def test_a_chunkserver_without_a_disk_is_not_ready(trio: Trio, tmp_path: Path) -> None:
    server, port = chunkserver(trio, [tmp_path / "d1"])
    wait_until(lambda: get(port, "/readyz") == (200, "ready\n"), "it to be ready")
    assert server.store is not None
    server.store.take_out(server.store.shelves[0], "it died")
    assert get(port, "/readyz") == (503, "no disk is in service\n")
    directory = (("directory", str(tmp_path / "d1")),)
    wait_until(
        lambda: measured(port)["gfs_chunkserver_disk_in_service"] == {directory: 0.0},
        "the disk to be told",
    )
