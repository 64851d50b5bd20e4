"""`gfsctl admin disks ls|drain|undrain|replace` on a real cluster, whose servers have one disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gfsctl_program import Gfsctl

DISKS = ("admin", "disks")


@pytest.fixture
def disks(gfsctl: Gfsctl) -> Iterator[Gfsctl]:
    """The shared cluster; every disk is in service afterwards, as others expect it."""
    gfsctl.wait_heard()
    yield gfsctl
    known = gfsctl.library.operations.disks
    for row in known.all().items:
        if row.mode != "in-service":
            known.undrain(row.server, row.disk_id, "test")


def disk_of(gfsctl: Gfsctl, server: str) -> dict[str, object]:
    (row,) = gfsctl.ok(*DISKS, "ls", server, "-o", "json").json["items"]
    return row


def test_disks_are_listed_by_server(disks: Gfsctl) -> None:
    listed = disks.ok(*DISKS, "ls", "-o", "json").json
    assert listed["kind"] == "DiskList"
    assert [one["server"] for one in listed["items"]][:4] == ["cs1", "cs2", "cs3", "cs4"]
    assert disk_of(disks, "cs2")["state"] == "in-service"
    assert b"Journal" in disks.ok(*DISKS, "ls", "-o", "wide").out
    names = disks.ok(*DISKS, "ls", "cs1", "-o", "name").out.decode().split()
    assert names == [f"cs1:{disk_of(disks, 'cs1')['disk_id']}"]
    assert "there are cs1" in disks.refused(3, *DISKS, "ls", "cs77")


def test_the_only_disk_of_a_server_is_drained_and_taken_back(disks: Gfsctl, home: str) -> None:
    disks.library.write_bytes(f"{home}/f", b"x" * 3000)
    name = f"cs4:{disk_of(disks, 'cs4')['disk_id']}"
    planned = disks.ok(*DISKS, "drain", name, "-n", "-o", "json").json
    assert planned["kind"] == "DrainPlan" and planned["disks"] == [name]
    assert planned["left_in_service"] == 3, "its server is left without a disk"
    slow = disks.ok(*DISKS, "drain", name, "-n", "--bwlimit", "1KiB/s", "-o", "json").json
    assert slow["eta_ms"] >= slow["move_bytes"] * 1000 // 1024
    assert "moves nothing" in disks.refused(2, *DISKS, "drain", name, "--bwlimit", "0")
    assert "only disk in service" in disks.ok(*DISKS, "replace", name).out.decode()
    for which in (name, name.partition(":")[2]):
        (told,) = disks.ok("explain", which, "-o", "json").json["items"]
        assert (told["about"], told["name"], told["well"]) == ("disk", name, True)
    word = (name.partition(":")[2], "-y", "--bwlimit", "50MiB/s", "-o", "name")
    job = disks.ok(*DISKS, "drain", *word).out.decode().strip()
    assert job.startswith("x-") and disk_of(disks, "cs4")["job"] == job
    assert "50.0 MiB/s" in disks.ok("admin", "jobs", "show", job).out.decode()
    other = "r" + job[1:]
    assert f"there is no job {other}" in disks.refused(3, "explain", other), "as jobs show says"
    explained = disks.ok("explain", job).out.decode()
    assert f"off disk {name.partition(':')[2]} of cs4" in explained
    refused = disks.refused(4, *DISKS, "drain", name, "-y")
    assert "drained already" in refused or job in refused
    row = next(
        one
        for one in disks.ok("admin", "chunkservers", "ls", "-o", "json").json["items"]
        if one["name"] == "cs4"
    )
    assert row["mode"] == "in-service" and row["state"] == "live"
    guide = disks.ok(*DISKS, "replace", name, "-o", "json").json
    assert guide["kind"] == "DiskReplacement" and guide["steps"]
    assert "would take back" in disks.ok(*DISKS, "undrain", name, "-n").out.decode()
    assert "is in service" in disks.ok(*DISKS, "undrain", name).out.decode()
    assert "in service already" in disks.refused(4, *DISKS, "undrain", name)
    assert disks.process("admin", "jobs", "wait", job).status in (0, 11)
    assert disks.library.read_bytes(f"{home}/f") == b"x" * 3000


def test_what_cannot_begin_ends_as_the_drain_would_also_if_it_is_only_asked_for(
    disks: Gfsctl,
) -> None:
    servers = ["cs4", "cs3", "cs2"]
    name, *more = (f"{one}:{disk_of(disks, one)['disk_id']}" for one in servers)
    for words in ((), ("-o", "json")):
        ended = disks(*DISKS, "drain", name, *more, "-n", *words)
        assert ended.status == 4 and "without -y it would not begin" in ended.err
    planned = disks.ok(*DISKS, "drain", name, *more, "-n", "-y", "-o", "json").json
    assert planned["servers"] == servers and planned["disks"] == [name, *more]
    assert disks.ok(*DISKS, "drain", name, "-n", "-o", "name").out.decode().split() == [name]
    disks.ends_well(*DISKS, "drain", name, "-y", "--wait", "-q")
    for option in ((), ("-n",)):
        assert "drained already" in disks.refused(4, *DISKS, "drain", name, "-y", *option)


def test_a_disk_is_named_by_the_end_of_its_directory_and_a_server_is_told_apart(
    disks: Gfsctl,
) -> None:
    where = str(disk_of(disks, "cs2")["directory"])
    name = f"cs2:{disk_of(disks, 'cs2')['disk_id']}"
    guide = disks.ok(*DISKS, "replace", f"cs2:{where.rpartition('/')[2]}", "-o", "name")
    assert guide.out.decode().split() == [name]
    for verb in ("drain", "undrain"):
        said = disks.refused(3, *DISKS, verb, "cs2")
        assert "cs2 is a chunkserver" in said and f"chunkservers {verb} cs2" in said


def test_programs_get_one_document_for_several_disks(disks: Gfsctl) -> None:
    both = [f"{one}:{disk_of(disks, one)['disk_id']}" for one in ("cs1", "cs4")]
    disks.ok(*DISKS, "drain", *both, "-y", "-q")
    for option in (("-n",), ()):
        told = disks.ok(*DISKS, "undrain", *both, *option, "-o", "json").json
        assert told["kind"] == "DiskChanged" and told["dry_run"] == bool(option)
        assert [one["name"] for one in told["items"]] == both


def test_a_disk_that_is_there_is_not_forgotten(disks: Gfsctl) -> None:
    name = f"cs3:{disk_of(disks, 'cs3')['disk_id']}"
    assert "still has it" in disks.refused(4, *DISKS, "replace", name, "--forget", "-y")
    disks.refused(2, *DISKS, "replace", name, "--forget", "--wait")
    for verb in ("drain", "undrain", "replace"):
        assert "there are cs3:" in disks.refused(3, *DISKS, verb, "cs3:0x1")
        assert "no chunkserver 'cs77'" in disks.refused(3, *DISKS, verb, "cs77:0x1")
    disks.refused(2, *DISKS, "drain")
