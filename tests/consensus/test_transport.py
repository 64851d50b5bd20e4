"""Links on loopback against peers that are wrong, old, hostile or silent."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from hostile.raft_words import NO_HANDSHAKE, frame, frames_of, word
from pysyncobj import SyncObj, SyncObjConf
from raft_members import (
    WAIT_S,
    Cluster,
    Member,
    dribble_until_dropped,
    free_addresses,
    running,
    wait_until,
)

from gfs_ha.errors import NewerIncarnation, OldCopy
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import PROTOCOL_VERSION, RAFT_FRAME_BYTES_MAX
from gfs_ha.master.raft import transport
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.handshake import Condemned, Handshake
from gfs_ha.master.raft.identity import Identity, bootstrap
from gfs_ha.runtime import ThreadedRuntime


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running(tmp_path) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that the tests of this file do not change."""
    with running(tmp_path_factory.mktemp("steady")) as cluster:
        yield cluster


def hello(cluster: Cluster, **changes: object) -> bytes:
    fields = {
        "version": PROTOCOL_VERSION,
        "cluster_id": cluster.cluster_id,
        "incarnation": 1,
        "member_id": "m3",
        "target_id": "m1",
        "start": [1, 7],
        "seen": [0, 0],
    } | changes
    return word("gfs-ha hello", *fields.values())


NO_TEXT = word("append").replace(b"app", b"ap\xff")


class Touch:
    """A pickle that makes a directory when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def dropped(address: tuple[str, int], data: bytes) -> list[bytes]:
    """Send bytes; return the frames that come back before the connection is closed."""
    with socket.create_connection(address, timeout=WAIT_S) as sock:
        sock.sendall(data)
        received = b""
        try:
            while chunk := sock.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    return frames_of(received)


def refusal(frames: list[bytes]) -> str:
    return next((str(w[1]) for w in map(msgspec.msgpack.decode, frames) if w[0] == "refusal"), "")


def test_stock_runs_code_that_a_stranger_sends(tmp_path: Path) -> None:
    (address,) = free_addresses(1)
    text = f"{address[0]}:{address[1]}"
    stock = SyncObj(text, [], SyncObjConf(autoTick=False))
    try:
        data = zlib.compress(pickle.dumps(Touch(tmp_path / "owned")))
        with socket.create_connection(address, timeout=WAIT_S) as sock:
            sock.sendall(struct.pack("i", len(data)) + data)
            wait_until(lambda: stock.doTick(0.01) or (tmp_path / "owned").exists(), "the code")
        assert (tmp_path / "owned").exists()
    finally:
        stock.destroy()


def test_ours_runs_no_code_that_a_stranger_sends(steady: Cluster, tmp_path: Path) -> None:
    bomb = pickle.dumps(Touch(tmp_path / "owned"))
    compressed = zlib.compress(bomb)
    for data in (
        struct.pack("i", len(compressed)) + compressed,
        struct.pack("!i", len(compressed)) + compressed,
        frame(bomb),
        frame(compressed),
    ):
        # A length that is too long is refused at once, anything shorter by its content or in time.
        dropped(steady.addresses["m1"], data)
    assert not (tmp_path / "owned").exists()
    steady.goes_through(b"fine")


@pytest.mark.parametrize("data", NO_HANDSHAKE)
def test_what_is_no_handshake_is_dropped(steady: Cluster, data: bytes) -> None:
    dropped(steady.addresses["m1"], data)
    steady.goes_through(b"fine")
    assert steady.members["m1"].task.running()


def test_strangers_that_get_no_link_are_counted_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, count=2) as cluster, caplog.at_level(logging.WARNING):
        cluster.leader()
        transport_of = cluster.members["m1"].transport
        before = transport_of.refused_count()
        dropped(cluster.addresses["m1"], frame(b"hello", crc=1))
        dropped(cluster.addresses["m1"], frame(b"", length=0xFFFFFFFF))
        dropped(cluster.addresses["m1"], b"")
        assert transport_of.refused_count() == before + 3
        # Those who come now are to be there still when there are too many.
        monkeypatch.setattr(transport, "RAFT_HANDSHAKE_S", WAIT_S)
        with ExitStack() as flood:
            for _ in range(40):
                sock = socket.create_connection(cluster.addresses["m1"], timeout=WAIT_S)
                flood.callback(sock.close)
            wait_until(lambda: "do not say who" in caplog.text, "one is turned away")
        assert transport_of.refused_count() > before + 3
    for told in ("a damaged frame", "is too long", "no handshake within"):
        assert told in caplog.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cluster_id": "another"}, "WrongCluster"),
        ({"version": PROTOCOL_VERSION + 1}, "ProtocolError"),
        ({"incarnation": 0}, "NewerIncarnation"),
        ({"target_id": "m2"}, "ProtocolError"),
        ({"member_id": ""}, "Denied"),
        ({"member_id": "x" * 300}, "Denied"),
        ({"member_id": "m1"}, "Denied"),
    ],
)
def test_a_wrong_hello_is_told_why(steady: Cluster, changes: dict[str, object], code: str) -> None:
    steady.leader()
    frames = dropped(steady.addresses["m1"], frame(hello(steady, **changes)))
    assert refusal(frames) == code


def test_a_frame_that_is_too_long_drops_a_link_that_is_up(tmp_path: Path) -> None:
    with running(tmp_path, count=2) as cluster:
        cluster.leader()
        cluster.stop("m2")
        with socket.create_connection(cluster.addresses["m1"], timeout=WAIT_S) as sock:
            sock.settimeout(WAIT_S)
            member = Impostor(sock)
            member.greet(cluster)
            transport_of = cluster.members["m1"].transport
            before = transport_of.refused_count()
            sock.sendall(struct.pack("!II", RAFT_FRAME_BYTES_MAX + 1, 0))
            wait_until(member.closed, "the link to be dropped")
            assert member.closed()
            assert transport_of.refused_count() == before, "its handshake was good"


def test_a_message_that_is_none_drops_a_link_that_is_up(tmp_path: Path) -> None:
    with running(tmp_path, count=2) as cluster:
        cluster.leader()
        cluster.stop("m2")
        for bad in (
            b"\xc1",
            word("append", -1),
            word("vote", 1, True, "extra"),
            word("nothing"),
            NO_TEXT,
        ):
            with socket.create_connection(cluster.addresses["m1"], timeout=WAIT_S) as sock:
                sock.settimeout(WAIT_S)
                member = Impostor(sock)
                member.greet(cluster)
                sock.sendall(frame(bad))
                wait_until(member.closed, "the link to be dropped")
                assert member.closed()


class Impostor:
    """Speaks the handshake of m2 by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def read_frame(self) -> bytes:
        header = self.sock.recv(8, socket.MSG_WAITALL)
        length = struct.unpack_from("!I", header)[0] if len(header) == 8 else 0
        return self.sock.recv(length, socket.MSG_WAITALL) if length else b""

    def greet(self, cluster: Cluster) -> None:
        number = _start_number(cluster, "m2")
        self.sock.sendall(frame(hello(cluster, member_id="m2", start=number)))
        words = [msgspec.msgpack.decode(self.read_frame()) for _ in range(2)]
        assert [each[0] for each in words] == ["gfs-ha hello", "proof"]
        self.sock.sendall(frame(word("proof")))
        assert msgspec.msgpack.decode(self.read_frame()) == ["ready"]
        self.sock.sendall(frame(word("ready")))

    def closed(self) -> bool:
        try:
            return not self.sock.recv(65536)
        except ConnectionResetError:
            return True


