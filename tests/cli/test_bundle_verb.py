"""`gfsctl admin bundle`: all there is, bounded, without what was planted, and with masters down."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import time
from pathlib import Path
from typing import Any

from gfsctl_program import Gfsctl, eventually

from gfs_ha.cli.admin.bundle_parts import BUNDLE_BYTES_MAX, Bundle
from gfs_ha.limits import MIB
from gfs_ha.local.cluster import LocalCluster

SECRET = "hunter2xyzzy"
SOON_S = 90.0  # Only a broken test waits so long.


def unpacked(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive, without the directory that all of them are in."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive.getmembers():
            assert entry.isfile() and ".." not in entry.name and entry.mode == 0o600
            top, _, name = entry.name.partition("/")
            assert top.startswith("gfs-bundle-")
            file = archive.extractfile(entry)
            assert file is not None
            found[name] = file.read()
    return found


def test_an_archive_has_everything_but_the_secrets(gfsctl: Gfsctl, home: str) -> None:
    # In a name, and so in log lines; and in the configuration.
    gfsctl.library.mkdir(f"{home}/x?token={SECRET}")
    text = gfsctl.config.read_text()
    config = gfsctl.directory / "mine.toml"
    config.write_text(f"# password: {SECRET}\n{text}")
    until_s = time.monotonic() + SOON_S
    pattern = f"token={SECRET}"
    while not gfsctl.ok("admin", "logs", "--grep", pattern, "-o", "json").json["items"]:
        assert time.monotonic() < until_s, "the line did not come"
        time.sleep(0.1)

    def gathered() -> Any:  # On a busy machine one may not answer in time.
        ended = gfsctl.ok("admin", "bundle", "--config", config, "-o", "json")
        (item,) = ended.json["items"]
        assert not item["missing"]
        return item

    path = gfsctl.directory / eventually(gathered)["path"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files = unpacked(path.read_bytes())
    for name, content in files.items():
        assert SECRET.encode() not in content, name
    manifest = json.loads(files["manifest.json"])
    assert manifest["removed"] >= 1 and set(manifest["files"]) | {"manifest.json"} == set(files)
    for name in ("status", "health", "masters", "chunkservers", "disks", "settings", "events"):
        assert json.loads(files[f"{name}.json"]), name
    assert json.loads(files["config.json"])["cluster"]["masters"]
    for node in ("m1", "m2", "m3", "cs1", "cs2", "cs3", "cs4"):
        assert files[f"logs/{node}.log"].startswith(b"2"), node
    assert b"x?token=(removed)" in b"".join(files.values())


def test_an_archive_replaces_no_file_and_goes_down_a_pipe(gfsctl: Gfsctl) -> None:
    (gfsctl.directory / "there").write_text("mine")
    assert "exists already" in gfsctl.refused(4, "admin", "bundle", "--out", "there")
    assert (gfsctl.directory / "there").read_text() == "mine"
    gfsctl.refused(3, "admin", "bundle", "--out", "no/such/place")
    ended = eventually(lambda: gfsctl.ok("admin", "bundle", "--out", "-"))
    assert "manifest.json" in unpacked(ended.out)


def test_an_archive_of_a_cluster_without_masters_says_what_is_missing(
    whole_cluster: LocalCluster, gfsctl: Gfsctl
) -> None:
    for name in ("m1", "m2", "m3"):
        whole_cluster.kill(name)
    ended = gfsctl("admin", "bundle", "--out", "b.tar.gz", "--timeout", "2")
    assert ended.status == 11 and "not in it: status.json: no master leads" in ended.err
    files = unpacked(Path(gfsctl.directory / "b.tar.gz").read_bytes())
    assert set(files) == {"manifest.json", "config.json", "masters.json"}
    missing = json.loads(files["manifest.json"])["missing"]
    assert {"master m1", "logs/m1.log", "logs of chunkservers", "health.json"} <= set(missing)
    assert json.loads(files["masters.json"])["m1"]["error"] == "Unreachable"


def test_an_archive_is_bounded() -> None:
    bundle = Bundle()
    for number in range(100):
        bundle.add(f"{number}", b"x" * MIB)
    bundle.add("big", b"x" * (9 * MIB))
    assert sum(map(len, bundle.files.values())) <= BUNDLE_BYTES_MAX - MIB
    assert len(bundle.files) + len(bundle.missing) == 101 and "big" in bundle.missing
