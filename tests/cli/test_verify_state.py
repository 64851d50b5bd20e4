"""`gfsctl admin masters verify-state`: what it shows, and with which exit status it ends."""

from __future__ import annotations

import signal

from gfsctl_program import Ended, Gfsctl, eventually, wait_until

from gfs_ha.local.cluster import LocalCluster

VERIFY = ("admin", "masters", "verify-state")
MASTERS = ["m1", "m2", "m3"]


def verified(gfsctl: Gfsctl, *words: str) -> Ended:
    """Return what is shown once all masters answer: one may be busy, or have started just now."""
    ended: list[Ended] = []

    def heard() -> bool:
        ended[:] = [gfsctl(*VERIFY, *words)]
        return ended[0].status != 5

    wait_until(heard, "the answer of every master")
    assert ended[0].status == 0, ended[0].err
    return ended[0]


def test_equal_masters_are_told_as_table_names_and_json(gfsctl: Gfsctl) -> None:
    shown = verified(gfsctl)
    assert [line.split() for line in shown.lines[1:4]] == [[name, "equal"] for name in MASTERS]
    assert "3 of 3 equal" in shown.lines[4]
    assert verified(gfsctl, "-o", "name").lines == MASTERS
    found = verified(gfsctl, "-o", "json").json
    assert found["kind"] == "StateCheck" and found["diverged"] == []
    assert len(found["digest"]) == 32 and found["index"] > 0 and found["checked_ms"] > 0
    assert [item["verdict"] for item in found["items"]] == ["equal"] * 3
    assert [item["count"] for item in found["items"]] == [None] * 3


def test_with_deep_every_master_counts_the_same_rows(gfsctl: Gfsctl, home: str) -> None:
    found = verified(gfsctl, "--deep", "-o", "json").json
    counts = [item["count"] for item in found["items"]]
    assert all(count["done"] and count["counted"] == count["kept"] for count in counts)
    assert all(count["row_count"] > 10 for count in counts)
    lines = verified(gfsctl, "--deep").lines
    assert all(line.endswith("right") for line in lines[1:4]), lines


def test_the_newest_comparison_stands_below_the_list_of_masters(gfsctl: Gfsctl) -> None:
    def listed() -> None:  # The leader compares by itself, too, and somebody may be late for it.
        index = verified(gfsctl, "-o", "json").json["index"]
        found = gfsctl.ok("admin", "masters", "ls", "-o", "json").json
        assert found["check"]["index"] >= index
        assert "3 of 3 equal" in gfsctl.ok("admin", "masters", "ls").lines[-1]

    eventually(listed)


def test_a_master_that_does_not_answer_is_exit_five_and_named(
    gfsctl: Gfsctl, whole_cluster: LocalCluster
) -> None:
    leader = gfsctl.library.operations.status().leader
    away = next(name for name in MASTERS if name != leader)
    whole_cluster.kill(away, signal.SIGKILL)

    def named(*words: str) -> None:  # It alone: on a busy machine another may be late, too.
        assert f"gfsctl: {away} did not answer" in gfsctl.refused(5, *VERIFY, *words)

    eventually(named)
    eventually(lambda: named("--deep"))
    whole_cluster.start(away)


def test_without_a_leader_it_ends_in_time(gfsctl: Gfsctl, whole_cluster: LocalCluster) -> None:
    for name in MASTERS[:2]:
        whole_cluster.kill(name, signal.SIGKILL)
    assert "no leader" in gfsctl.refused(5, *VERIFY, "--timeout", "1")


def test_help_says_the_exit_statuses(gfsctl: Gfsctl) -> None:
    text = gfsctl.ok(*VERIFY, "--help").out.decode()
    assert "--deep" in text and "8: one differs" in text
