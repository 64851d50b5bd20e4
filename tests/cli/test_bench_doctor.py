"""bench and doctor against a cluster, and against none."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from gfsctl_program import Ended, Gfsctl, eventually, wait_until

from gfs_ha.client.bench import PREFIX


@pytest.mark.parametrize("kind", ["put", "get", "meta"])
def test_a_measurement_says_what_it_measured_and_leaves_nothing(
    gfsctl: Gfsctl, home: str, kind: str
) -> None:
    sizes = () if kind == "meta" else ("--size", "20KiB", "--files", "6")
    words = ("bench", kind, *sizes, "--seconds", "0.3", "-j", "2", "--dir", home)
    items: list[dict[str, Any]] = []

    def whole() -> bool:  # On a busy machine a chain may lose a server on the way.
        items[:] = gfsctl.ok(*words, "-o", "json").json["items"]
        return kind == "meta" or items[0]["copies"] == 3

    wait_until(whole, "a measurement with every copy")
    (item,) = items
    assert item["kind"] == kind and item["took_ms"] > 0
    counts = {row["name"]: row["count"] for row in item["operations"]}
    if kind == "meta":
        assert list(counts) == ["create", "stat", "rename", "remove"]
        assert len(set(counts.values())) == 1
    else:
        assert item["bytes"] == 20 * 1024 * counts[kind]
        assert (item["copies"], item["goal"], item["durability"]) == (3, 3, "disk")
    assert all(row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in item["operations"])
    text = gfsctl.ok(*words).lines
    assert text[0].startswith(f"{kind}: ") and text[-1].startswith("measured: ")
    assert gfsctl.names(home) == []


def test_a_stopped_measurement_leaves_nothing(gfsctl: Gfsctl, home: str) -> None:
    words = ("bench", "put", "--size", "1KiB", "--seconds", "600", "--dir", home)
    child = gfsctl.begin(*words)
    wait_until(lambda: len(gfsctl.tree(home)) > 2, "files were put")
    child.send_signal(signal.SIGTERM)
    ended = gfsctl.end(child)
    assert ended.status == 143 and "Traceback" not in ended.err
    assert gfsctl.names(home) == []


def test_what_a_killed_measurement_left_is_removed_when_asked(gfsctl: Gfsctl, home: str) -> None:
    words = ("bench", "meta", "--seconds", "600", "--dir", home)
    child = gfsctl.begin(*words)
    wait_until(lambda: bool(gfsctl.names(home)), "it began")
    child.kill()
    gfsctl.end(child)
    [name] = gfsctl.names(home)
    assert name.startswith(PREFIX)
    gfsctl.library.mkdir(f"{home}/mine")
    assert gfsctl.ok("bench", "cleanup", "-n", "--dir", home).lines == [
        f"would remove {home}/{name}"
    ]
    assert "say -y" in gfsctl.refused(2, "bench", "cleanup", "--dir", home)
    assert gfsctl.ok("bench", "cleanup", "-y", "--dir", home).lines == [f"removed {home}/{name}"]
    assert gfsctl.names(home) == ["mine"]
    assert gfsctl.ok("bench", "cleanup", "--dir", home).lines == ["there is nothing to remove"]


def test_a_measurement_does_not_fill_the_cluster(gfsctl: Gfsctl, home: str) -> None:
    words = ("bench", "put", "--dir", home)
    assert "a tenth" in gfsctl.refused(7, *words, "--size", "900TiB", "--files", "1")
    gfsctl.refused(3, "bench", "put", "--dir", f"{home}/none")
    assert gfsctl.names(home) == []


def test_doctor_finds_a_cluster_well(gfsctl: Gfsctl) -> None:
    names = ("configuration", "names", "masters", "cluster", "leader", "members", "versions")

    def well() -> tuple[Ended, dict[str, dict[str, Any]]]:
        # Others may have stopped a process of the shared cluster a moment ago, and a busy machine
        # may answer late; that is no failure.
        ended = gfsctl("doctor", "-o", "json")
        items = {item["name"]: item for item in ended.json["items"]}
        assert ended.status == 0, ended.out
        for name in names:
            assert items[name]["state"] == "ok", items[name]
        return ended, items

    ended, items = eventually(well)
    assert "(GFS_CONFIG)" in items["configuration"]["fact"]
    assert "±" in items["clocks"]["fact"]
    assert ended.json["summary"]["fail"] == 0


def test_doctor_ends_soon_and_says_why_when_nothing_can_be_reached(
    gfsctl: Gfsctl, tmp_path: Path
) -> None:
    text = gfsctl.config.read_text()
    (tmp_path / "wrong.toml").write_text(
        text.replace(gfsctl.library.config.cluster.id, "another-cluster")
    )
    ended = gfsctl("doctor", "--config", "wrong.toml", "-o", "json")
    assert ended.status == 8
    failed = {item["name"] for item in ended.json["items"] if item["state"] == "fail"}
    assert failed == {"masters", "cluster", "leader"}
    (tmp_path / "broken.toml").write_text("[cluster\n")
    ended = gfsctl("doctor", "--config", "broken.toml")
    assert ended.status == 8 and b"broken.toml:1" in ended.out
    assert ended.err == "gfsctl: 1 check failed: configuration\n"
    for target in ("nowhere", "wrong.toml"):
        ended = gfsctl("doctor", "--target", target)
        assert ended.status == 8 and ended.err == "gfsctl: 1 check failed: target\n"