def _start_number(cluster: Cluster, name: str) -> list[int]:
    seen = cluster.members["m1"].node._identity.last_seen(name)
    return [seen.number, seen.nonce]


def test_a_member_that_is_slow_with_its_words_was_not_refused(tmp_path: Path) -> None:
    """Whoever looks at its links would look for a reason in its certificate, and not for it."""
    with running(tmp_path, count=2) as cluster:
        cluster.leader()
        cluster.stop("m2")
        transport_of = cluster.members["m1"].transport
        before = transport_of.refused_count()
        with socket.create_server(cluster.addresses["m2"]) as silent, ExitStack() as stack:
            silent.settimeout(WAIT_S)
            late = stack.enter_context(closing(silent.accept()[0]))
            late.settimeout(WAIT_S)
            while late.recv(4096):
                pass  # Its first words, and then the end of its patience.
        assert (transport_of.refused_count(), transport_of.refusal("m2")) == (before, "")


def test_a_hello_that_dribbles_in_has_no_more_time_than_others(
    steady: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "RAFT_HANDSHAKE_S", 0.4)
    dribble_until_dropped(steady.addresses["m1"], frame(hello(steady)), 40)
    steady.goes_through(b"fine")


def test_many_silent_connections_do_no_harm(steady: Cluster) -> None:
    steady.leader()
    address = steady.addresses["m1"]
    sockets = [socket.create_connection(address, timeout=WAIT_S) for _ in range(100)]
    try:
        steady.goes_through(b"fine")
        for sock in sockets:  # All are dropped in time: none says who it is.
            sock.settimeout(WAIT_S)
            while sock.recv(4096):
                pass
    finally:
        for sock in sockets:
            sock.close()


