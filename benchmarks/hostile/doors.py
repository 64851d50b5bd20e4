"""What is tried on the port of a master for clients and chunkservers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from rpyc.core import consts

from gfs_ha.errors import ProtocolError
from gfs_ha.ids import NO_SESSION
from gfs_ha.limits import (
    CONNECTIONS_MAX,
    FRAME_DEADLINE_S,
    HANDSHAKE_DEADLINE_S,
    MIB,
    PROTOCOL_VERSION,
    WRITE_STALL_S,
)
from gfs_ha.net.rpc import FrameReader, Reply, encode_request
from gfs_ha.pki.names import Role
from gfs_ha.protocol.calls import SERVE_METHOD, Asked, CallContext, CallReply, Request
from gfs_ha.protocol.codec import Failure, Hello, HelloReply, decode, encode
from gfs_ha.protocol.control import Heartbeat
from gfs_ha.protocol.metadata import ListDirectory
from gfs_ha.protocol.reports import GetHealth, GetMasterFacts
from hostile.attack import STRANGERS, Attack, Target, Told, seen_of
from hostile.gang import GUEST, STRANGE_SERVER
from hostile.packets import HALVES, HEADER, PACKETS, frame
from hostile.peer import Heard, NotRefused, Peer, all_dropped, dribble, knock

_LATE_S = 5.0  # A deadline is looked at four times a second; machines may be busy.
_FLOOD = 60
_DEAF_BYTES = 4096
BROKE = "gfs_master_door_protocol_errors_total"
REFUSED = "gfs_master_door_refused_total"
OVERDUE = "gfs_master_door_overdue_total"
DENIED = "gfs_master_requests_denied_total"
TURNED_AWAY = "gfs_master_door_turned_away_total"


def hello_of(target: Target, role: str = Role.CLIENT, name: str = GUEST, **other: object) -> bytes:
    cluster = str(other.get("cluster", target.gang.cluster))
    version = int(str(other.get("version", PROTOCOL_VERSION)))
    return encode_request(0, 0, b"", encode(Hello(cluster, version, role, name)))


def call_of(request: Request, sequence: int = 1, method: int = SERVE_METHOD) -> bytes:
    body = encode((Asked(request, NO_SESSION, 0, 0),))
    return encode_request(sequence, method, encode(CallContext(5000)), body)


def answers_in(data: bytes) -> list[Reply]:
    reader = FrameReader()
    reader.feed(data)
    found = []
    while (reply := reader.next_reply()) is not None:
        found.append(reply)
    return found


def let_in(data: bytes) -> bool:
    """Return whether the first answer is that to a hello that was liked."""
    for answer in answers_in(data):
        try:
            decode(HelloReply, answer.body)
            return True
        except ProtocolError:
            return False
    return False


def refused(heard: Heard) -> str:
    """Return how. Raises: NotRefused when the peer was let in, or heard of a call."""
    if let_in(heard.data):
        raise NotRefused("it was let in")
    for answer in answers_in(heard.data):
        failure = decode(Failure, answer.body)
        return f"{failure.error}, {heard.end}"
    return heard.end


def greeted(
    target: Target,
    role: Role = Role.CLIENT,
    name: str = GUEST,
    receive_buffer: int | None = None,
) -> Peer:
    """Return a peer that was let in, as one that has a certificate is."""
    peer = Peer(target.address, target.gang.known[role], receive_buffer)
    peer.say(hello_of(target, role, name))
    heard = b""
    while not answers_in(heard):
        part = peer.read()
        if not part:
            raise NotRefused("an honest hello got no answer")  # Worse than that.
        heard += part
    if not let_in(heard):
        raise NotRefused(f"an honest hello was refused: {heard[:200]!r}")
    return peer


# Who is not let in --------------------------------------------------------------------------------


def stranger(kind: str, target: Target) -> str:
    said = hello_of(target) + call_of(GetMasterFacts())
    return refused(knock(target.address, said, target.gang.strangers[kind]))


def wrong_words(target: Target, said: Callable[[Target], bytes]) -> str:
    return refused(knock(target.address, said(target), target.gang.known[Role.CLIENT]))


def denied(target: Target, role: Role, name: str, request: Request) -> str:
    """Ask for what the role may not."""
    with greeted(target, role, name) as peer:
        peer.say(call_of(request))
        heard = b""
        while not answers_in(heard):
            part = peer.read()
            if not part:
                raise NotRefused("no answer, nor a refusal")
            heard += part
    (answer,) = answers_in(heard)
    reply = decode(CallReply, answer.body)
    if not isinstance(reply[0], Failure) or reply[0].error != "Denied":
        raise NotRefused(f"it was answered: {reply[0]}")
    return "Denied"


# What breaks a stock server -----------------------------------------------------------------------


def packets(target: Target) -> str:
    """Throw each as a stranger, as one with a certificate, and as one that was let in."""
    ends = []
    for name, packet in PACKETS.items():
        try:
            ends.append(refused(knock(target.address, packet)))
            ends.append(refused(knock(target.address, packet, target.gang.known[Role.CLIENT])))
            with greeted(target) as peer:
                peer.say(packet)
                ends.append(peer.hear().end)
        except NotRefused as error:
            raise NotRefused(f"{name}: {error}") from error
    return seen_of(ends)


def exceptions(target: Target) -> str:
    """Flood with answers nobody asked for, each of a class that a stock server would keep."""
    with greeted(target) as peer:
        for start in range(0, 50_000, 500):
            names = range(start, start + 500)
            flood = [
                frame(consts.MSG_EXCEPTION, 10**6 + i, (("m", f"X{i}"), (), (), "")) for i in names
            ]
            if not peer.say(b"".join(flood)):
                break
        return peer.hear().end


def endless_frame(target: Target) -> str:
    with greeted(target) as peer:
        peer.say(HEADER.pack(5 * MIB, 0))
        sent = 0
        while sent < 400 and peer.say(bytes(MIB)):
            sent += 1
        if sent == 400:
            raise NotRefused("400 MiB of one frame were taken")
        return peer.hear().end


def spoiled_record(target: Target) -> str:
    """Flip a byte of what is sealed."""
    with greeted(target) as peer:
        sealed = bytearray(peer.seal(call_of(GetMasterFacts())))
        sealed[-20] ^= 1
        peer.throw(bytes(sealed))
        return no_answer(peer.hear())


def record_again(target: Target) -> str:
    with greeted(target) as peer:
        sealed = peer.seal(call_of(GetMasterFacts()))
        peer.throw(sealed + sealed)
        heard = peer.hear()
        if len(answers_in(heard.data)) > 1:
            raise NotRefused("it was answered twice")
        return heard.end


def no_answer(heard: Heard) -> str:
    if answers_in(heard.data):
        raise NotRefused("it was answered")
    return heard.end


# Who holds on -------------------------------------------------------------------------------------


def crowd(target: Target, said: bytes, count: int, patience_s: float) -> str:
    """Connect so many, say something on each, and wait until all are hung up on."""
    with ExitStack() as stack:
        peers = []
        for _ in range(count):
            peers.append(stack.enter_context(Peer(target.address)))
            peers[-1].throw(said)
        all_dropped(peers, patience_s)
        return seen_of([peer.hear().end for peer in peers])


def halves(target: Target) -> str:
    with ExitStack() as stack:
        peers = [
            stack.enter_context(Peer(target.address)) for _ in range(_FLOOD // 4) for _ in HALVES
        ]
        for peer, data in zip(peers, list(HALVES.values()) * (_FLOOD // 4), strict=True):
            peer.throw(data)
        all_dropped(peers, HANDSHAKE_DEADLINE_S + _LATE_S)
        return seen_of([peer.hear().end for peer in peers])


def slow_hello(target: Target) -> str:
    with Peer(target.address) as peer:
        sent = dribble(peer, HALVES["a hello without an end"])
        return f"{peer.hear().end} after {sent} bytes"


def slow_frame(target: Target) -> str:
    with greeted(target) as peer:
        said = encode_request(1, SERVE_METHOD, b"", bytes(1000))
        for sent in range(len(said)):
            if not peer.say(said[sent : sent + 1]) or peer.read(0.1) or peer.ended:
                return f"{peer.hear().end} after {sent} bytes"
    raise NotRefused("a frame may take as long as it likes")


def half_frames(target: Target) -> str:
    with ExitStack() as stack:
        peers = [stack.enter_context(greeted(target)) for _ in range(10)]
        for peer in peers:
            peer.say(call_of(GetMasterFacts())[:20])
        all_dropped(peers, FRAME_DEADLINE_S + _LATE_S)
        return seen_of([peer.hear().end for peer in peers])


def deaf(target: Target) -> str:
    """Ask without an end, and read no answer."""
    asking = b"".join(call_of(GetMasterFacts(), number) for number in range(1, 100_000))
    with greeted(target, receive_buffer=_DEAF_BYTES) as peer:
        sealed = peer.seal(asking)
        peer.sock.settimeout(2.0)
        peer.throw(sealed)
        time.sleep(2 * WRITE_STALL_S)
        heard = peer.hear(WRITE_STALL_S)
        return f"{heard.end} after {len(heard.data) >> 10} KiB"


def _wrong(target: Target, **changes: object) -> bytes:
    return hello_of(target, **changes)  # type: ignore[arg-type]


BEAT = Heartbeat(1, 1, 1, (0, 0), 0.0, 0, 0, ())  # type: ignore[arg-type]
ANY = (BROKE, REFUSED, OVERDUE)
ATTACKS = [
    *(
        Attack(kind, partial(stranger, kind), Told((BROKE, REFUSED), reason))
        for kind, reason in STRANGERS.items()
    ),
    Attack(
        "wrong role: a client asks for what operators do",
        lambda one: denied(one, Role.CLIENT, GUEST, GetHealth()),
        Told((DENIED,), "request denied peer=.* may not ask for GetHealth"),
    ),
    Attack(
        "wrong role: a chunkserver reads a directory",
        lambda one: denied(one, Role.CHUNKSERVER, STRANGE_SERVER, ListDirectory("/")),
        Told((DENIED,), "what=list_directory .*outcome=Denied"),
        quick=False,
    ),
    Attack(
        "wrong role: a client beats as a chunkserver",
        lambda one: denied(one, Role.CLIENT, GUEST, BEAT),
        Told((DENIED,), "request denied peer=.* may not ask for Heartbeat"),
    ),
    Attack(
        "wrong role: a client says that it is an admin",
        lambda one: wrong_words(one, lambda to: hello_of(to, Role.ADMIN, GUEST)),
        Told((REFUSED,), "its certificate is that of client eve"),
        quick=False,
    ),
    Attack(
        "the name of somebody else",
        lambda one: wrong_words(one, lambda to: hello_of(to, Role.CLIENT, "root")),
        Told((REFUSED,), "its certificate is that of client eve"),
    ),
    Attack(
        "the hello of another cluster",
        lambda one: wrong_words(one, lambda to: _wrong(to, cluster="cluster-2")),
        Told((REFUSED,), "not of cluster-2"),
        quick=False,
    ),
    Attack(
        "the hello of another release",
        lambda one: wrong_words(one, lambda to: _wrong(to, version=99)),
        Told((REFUSED,), "speaks protocol 99"),
        quick=False,
    ),
    Attack(
        "a call before the hello",
        lambda one: wrong_words(one, lambda to: call_of(GetMasterFacts())),
        Told((BROKE,), "called before it said hello"),
        quick=False,
    ),
    Attack("flipped byte of a record", spoiled_record, Told((BROKE,), "no TLS with the peer")),
    Attack("record sent twice", record_again, Told((BROKE,), "no TLS with the peer"), quick=False),
    Attack(
        f"the {len(PACKETS)} packets against stock RPyC, each in 3 ways",
        packets,
        Told(ANY, "dropped peer="),
        3 * len(PACKETS),
    ),
    Attack(
        "50,000 exceptions of new classes",
        exceptions,
        Told((BROKE,), "dropped peer="),
        quick=False,
    ),
    Attack(
        "over-long frame, streamed", endless_frame, Told((BROKE,), "dropped peer="), quick=False
    ),
    Attack(
        f"{_FLOOD} silent connections",
        lambda one: crowd(one, b"", _FLOOD, HANDSHAKE_DEADLINE_S + _LATE_S),
        Told((OVERDUE,), "said no hello within"),
        _FLOOD,
    ),
    Attack(
        f"{_FLOOD} half handshakes",
        halves,
        Told((OVERDUE,), "said no hello within"),
        _FLOOD,
        quick=False,
    ),
    Attack(
        "handshake byte by byte",
        slow_hello,
        Told((OVERDUE,), "said no hello within"),
        quick=False,
    ),
    Attack(
        "10 half frames", half_frames, Told((OVERDUE,), "did not finish a frame"), 10, quick=False
    ),
    Attack(
        "frame byte by byte", slow_frame, Told((OVERDUE,), "did not finish a frame"), quick=False
    ),
    Attack("reads no answer", deaf, Told((OVERDUE,), "took no answers"), quick=False),
    Attack(
        f"{CONNECTIONS_MAX + 200} silent connections",
        lambda one: crowd(one, b"", CONNECTIONS_MAX + 200, HANDSHAKE_DEADLINE_S + 4 * _LATE_S),
        Told((OVERDUE, TURNED_AWAY), "said no hello within|gave its place"),
        CONNECTIONS_MAX + 200,
        quick=False,
    ),
    Attack(
        "the same once more, in memory that is there",
        lambda one: crowd(one, b"", CONNECTIONS_MAX + 200, HANDSHAKE_DEADLINE_S + 4 * _LATE_S),
        Told((OVERDUE, TURNED_AWAY), "said no hello within|gave its place"),
        CONNECTIONS_MAX + 200,
        quick=False,
        rss_mib_max=8.0,
    ),
]
