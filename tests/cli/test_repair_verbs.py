"""`gfsctl admin repair`: nothing to repair, what it may take, and words that are refused."""

from __future__ import annotations

import pytest
from gfsctl_program import Gfsctl, wait_until


def test_a_whole_cluster_has_nothing_to_repair(gfsctl: Gfsctl) -> None:
    shown = gfsctl.ok("admin", "repair", "status", "-o", "json").json
    assert shown["kind"] == "Repair" and shown["items"][0]["lost_count"] == 0
    assert gfsctl.ok("admin", "repair", "queue").out


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
@pytest.mark.parametrize("verb", ["status", "queue", "budget"])
def test_every_screen_of_repair_has_every_form(gfsctl: Gfsctl, verb: str, mode: str) -> None:
    shown = gfsctl.ok("admin", "repair", verb, "-o", mode).out.decode()
    assert shown.lstrip().startswith("{") == (mode in ("json", "jsonl"))


def test_the_budget_is_changed_one_number_at_a_time(gfsctl: Gfsctl) -> None:
    found = gfsctl.ok("admin", "repair", "budget", "-o", "json").json
    assert found["kind"] == "RepairBudget"
    [before] = found["items"]
    try:
        words = ("admin", "repair", "budget", "--server", "50MiB")
        said = gfsctl.ok(*words, "-n").out.decode()
        assert "nothing was changed" in said and "50.0 MiB/s" in said
        [still] = gfsctl.ok("admin", "repair", "budget", "-o", "json").json["items"]
        assert still["server_bytes_per_s"] == before["server_bytes_per_s"]
        [changed] = gfsctl.ok(*words, "-o", "json").json["items"]
        assert changed["server_bytes_per_s"] == 50 << 20
        assert changed["copies"] == before["copies"]
        [found] = gfsctl.ok("admin", "repair", "status", "-o", "json").json["items"]
        assert found["budget"]["server_bytes_per_s"] == 50 << 20
        assert "50.0 MiB/s" in gfsctl.ok("admin", "repair", "budget").out.decode()
    finally:
        usual = str(before["server_bytes_per_s"])
        gfsctl.ok("admin", "repair", "budget", "--server", usual)


def test_a_repair_that_is_held_says_so_wherever_one_looks(gfsctl: Gfsctl) -> None:
    [before] = gfsctl.ok("admin", "repair", "budget", "-o", "json").json["items"]
    try:
        gfsctl.ok("admin", "repair", "budget", "--copies", "0")
        # A leader that is new says first that it still hears its servers.
        wait_until(lambda: b"held" in gfsctl.ok("admin", "repair", "status").out, "it is held")
        [found] = gfsctl.ok("admin", "repair", "status", "-o", "json").json["items"]
        assert "0 copies" in found["hold"]
        assert b"REPAIR_HELD" in gfsctl("admin", "health").out
    finally:
        gfsctl.ok("admin", "repair", "budget", "--copies", str(before["copies"]))
    assert b"REPAIR_HELD" not in gfsctl("admin", "health").out


def test_a_size_that_is_none_is_refused(gfsctl: Gfsctl) -> None:
    for size in ("fast", "99999999999TiB"):
        assert size in gfsctl.refused(2, "admin", "repair", "budget", "--server", size)
    assert "-1" in gfsctl.refused(2, "admin", "repair", "budget", "--copies", "-1")
