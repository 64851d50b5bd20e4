"""`gfsctl local`: a small cluster up, looked at, killed, started and taken down by its verbs."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gfsctl_program import GFSCTL, Ended

import gfs_ha
from gfs_ha.config import LOOPBACK, load
from gfs_ha.errors import GfsError
from gfs_ha.local.cluster import LocalCluster

Local = Callable[..., Ended]

pytestmark = pytest.mark.processes


@pytest.fixture
def directory(new_cluster: Callable[[str], LocalCluster]) -> Path:
    """A directory whose cluster is taken down at the end, whatever the test did."""
    return new_cluster("by-verbs").directory


@pytest.fixture
def local(directory: Path) -> Local:
    def run(*words: str) -> Ended:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("GFS_")}
        done = subprocess.run(
            [GFSCTL, "local", *words],
            env={**plain, "GFS_LOCAL_DIR": str(directory)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    return run


def test_the_life_of_a_local_cluster(local: Local, directory: Path) -> None:
    assert local("status").status == 3
    assert local("env").status == 3
    assert local("add").status == 3
    assert local("kill", "m1").status == 3

    up = local("up", "--masters", "1", "--chunkservers", "2", "--chunk-size", "1MiB")
    assert up.status == 0, up.err
    assert "started: m1 cs1 cs2" in up.lines
    _check_it_is_closed(directory)
    again = local("up", "-o", "json")
    assert again.json["items"][0]["running"] == ["m1", "cs1", "cs2"]
    assert again.json["items"][0]["created"] is False
    assert local("up", "--masters", "3").status == 2
    assert local("up", "--no-tls").status == 2

    assert local("env").lines == [f"export GFS_CONFIG={directory / 'gfs.toml'}"]
    rows = local("status", "-o", "json").json["items"]
    assert [(row["name"], row["state"]) for row in rows] == [
        *(("m1", "running"), ("cs1", "running"), ("cs2", "running")),
    ]

    assert local("kill", "cs2", "-9").status == 0
    states = {row["name"]: row["state"] for row in local("status", "-o", "json").json["items"]}
    assert states == {"m1": "running", "cs1": "running", "cs2": "stopped"}
    assert local("kill", "cs2").status == 3
    unknown = local("kill", "cs9")
    assert unknown.status == 3 and "cs1" in unknown.err
    assert local("start", "cs2").lines == ["cs2 started"]
    assert local("start", "cs2").lines == ["cs2 runs already"]
    assert local("kill", "cs2", "--signal", "STOP").status == 0
    paused = local("start", "cs2")
    assert paused.status == 4 and "local kill cs2 --signal CONT" in paused.err
    assert local("kill", "cs2", "-CONT").status == 0
    _check_a_wrong_file_matters_to_its_own_process_only(local, directory)

    assert local("down").lines[0].startswith("stopped: m1 cs1 cs2")
    assert local("down").lines[0].startswith("nothing was running")
    assert (directory / "gfs.toml").exists()
    assert local("up").status == 0
    more = local("up", "--chunkservers", "3")
    assert more.status == 2 and f"`gfsctl local add --servers 1 --dir {directory}`" in more.err
    added = local("add", "--rack", "r3", "--capacity", "1GiB")
    assert added.status == 0 and added.lines[0] == "cs3 started on rack r3", added.err
    _check_it_serves(directory, "cs3", rack="r3")
    wiped = local("down", "--wipe", "-o", "json")
    assert wiped.json["items"][0]["stopped"] == ["m1", "cs1", "cs2", "cs3"]
    assert not directory.exists()
    assert local("down", "--wipe").lines[0].startswith("there is no local cluster in")


def _check_it_is_closed(directory: Path) -> None:
    """Fail unless who shows the user's certificate is heard, and nobody else."""
    with gfs_ha.connect(directory / "gfs.toml") as cluster:
        cluster.mkdir("/x")
        cluster.operations.health()  # Its user is an administrator.
    bare = directory / "gfs.toml.bare"
    bare.write_text((directory / "gfs.toml").read_text().replace('security = "tls"', ""))
    with gfs_ha.connect(bare, timeout_s=2.0) as cluster, pytest.raises(GfsError):
        cluster.stat("/x")
    bare.unlink()
    for name in ("m1", "cs1", "cs2", "ca", "."):
        for key in (directory / name).rglob("*.key"):
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
        if (directory / name / "tls").exists():
            assert stat.S_IMODE((directory / name / "tls").stat().st_mode) == 0o700


