"""`gfsctl admin gc`, and what it tells of: disks that get back what files no longer need."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from gfsctl_program import CHUNK_BYTES, Gfsctl, eventually

import gfs_ha
from gfs_ha.chunk.slots.format import COPY_BYTES, decode_copy
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.runtime import ThreadedRuntime

RUNTIME = ThreadedRuntime()
PATIENCE_S = 120.0
PIECES = 4


def room(cluster: LocalCluster, chunk_ids: Collection[int]) -> int:
    """Return the bytes that the slots of some chunks take on all disks.

    Not those of others: what other tests left is being repaired or collected meanwhile.
    """
    found = 0
    for slot in Path(cluster.directory).glob("cs*/data/*.slot"):
        try:
            with slot.open("rb") as file:
                copies = memoryview(file.read(2 * COPY_BYTES))
            taken = slot.stat().st_blocks * 512
        except FileNotFoundError:
            continue
        headers = [decode_copy(copies[at:][:COPY_BYTES]).header for at in (0, COPY_BYTES)]
        if any(header is not None and header.chunk_id in chunk_ids for header in headers):
            found += taken
    return found


def reclaimed(gfsctl: Gfsctl) -> dict[str, int]:
    [report] = gfsctl.ok("admin", "gc", "status", "-o", "json").json["items"]
    return {row["kind"]: row["bytes"] for row in report["reclaimed"]}


def wait_for_room(taken: Callable[[], int], most: int) -> None:
    """Wait until no more than so many bytes are taken."""
    deadline_s = RUNTIME.monotonic_s() + PATIENCE_S
    while (now := taken()) > most:
        assert RUNTIME.monotonic_s() < deadline_s, f"{now} bytes are taken, and not {most}"
        RUNTIME.sleep(0.1)


@pytest.mark.parametrize("mode", ["table", "wide", "json", "jsonl", "name"])
def test_the_status_of_garbage_has_every_form(gfsctl: Gfsctl, mode: str) -> None:
    shown = gfsctl.ok("admin", "gc", "status", "-o", mode).out.decode()
    assert shown.lstrip().startswith("{") == (mode in ("json", "jsonl"))


def test_a_dry_run_says_what_would_be_looked_at_and_does_nothing(gfsctl: Gfsctl) -> None:
    assert "would look at all chunks" in gfsctl.ok("admin", "gc", "run", "-n").out.decode()
    told = gfsctl.ok("admin", "gc", "run", "-n", "-o", "json").json
    assert told["kind"] == "GarbagePlan" and told["dry_run"]


def test_the_disks_get_back_what_was_overwritten_cut_off_and_removed(
    gfsctl: Gfsctl, home: str, library: gfs_ha.Cluster, shared_cluster: LocalCluster
) -> None:
    """Blocks in the middle of living chunks, the end of a file, and all of it: on all copies."""
    data = bytearray(b"".join(bytes([65 + n]) * CHUNK_BYTES for n in range(PIECES)))
    path, kept = f"{home}/f", f"{home}/kept"

    def written() -> list[int]:  # Who loses a server on the way goes on in another chunk.
        library.write_bytes(path, bytes(data))
        chunk_ids = gfsctl.chunk_ids(path)
        assert len(chunk_ids) == PIECES
        return chunk_ids

    chunk_ids = eventually(written)
    library.copy(path, kept)  # It refers to the same bytes: nothing of them may go.
    library.remove(kept)
    gfsctl.wait_whole(path)
    before, told = room(shared_cluster, chunk_ids[:1]), reclaimed(gfsctl)

    # Within the first chunk, beside living bytes; not on the grid of blocks.
    start, length = 3 * BLOCK_BYTES + 100, 6 * BLOCK_BYTES
    data[start : start + length] = b"x" * length
    with library.open(path, "r+b") as file:
        file.seek(start)
        file.write(b"x" * length)
    wait_until_told(gfsctl, ("punched",), told.get("punched", 0) + 3 * 5 * BLOCK_BYTES)
    # Five blocks on three copies are gone; the new bytes have a chunk of their own.
    wait_for_room(lambda: room(shared_cluster, chunk_ids[:1]), before - 3 * 5 * BLOCK_BYTES)
    assert library.read_bytes(path) == data

    library.truncate(path, 2 * CHUNK_BYTES + 5)
    del data[2 * CHUNK_BYTES + 5 :]
    wait_until_told(gfsctl, ("dead",), told.get("dead", 0) + 3 * CHUNK_BYTES)
    assert library.read_bytes(path) == data
    wait_for(gfsctl, lambda report: report["sparse"], "a chunk less than half alive")
    status = gfsctl.ok("admin", "gc", "status", "-o", "wide").out.decode()
    assert "Less than half alive" in status and "reclaimed" in status

    chunk_ids = [*{*chunk_ids, *gfsctl.chunk_ids(path)}]
    library.remove(path)
    wait_for_room(lambda: room(shared_cluster, chunk_ids), 0)
    least = sum(told.values()) + 3 * PIECES * CHUNK_BYTES
    wait_for(gfsctl, lambda report: report["reclaimed_bytes"] >= least, "word of all of it")


def test_small_files_that_are_left_scattered_are_brought_together(
    gfsctl: Gfsctl, home: str, library: gfs_ha.Cluster, shared_cluster: LocalCluster, tmp_path: Path
) -> None:
    """One in four stays, so that hardly a block of 64 KiB is without life: a copy must help.

    Files lie in the order in which they came, four at once: some blocks may lose all their files
    and be punched before the rest is copied.
    """
    source = tmp_path / "many"
    source.mkdir()
    files = {f"{number:02}": bytes([number]) * (16 << 10) for number in range(60)}
    for name, data in files.items():
        (source / name).write_bytes(data)
    library.put_tree(str(source), f"{home}/many")
    paths = [f"{home}/many/{name}" for name in files]
    old = {chunk_id for path in paths for chunk_id in gfsctl.chunk_ids(path)}
    for path in paths:
        gfsctl.wait_whole(path)
    before, told = room(shared_cluster, old), reclaimed(gfsctl)
    late = library.open(f"{home}/many/00")
    for number, name in enumerate(files):
        if number % 4:
            library.remove(f"{home}/many/{name}")
    least = told.get("dead", 0) + told.get("punched", 0) + 3 * 14 * BLOCK_BYTES
    wait_until_told(gfsctl, ("dead", "punched"), least)

    def taken() -> int:
        new = {chunk_id for path in paths[::4] for chunk_id in gfsctl.chunk_ids(path)}
        return room(shared_cluster, old | new)

    # What is left are 15 files on three copies, and two headers' worth for each slot.
    wait_for_room(taken, before - 3 * 8 * BLOCK_BYTES)
    assert late.read() == files["00"], "an open file goes on where its bytes lie now"
    late.close()
    for number, (name, data) in enumerate(files.items()):
        if number % 4 == 0:
            assert library.read_bytes(f"{home}/many/{name}") == data


def wait_until_told(gfsctl: Gfsctl, kinds: Collection[str], least: int) -> None:
    """Wait until the servers have said that they gave back so many bytes for these reasons."""
    wait_for(
        gfsctl,
        lambda report: (
            sum(row["bytes"] for row in report["reclaimed"] if row["kind"] in kinds) >= least
        ),
        f"{least} bytes {' or '.join(kinds)}",
    )


def wait_for(gfsctl: Gfsctl, seen: Callable[[Any], object], what: str) -> None:
    """Have garbage collected until a report of it shows something."""
    deadline_s = RUNTIME.monotonic_s() + PATIENCE_S
    while True:
        [report] = gfsctl.ok("admin", "gc", "run", "-o", "json").json["items"]
        if seen(report):
            return
        assert RUNTIME.monotonic_s() < deadline_s, f"no {what}: {report}"
        RUNTIME.sleep(0.1)
