"""`gfsctl admin fsck`: healthy amid a load, what it names of lost and damaged copies, its forms."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, Ended, Gfsctl, eventually, kill_member, wait_until
from msgspec.structs import replace

import gfs_ha.cli.admin.seal_chunk  # noqa: F401  It registers its screen.
from gfs_ha.cli.admin.fsck import _facts, _summary, _verdict
from gfs_ha.cli.render import render, text_of
from gfs_ha.client.fsck import FsckSummary
from gfs_ha.ids import ChunkId, LogIndex, ServerId
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.losses import LossPlan, LossReplica


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
def test_fsck_has_every_form(gfsctl: Gfsctl, home: str, mode: str) -> None:
    numbers = itertools.count()
    # A file that grows may lose a copy, and then has a sealed chunk: another one is looked at.
    eventually(lambda: _has_the_form(gfsctl, f"{home}/{next(numbers)}", mode))


def _has_the_form(gfsctl: Gfsctl, home: str, mode: str) -> None:
    gfsctl.library.mkdir(home)
    gfsctl.library.write_bytes(f"{home}/f", b"x" * 1000)
    gfsctl.wait_whole(f"{home}/f")
    with gfsctl.library.open(f"{home}/grows", "ab") as grows:
        grows.write(b"record")
        grows.flush()
        shown = gfsctl.ok("admin", "fsck", home, "--all", "-o", mode).out.decode()
    if mode == "json":
        found = json.loads(shown)
        assert found["kind"] == "FsckFindingList" and found["summary"]["files"] == 2
        assert [one["kind"] for one in found["items"]] == ["growing"]
        assert found["summary"]["healthy"] and found["summary"]["complete"]
    elif mode == "jsonl":
        assert json.loads(shown)["path"] == f"{home}/grows"
    else:
        assert f"{home}/grows" in shown
        assert ("HEALTHY" in shown) == (mode != "name")


def test_fsck_of_a_name_that_is_not_there_is_refused(gfsctl: Gfsctl) -> None:
    assert "does not exist" in gfsctl.refused(3, "admin", "fsck", "/no/such/file")


def test_a_healthy_cluster_stays_healthy_for_fsck_amid_a_load(gfsctl: Gfsctl, home: str) -> None:
    for tries_left in (2, 1, 0):
        ended = _checked_amid_a_load(gfsctl, home)
        # Amid so many pushes one may lose a server, which is healed soon after.
        if (ended.status == 0 and not ended.json["items"]) or not tries_left:
            break
    assert ended.status == 0 and not ended.json["items"], ended


def _checked_amid_a_load(gfsctl: Gfsctl, home: str) -> Ended:
    library = gfsctl.library
    wait_until(
        lambda: not library.operations.status().under_count, "every chunk to have its copies", 180
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
    return gfsctl.end(child)


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


def test_a_check_that_could_not_look_does_not_say_that_all_is_well() -> None:
    summary = FsckSummary(files=3, read=2)
    assert _verdict(summary) is None and _facts(summary)["healthy"]
    assert list(_summary(summary, True))[-1] == "HEALTHY"
    summary.unread.update(cs1=2, cs3=1)
    summary.kinds["unread"] = summary.severities["unseen"] = 3
    error = _verdict(summary)
    assert error is not None and error.exit_status == 11
    assert "3 copies could not be read, on cs1 (2), cs3 (1)" in error.message
    assert "run it again" in error.message
    facts = _facts(summary)
    assert (facts["healthy"], facts["complete"], facts["unread"]) == (False, False, 3)
    assert list(_summary(summary, True))[-1] == "NOT KNOWN TO BE HEALTHY"
    summary.kinds["corrupt"] = summary.severities["trouble"] = 1
    error = _verdict(summary)
    assert error is not None and error.exit_status == 8 and "cs3 (1)" in error.message
    summary.severities["loss"] = 1
    error = _verdict(summary)
    assert error is not None and error.exit_status == 9 and "could not be read, on" in error.message


def test_a_disk_that_was_not_compared_is_no_sign_of_health() -> None:
    summary = FsckSummary()
    summary.tallies.update({"agrees": 3, "not counted": 1})
    summary.kinds["uncounted"] = summary.severities["unseen"] = 1
    error = _verdict(summary)
    assert error is not None and error.exit_status == 11 and "tally of 1 disk" in error.message
    assert "3 agrees, 1 not counted" in "\n".join(_summary(summary, False))


def test_a_deep_look_names_who_could_not_be_asked_and_goes_on_with_another_leader(
    gfsctl: Gfsctl, home: str, whole_cluster: LocalCluster
) -> None:
    # As many copies as servers: nothing is made whole while one of them is away.
    gfsctl.ok("put", "--replicas", "4", "-", f"{home}/f", stdin=b"z" * (3 * CHUNK_BYTES))
    operations = gfsctl.library.operations

    def placed() -> bool:
        return all(one.chunk.copies == 4 for one in operations.placement(f"{home}/f").items)

    wait_until(placed, "a copy on every server")
    victim = operations.placement(f"{home}/f").items[0].chunk.replicas[0].name
    kill_member(whole_cluster, victim)
    child = gfsctl.begin("admin", "fsck", home, "--deep", "-o", "json")
    leader = operations.status().leader
    kill_member(whole_cluster, leader)  # Before, amid or after its work.
    ended = gfsctl.end(child)
    # A leader that is new may still take the server for a live one that does not answer.
    assert ended.status in (8, 11), ended.err
    summary = ended.json["summary"]
    assert summary["files"] == 1 and not summary["healthy"] and not summary["complete"]
    assert summary["unread_by_server"].get(victim, 0) >= 1, summary
    unread = [one for one in ended.json["items"] if one["kind"] == "unread"]
    assert {one["path"] for one in unread} == {f"{home}/f"}
    assert victim in ended.err
    whole_cluster.start(victim)

    def healthy() -> bool:
        found = gfsctl("admin", "fsck", home, "--deep", "-o", "json")
        return found.status == 0 and found.json["summary"]["complete"]

    wait_until(healthy, "every copy to be read", 120.0)


def test_the_tallies_of_all_disks_are_compared(gfsctl: Gfsctl, home: str) -> None:
    gfsctl.ok("put", "-", f"{home}/f", stdin=b"t" * 1000)

    def compared() -> bool:
        ended = gfsctl("admin", "fsck", "-o", "json")
        summary = ended.json["summary"]
        done = ended.status == 0 and summary["tallies"] == {"agrees": 4}
        return bool(done and summary["places"] >= summary["replicas"] > 0)

    wait_until(compared, "every disk to agree with the tables", 120.0)


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
