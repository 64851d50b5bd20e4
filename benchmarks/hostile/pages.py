"""What is tried on the port of a daemon for probes and for Prometheus."""

from __future__ import annotations

from contextlib import ExitStack

from gfs_ha.net.http_port import HttpLimits
from hostile.attack import Attack, Target, Told, seen_of
from hostile.packets import HALVES, PACKETS
from hostile.peer import Heard, NotRefused, Peer, all_dropped, dribble, knock

_SERIES = "gfs_metrics_requests_refused_total"
_LIMITS = HttpLimits()
_LATE_S = 5.0
_END = b"\r\n\r\n"
BAD, LONG, LATE, TURNED_OUT = (
    (f'{_SERIES}{{reason="{reason}"}}',)
    for reason in ("bad_request", "too_long", "too_late", "turned_out")
)


def refused(heard: Heard) -> str:
    """Return the status. Raises: NotRefused when there is a page."""
    words = heard.data.split(b" ", 2)
    if len(words) > 1 and words[1] == b"200":
        raise NotRefused("it got a page")
    return words[1].decode("ascii", "replace") if len(words) > 1 else heard.end


def said(data: bytes, target: Target) -> str:
    return refused(knock(target.address, data))


def packets(target: Target) -> str:
    ends = []
    for name, packet in PACKETS.items():
        if name != "http":  # Here that is a question like others.
            ends.append(said(packet + _END, target))
    return seen_of(ends)


def crowd(target: Target, data: bytes, count: int) -> str:
    with ExitStack() as stack:
        peers = []
        for _ in range(count):
            peers.append(stack.enter_context(Peer(target.address)))
            peers[-1].throw(data)
        all_dropped(peers, _LIMITS.request_s + _LATE_S)
        return seen_of([refused(peer.hear()) for peer in peers])


def slow(target: Target) -> str:
    with Peer(target.address) as peer:
        sent = dribble(peer, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 4000)
        return f"{refused(peer.hear())} after {sent} bytes"


ATTACKS = [
    Attack("a handshake of TLS", lambda one: said(HALVES["half a hello"] + _END, one), Told(BAD)),
    Attack(
        "POST",
        lambda one: said(b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n" + bytes(9), one),
        Told(BAD, "request refused peer="),
    ),
    Attack(
        f"{len(PACKETS) - 1} of the packets against stock RPyC",
        packets,
        Told(BAD + LONG, "request refused peer="),
        len(PACKETS) - 1,
    ),
    Attack(
        "over-long request",
        lambda one: said(b"GET /" + b"x" * 20_000, one),
        Told(LONG, "reason=too_long"),
    ),
    Attack(
        "12 half requests",
        lambda one: crowd(one, b"GET /metrics HTT", 12),
        Told(LATE, "reason=too_late"),
        12,
        quick=False,
    ),
    Attack("request byte by byte", slow, Told(LATE, "reason=too_late"), quick=False),
    Attack(
        "64 silent connections",
        lambda one: crowd(one, b"", 64),
        Told(TURNED_OUT),
        64 - _LIMITS.peers_max,
    ),
]
