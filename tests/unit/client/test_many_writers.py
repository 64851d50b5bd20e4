"""Many long files at once share the claims of one session, which are few."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from little_cluster import LittleCluster

from gfs_ha.client import writer
from gfs_ha.client.lanes import LANES_MAX
from gfs_ha.limits import CLAIMS_PER_SESSION_MAX, MIB
from gfs_ha.master.state import claims


def test_as_many_long_files_as_there_may_be_jobs_never_want_too_many_claims(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs = 4
    scale = LANES_MAX // jobs
    monkeypatch.setattr(claims, "CLAIMS_PER_SESSION_MAX", CLAIMS_PER_SESSION_MAX // scale)
    monkeypatch.setattr(writer, "CROWDED_CLAIMS", writer.CROWDED_CLAIMS // scale, raising=False)
    data = [os.urandom(9 * MIB + number) for number in range(jobs)]
    for number in range(jobs):
        (tmp_path / f"f{number}").write_bytes(data[number])
    result = little.client.put_tree(tmp_path, "/tree", jobs=jobs)
    assert not result.problems
    for number in range(jobs):
        assert little.client.read_bytes(f"/tree/f{number}") == data[number]
