"""The door to RPyC: its frames and brine values, cut down to one request and one reply shape.

A frame is what RPyC 6 writes: `!LB` (length, compression flag), the payload, a newline. The payload
is a message kind and one brine value:

    request   (1) (sequence, (64, (LABEL_VALUE, (method, context bytes, body bytes))))
    reply     (2) (sequence, (LABEL_VALUE, body bytes))

Nothing else is read. RPyC's own loader is not used on what a peer sent: it builds frozensets (hash
collisions), slices and integers of any length, nests as deep as the peer likes, and its registry is
one for the whole process, so cutting it down would break an application that uses RPyC itself. The
reader below walks exactly the two shapes; a test holds it equal to RPyC's loader on all of them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rpyc.core import brine, consts

from gfs_ha.errors import ProtocolError
from gfs_ha.limits import FRAME_BYTES_MAX, KIB

OPCODE = 64  # The one handler; RPyC's own end at 20.
HELLO_METHOD = 0
METHOD_MAX = 0xFFFF
SEQUENCE_MAX = (1 << 63) - 1
FRAME_OVERHEAD_BYTES = 6  # Header and newline.

_HEADER = struct.Struct("!LB")
_LENGTH = struct.Struct("!L")
_FLUSH = b"\n"
_FLUSH_BYTE = _FLUSH[0]
_PAYLOAD_BYTES_MIN = 2
_RECEIVE_BYTES = 32 * KIB
_RECEIVE_BYTES_MAX = 512 * KIB
_DIGITS_MAX = 19  # Of a 63-bit number.

_dump = brine.dump
_VALUE: bytes = _dump(consts.LABEL_VALUE)
_REQUEST_HEAD: bytes = brine.I1.pack(consts.MSG_REQUEST) + brine.TAG_TUP2
_REQUEST_MIDDLE: bytes = brine.TAG_TUP2 + _dump(OPCODE) + brine.TAG_TUP2 + _VALUE + brine.TAG_TUP3
_REPLY_HEAD: bytes = brine.I1.pack(consts.MSG_REPLY) + brine.TAG_TUP2
_REPLY_MIDDLE: bytes = brine.TAG_TUP2 + _VALUE

_SMALL_INTS: dict[int, int] = {
    tag[0]: value for tag, value in brine.IMM_INTS_LOADER.items() if value >= 0
}
_SHORT_BYTES: dict[int, int] = {
    tag[0]: length
    for length, tag in enumerate(
        (brine.TAG_EMPTY_STR, brine.TAG_STR1, brine.TAG_STR2, brine.TAG_STR3, brine.TAG_STR4)
    )
}
_INT_L1: int = brine.TAG_INT_L1[0]
_STR_L1: int = brine.TAG_STR_L1[0]
_STR_L4: int = brine.TAG_STR_L4[0]


class Request(NamedTuple):
    """One call as it came off the wire."""

    sequence: int
    method: int
    context: bytes
    body: bytes


class Reply(NamedTuple):
    """The answer to the call with the same sequence."""

    sequence: int
    body: bytes


def encode_request(sequence: int, method: int, context: bytes, body: bytes) -> bytes:
    """Return the frame of one call."""
    return _frame(
        _REQUEST_HEAD,
        _dump(sequence),
        _REQUEST_MIDDLE,
        _dump(method),
        _dump(context),
        _dump(body),
    )


def encode_reply(sequence: int, body: bytes) -> bytes:
    """Return the frame of one answer."""
    return _frame(_REPLY_HEAD, _dump(sequence), _REPLY_MIDDLE, _dump(body))


def payload_bytes(frame: bytes) -> int:
    """Return what the frame cap counts: the payload's length."""
    return len(frame) - FRAME_OVERHEAD_BYTES


def _frame(*parts: bytes) -> bytes:
    length = sum(map(len, parts))
    return b"".join((_HEADER.pack(length, 0), *parts, _FLUSH))


