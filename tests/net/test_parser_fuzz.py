"""Fuzzing with fixed seeds of all that reads what peers sent before they are known.

Each round changes good bytes (or makes some up) and cuts them anywhere. A parser may return a word,
want more, or refuse in its own way; anything else is a mistake of ours. None may hold more than it
was fed and than its cap says.
"""

from __future__ import annotations

import random
import socket
import struct

import msgspec
import pytest
from spoiling import changed, pieces
from tls_house import TlsHouse

from gfs_ha.checksum import crc32c
from gfs_ha.errors import Denied, GfsError, ProtocolError
from gfs_ha.ids import ChunkId
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import HELLO_BYTES_MAX, PROTOCOL_VERSION, TLS_HANDSHAKE_BYTES_MAX
from gfs_ha.master.raft import messages
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.handshake import Condemned, Handshake
from gfs_ha.master.raft.identity import Identity, bootstrap
from gfs_ha.master.raft.messages import AppendEntries
from gfs_ha.master.raft.messages import decode as decode_message
from gfs_ha.master.raft.messages import encode as encode_message
from gfs_ha.net.links import Link
from gfs_ha.net.rpc import FrameReader, encode_reply, encode_request
from gfs_ha.net.tcp_link import READ_BYTES, TcpLink
from gfs_ha.net.tls_session import TlsSession
from gfs_ha.pki.names import EVERYBODY, Role
from gfs_ha.protocol.calls import CallBody
from gfs_ha.protocol.codec import Hello, HelloReply, decode, encode
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame, encode_frame
from gfs_ha.runtime import ThreadedRuntime

