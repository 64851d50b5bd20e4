"""`gfsctl cp` and `gfsctl truncate`."""

from __future__ import annotations

import os
from pathlib import Path

from gfsctl_program import CHUNK_BYTES, Gfsctl

DATA = os.urandom(2 * CHUNK_BYTES + 5)


def test_a_copy_stands_when_its_source_is_cut_and_removed(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(DATA)
    gfsctl.ok("put", tmp_path / "f", f"{home}/f")
    gfsctl.ok("cp", f"{home}/f", f"{home}/g")
    gfsctl.refused(4, "cp", "--if-absent", f"{home}/f", f"{home}/g")
    gfsctl.refused(2, "cp", f"{home}/f", f"{home}/f")
    gfsctl.refused(3, "cp", f"{home}/none", f"{home}/h")
    gfsctl.refused(3, "cp", f"{home}/f", f"{home}/none/")
    gfsctl.ok("truncate", "-s", str(CHUNK_BYTES + 1), f"{home}/f")
    assert gfsctl.ok("cat", f"{home}/f").out == DATA[: CHUNK_BYTES + 1]
    for size in (str(2 * CHUNK_BYTES), "9" * 25, "-1", "1MB"):
        gfsctl.refused(2, "truncate", "-s", size, f"{home}/f")
    gfsctl.ok("truncate", "-s", "1MiB", f"{home}/f")
    assert gfsctl.ok("stat", "-o", "json", f"{home}/f").json["items"][0]["size"] == 1 << 20
    gfsctl.ok("rm", f"{home}/f")
    assert gfsctl.ok("cat", f"{home}/g").out == DATA


def test_a_tree_is_copied_with_all_that_is_in_it(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    (tmp_path / "t" / "empty").mkdir(parents=True)
    (tmp_path / "t" / "a").write_bytes(b"a")
    gfsctl.ok("put", "-r", tmp_path / "t", f"{home}/t")
    gfsctl.refused(4, "cp", f"{home}/t", f"{home}/u")
    gfsctl.refused(2, "cp", "-r", f"{home}/t", f"{home}/t/below")
    gfsctl.ok("cp", "-r", "-p", f"{home}/t", f"{home}/u")
    gfsctl.ok("cp", "-r", f"{home}/t", f"{home}/u")
    names = set(gfsctl.ok("ls", "-R", "-o", "name", f"{home}/u").out.decode().split())
    assert {name.removeprefix(f"{home}/u/").rstrip("/") for name in names} == {
        *("a", "empty", "t", "t/a", "t/empty"),
    }
    assert gfsctl.ok("cat", f"{home}/u/t/a").out == b"a"
    many = gfsctl("cp", f"{home}/t/a", f"{home}/none", f"{home}/u/t/empty")
    assert many.status == 11
    assert gfsctl.ok("cat", f"{home}/u/t/empty/a").out == b"a"
