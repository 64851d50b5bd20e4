"""Tails that are older than the masters: those go on from a copy that may not know them."""

from __future__ import annotations

from contextlib import ExitStack

from append_house import appending, order_tail
from chunk_house import BIRTH, start_house

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.errors import Fenced
from gfs_ha.ids import Epoch, StartId
from gfs_ha.runtime import ThreadedRuntime


def test_a_tail_from_before_a_recovery_of_the_masters_takes_no_append() -> None:
    """The server may lead other tails, whose lease is renewed; nobody would ever fence this one."""
    epochs = [BIRTH]
    runtime = ThreadedRuntime()
    with ExitStack() as stack:
        houses = [
            start_house(
                MemoryDisk(runtime),
                number,
                runtime,
                start_id=StartId(number * 100),
                newest_epoch=lambda: epochs[-1],
            )
            for number in (1, 2)
        ]
        for house in houses:
            stack.callback(house.stop)
        order_tail(houses)
        with appending(houses[0]) as stream:
            stream.append(1, b"before")
            stream.wait_for(1)
            epochs.append(Epoch(BIRTH.incarnation, BIRTH.term + 1))
            stream.append(2, b"under another leader")
            stream.wait_for(2)
            epochs.append(Epoch(BIRTH.incarnation + 1, 0))
            stream.append(3, b"after the recovery")
            assert isinstance(stream.failure(), Fenced)
            assert set(stream.acks) == {1, 2}
        with appending(houses[0]) as stream:
            assert isinstance(stream.failure(), Fenced)
