"""Files whose sizes lie at the borders of blocks, packets and chunks, by file, pipe and tree."""

from __future__ import annotations

import filecmp
import itertools
import os
from pathlib import Path

from gfsctl_program import CHUNK_BYTES, Gfsctl, wait_until

from gfs_ha.limits import BLOCK_BYTES, CLAIMS_PER_SESSION_MAX, PACKET_BYTES_DEFAULT

BORDERS = (4096, BLOCK_BYTES, PACKET_BYTES_DEFAULT, CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES)
SIZES = sorted({border + by for border in BORDERS for by in (-1, 0, 1)} | {1})


FEW = "files of as many chunks as they need"


def check(gfsctl: Gfsctl, directory: str, contents: dict[str, bytes], packed: bool) -> bool:
    """Check bytes and sizes of the files in a directory; return whether no chunk is too much.

    Whoever loses a server on the way, as on a busy machine, goes on in another chunk.
    """
    few = True
    paths = [f"{directory}/{name}" for name in contents]
    assert gfsctl.ok("cat", *paths).out == b"".join(contents.values())
    items = gfsctl.ok("stat", "-o", "json", *paths).json["items"]
    assert [item["size"] for item in items] == [len(content) for content in contents.values()]
    for path, content in zip(paths, contents.values(), strict=True):
        placed = gfsctl.library.operations.placement(path).items
        assert sum(item.length for item in placed) == len(content)
        needed = -(-len(content) // CHUNK_BYTES)
        chunks = len({item.chunk.chunk_id for item in placed})
        # A small file of a tree shares a chunk with others, and may lie over an edge of two.
        assert needed <= chunks
        few = few and chunks <= needed + packed
    return few


def test_files_of_these_sizes_come_back(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    contents = {str(size): os.urandom(size) for size in SIZES}
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)

    def put() -> bool:
        gfsctl.ok("put", *(tmp_path / "in" / name for name in contents), home)
        return check(gfsctl, home, contents, packed=False)

    wait_until(put, FEW)


def test_pipes_of_these_sizes_come_back(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    contents = {str(size): os.urandom(size) for size in SIZES}

    def put() -> bool:
        for name, content in contents.items():
            gfsctl.ok("put", "-", f"{home}/{name}", stdin=content)
        return check(gfsctl, home, contents, packed=False)

    wait_until(put, FEW)


def test_a_tree_of_these_sizes_comes_back(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    contents = {str(size): os.urandom(size) for size in SIZES}
    (tmp_path / "tree").mkdir()
    for name, content in contents.items():
        (tmp_path / "tree" / name).write_bytes(content)
    trees = (f"{home}/tree{number}" for number in itertools.count())
    tree = ""

    def put() -> bool:
        nonlocal tree
        tree = next(trees)
        gfsctl.ok("put", "-r", tmp_path / "tree", tree)
        return check(gfsctl, tree, contents, packed=True)

    wait_until(put, FEW)
    gfsctl.ok("get", "-r", "--verify", tree, tmp_path / "back")
    for name, content in contents.items():
        assert (tmp_path / "back" / name).read_bytes() == content


def test_a_file_may_have_more_chunks_than_a_session_may_claim(
    gfsctl: Gfsctl, home: str, tmp_path: Path
) -> None:
    size = (CLAIMS_PER_SESSION_MAX + 10) * CHUNK_BYTES
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
    gfsctl.ok("put", tmp_path / "big", f"{home}/big")
    gfsctl.ok("get", f"{home}/big", tmp_path / "back")
    assert filecmp.cmp(tmp_path / "big", tmp_path / "back", shallow=False)
    gfsctl.ok("rm", f"{home}/big")
