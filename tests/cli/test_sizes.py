"""Files whose sizes lie at the borders of blocks, packets and chunks, by file, pipe and tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl

from gfs_ha.limits import BLOCK_BYTES, PACKET_BYTES_DEFAULT

BORDERS = (4096, BLOCK_BYTES, PACKET_BYTES_DEFAULT, CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES)
SIZES = sorted({border + by for border in BORDERS for by in (-1, 0, 1)} | {1})


def check(gfsctl: Gfsctl, path: str, content: bytes, exact_chunks: bool) -> None:
    assert gfsctl.ok("cat", path).out == content
    item = gfsctl.ok("stat", "-o", "json", path).json["items"][0]
    assert item["size"] == len(content)
    placed = gfsctl.ok("admin", "placement", "show", "-o", "json", path).json
    chunks = {row["chunk"]["chunk_id"] for row in placed["items"]}
    assert sum(row["length"] for row in placed["items"]) == len(content)
    needed = -(-len(content) // CHUNK_BYTES)
    if exact_chunks:
        assert len(chunks) == needed
    else:  # A small file shares its chunk with others, and may lie over an edge of two.
        assert needed <= len(chunks) <= needed + 1


@pytest.mark.parametrize("size", SIZES)
def test_a_file_of_this_size_comes_back(
    gfsctl: Gfsctl, home: str, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    gfsctl.ok("put", tmp_path / "f", f"{home}/by-file")
    gfsctl.ok("put", "-", f"{home}/by-pipe", stdin=content)
    for name in ("by-file", "by-pipe"):
        check(gfsctl, f"{home}/{name}", content, exact_chunks=True)
    gfsctl.ok("get", "--verify", f"{home}/by-pipe", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_tree_of_all_these_sizes_comes_back(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for size in SIZES:
        (tmp_path / "tree" / str(size)).write_bytes(os.urandom(size))
    gfsctl.ok("put", "-r", tmp_path / "tree", f"{home}/tree")
    gfsctl.ok("get", "-r", f"{home}/tree", tmp_path / "back")
    for size in SIZES:
        content = (tmp_path / "tree" / str(size)).read_bytes()
        assert (tmp_path / "back" / str(size)).read_bytes() == content
    check(
        gfsctl,
        f"{home}/tree/{CHUNK_BYTES}",
        (tmp_path / "tree" / str(CHUNK_BYTES)).read_bytes(),
        exact_chunks=False,
    )