class FrameReader:
    """Bytes in, whole requests or replies out; holds at most one frame more than it was fed.

    Args: `frame_bytes_max` caps the payload; it may be changed between frames. Not thread-safe.
    """

    __slots__ = ("_at", "_data", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._data: bytes | bytearray = b""
        self._at = 0

    @property
    def buffered(self) -> int:
        """Return how many bytes wait for the rest of their frame, or to be taken."""
        return len(self._data) - self._at

    @property
    def wants(self) -> int:
        """Return how many bytes to ask a socket for: many only in the middle of a big frame.

        Measured: a buffer of 256 KiB is mapped and unmapped again for each call of 100 bytes,
        which costs more than all the rest of serving it.
        """
        return _RECEIVE_BYTES_MAX if self.buffered > _RECEIVE_BYTES // 2 else _RECEIVE_BYTES

    def feed(self, data: bytes) -> None:
        """Add what a socket gave."""
        if self._at == len(self._data):
            # The usual case: whole frames, nothing left over, no copy.
            self._data = data
            self._at = 0
            return
        if not isinstance(self._data, bytearray):
            # A bytearray grows in place and forgets its front for free: a peer that sends a big
            # frame byte by byte must not make us copy it each time.
            self._data = bytearray(self._data[self._at :])
            self._at = 0
        elif self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def next_request(self) -> Request | None:
        """Return the next whole request, None if it is not there yet. Raises: ProtocolError."""
        end = self._frame_end()
        if end is None:
            return None
        data = self._data
        at = self._at + _HEADER.size
        at = _expect(data, at, _REQUEST_HEAD)
        sequence, at = _read_int(data, at, end)
        at = _expect(data, at, _REQUEST_MIDDLE)
        method, at = _read_int(data, at, end)
        context, at = _read_bytes(data, at, end)
        body, at = _read_bytes(data, at, end)
        self._finish(at, end)
        if method > METHOD_MAX:
            raise ProtocolError(f"the peer called method {method}; they end at {METHOD_MAX}")
        return Request(sequence, method, context, body)

    def next_reply(self) -> Reply | None:
        """Return the next whole reply, None if it is not there yet. Raises: ProtocolError."""
        end = self._frame_end()
        if end is None:
            return None
        data = self._data
        at = self._at + _HEADER.size
        at = _expect(data, at, _REPLY_HEAD)
        sequence, at = _read_int(data, at, end)
        at = _expect(data, at, _REPLY_MIDDLE)
        body, at = _read_bytes(data, at, end)
        self._finish(at, end)
        return Reply(sequence, body)

    def _frame_end(self) -> int | None:
        """Return the index of the frame's newline, None while the frame is not whole."""
        have = len(self._data) - self._at
        if have < _HEADER.size:
            return None
        length, compressed = _HEADER.unpack_from(self._data, self._at)
        if compressed:
            raise ProtocolError("the peer sent a compressed frame; frames are never compressed")
        if not _PAYLOAD_BYTES_MIN <= length <= self.frame_bytes_max:
            raise ProtocolError(
                f"the peer announced a frame of {length} bytes; the cap is {self.frame_bytes_max}"
            )
        if have < length + FRAME_OVERHEAD_BYTES:
            return None
        end: int = self._at + _HEADER.size + length
        if self._data[end] != _FLUSH_BYTE:
            raise ProtocolError("the peer's frame does not end where its length says")
        return end

    def _finish(self, at: int, end: int) -> None:
        if at != end:
            raise ProtocolError("the peer's frame holds more than one call or answer")
        self._at = end + 1
        if self._at == len(self._data):
            # Else an idle peer would have us keep its last frame, of any size and not counted.
            self._data, self._at = b"", 0


# The three readers never look beyond the newline at `end`: it is neither an int's tag nor long
# enough for what its value would announce as the tag of a string.


def _expect(data: bytes | bytearray, at: int, wanted: bytes) -> int:
    after = at + len(wanted)
    if data[at:after] != wanted:
        raise ProtocolError("the peer sent something else than the one call and its answer")
    return after


def _read_int(data: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    tag = data[at]
    small = _SMALL_INTS.get(tag)
    if small is not None:
        return small, at + 1
    if tag != _INT_L1:
        raise ProtocolError("the peer sent no number where one belongs")
    after = at + 2 + data[at + 1]
    digits = bytes(data[at + 2 : after])
    if after > end or len(digits) > _DIGITS_MAX or not digits.isdigit():
        raise ProtocolError("the peer sent a number that is out of range")
    value = int(digits)
    if value > SEQUENCE_MAX:
        raise ProtocolError("the peer sent a number that is out of range")
    return value, after


def _read_bytes(data: bytes | bytearray, at: int, end: int) -> tuple[bytes, int]:
    tag = data[at]
    if tag == _STR_L1:
        start = at + 2
        after = start + data[at + 1]
    elif tag == _STR_L4:
        start = at + 5
        if start > end:
            raise ProtocolError("the peer's frame ends inside a length")
        after = start + _LENGTH.unpack_from(data, at + 1)[0]
    else:
        length = _SHORT_BYTES.get(tag)
        if length is None:
            raise ProtocolError("the peer sent no bytes where bytes belong")
        start = at + 1
        after = start + length
    if after > end:
        raise ProtocolError("the peer's bytes reach beyond their frame")
    return bytes(data[start:after]), after
