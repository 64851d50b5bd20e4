"""Chunks that are asked for ahead: what their trouble costs the writer."""

from __future__ import annotations

from typing import TypeVar

import pytest
from little_cluster import LittleMasters, config

from gfs_ha.client.chunk_supply import ChunkSpec, ChunkSupply
from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.locations import Here
from gfs_ha.client.session import Session
from gfs_ha.errors import Denied, GfsError
from gfs_ha.ids import DiskId, ServerId
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.leader import LeaderLink
from gfs_ha.protocol.calls import CallBody
from gfs_ha.protocol.codec import Hello
from gfs_ha.protocol.metadata import AllocateChunk
from gfs_ha.runtime import Future, ThreadedRuntime

T = TypeVar("T")
WAIT_S = 10.0
SPEC = ChunkSpec()


class WatchedRuntime(ThreadedRuntime):
    """Tells when somebody begins to wait for a chunk that was asked for ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: Future[None] = super().future()
        self.failed: Future[None] = super().future()

    def future(self) -> Future[T]:
        made: Future[T] = super().future()
        if self.watching:
            self.watching = False
            result = made.result

            def watched(timeout_s: float) -> T:
                self.waited.set(None)
                return result(timeout_s)

            made.result = watched  # type: ignore[method-assign]
            made.when_done(lambda: self.failed.set(None))
        return made

    watching = False


class Supplied:
    """A supply whose first request for a chunk waits for `answered`, and is then denied."""

    def __init__(self) -> None:
        self.masters = LittleMasters()
        self.runtime = WatchedRuntime()
        hello = Hello("little", PROTOCOL_VERSION, "client", "test")
        link = LeaderLink(config().cluster.masters, self.masters, hello, self.runtime)
        self.calls = ClusterCalls(link, self.runtime, WAIT_S)
        self.session = Session(self.calls, self.runtime, "test")
        self.supply = ChunkSupply(self.session, Here("", ""), self.runtime, WAIT_S)
        self.supply.release((self.supply.take(SPEC).chunk_id,))

    def ask_ahead(self, answered: Future[None]) -> None:
        def deny(name: str, asked: CallBody) -> GfsError:
            answered.result(WAIT_S)
            return Denied("not you")

        self.masters.before.append(deny)
        self.runtime.watching = True
        self.supply.ask_ahead(SPEC)

    def close(self) -> None:
        self.session.close()
        self.calls.close()


def test_trouble_that_was_waited_for_is_not_waited_for_twice() -> None:
    supplied = Supplied()
    try:
        supplied.ask_ahead(answered=supplied.runtime.waited)
        with pytest.raises(Denied):
            supplied.supply.take(SPEC)
        assert len(supplied.masters.requests(AllocateChunk)) == 1  # Of the beginning.
    finally:
        supplied.close()


def test_trouble_of_the_past_is_not_believed() -> None:
    supplied = Supplied()
    try:
        now: Future[None] = ThreadedRuntime().future()
        now.set(None)
        supplied.ask_ahead(answered=now)
        supplied.runtime.failed.result(WAIT_S)
        assert supplied.supply.take(SPEC).replicas
    finally:
        supplied.close()


def test_disks_that_failed_are_named_for_a_while_and_their_servers_are_not() -> None:
    supplied = Supplied()
    try:
        supply = supplied.supply

        def asked() -> AllocateChunk:
            return supplied.masters.requests(AllocateChunk)[-1].request

        supply.note_failed((), (DiskId(101),))
        supply.note_failed((ServerId(2),))
        chunk = supply.take(SPEC)
        assert (asked().failed, asked().failed_disks) == ((2,), (101,))
        assert {one.server_id for one in chunk.replicas}.isdisjoint({1, 2})
        # A chunk that was got ahead and lies there is not used any more.
        supply.ask_ahead(SPEC)
        supply.note_failed((), [DiskId(number) for number in range(101, 110)])
        assert supply.take(SPEC).replicas, "better one that may have recovered than none"
        assert asked().failed == asked().failed_disks == ()
    finally:
        supplied.close()
