"""A client that has heard of a newer incarnation believes no master of an older one (M5)."""

from __future__ import annotations

import pytest

from gfs_ha.config import MasterAddress
from gfs_ha.errors import Unreachable
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.masters import MasterConnections
from gfs_ha.net.network import Address, Hello
from gfs_ha.protocol.codec import Hello as HelloWord
from gfs_ha.protocol.codec import HelloReply, encode
from gfs_ha.runtime import Future, ThreadedRuntime

HELLO = HelloWord("c", PROTOCOL_VERSION, "client", "c")
MASTERS = [MasterAddress(name, name, port, 0) for port, name in enumerate(("m1", "m2"), 1)]


class Line:
    """A connection that nothing is said over."""

    def __init__(self) -> None:
        self.closed = False

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        raise AssertionError("nobody calls")

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        raise AssertionError("nobody calls")

    def close(self) -> None:
        self.closed = True


class Greeters:
    """A Network of masters that say of which incarnation they are."""

    def __init__(self, **incarnations: int) -> None:
        self.incarnations = incarnations

    def listen(self, address: Address, hello: object, handler: object) -> object:
        raise AssertionError("clients do not listen")

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> Line:
        name = address[0]
        hello.accept(encode(HelloReply(name, PROTOCOL_VERSION, self.incarnations[name])))
        return Line()


def connections(masters: Greeters) -> MasterConnections:
    return MasterConnections(MASTERS, masters, HELLO, ThreadedRuntime())  # type: ignore[arg-type]


def test_an_open_connection_to_an_older_incarnation_ends_and_no_other_is_opened() -> None:
    known = connections(Greeters(m1=1, m2=2))
    older = known.caller("m1")
    newer = known.caller("m2")
    for _ in range(2):
        with pytest.raises(Unreachable, match="m1: it is of incarnation 1, the cluster of 2"):
            known.caller("m1")
    assert older.closed
    assert known.caller("m2") is newer and not newer.closed


def test_a_master_that_came_into_the_newer_one_is_believed_again() -> None:
    masters = Greeters(m1=1, m2=2)
    known = connections(masters)
    known.caller("m1")
    known.caller("m2")
    masters.incarnations["m1"] = 2
    assert known.caller("m1") is known.caller("m1")


def test_one_that_does_not_say_is_believed() -> None:
    known = connections(Greeters(m1=0, m2=2))
    known.caller("m2")
    assert known.caller("m1") is known.caller("m1")
