"""`gfsctl admin chunkservers drain|maintenance|label|remove|ok-to-stop` on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gfsctl_program import Gfsctl, wait_until

ADMIN = ("admin", "chunkservers")


@pytest.fixture
def standing(gfsctl: Gfsctl) -> Iterator[Gfsctl]:
    """The shared cluster; every server is in service afterwards, as others expect it."""
    gfsctl.wait_heard()
    yield gfsctl
    modes = gfsctl.library.operations.server_modes
    for row in gfsctl.library.operations.servers().items:
        if row.mode != "in-service":
            modes.undrain(row.name, "test")
        if row.maintenance_left_ms:
            modes.maintain(row.name, 0)
        if row.labels:
            modes.label(row.name, (), tuple(key for key, _ in row.labels))


def row(gfsctl: Gfsctl, name: str) -> dict[str, object]:
    items = gfsctl.ok(*ADMIN, "ls", "-o", "json").json["items"]
    return next(one for one in items if one["name"] == name)


def test_a_server_is_drained_and_taken_back(standing: Gfsctl, home: str) -> None:
    standing.library.write_bytes(f"{home}/f", b"x" * 3000)
    planned = standing.ok(*ADMIN, "drain", "cs4", "-n", "-y", "-o", "json").json
    assert planned["kind"] == "DrainPlan" and planned["servers"] == ["cs4"]
    assert row(standing, "cs4")["mode"] == "in-service", "a plan changes nothing"
    # Chunks of other tests may want more copies than there are servers then: -y.
    began = standing.ok(*ADMIN, "drain", "cs4", "-y", "-o", "name").out.decode().strip()
    assert began.startswith("d-")
    assert began in standing.ok("admin", "jobs", "ls", "-o", "name").out.decode()
    again = standing(*ADMIN, "drain", "cs4", "-y")  # It may be done by now.
    assert again.status == 4 and ("cs4 is drained" in again.err or began in again.err)
    planned_again = standing(*ADMIN, "drain", "cs4", "-y", "-n")
    assert planned_again.status == 4 and planned_again.err.startswith("gfsctl: ")
    told = " ".join(standing.ok("explain", "cs4").out.decode().split())
    assert "begins, asked for by" in told, "what empties it is a part of its story"
    assert b"would take back cs4" in standing.ok(*ADMIN, "undrain", "cs4", "-n").out
    assert row(standing, "cs4")["mode"] != "in-service"
    mixed = standing.refused(4, *ADMIN, "undrain", "cs3", "cs4")
    assert "cs3 is in service already" in mixed, "the other one is taken back all the same"
    assert row(standing, "cs4")["mode"] == "in-service"
    assert "in service already" in standing.refused(4, *ADMIN, "undrain", "cs4")
    assert standing.process("admin", "jobs", "wait", began).status in (0, 11)
    assert standing.library.read_bytes(f"{home}/f") == b"x" * 3000


def test_maintenance_is_shown_and_ends(standing: Gfsctl) -> None:
    standing.ok(*ADMIN, "maintenance", "on", "cs2", "--for", "30m", "-n")
    assert row(standing, "cs2")["maintenance_left_ms"] == 0
    said = standing.ok(*ADMIN, "maintenance", "on", "cs2", "cs2", "--for", "30m").out.decode()
    assert said.count("is in maintenance for") == 1 and "ok-to-stop cs2" in said
    left = row(standing, "cs2")["maintenance_left_ms"]
    assert isinstance(left, int) and 0 < left <= 30 * 60_000
    assert b"maintenance" in standing.ok(*ADMIN, "ls").out
    assert b"SERVER_MAINTENANCE" in standing("admin", "health").out
    for verb in ("plan", "status"):
        assert b"left out: cs2 is in maintenance" in standing.ok("admin", "rebalance", verb).out
    assert b"before its time" in standing.ok(*ADMIN, "maintenance", "off", "cs2", "-n").out
    standing.ok(*ADMIN, "maintenance", "off", "cs2")
    assert b"is not in maintenance" in standing.ok(*ADMIN, "maintenance", "off", "cs2").out
    assert row(standing, "cs2")["maintenance_left_ms"] == 0
    for words in (("--for", "25h"), ("--for", "0"), ("--for", "soon")):
        standing.refused(2, *ADMIN, "maintenance", "on", "cs2", *words)


def test_programs_get_one_document_whatever_was_changed(standing: Gfsctl) -> None:
    words = (*ADMIN, "maintenance", "on", "cs2", "cs3", "--for", "30m", "-o", "json")
    would = standing.ok(*words, "-n").json
    assert would["dry_run"] and [one["name"] for one in would["items"]] == ["cs2", "cs3"]
    done = standing.ok(*words).json
    assert done["kind"] == "ChunkserverChanged" and not done["dry_run"]
    over = standing.ok(*ADMIN, "maintenance", "off", "cs2", "cs3", "-o", "json").json
    assert len(over["items"]) == 2


def test_labels_are_set_shown_and_found_by(standing: Gfsctl) -> None:
    standing.ok(*ADMIN, "label", "cs1", "room=b12", "disk=nvme")
    assert b"disk=nvme,room=b12" in standing.ok(*ADMIN, "ls", "-o", "wide").out
    found = standing.ok(*ADMIN, "ls", "--label", "room=b12", "-o", "json").json["items"]
    assert [one["name"] for one in found] == ["cs1"]
    assert standing.ok(*ADMIN, "ls", "--label", "room=a1", "-o", "json").json["items"] == []
    assert standing.ok(*ADMIN, "label", "cs1", "disk-").out == b"cs1: label disk is gone\n"
    assert standing.ok(*ADMIN, "label", "cs1", "disk-").out == b"cs1: there was no label disk\n"
    assert b"nvme" not in standing.ok(*ADMIN, "show", "cs1").out
    assert b"would have room=b12, x=y" in standing.ok(*ADMIN, "label", "cs1", "x=y", "-n").out
    assert "at once" in standing.refused(2, *ADMIN, "label", "cs1", "a=b", "a-")
    standing.refused(2, *ADMIN, "label", "cs1", "room")
    standing.refused(2, *ADMIN, "label", "cs1", "=x")


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
def test_whether_servers_may_stop_is_said_in_every_form(
    standing: Gfsctl, home: str, mode: str
) -> None:
    standing.library.write_bytes(f"{home}/f", b"x" * 3000)
    ended = standing(*ADMIN, "ok-to-stop", "cs1", "cs2", "cs3", "-o", mode)
    assert ended.status == 8, "one server alone cannot be written to"
    if mode == "json":
        assert ended.json["kind"] == "StopVerdict" and not ended.json["ok"]
        assert ended.json["left_in_service"] == 1
    elif mode == "table":
        assert "may not stop" in ended.out.decode()


def test_servers_are_named_by_rack_and_machine_too(standing: Gfsctl) -> None:
    ended = standing(*ADMIN, "ok-to-stop", "--rack", "r1", "-o", "json")
    assert ended.status in (0, 8)
    standing.refused(3, *ADMIN, "ok-to-stop", "--rack", "r77")
    assert "there are r" in standing.refused(3, *ADMIN, "ls", "--rack", "r77")
    none = standing.ok(*ADMIN, "ls", "--rack", "r1", "--label", "no=such")
    assert none.out == b"no chunkservers on rack r1 with label no=such\n"
    standing.refused(3, *ADMIN, "ok-to-stop", "cs77")
    standing.refused(2, *ADMIN, "ok-to-stop")


def test_a_server_in_service_is_not_removed_and_what_is_not_there_is_named(
    standing: Gfsctl,
) -> None:
    assert "decommission cs3" in standing.refused(4, *ADMIN, "remove", "cs3", "-y")
    for verb in ("drain", "undrain", "decommission", "remove"):
        assert "there are cs1" in standing.refused(3, *ADMIN, verb, "cs77")
    assert "there are cs1" in standing.refused(3, *ADMIN, "maintenance", "on", "cs1", "cs77")
    assert row(standing, "cs1")["maintenance_left_ms"] == 0, "none of them, if one is no server"


def test_a_drain_that_is_waited_for_says_how_it_ended(standing: Gfsctl) -> None:
    begun = standing.begin(*ADMIN, "drain", "cs4", "-y", "--wait")
    wait_until(lambda: row(standing, "cs4")["mode"] != "in-service", "it began", 60.0)
    mode = row(standing, "cs4")["mode"]
    if mode == "draining":
        standing.ok(*ADMIN, "undrain", "cs4")
    ended = standing.end(begun)
    assert ended.status in (0, 11), ended.err
    assert "is being drained" in ended.out.decode()
