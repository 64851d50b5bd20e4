"""`gfsctl admin fsck`: healthy amid a load, what it names of lost and damaged copies, its forms."""

from __future__ import annotations

import json
import os

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, kill_member, wait_until

from gfs_ha.local.cluster import LocalCluster


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
def test_fsck_has_every_form(gfsctl: Gfsctl, home: str, mode: str) -> None:
    gfsctl.library.write_bytes(f"{home}/f", b"x" * 1000)
    with gfsctl.library.open(f"{home}/grows", "ab") as grows:
        grows.write(b"record")
        grows.flush()
        shown = gfsctl.ok("admin", "fsck", home, "--all", "-o", mode).out.decode()
    if mode == "json":
        found = json.loads(shown)
        assert found["kind"] == "FsckFindingList" and found["summary"]["files"] == 2
        assert [one["kind"] for one in found["items"]] == ["growing"]
        assert found["summary"]["healthy"]
    elif mode == "jsonl":
        assert json.loads(shown)["path"] == f"{home}/grows"
    else:
        assert f"{home}/grows" in shown
        assert ("HEALTHY" in shown) == (mode != "name")


def test_fsck_of_a_name_that_is_not_there_is_refused(gfsctl: Gfsctl) -> None:
    assert "does not exist" in gfsctl.refused(3, "admin", "fsck", "/no/such/file")


def test_a_healthy_cluster_stays_healthy_for_fsck_amid_a_load(gfsctl: Gfsctl, home: str) -> None:
    library = gfsctl.library
    wait_until(
        lambda: not library.operations.status().under_count, "every chunk to have its copies"
    )
    child = gfsctl.begin("admin", "fsck", "-o", "json")
    turn = 0
    while child.poll() is None or turn < 20:
        turn += 1
        path = f"{home}/f{turn % 7}"
        library.write_bytes(path, os.urandom(turn % 5 * CHUNK_BYTES // 2 + 10))
        with library.open(f"{home}/log{turn % 3}", "ab") as log:
            log.write(b"record %d\n" % turn)
        if turn % 4 == 0:
            library.remove(path)
    ended = gfsctl.end(child)
    assert (ended.status, json.loads(ended.out)["items"]) == (0, []), ended.err
    found = gfsctl.ok("admin", "fsck", home, "--deep", "-o", "json").json
    assert found["items"] == [] and found["summary"]["read"] and not found["summary"]["unread"]


def test_fsck_names_the_files_of_lost_copies(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster
) -> None:
    gfsctl.library.write_bytes(f"{home}/f", b"y" * (CHUNK_BYTES + 5))
    gfsctl.ok("setrep", "-w", "1", f"{home}/f")
    placed = gfsctl.library.operations.placement(f"{home}/f").items
    victim = placed[0].chunk.replicas[0].name
    kill_member(whole_cluster, victim)
    servers = gfsctl.library.operations.servers

    def seen() -> bool:
        return any(one.name == victim and one.state != "live" for one in servers().items)

    wait_until(seen, "the silence of a server")
    ended = gfsctl("admin", "fsck", home, "-o", "json")
    found = json.loads(ended.out)
    assert ended.status == 9, ended.err
    assert {one["path"] for one in found["items"]} == {f"{home}/f"}
    assert "missing" in {one["kind"] for one in found["items"]}
    assert victim in {name for one in found["items"] for name in one["servers"]}
