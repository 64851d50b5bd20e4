"""Data ports that ask for tickets: bytes go through the whole chain at each level, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from chunk_house import CHUNK
from replica_house import noise
from sealed_house import (
    Leader,
    fetch_sealed,
    push_sealed,
    sealed_room,
    sealed_street,
)

from gfs_ha.limits import KIB, MIB
from gfs_ha.protocol.tickets import Level

LEVELS = list(Level)
LENGTHS = [1, 4 * KIB, 64 * KIB, 300 * KIB, 3 * MIB + 17]


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_pushed_down_a_chain_is_what_every_server_gives_back(
    tmp_path: Path, level: Level
) -> None:
    data = noise(LENGTHS[-1])
    with sealed_street(tmp_path) as guarded, sealed_room() as room:
        leader = Leader(guarded, level)
        end = 0
        for length in LENGTHS:  # Each push on the streams of the one before.
            result = push_sealed(room, leader.target(), data[end:length], end)
            assert result.complete and result.end == length, result.acks
            end = length
        for one in guarded:
            for offset, length in [
                (0, 1),
                (0, end),
                (70_001, 100),
                (64 * KIB, 2 * MIB),
                (5, end - 5),
            ]:
                got, _ = fetch_sealed(room, leader, one, offset, length)
                assert got == data[offset : offset + length]
            assert not any(one.refusals.counts().values())
            assert one.house.store.get(CHUNK).header.end == end
