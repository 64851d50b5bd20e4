"""`gfsctl admin fsck`: healthy amid a load, what it names of lost and damaged copies, its forms."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, kill_member, wait_until
from msgspec.structs import replace

import gfs_ha.cli.admin.seal_chunk  # noqa: F401  It registers its screen.
from gfs_ha.cli.render import render, text_of
from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.losses import LossPlan, LossReplica


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


def test_a_deep_look_names_the_file_of_a_rotten_copy(
    gfsctl: Gfsctl, home: str, shared_cluster: LocalCluster
) -> None:
    data = os.urandom(300_000)
    gfsctl.ok("put", "-", f"{home}/rots", stdin=data)
    slot, at = _find(Path(shared_cluster.directory), data)
    with slot.open("r+b") as file:
        file.seek(at + 200_000)
        file.write(bytes([data[200_000] ^ 1]))
    ended = gfsctl("admin", "fsck", home, "--deep", "-o", "json")
    found = [one for one in ended.json["items"] if one["kind"] == "corrupt"]
    assert ended.status == 8, ended.err
    assert [one["path"] for one in found] == [f"{home}/rots"]
    assert found[0]["servers"] == [slot.parent.parent.name]


def _find(directory: Path, data: bytes) -> tuple[Path, int]:
    """Return a slot that holds some bytes, and where they begin in it."""
    for slot in sorted(directory.glob("cs*/data/*.slot")):
        try:
            at = slot.read_bytes().find(data)
        except FileNotFoundError:
            continue  # Something else was collected meanwhile.
        if at >= 0:
            return slot, at
    raise AssertionError("no slot holds the bytes")


def test_fsck_names_the_files_of_lost_copies(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster
) -> None:
    gfsctl.ok("put", "--replicas", "1", "-", f"{home}/f", stdin=b"y" * (CHUNK_BYTES + 5))
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


def test_the_plan_of_a_loss_says_what_goes_and_what_stays() -> None:
    there = LossReplica(ServerId(1), "cs1", "r1", "live", False, "UnknownReplica: not here")
    gone = LossReplica(ServerId(3), "cs3", "r2", "dead", True, "no answer")
    facts = (ChunkId(0x1000000000007), "sealing", LogIndex(9), "no proof", "", 40, 0)
    plan = LossPlan(*facts, 100, "/log", 1000, False, (there, gone))
    text = text_of(render(plan, False), color=False, wide=False)
    assert "would end at 40 bytes" in text and "then have 1,040 bytes" in text
    assert "lost: the last 60 bytes" in text and "cs3" in text and "given up" in text
    unknown = text_of(render(replace(plan, reported=-1), False), color=False, wide=False)
    assert "in doubt" in unknown
    other = replace(plan, path="", published_end=30, referenced=True)
    put = text_of(render(other, False), color=False, wide=False)
    assert "first 30 bytes, which are kept" in put