def test_a_member_of_another_cluster_is_refused_and_named(tmp_path: Path) -> None:
    with running(tmp_path / "one") as cluster:
        cluster.leader()
        cluster.stop("m3")
        config = RaftConfig("other", 1, "m3", cluster.addresses)
        stranger = Member(config, tmp_path / "stranger", fresh=True)
        try:
            wait_until(lambda: _refusals(stranger), "the refusal")
            assert "'other'" in _refusals(stranger)[0]
            cluster.goes_through(b"fine")
        finally:
            stranger.stop()


def _refusals(member: Member) -> list[str]:
    return [peer.refusal for peer in member.node.status().peers if peer.refusal]


@pytest.mark.parametrize("leads", [True, False])
def test_who_is_told_of_a_newer_incarnation_stops_for_good(cluster: Cluster, leads: bool) -> None:
    cluster.leader()
    told = cluster.leader() if leads else cluster.followers()[0]
    name = told.config.member_id
    told.node.show_incarnation(2)
    ends_for_good(cluster, told, name)
    assert name not in cluster.members


def test_a_follower_that_is_greeted_from_a_newer_incarnation_stops_for_good(
    cluster: Cluster,
) -> None:
    follower = cluster.followers()[0]
    name = follower.config.member_id
    other = next(each for each in cluster.addresses if each != name)
    data = frame(hello(cluster, incarnation=2, target_id=name, member_id=other))
    assert refusal(dropped(cluster.addresses[name], data)) == "NewerIncarnation"
    ends_for_good(cluster, follower, name)


def ends_for_good(cluster: Cluster, member: Member, name: str) -> None:
    wait_until(lambda: not member.task.running(), "it to stop")
    assert isinstance(member.error, NewerIncarnation)
    member.kv.close()
    del cluster.members[name]
    with pytest.raises(NewerIncarnation):
        cluster.start(name)


def identities(count: int) -> list[Identity]:
    names = [f"m{number}" for number in range(1, count + 1)]
    members = {name: (name, 1) for name in names}
    found = []
    for name in names:
        kv = MemoryKV()
        config = RaftConfig("c", 1, name, members)
        bootstrap(kv, config)
        found.append(Identity(kv, config, ThreadedRuntime()))
    return found


def shake(dialler: Identity, target: Identity) -> tuple[Handshake, Handshake]:
    """Run a whole handshake without any I/O."""
    members = {"m1", "m2"}.__contains__
    left = Handshake(dialler, members, target.member_id)
    right = Handshake(target, members)
    to_right, to_left = [left.hello()], []
    for _ in range(4):
        for each in to_right:
            to_left += right.receive(each)
        to_right = []
        for each in to_left:
            to_right += left.receive(each)
        to_left = []
        for side, out in ((left, to_right), (right, to_left)):
            if side.proved and not side._ready_sent:
                out.append(side.ready())
    return left, right


def test_both_sides_come_up_and_know_each_other() -> None:
    first, second = identities(2)
    left, right = shake(first, second)
    assert left.up and right.up
    assert (left.peer, right.peer) == ("m2", "m1")
    assert (left.peer_start, right.peer_start) == (second.start, first.start)


def test_a_later_start_of_the_same_store_is_admitted() -> None:
    first, second = identities(2)
    first.note_seen("m2", second.start)
    second._starts[2] = 99
    assert shake(first, second)[0].up


def test_a_store_without_the_start_that_was_seen_is_an_old_copy() -> None:
    first, second = identities(2)
    first.note_seen("m2", type(second.start)(second.start.number, second.start.nonce + 1))
    with pytest.raises(Condemned) as condemned:
        shake(first, second)
    assert isinstance(condemned.value.error, OldCopy)


def test_an_unproved_start_is_not_ready_to_be_noted() -> None:
    first, second = identities(2)
    left = Handshake(first, {"m1", "m2"}.__contains__, "m2")
    right = Handshake(second, {"m1", "m2"}.__contains__)
    answers = right.receive(left.hello())
    left.receive(answers[0])
    assert not left.proved
    left.receive(answers[1])
    assert left.proved and not left.up


def test_a_member_whose_own_address_was_given_for_another_one_says_so(tmp_path: Path) -> None:
    (address,) = free_addresses(1)
    config = RaftConfig("test", 1, "m2", {"m1": address, "m2": address})
    member = Member(config, tmp_path / "m2", fresh=True)
    try:
        wait_until(lambda: member.transport.refusal("m1"), "why there is no link")
        assert "this member's own address" in member.transport.refusal("m1")
        assert "check the addresses" in member.transport.refusal("m1")
    finally:
        member.stop()