SEEDS = range(5)
ROUNDS = 1500
REQUESTS = [
    encode_request(0, 0, b"", encode(Hello("c", PROTOCOL_VERSION, "client", "ann"))),
    encode_request(7, 300, b"context", b"body" * 50),
    encode_request(1 << 40, 1, b"", b"x" * 3000) + encode_request(2, 1, b"", b""),
]
REPLIES = [encode_reply(3, b"answer" * 40), encode_reply(1, b"") + encode_reply(2, b"x" * 700)]


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_of_calls(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        ask = chance.random() < 0.5
        reader = FrameReader(HELLO_BYTES_MAX)
        fed = 0
        try:
            for piece in pieces(
                chance, changed(chance, chance.choice(REQUESTS if ask else REPLIES))
            ):
                reader.feed(piece)
                fed += len(piece)
                while (reader.next_request() if ask else reader.next_reply()) is not None:
                    pass
                assert reader.buffered <= min(fed, HELLO_BYTES_MAX + len(piece) + 6)
        except ProtocolError:
            pass


WORDS: list[tuple[object, bytes]] = [
    (Hello, encode(Hello("cluster", PROTOCOL_VERSION, "chunkserver", "cs1"))),
    (HelloReply, encode(HelloReply("m1", PROTOCOL_VERSION, 3))),
    (CallBody, encode(())),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_first_words(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        kind, data = chance.choice(WORDS)
        try:
            decode(kind, changed(chance, data))  # type: ignore[arg-type]
        except ProtocolError:
            pass


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_of_data_streams(seed: int) -> None:
    chance = random.Random(seed)
    good = encode_frame(FrameKind.FAILED, ChunkId(5), encode(("failure", "NotFound", "no", {})))
    for _ in range(ROUNDS):
        data = changed(chance, good)
        try:
            if len(data) >= FRAME_BYTES:
                decode_frame(data[:FRAME_BYTES])
            decode_error(data[FRAME_BYTES:])
        except ProtocolError:
            pass


def handshake_words() -> list[bytes]:
    hello = ["gfs-ha hello", PROTOCOL_VERSION, "c", 1, "m2", "m1", [1, 7], [0, 0]]
    refusal = ["refusal", "Denied", "why not", 1]
    return [msgspec.msgpack.encode(word) for word in (hello, ["proof"], ["ready"], refusal)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_handshake_of_members(seed: int) -> None:
    chance = random.Random(seed)
    config = RaftConfig("c", 1, "m1", {"m1": ("m1", 1), "m2": ("m2", 1)})
    kv = MemoryKV()
    bootstrap(kv, config)
    identity = Identity(kv, config, ThreadedRuntime())
    words = handshake_words()
    for _ in range(ROUNDS):
        dialled = chance.random() < 0.5
        side = Handshake(identity, {"m2"}.__contains__, "m2" if dialled else "")
        side.certified = chance.choice((None, "m2", "m3"))
        try:
            for _ in range(chance.randrange(1, 5)):
                word = chance.choice(words)
                side.receive(word if chance.random() < 0.5 else changed(chance, word))
        except (Denied, ProtocolError, Condemned):
            pass
        assert side.certified != "m3" or side.peer_start is None, "it came in as somebody else"
        assert not side.up, "this side never said that it is ready"


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_of_members(seed: int) -> None:
    chance = random.Random(seed)
    good = [
        encode_message(AppendEntries(3, 5, 7, 2, 6, 1, [(3, b"command"), (3, b"x" * 200)])),
        *map(
            encode_message,
            (
                messages.Appended(3, 3, 9, True, 7, 7, False, False),
                messages.AskPreVote(4, 9, 3),
                messages.PreVote(4, True),
                messages.AskVote(4, 9, 3),
                messages.Vote(4, True),
                messages.TimeoutNow(4),
                messages.OfferSnapshot(4, 77, 9, 3, b"configuration"),
                messages.SnapshotChunk(4, 77, 0, True, 5, b"rows" * 30),
                messages.SnapshotStored(4, 77, 1, False),
                messages.AskReadIndex(4, 9),
                messages.ReadIndex(4, 9, 7),
            ),
        ),
    ]
    for _ in range(ROUNDS):
        try:
            decode_message(changed(chance, chance.choice(good)))
        except ProtocolError:
            pass


class Loop:
    """Drives one link, with the smallest limits."""

    frame_bytes_max = 4096
    queue_bytes_max = 1 << 20

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_BYTES))
        self.dirty: set[TcpLink] = set()

    def watch(self, link: TcpLink, mask: int) -> None: ...

    def forget(self, link: TcpLink) -> None: ...


class Owner:
    """Takes whatever comes."""

    def __init__(self) -> None:
        self.frames = 0
        self.reason: str | None = None

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, frame: bytes) -> None:
        self.frames += 1
        assert len(frame) <= Loop.frame_bytes_max

    def refused(self, link: Link, error: GfsError) -> None: ...

    def closed(self, link: Link, reason: str) -> None:
        self.reason = reason


def link_frame(data: bytes) -> bytes:
    return struct.pack("!II", len(data), crc32c(data)) + data


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_of_links(seed: int) -> None:
    chance = random.Random(seed)
    good = b"".join(map(link_frame, (b"hello" * 20, b"", b"x" * 3000, b"last")))
    for index in range(300):
        theirs, ours = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            owner = Owner()
            link = TcpLink(Loop(), ours, "peer:1", None)
            link.owner = owner
            link.open()
            for piece in pieces(chance, good if index == 0 else changed(chance, good)):
                theirs.sendall(piece)
                link.on_events(1)  # EPOLLIN
                if owner.reason is not None:
                    break
                assert len(link._input) <= Loop.frame_bytes_max + 8
            link.close("over")
            assert index or (owner.frames == 4 and owner.reason == "over")


@pytest.mark.parametrize("seed", SEEDS)
def test_handshakes_and_records_of_tls(seed: int, tls_house: TlsHouse) -> None:
    chance = random.Random(seed)
    master = tls_house.credentials(Role.MASTER, f"fuzz-m{seed}")
    client = tls_house.credentials(Role.CLIENT, f"fuzz-c{seed}")
    word = b"word" * 50
    for _ in range(60):
        server = TlsSession.accepted(master, EVERYBODY)
        dialled = TlsSession.dialled(client, frozenset({Role.MASTER}), "127.0.0.1")
        spoiled = chance.choice(("hello", "proof", "word", "nothing"))

        def carry(what: str, data: bytes) -> bytes:
            data = changed(chance, data) if what == spoiled else data  # noqa: B023
            return b"".join(map(server.open, pieces(chance, data)))  # noqa: B023

        heard, refused = b"", False
        try:
            carry("hello", dialled.take())
            dialled.open(server.take())
            if dialled.up:
                carry("proof", dialled.take())
                heard = carry("word", dialled.seal(word))
        except (Denied, ProtocolError):
            refused = True
        assert word.startswith(heard), "a damaged record said something"
        assert spoiled != "nothing" or (heard == word and not refused)
        assert spoiled == "word" or heard in (b"", word)
        assert server.held_bytes <= TLS_HANDSHAKE_BYTES_MAX
