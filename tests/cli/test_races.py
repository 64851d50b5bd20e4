"""Several at once on one name: one wins whole, readers see the old or the new."""

from __future__ import annotations

import os
from pathlib import Path

from gfsctl_program import CHUNK_BYTES, Gfsctl

WRITES = 4


def test_two_puts_to_one_name_never_mix(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    contents = [os.urandom(CHUNK_BYTES + 77), os.urandom(2 * CHUNK_BYTES + 13)]
    for at, content in enumerate(contents):
        (tmp_path / str(at)).write_bytes(content)
    gfsctl.ok("put", tmp_path / "0", f"{home}/f")
    for turn in range(WRITES):
        puts = [gfsctl.begin("put", tmp_path / str(at), f"{home}/f") for at in (0, 1)]
        gets = [gfsctl.begin("get", f"{home}/f", tmp_path / f"r{turn}-{at}") for at in range(2)]
        cat = gfsctl.begin("cat", f"{home}/f")
        for child in (*puts, *gets):
            ended = gfsctl.end(child)
            assert ended.status == 0, ended.err
        for at in range(2):
            assert (tmp_path / f"r{turn}-{at}").read_bytes() in contents
        seen = gfsctl.end(cat)
        # What was pinned may be gone before it is read; then cat says so and never mixes.
        assert seen.status in (0, 9), seen.err
        assert seen.status == 9 or seen.out in contents
    assert gfsctl.ok("cat", f"{home}/f").out in contents


def test_of_many_puts_if_absent_exactly_one_wins(gfsctl: Gfsctl, home: str, tmp_path: Path) -> None:
    for at in range(8):
        (tmp_path / str(at)).write_bytes(f"writer {at}".encode() * 1000)
    puts = [
        gfsctl.begin("put", "--if-absent", tmp_path / str(at), f"{home}/one") for at in range(8)
    ]
    statuses = [gfsctl.end(child).status for child in puts]
    assert sorted(statuses) == [0, *[4] * 7]
    winner = statuses.index(0)
    assert gfsctl.ok("cat", f"{home}/one").out == (tmp_path / str(winner)).read_bytes()
    gfsctl.refused(4, "put", "--if-absent", tmp_path / "0", f"{home}/one")
