"""What is tried on the port of a master for the other masters."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from functools import partial

import msgspec

from gfs_ha.limits import PROTOCOL_VERSION, RAFT_HANDSHAKE_S
from gfs_ha.pki.names import Role
from hostile.attack import STRANGERS, Attack, Target, Told, seen_of
from hostile.doors import crowd
from hostile.gang import OUTSIDER
from hostile.packets import HALVES, PACKETS
from hostile.peer import Heard, NotRefused, Peer, all_dropped, dribble, knock
from hostile.raft_words import NO_HANDSHAKE, frame, frames_of, word

_LATE_S = 5.0
_FLOOD = 60
# The same reason has one line a minute, which says how often it was repeated; all are counted.
REFUSED = ("gfs_master_handshakes_refused_total",)
# A word that only who is let in hears.
_INSIDE = {"proof", "ready", "append", "vote"}


def hello_of(target: Target, **changes: object) -> bytes:
    """Return the hello of the outsider, with something wrong in it."""
    fields: dict[str, object] = {
        "version": PROTOCOL_VERSION,
        "cluster_id": target.gang.cluster,
        "incarnation": 1,
        "member_id": OUTSIDER,
        "target_id": target.member,
        "start": [1, 7],
        "seen": [0, 0],
    }
    return frame(word("gfs-ha hello", *(fields | changes).values()))


def refused(heard: Heard) -> str:
    """Return how. Raises: NotRefused when the peer was told what members tell each other."""
    told = []
    for one in frames_of(heard.data):
        tag, *about = msgspec.msgpack.decode(one) if one else [""]
        if tag in _INSIDE:
            raise NotRefused(f"it was told {tag!r}")
        if tag == "refusal":
            told.append(about[0])
    return seen_of([*told, heard.end])


def context_of(target: Target, kind: str) -> ssl.SSLContext:
    gang = target.gang
    return gang.strangers.get(kind) or gang.known[kind]


def stranger(kind: str, target: Target) -> str:
    return refused(knock(target.address, hello_of(target), context_of(target, kind)))


def wrong_hello(changes: dict[str, object], target: Target) -> str:
    return refused(
        knock(target.address, hello_of(target, **changes), target.gang.known[Role.MASTER])
    )


def as_another(target: Target) -> str:
    """Say the name of a member, with a genuine certificate of a master that is none."""
    return wrong_hello({"member_id": "m1" if target.member != "m1" else "m2"}, target)


def no_handshakes(target: Target) -> str:
    """Send what is none, in the clear, and as a genuine master does."""
    ends = []
    for data in NO_HANDSHAKE:
        ends.append(refused(knock(target.address, data)))
        ends.append(refused(knock(target.address, data, target.gang.known[Role.MASTER])))
    return seen_of(ends)


def packets(target: Target) -> str:
    ends = []
    for name, packet in PACKETS.items():
        try:
            ends.append(refused(knock(target.address, packet)))
            ends.append(refused(knock(target.address, packet, target.gang.known[Role.MASTER])))
        except NotRefused as error:
            raise NotRefused(f"{name}: {error}") from error
    return seen_of(ends)


def spoiled_record(target: Target) -> str:
    with Peer(target.address, target.gang.known[Role.MASTER]) as peer:
        sealed = bytearray(peer.seal(hello_of(target)))
        sealed[-20] ^= 1
        peer.throw(bytes(sealed))
        return refused(peer.hear())


def record_again(target: Target) -> str:
    with Peer(target.address, target.gang.known[Role.MASTER]) as peer:
        sealed = peer.seal(hello_of(target)[:20])
        peer.throw(sealed + sealed)
        return refused(peer.hear())


def half_hellos(target: Target) -> str:
    with ExitStack() as stack:
        peers = []
        for _ in range(10):
            peers.append(stack.enter_context(Peer(target.address, target.gang.known[Role.MASTER])))
            peers[-1].say(hello_of(target)[:20])
        all_dropped(peers, RAFT_HANDSHAKE_S + _LATE_S)
        return seen_of([refused(peer.hear()) for peer in peers])


def halves(target: Target) -> str:
    return seen_of(
        [
            crowd(target, data, _FLOOD // len(HALVES), RAFT_HANDSHAKE_S + _LATE_S)
            for data in HALVES.values()
        ]
    )


def slow_hello(target: Target) -> str:
    with Peer(target.address, target.gang.known[Role.MASTER]) as peer:
        sent = dribble(peer, peer.seal(hello_of(target)))
        return f"{peer.hear().end} after {sent} bytes"


def endless_frame(target: Target) -> str:
    with Peer(target.address, target.gang.known[Role.MASTER]) as peer:
        peer.say(frame(b"", length=0x7FFFFFFF))
        sent = 0
        while sent < 400 and peer.say(bytes(1 << 20)):
            sent += 1
        if sent == 400:
            raise NotRefused("400 MiB of one frame were taken")
        return peer.hear().end


_HELLOS: list[tuple[str, dict[str, object], str]] = [
    ("the hello of another cluster", {"cluster_id": "cluster-2"}, "belongs to cluster 'cluster-2'"),
    ("the hello of another release", {"version": 99}, "speaks protocol 99"),
    ("the hello of an older incarnation", {"incarnation": 0}, "is of incarnation 0"),
    ("no name", {"member_id": ""}, "is no other member"),
    ("a hello for another member", {"target_id": "m7"}, "looks for 'm7'"),
]
ATTACKS = [
    *(Attack(kind, partial(stranger, kind), Told(REFUSED, why)) for kind, why in STRANGERS.items()),
    *(
        Attack(f"wrong role: a {role}", partial(stranger, role), Told(REFUSED, "that of a master"))
        for role in (Role.CLIENT, Role.CHUNKSERVER)
    ),
    *(
        Attack(
            name,
            partial(wrong_hello, changes),
            Told(REFUSED, why),
            quick=False,
        )
        for name, changes, why in _HELLOS
    ),
    Attack(
        "the name of another member", as_another, Told(REFUSED, "its certificate that it is 'm9'")
    ),
    Attack("flipped byte of a record", spoiled_record, Told(REFUSED, "no TLS with the peer")),
    Attack("record sent twice", record_again, Told(REFUSED), quick=False),
    Attack(
        f"{len(NO_HANDSHAKE)} first words that are none, in TLS and in clear",
        no_handshakes,
        Told(REFUSED),
        2 * len(NO_HANDSHAKE),
    ),
    Attack(
        f"the {len(PACKETS)} packets against stock RPyC, in TLS and in clear",
        packets,
        Told(REFUSED),
        2 * len(PACKETS),
        quick=False,
    ),
    Attack("over-long frame, streamed", endless_frame, Told(REFUSED), quick=False),
    Attack("10 half hellos", half_hellos, Told(REFUSED), 10, quick=False),
    Attack("hello byte by byte", slow_hello, Told(REFUSED), quick=False),
    Attack(f"{_FLOOD} half handshakes", halves, Told(REFUSED), _FLOOD, quick=False),
    Attack(
        "300 silent connections",
        lambda one: crowd(one, b"", 300, 2 * RAFT_HANDSHAKE_S + _LATE_S),
        Told(REFUSED),
        300,
    ),
]
