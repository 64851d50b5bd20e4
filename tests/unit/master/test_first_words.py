"""What a master says to a peer's first words: another protocol, another life of the cluster."""

from __future__ import annotations

import pytest

from gfs_ha.errors import Denied, NewerIncarnation, ProtocolError, WrongCluster
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.master.handlers.dispatch import Dispatcher
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.handshake import Condemned, Handshake
from gfs_ha.master.raft.identity import Identity, bootstrap
from gfs_ha.protocol.codec import Hello, encode
from gfs_ha.runtime import ThreadedRuntime

MEMBERS = {"m1": ("m1", 1), "m2": ("m2", 1)}


def identity(name: str, incarnation: int) -> Identity:
    kv = MemoryKV()
    config = RaftConfig("c", incarnation, name, MEMBERS)
    bootstrap(kv, config)
    return Identity(kv, config, ThreadedRuntime())


def test_another_protocol_is_refused_with_both_numbers() -> None:
    newer = PROTOCOL_VERSION + 1
    hello = encode(Hello("c", newer, "client", "c1"))
    with pytest.raises(ProtocolError, match=f"protocol {newer}.*speaks {PROTOCOL_VERSION}"):
        Dispatcher().greet(None, hello)  # type: ignore[arg-type]


def test_who_holds_an_older_life_of_the_cluster_ends_for_good_when_it_hears_of_the_newer() -> None:
    newer, older = identity("m1", 2), identity("m2", 1)
    hello = Handshake(newer, frozenset(MEMBERS), "m2").hello()
    with pytest.raises(Condemned) as raised:
        Handshake(older, frozenset(MEMBERS)).receive(hello)
    assert isinstance(raised.value.error, NewerIncarnation)


def test_a_refusal_that_tells_of_a_newer_life_ends_who_dialled_for_good() -> None:
    newer, older = identity("m1", 2), identity("m2", 1)
    there, here = Handshake(newer, frozenset(MEMBERS)), Handshake(older, frozenset(MEMBERS), "m1")
    with pytest.raises(NewerIncarnation) as refused:
        there.receive(here.hello())
    with pytest.raises(Condemned) as raised:
        here.receive(there.refusal(refused.value))
    assert isinstance(raised.value.error, NewerIncarnation)


def test_the_life_of_another_cluster_ends_nobody() -> None:
    newer, older = identity("m1", 2), identity("m2", 1)
    there, here = Handshake(newer, frozenset(MEMBERS)), Handshake(older, frozenset(MEMBERS), "m1")
    with pytest.raises(Denied):
        here.receive(there.refusal(WrongCluster("another cluster lives here")))


def test_a_member_of_an_older_life_of_the_cluster_is_turned_away() -> None:
    newer, older = identity("m1", 2), identity("m2", 1)
    hello = Handshake(older, frozenset(MEMBERS), "m1").hello()
    with pytest.raises(NewerIncarnation):
        Handshake(newer, frozenset(MEMBERS)).receive(hello)
