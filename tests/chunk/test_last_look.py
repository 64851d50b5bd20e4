"""What happens on a server between its own sync and the acknowledgement that leaves it (C2, D5)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from chunk_house import BIRTH, CHUNK, client_room, push, street, target
from replica_house import noise

from gfs_ha.chunk.disk import PosixFile
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.ids import LogIndex
from gfs_ha.limits import MIB, WRITE_BACK_BYTES
from gfs_ha.protocol.control import FenceAnswer


def test_a_fence_between_the_sync_and_the_answer_takes_the_answer_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head has synced and waits for the tail. A fence comes: its answer leaves as a refusal."""
    whole = PosixFile.sync
    head_syncs = threading.Event()
    data = noise(100_000)
    answers: list[FenceAnswer] = []
    places: dict[threading.Thread, str] = {}

    with street(tmp_path, 2) as houses, client_room() as room:
        for house, name in zip(houses, ("head", "tail"), strict=True):
            begin = house.store.create_replica

            def remember(
                spec: object, begin: object = begin, name: str = name, **where: object
            ) -> object:
                places[threading.current_thread()] = name
                return begin(spec, **where)  # type: ignore[operator]

            monkeypatch.setattr(house.store, "create_replica", remember)

        def sync(self: PosixFile) -> None:
            whole(self)
            whose = places.get(threading.current_thread())
            if whose is None or self.size() <= DATA_OFFSET:
                return
            if whose == "head":
                head_syncs.set()
            else:
                del places[threading.current_thread()]  # The fence below syncs as well.
                assert head_syncs.wait(20.0)
                # Waits for the head's lock, so it comes right after its commit.
                answers.append(houses[0].store.fence(CHUNK, BIRTH, LogIndex(9)))

        monkeypatch.setattr(PosixFile, "sync", sync)
        result = push(room, target(houses), data)
    assert [ack.code for ack in result.acks] == ["Fenced", ""]
    # The bytes are on the head's disk and count in a seal; they were only not acknowledged there.
    assert (answers[0].end, answers[0].proof) == (len(data), True)


def test_a_push_is_written_back_in_windows_that_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PosixFile.write_back
    windows: list[tuple[int, int]] = []

    def write_back(self: PosixFile, offset: int, length: int) -> None:
        windows.append((offset - DATA_OFFSET, length))
        whole(self, offset, length)

    monkeypatch.setattr(PosixFile, "write_back", write_back)
    with street(tmp_path, 1) as houses, client_room() as room:
        assert push(room, target(houses), noise(3 * MIB + 5)).complete
    assert windows == [(start, WRITE_BACK_BYTES) for start in range(0, 3 * MIB, WRITE_BACK_BYTES)]
