"""Random lives of a chunk lose no acknowledged byte and block no seal (C1-C7)."""

from __future__ import annotations

import pytest
from seal_run import SealRun

from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.ids import Birth, ChunkId, LogIndex


@pytest.mark.parametrize("seed", range(25))
def test_what_was_acknowledged_lies_within_the_seal_and_on_every_holder(seed: int) -> None:
    run = SealRun(seed)
    run.play(400)
    run.check()


def test_without_tombstones_a_slow_push_is_acknowledged_beyond_the_seal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run of events that tombstones are for, found again when nobody keeps the refusal."""

    def forget(self: ChunkStore, name: str, chunk: ChunkId, birth: Birth, index: LogIndex) -> None:
        self._making.pop(chunk, None)

    monkeypatch.setattr(ChunkStore, "_refuse", forget)
    found = []
    for seed in range(200, 600):
        run = SealRun(seed)
        try:
            run.play(400)
            run.check()
        except AssertionError as error:
            assert "acknowledged up to" in str(error), error
            found.append(seed)
            break
    assert found
