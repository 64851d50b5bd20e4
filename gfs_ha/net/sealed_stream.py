"""A stream between data ports on which each request shows a ticket, and its bytes go in records.

    hello    magic, version, reserved, nonce of the stream      server -> client, once
    request  its header in clear, with ticket and proof         client -> server
    record   length, payload, tag                               both ways, unless the level is NONE

A payload is encrypted (AES-256-GCM) or in clear with a tag (GMAC). A refusal comes in clear, since
nobody has shown that he knows a key. docs/security.md says what each key seals.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence

from gfs_ha.errors import (
    GfsError,
    Overloaded,
    ProtocolError,
    TicketRefused,
    Unreachable,
    WrongCluster,
)
from gfs_ha.limits import KIB, MIB
from gfs_ha.net.payloads import RECORD_BYTES_MAX, SMALL_BYTES, payloads_of
from gfs_ha.net.streams import Bytes, Stall, Stream
from gfs_ha.pki.seals import TAG_BYTES, Seal
from gfs_ha.protocol.frames import (
    FRAME_BYTES,
    HELLO_MAGIC,
    check_frame,
    decode_error,
    decode_frame,
)
from gfs_ha.protocol.tickets import REASONS, Level

RAW_BYTES_MAX = 2 * MIB  # Of the records of one packet: more of them are cut too small.
NONCE_BYTES = 16

_HELLO = struct.Struct("<4sB3x16s")
_VERSION = 1
HELLO_BYTES = _HELLO.size
_FRAME_MAGIC = b"GFSA"
_LENGTH = struct.Struct("<I")
_NONCE = struct.Struct("<4xQ")
_EXTRA = _LENGTH.size + TAG_BYTES
_ROOM_BYTES = RECORD_BYTES_MAX + SMALL_BYTES + 2 * _EXTRA
_KEPT_BYTES = 64 * KIB  # What a stream keeps between requests.
# What a server may say before it knows who asks. Anything else would be somebody's invention.
_SAID_IN_CLEAR = (TicketRefused, ProtocolError, WrongCluster, Overloaded)


def encode_hello(nonce: bytes) -> bytes:
    """Return what a server says first on each stream."""
    return _HELLO.pack(HELLO_MAGIC, _VERSION, nonce)


def decode_hello(data: bytes | memoryview) -> bytes:
    """Return the nonce of the stream. Raises: ProtocolError."""
    magic, version, nonce = _HELLO.unpack(data)
    if magic != HELLO_MAGIC or version != _VERSION:
        raise ProtocolError("these bytes are no hello of a data port that wants tickets")
    return bytes(nonce)


class SealedStream:
    """A Stream; between `begin` and `end` all that is sent and received goes in records.

    One thread sends and one receives, as on the stream below.
    """

    def __init__(
        self,
        inner: Stream,
        nonce: bytes,
        on_altered: Callable[[str], None],
        dialled: bool = False,
    ) -> None:
        """Args: `on_altered` is told the peer of a record that was altered on its way; on one that
        was `dialled` nothing is heard before it asks.
        """
        self.peer = inner.peer
        self.nonce = nonce
        self.number = 0  # Of the newest request on it.
        self._inner = inner
        self._dialled = self._mute = dialled
        self._on_altered = on_altered
        self._level = Level.NONE
        self._out: Seal | None = None
        self._in: Seal | None = None
        self._sent = self._taken = 0  # Records of this request.
        self._relays = self._keeps = self._asks = self._altered = False
        self._room = bytearray()  # Where records are sealed.
        self._raw = bytearray()  # Records as they came.
        self._at = 0  # Where in it the record begins that is being received,
        self._have = 0  # and how much of it is there.
        self._plain = bytearray()
        self._rest = memoryview(b"")  # Of a payload: what nobody took yet.

    def begin(
        self, level: Level, out: Seal, into: Seal, keeps: bool = False, asks: bool = False
    ) -> None:
        """Speak in records from now on.

        Args: `keeps`: records that come are kept as they are, for `take_raw`; `asks`: a refusal in
        clear may come in the place of the first one.
        """
        self._level = level
        self._sent = self._taken = 0
        self._relays, self._keeps, self._asks = False, keeps, asks
        # Never with the keys of the request before, whose counters are over.
        self._out, self._in = (None, None) if level is Level.NONE else (out, into)
        self._mute = False  # Last: another thread may listen already.

    def end(self) -> bool:
        """Speak in clear again; return whether all that came was taken."""
        clean = not self._rest and not self._have
        self._mute = self._dialled
        self._out = self._in = None
        self._rest, self._at, self._have = memoryview(b""), 0, 0
        if len(self._raw) > _KEPT_BYTES:
            self._raw = bytearray()
        if len(self._plain) > _KEPT_BYTES:
            self._plain = bytearray()
        if len(self._room) > _KEPT_BYTES:
            self._room = bytearray()
        return clean

    @property
    def speaks_records(self) -> bool:
        """Return whether the request under way does."""
        return self._in is not None

    # Sending -------------------------------------------------------------------------------------

    def send(self, parts: Sequence[Bytes], stall: Stall) -> None:
        if self._out is None or self._relays:
            self._inner.send(parts, stall)
        else:
            self.send_after(b"", [parts], stall)

    def relay(self, clear: bytes, parts: Sequence[Bytes], stall: Stall) -> None:
        """Send something in clear, then parts as they are, as all that follows until the end.

        Whoever was the first to send them has sealed them, for all servers. Raises: as `send`.
        """
        self._relays = True
        self._inner.send([clear, *parts], stall)

    def send_after(self, clear: bytes, groups: Sequence[Sequence[Bytes]], stall: Stall) -> None:
        """Send something in clear, then groups of parts, each in records of its own.

        Raises: as `send`.
        """
        if self._out is None:
            self._inner.send([clear, *(part for group in groups for part in group)], stall)
            return
        payloads = [one for group in groups for one in payloads_of(group)]
        room, filled = self._lend(payloads), 0
        queue: list[Bytes] = [clear] if clear else []
        for payload in payloads:
            length = len(payload)
            if self._level is Level.INTEGRITY:
                tag = self._out.sign(self._next_out(), payload)
                queue += (_LENGTH.pack(length), payload, tag)
                continue
            if filled + length + _EXTRA > _ROOM_BYTES:
                self._inner.send([*queue, room[:filled]], stall)
                queue, filled = [], 0
            _LENGTH.pack_into(room, filled, length)
            start = filled + _LENGTH.size
            filled += length + _EXTRA
            self._out.close_into(self._next_out(), payload, room[start:filled])
        self._inner.send([*queue, room[:filled]] if filled else queue, stall)

    def _lend(self, payloads: Sequence[Bytes]) -> memoryview:
        if self._level is Level.ENCRYPT:
            needed = min(_ROOM_BYTES, sum(len(one) + _EXTRA for one in payloads))
            if len(self._room) < needed:
                self._room = bytearray(needed)
        return memoryview(self._room)

    def _next_out(self) -> bytes:
        self._sent += 1
        return _NONCE.pack(self._sent)

    def send_file(self, file_number: int, offset: int, length: int, stall: Stall) -> None:
        if self._out is None:
            self._inner.send_file(file_number, offset, length, stall)
            return
        piece = memoryview(bytearray(min(length, RECORD_BYTES_MAX)))
        end = offset + length
        while offset < end:
            count = os.preadv(file_number, [piece[: min(len(piece), end - offset)]], offset)
            if not count:
                raise Unreachable(f"a file ends at {offset}, {end} was promised")
            self.send([piece[:count]], stall)
            offset += count

    def send_now(self, data: bytes) -> bool:
        if self._out is None:
            return self._inner.send_now(data)
        nonce = _NONCE.pack(self._sent + 1)
        if self._level is Level.INTEGRITY:
            sealed = data + self._out.sign(nonce, data)
        else:
            sealed = self._out.close(nonce, data, b"")
        # What did not leave was never sealed: its counter goes to the next record.
        left = self._inner.send_now(_LENGTH.pack(len(data)) + sealed)
        self._sent += left
        return left

    # Receiving -----------------------------------------------------------------------------------

    def receive(self, into: memoryview, stall: Stall) -> None:
        self._check_asked()
        if self._in is None:
            self._inner.receive(into, stall)
            return
        filled = self._take_rest(into)
        while filled < len(into):
            length = self._receive_record(stall)
            space = into[filled:]
            if length <= len(space):
                self._open(length, space[:length])
                filled += length
            else:
                self._open_aside(length)
                filled += self._take_rest(space)

    def receive_now(self, into: memoryview) -> int:
        self._check_asked()
        if self._in is None:
            return self._inner.receive_now(into)
        filled = self._take_rest(into)
        while filled < len(into):
            try:
                length = self._poll_record()
            except Unreachable:
                if filled:
                    break  # It is found out again by who comes next.
                raise
            if not length:
                break
            self._open_aside(length)
            filled += self._take_rest(into[filled:])
        return filled

    def take_raw(self) -> memoryview:
        """Return the records since the last time, as they came; all of them were taken."""
        if self._rest:
            raise ProtocolError("a record goes beyond the packet that it belongs to")
        raw = memoryview(self._raw)[: self._at]
        self._at = 0
        return raw

    def _check_asked(self) -> None:
        """Raise Unreachable where anything is said, in clear, before something was asked.

        Whoever is on the way may have said it: it would be taken for an answer.
        """
        if self._mute and not self._inner.idle() and self._mute:
            raise Unreachable(f"{self.peer} hung up, or spoke before it was asked")

    def _take_rest(self, into: memoryview) -> int:
        count = min(len(self._rest), len(into))
        if count:
            into[:count] = self._rest[:count]
            self._rest = self._rest[count:]
        return count

    def _receive_record(self, stall: Stall) -> int:
        """Wait for a whole record; return the length of its payload."""
        while True:
            missing = self._missing()
            if not missing:
                return self._length()
            at = self._at + self._have
            self._inner.receive(self._space(missing)[at : at + missing], stall)
            self._have += missing
            if self._have == _LENGTH.size:
                self._check_clear(lambda part: self._inner.receive(part, stall))

    def _poll_record(self) -> int:
        """Take what is there; return the length of a payload, or 0 while none is whole."""
        while True:
            missing = self._missing()
            if not missing:
                return self._length()
            at = self._at + self._have
            count = self._inner.receive_now(self._space(missing)[at : at + missing])
            if not count:
                return 0
            self._have += count
            if self._have == _LENGTH.size:
                self._check_clear(self._receive_rest_now)

    def _receive_rest_now(self, part: memoryview) -> None:
        """Fill a part of a refusal, which came in one piece."""
        if self._inner.receive_now(part) != len(part):
            raise Unreachable(f"{self.peer} refused what it was asked, and said half of why")

    def _missing(self) -> int:
        """Return how much of the next record is to come; of its length first."""
        if self._have < _LENGTH.size:
            return _LENGTH.size - self._have
        return self._length() + _EXTRA - self._have

    def _length(self) -> int:
        length: int = _LENGTH.unpack_from(self._raw, self._at)[0]
        if not 0 < length <= RECORD_BYTES_MAX:
            if self._asks:  # Of an answer: whoever is on the way is as good as a cut.
                raise Unreachable(f"{self.peer} answers with a record of {length} bytes")
            raise ProtocolError(f"a record of {length} bytes")
        return length

    def _space(self, missing: int) -> memoryview:
        """Return where records go, with room for so much more."""
        end = self._at + self._have + missing
        if end > len(self._raw):
            if end > RAW_BYTES_MAX:
                raise ProtocolError("the records of a packet are cut too small")
            grown = bytearray(min(RAW_BYTES_MAX, max(end, 2 * len(self._raw), 4 * KIB)))
            grown[: self._at + self._have] = memoryview(self._raw)[: self._at + self._have]
            self._raw = grown
        return memoryview(self._raw)

    def _check_clear(self, receive: Callable[[memoryview], None]) -> None:
        """Raise what the peer says in clear, if that is why no record comes."""
        begin = memoryview(self._raw)[self._at : self._at + _LENGTH.size]
        if begin != _FRAME_MAGIC or self._taken or not self._asks:
            return
        head = memoryview(bytearray(FRAME_BYTES))
        head[: _LENGTH.size] = begin
        receive(head[_LENGTH.size :])
        try:
            frame = decode_frame(head)
            body = memoryview(bytearray(frame.body_length))
            if body:
                receive(body)
            check_frame(frame, head, body)
            error: GfsError = decode_error(bytes(body))
        except ProtocolError as nonsense:
            raise Unreachable(f"{self.peer} refuses in nonsense: {nonsense.message}") from nonsense
        if isinstance(error, _SAID_IN_CLEAR):
            # Whoever is on the way may have said it. That nothing was written, or whose fault it
            # is, must not be believed: a record would be sent twice.
            reason = error.details.get("reason")
            told = {"reason": reason} if reason in REASONS else {}
            raise type(error)(error.message, in_clear=1, **told)
        raise Unreachable(f"{self.peer} refuses in clear, as no server does: {error.message}")

    def _open_aside(self, length: int) -> None:
        if len(self._plain) < length:
            self._plain = bytearray(length)
        space = memoryview(self._plain)[:length]
        self._open(length, space)
        self._rest = space

    def _open(self, length: int, into: memoryview) -> None:
        """Open the record that is there whole. Raises: Unreachable when it was altered."""
        assert self._in is not None
        start = self._at + _LENGTH.size
        end = start + length + TAG_BYTES
        nonce = _NONCE.pack(self._taken + 1)
        sealed = memoryview(self._raw)[start:end]
        if self._level is Level.INTEGRITY:
            good = self._in.agrees(nonce, sealed[:length], sealed[length:])
            if good:
                into[:] = sealed[:length]
        else:
            good = self._in.open_into(nonce, sealed, into)
        if not good:
            if not self._altered:
                self._altered = True  # It is looked at again, and was altered once.
                self._on_altered(self.peer)
            raise Unreachable(f"what {self.peer} sent was altered on its way", altered=1)
        self._taken += 1
        self._have = 0
        self._at = end if self._keeps else 0

    # As below ------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> bool:
        return bool(self._rest) or self._inner.wait(timeout_s)

    def idle(self) -> bool:
        return self._in is None and self._inner.idle()

    def hang_up(self, timeout_s: float) -> None:
        self._inner.hang_up(timeout_s)

    def abort(self) -> None:
        self._inner.abort()

    def close(self) -> None:
        self._inner.close()
