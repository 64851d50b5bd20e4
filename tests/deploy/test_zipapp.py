"""gfsctl in one file: it runs without anything installed, and brings up a whole cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gfs_ha.version import VERSION

FILE = os.environ.get("GFS_ZIPAPP", "")
WAIT_S = 120.0

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not FILE, reason="`make zipapp` builds the file and runs this"),
]


class Gfsctl:
    """The file, started by the Python below this one: that has nothing of ours."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def run(self, *words: str) -> str:
        environ = {"HOME": str(self._home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        command = [sys._base_executable, "-s", str(Path(FILE).absolute()), *words]  # type: ignore[attr-defined]
        ended = subprocess.run(
            command, cwd=self._home, env=environ, text=True, capture_output=True, timeout=WAIT_S
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture
def gfsctl(tmp_path: Path) -> Iterator[Gfsctl]:
    yield Gfsctl(tmp_path)


def test_it_says_its_version_and_what_it_can(gfsctl: Gfsctl) -> None:
    assert gfsctl.run("--version").startswith(f"gfs-ha {VERSION} ")
    assert "gfsctl put report.pdf /docs/" in gfsctl.run("--help")


def test_it_brings_up_a_cluster_and_moves_files(gfsctl: Gfsctl, tmp_path: Path) -> None:
    place = tmp_path / "cluster"
    words = ("--masters", "1", "--chunkservers", "2")
    try:
        gfsctl.run("local", "up", "--dir", str(place), *words)
        client = ("--config", str(place / "gfs.toml"))
        content = os.urandom(100_000)
        (tmp_path / "file").write_bytes(content)
        gfsctl.run(*client, "put", str(tmp_path / "file"), "/file")
        listed = json.loads(gfsctl.run(*client, "ls", "/", "-o", "json"))
        assert [item["name"] for item in listed["items"]] == ["file"], listed
        gfsctl.run(*client, "get", "/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == content
    finally:
        gfsctl.run("local", "down", "--dir", str(place), "--wipe")