def _check_it_serves(directory: Path, name: str, rack: str) -> None:
    """Fail unless a server of a closed cluster has a certificate, and the leader knows it live."""
    assert (directory / name / "tls").is_dir()
    with gfs_ha.connect(directory / "gfs.toml") as cluster:
        row = next(row for row in cluster.operations.servers().items if row.name == name)
        assert (row.state, row.rack, row.disks[0].total_bytes) == ("live", rack, 1 << 30)


def test_a_cluster_without_certificates_is_there_for_who_asks(
    local: Local, directory: Path
) -> None:
    up = local("up", "--no-tls", "--masters", "1", "--chunkservers", "3", "--racks", "3")
    assert up.status == 0, up.err
    rows = local("status", "-o", "json").json["items"]
    assert [row["rack"] for row in rows] == [None, "r1", "r2", "r3"], "so many, and not one of it"
    assert not (directory / "ca").exists() and not list(directory.rglob("key.pem"))
    assert load(directory / "gfs.toml").security == LOOPBACK
    assert local("up").status == 0, "it stays as it is"
    assert local("down", "--wipe").status == 0


def _check_a_wrong_file_matters_to_its_own_process_only(local: Local, directory: Path) -> None:
    config = directory / "cs1" / "gfs.toml"
    good = config.read_text()
    config.write_text(good + "\n[nonsense]\n")
    shown = local("status")
    assert shown.status == 0 and "3 of 3 running" in shown.lines[-1]
    (told,) = (line for line in shown.lines if line.startswith("cs1: "))
    assert "nonsense" in told and str(config) in told
    rows = {row["name"]: row for row in local("status", "-o", "json").json["items"]}
    assert rows["cs1"]["state"] == "running" and "nonsense" in rows["cs1"]["error"]
    assert rows["cs1"]["port"] is None and rows["cs1"]["pid"] and rows["cs2"]["error"] is None
    assert [one.split()[:4] for one in local("kill", "cs2", "m1").lines] == [
        *(["SIGTERM", "sent", "to", "cs2"], ["SIGTERM", "sent", "to", "m1"]),
    ]
    some = local("start", "cs9", "m1", "cs2", "m1")
    assert (some.status, some.lines) == (11, ["m1 started", "cs2 started"]), some.err
    assert "'cs9'" in some.err and "1 name was not started, 2 were" in some.err
    assert local("kill", "cs1", "-9").status == 0, "its process is known without its file"
    refused = local("start", "cs1")
    assert refused.status != 0 and "nonsense" in refused.err
    assert local("down").lines[0].startswith("stopped: m1 cs2")
    config.write_text(good)
    assert local("up").status == 0


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--chunk-size", "1KiB"),
        ("up", "--chunk-size", "big"),
        ("up", "--racks", "r1,,r2"),
        ("up", "--racks", "0"),
        ("up", "--masters", "0"),
        ("up", "--masters", "2"),
        ("kill", "m1", "-9", "--signal", "STOP"),
        ("kill", "m1", "-9", "-15"),
        ("kill", "m1", "-STOP", "-CONT"),
        ("up", "--chunkservers", "-1"),
        ("add", "--capacity", "1GiB,2GiB"),
        ("add", "--servers", "many"),
        ("kill", "m1", "--signal", "NONSENSE"),
        ("kill",),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    local: Local, directory: Path, words: tuple[str, ...]
) -> None:
    ended = local(*words)
    assert ended.status == 2, ended.err
    assert ended.err.count("\n") == 1
    assert not directory.exists() or not any(directory.iterdir())


def test_a_size_that_is_too_small_is_told_with_its_option(local: Local) -> None:
    assert (
        "--capacity 1GiB,60MiB: a disk has at least 64.0 MiB"
        in local("up", "--capacity", "1GiB,60MiB").err
    )
