"""What is tried on the data port of a chunkserver."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

import msgspec

from gfs_ha.errors import GfsError, ProtocolError, Unreachable
from gfs_ha.ids import Birth, ChunkId, ServerId
from gfs_ha.limits import FRAME_DEADLINE_S, STREAMS_MAX, TICKET_LIFE_S
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask, showing
from gfs_ha.net.operation_keys import PROOF_BYTES
from gfs_ha.net.sealed_stream import HELLO_BYTES
from gfs_ha.net.sealed_streams import SealedStreams
from gfs_ha.net.streams import Stream, TcpStreams
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame
from gfs_ha.protocol.logs import ReadLog, encode_query
from hostile.attack import Attack, Target, Told, seen_of
from hostile.loot import RUNTIME, Loot
from hostile.packets import HALVES, PACKETS
from hostile.peer import Heard, NotRefused, Peer, all_dropped, dribble
from hostile.recorder import Recorder, flipped, patient

_LATE_S = 5.0
_ANSWER_S = 20.0  # A busy server may be silent for longer than clients wait.
_IDLE_S = 60.0
_OP_ID = 7
DEADLINE_S = 5.0
_TICKETS = "gfs_chunkserver_tickets_refused_total"
_STREAMS = "gfs_chunkserver_streams_refused_total"
_LINE = "ticket refused peer="
_PADDED_BYTES = 64  # A shorter packet is the half of a header.


def by_ticket(reason: str) -> Told:
    return Told((f'{_TICKETS}{{reason="{reason}"}}',), _LINE)


def by_stream(reason: str) -> Told:
    return Told((f'{_STREAMS}{{reason="{reason}"}}',), f"stream refused peer=.* reason={reason}")


class Raid:
    """The attacks on one server, with what was stolen of it."""

    def __init__(self, loot: Loot, server: str, other: str) -> None:
        self.loot = loot
        self._server = server
        self._other = other

    def attacks(self) -> list[Attack]:
        found = [*self._of_tickets(), *self._of_bytes(), *self._of_crowds()]
        # The last: until it has expired the others use the same ticket.
        found.append(Attack("expired ticket", self._expired, by_ticket("expired"), quick=False))
        return found

    def request(self, target: Target, **changes: object) -> DataRequest:
        """Return a good request for the beginning of the bait, but for the changes."""
        loot = self.loot
        request = DataRequest(
            op=Op.FETCH,
            cluster=cluster_hash(target.gang.cluster),
            target=loot.ids[self._server],
            chunk_id=loot.chunk_id,
            birth=loot.birth,
            offset=0,
            length=100,
            deadline_ms=int(DEADLINE_S * 1000),
            op_id=_OP_ID,
        )
        shown = showing(request, loot.given, loot.tickets[self._server], RUNTIME)
        return msgspec.structs.replace(shown, **changes)

    # Tickets.

    def _of_tickets(self) -> list[Attack]:
        loot, mine = self.loot, self.loot.tickets[self._server]
        tries: list[tuple[str, str, Callable[[Target], str]]] = [
            ("no ticket", "missing", self._bare),
            ("a ticket that is made up", "unknown_key", self._with(ticket=os.urandom(120))),
            (
                "the ticket of another server",
                "unknown_key",
                self._with(ticket=loot.tickets[self._other]),
            ),
            ("an altered ticket", "altered", self._with(ticket=flipped(mine, 40))),
            ("half a ticket", "altered", self._with(ticket=mine[:30])),
            (
                "widened: another chunk",
                "foreign",
                self._with(chunk_id=ChunkId(loot.chunk_id + 1)),
            ),
            (
                "widened: another birth",
                "foreign",
                self._with(birth=Birth(loot.birth.incarnation, loot.birth.term + 1)),
            ),
            ("widened: another server", "foreign", self._with(target=ServerId(99))),
            ("widened: to write", "not_allowed", self._with(op=Op.PUSH)),
            ("widened: to append", "not_allowed", self._with(op=Op.APPEND)),
            ("widened: beyond its limit", "limit", self._with(offset=loot.length)),
            (
                "a ticket without its secret",
                "replayed",
                self._with(given=msgspec.structs.replace(loot.given, secret=os.urandom(32))),
            ),
            ("replayed on its stream", "replayed", partial(self._again, False)),
            ("replayed on another stream", "replayed", partial(self._again, True)),
        ]
        later = {
            *("half a ticket", "the ticket of another server", "widened: another birth"),
            *("widened: another server", "widened: to append"),
        }
        return [
            Attack(name, run, by_ticket(reason), quick=name not in later)
            for name, reason, run in tries
        ]

    def _with(self, **changes: object) -> Callable[[Target], str]:
        return lambda on: _asked(on, msgspec.structs.replace(self.request(on), **changes))

    def _bare(self, target: Target) -> str:
        """Ask without a ticket, as in a cluster that is open."""
        request = self.request(target, ticket=b"", given=None, nonce=b"")
        with raw(target) as peer:
            peer.throw(encode_request(request))
            return told_in(peer.hear())

    def _expired(self, target: Target) -> str:
        time.sleep(max(0.0, self.loot.taken_s + TICKET_LIFE_S + 1.0 - time.monotonic()))
        return _asked(target, self.request(target))

    def _again(self, elsewhere: bool, target: Target) -> str:
        recorder = Recorder(target.address)
        with closing(recorder):
            stream = recorder.sealed()
            request = self.request(target)
            ask(stream, request, [], patient)
            if _answers(stream).wait()[0] is not FrameKind.DATA:
                raise NotRefused("an honest request was not answered")
            stream.receive(memoryview(bytearray(request.length)), patient)
            stream.end()
            (said,) = recorder.sent
            if not elsewhere:
                recorder.inner.send([said], patient)
                return refusal_on(recorder.inner)
        with raw(target) as peer:
            peer.throw(said)
            return told_in(peer.hear())

    # Bytes.

    def _of_bytes(self) -> list[Attack]:
        altered = Told((f'{_TICKETS}{{reason="altered_record"}}',))
        bad = by_stream("bad_request")
        return [
            Attack("flipped packet", partial(self._spoiled, lambda one: flipped(one, -5)), altered),
            Attack(
                "packet of another length",
                partial(self._spoiled, lambda one: (0xFFFFFF).to_bytes(4, "little") + one[4:]),
                bad,
            ),
            Attack(
                "a handshake of TLS",
                lambda one: said(HALVES["a hello without an end"], one),
                bad,
                quick=False,
            ),
            Attack("HTTP", lambda one: said(b"GET / HTTP/1.1\r\n" * 8, one), bad, quick=False),
            Attack(f"the {len(PACKETS)} packets against stock RPyC", packets, bad, len(PACKETS)),
            Attack(
                "over-long header",
                lambda one: said(b"GFSD\x01\x01\xff\xff" + bytes(70_000), one),
                bad,
                quick=False,
            ),
            Attack(
                "a header whose checksum is wrong",
                lambda one: said(flipped(encode_request(self.request(one), no_proof), -1), one),
                bad,
                quick=False,
            ),
            Attack("for another cluster", self._with(cluster=1), bad, quick=False),
        ]

    def _spoiled(self, change: Callable[[bytes], bytes], target: Target) -> str:
        """Ask for log lines, and change the question on its way."""
        loot = self.loot
        query = encode_query(ReadLog())
        with closing(Recorder(target.address)) as recorder:
            stream = recorder.sealed()
            request = self.request(
                target,
                op=Op.LOG,
                chunk_id=ChunkId(0),
                birth=Birth(0, 0),
                length=len(query),
                given=loot.log_given,
                ticket=loot.log_tickets[self._server],
            )
            ask(stream, request, [], patient)
            recorder.change = change
            stream.send([query], patient)
            try:
                kind = _answers(stream).wait()[0]
            except GfsError as error:
                return error.code
        raise NotRefused(f"it was answered: {kind.name}")

    # Crowds.

    def _of_crowds(self) -> list[Attack]:
        return [
            Attack("10 half headers", self._half, by_stream("late"), 10, quick=False),
            Attack("header byte by byte", self._slow, by_stream("late"), quick=False),
            Attack(
                f"{STREAMS_MAX + 88} silent connections",
                lambda one: crowd(one, STREAMS_MAX + 88, _IDLE_S + 2 * _LATE_S),
                Told(by_stream("turned_out").counters + by_stream("silent").counters, "stream ref"),
                STREAMS_MAX + 88,
                quick=False,
            ),
            Attack(
                "reads no answer",
                self._deaf,
                Told(line="outcome=(Unreachable|DeadlineExceeded)"),
                quick=False,
            ),
        ]

    def _half(self, target: Target) -> str:
        half = encode_request(self.request(target), no_proof)[:20]
        with ExitStack() as stack:
            peers = [stack.enter_context(raw(target)) for _ in range(10)]
            for peer in peers:
                peer.throw(half)
            all_dropped(peers, FRAME_DEADLINE_S + _LATE_S)
            return seen_of([told_in(peer.hear()) for peer in peers])

    def _slow(self, target: Target) -> str:
        with raw(target) as peer:
            sent = dribble(peer, encode_request(self.request(target), no_proof), 0.1)
            return f"{told_in(peer.hear())} after {sent} bytes"

    def _deaf(self, target: Target) -> str:
        """Ask for all of the bait, and read nothing."""
        with closing(Recorder(target.address)) as recorder:
            ask(recorder.sealed(), self.request(target, length=self.loot.length), [], patient)
            time.sleep(DEADLINE_S + 3.0)
            into = memoryview(bytearray(self.loot.length))
            taken = 0
            try:
                while recorder.inner.wait(2.0):
                    taken += recorder.inner.receive_now(into)
            except Unreachable:
                return f"hung up after {taken >> 10} KiB"
        raise NotRefused(f"it waits still, after {taken >> 10} KiB")


def no_proof(header: bytes) -> bytes:
    return bytes(PROOF_BYTES)


def raw(target: Target) -> Peer:
    """Return a peer that has heard the hello of the port."""
    peer = Peer(target.address)
    heard = b""
    while len(heard) < HELLO_BYTES:
        part = peer.read()
        if not part:
            return peer  # The port is full, and that is what it says.
        heard += part
    return peer


def told_in(heard: Heard) -> str:
    """Return the error. Raises: NotRefused when it is none."""
    if len(heard.data) < FRAME_BYTES:
        return heard.end
    frame = decode_frame(heard.data[:FRAME_BYTES])
    if frame.kind is not FrameKind.FAILED:
        raise NotRefused(f"it was answered: {frame.kind.name}")
    return words_of(decode_error(heard.data[FRAME_BYTES : FRAME_BYTES + frame.body_length]))


def words_of(error: GfsError) -> str:
    reason = error.details.get("reason")
    return error.code if reason is None else f"{error.code} {reason}"


def _asked(target: Target, request: DataRequest) -> str:
    stream = SealedStreams(TcpStreams(RUNTIME), RUNTIME).connect(target.address, 10.0)
    with closing(stream):
        reader = _answers(stream)
        ask(stream, request, [], reader.stall)
        try:
            kind = reader.wait()[0]
        except GfsError as error:
            return words_of(error)
    raise NotRefused(f"it was answered: {kind.name}")


def _answers(stream: Stream) -> AnswerReader:
    return AnswerReader(stream, _OP_ID, Deadline(RUNTIME, _ANSWER_S), _ANSWER_S)


def refusal_on(stream: Stream) -> str:
    head = memoryview(bytearray(FRAME_BYTES))
    stream.receive(head, patient)
    frame = decode_frame(head)
    if frame.kind is not FrameKind.FAILED:
        raise NotRefused(f"it was answered: {frame.kind.name}")
    body = memoryview(bytearray(frame.body_length))
    stream.receive(body, patient)
    return words_of(decode_error(bytes(body)))


def said(data: bytes, target: Target) -> str:
    with raw(target) as peer:
        peer.throw(data.ljust(_PADDED_BYTES, b"\0"))
        return told_in(peer.hear())


def packets(target: Target) -> str:
    ends = []
    for name, packet in PACKETS.items():
        try:
            ends.append(said(packet, target))
        except (NotRefused, ProtocolError) as error:
            raise NotRefused(f"{name}: {error}") from error
    return seen_of(ends)


def crowd(target: Target, count: int, patience_s: float) -> str:
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(target.address)) for _ in range(count)]
        all_dropped(peers, patience_s)
        return seen_of([peer.hear().end for peer in peers])
