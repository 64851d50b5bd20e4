"""Fuzzing with fixed seeds of what a data port reads where tickets are shown, at both ends.

Whoever changes what is on its way, also with checksums that fit again, is refused in one of the
ways that there are, and nothing is believed that was not said.
"""

from __future__ import annotations

import os
import random
import struct

import msgspec
import pytest
from spoiling import changed
from wire import Wire

from gfs_ha.checksum import crc32c
from gfs_ha.errors import ProtocolError, TicketRefused, Unreachable
from gfs_ha.ids import ChunkId, Epoch, ServerId
from gfs_ha.limits import DATA_HEADER_BYTES_MAX, KIB, TICKET_LIFE_S
from gfs_ha.net.asking import ask, showing
from gfs_ha.net.sealed_stream import (
    HELLO_BYTES,
    RAW_BYTES_MAX,
    SealedStream,
    decode_hello,
    encode_hello,
)
from gfs_ha.net.sealed_streams import Refusals
from gfs_ha.net.ticket_guard import TicketGuard
from gfs_ha.net.ticket_keys import TicketKeys
from gfs_ha.net.tickets import open_ticket, seal_ticket
from gfs_ha.pki.seals import Seal
from gfs_ha.protocol.codec import decode, encode
from gfs_ha.protocol.data import PREFIX_BYTES, DataRequest, Hop, Op, decode_request, request_length
from gfs_ha.protocol.tickets import (
    GetTickets,
    Level,
    OperationPass,
    Right,
    TellTicketKey,
    TicketFacts,
    TicketKey,
    TicketsGiven,
    decode_facts,
    encode_facts,
)
from gfs_ha.runtime import ThreadedRuntime

SEEDS = range(5)
ROUNDS = 600
RUNTIME = ThreadedRuntime()
SERVER, OTHER = ServerId(3), ServerId(4)
NONCE = b"n" * 16
GIVEN = OperationPass(b"s" * 32, Level.ENCRYPT, 300_000)
FACTS = TicketFacts(
    *(SERVER, ChunkId(9), Epoch(1, 2), int(Right.PUSH), 1 << 20, 0, int(Level.ENCRYPT)),
    *("ann", GIVEN.secret),
)
KEYS = TicketKeys(RUNTIME)


def ticket(level: Level = Level.ENCRYPT) -> bytes:
    """Return one that is good from now on: other tests may have taken minutes before this one."""
    key = KEYS.newest()
    ends_ms = KEYS.now_ms() + int(TICKET_LIFE_S * 1000)
    facts = msgspec.structs.replace(FACTS, ends_ms=ends_ms, level=int(level))
    return seal_ticket(key.key_id, Seal(key.key), facts, os.urandom(12))


def patient(idle_s: float) -> None:
    raise AssertionError("it waits")


def sealed(wire: Wire) -> SealedStream:
    return SealedStream(wire, NONCE, lambda peer: None)  # type: ignore[arg-type]


def push_of(payload: bytes, level: Level = Level.ENCRYPT) -> bytes:
    """Return what goes over the wire for one push: its header, and records."""
    request = DataRequest(
        *(Op.PUSH, 5, SERVER, FACTS.chunk_id, FACTS.birth, 0, 1 << 16, 1000, 7),
        hops=(Hop(OTHER, "cs4", 7300, ticket=ticket()),),
        label="ann@there:1",
    )
    given = msgspec.structs.replace(GIVEN, level=level)
    wire = Wire()
    ask(
        sealed(wire),
        showing(request, given, ticket(level), RUNTIME),
        [payload] * bool(payload),
        patient,
    )
    return bytes(wire.sent)


def mended(data: bytes) -> bytes:
    """Return a header with a length and a checksum that fit, as an attacker sends it."""
    if len(data) < PREFIX_BYTES:
        return data
    body = data[:6] + struct.pack("<H", len(data) & 0xFFFF) + data[8:-4]
    return body + struct.pack("<I", crc32c(body))


@pytest.mark.parametrize("seed", SEEDS)
def test_requests_that_show_tickets(seed: int) -> None:
    chance = random.Random(seed)
    good = push_of(b"")
    assert mended(good) == good
    guard = TicketGuard(SERVER, KEYS, RUNTIME, Refusals(RUNTIME))
    admitted = 0
    for index in range(ROUNDS):
        data = good if index == 0 else mended(changed(chance, good))
        stream = sealed(Wire())
        if len(data) < PREFIX_BYTES:
            continue  # A port waits for the rest.
        try:
            assert request_length(data[:PREFIX_BYTES]) <= DATA_HEADER_BYTES_MAX
            request = decode_request(data)
        except ProtocolError:
            continue
        try:
            guard.admit(request, memoryview(data), stream)
        except TicketRefused:
            assert not stream.speaks_records
        else:
            assert data == good, "another request than the one that was proven"
            admitted += 1
    assert admitted


@pytest.mark.parametrize("seed", SEEDS)
def test_tickets(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        key, made = KEYS.newest(), ticket()
        data = changed(chance, made)
        try:
            opened = open_ticket(data, Seal(key.key))
            assert opened is None or data == made
        except ProtocolError:
            pass
        try:  # Another master's mistake, or that of another release.
            decode_facts(changed(chance, encode_facts(FACTS)))
        except ProtocolError:
            pass


WORDS: list[tuple[object, bytes]] = [
    (GetTickets, encode(GetTickets(ChunkId(9), 3, (SERVER, OTHER)))),
    (TellTicketKey, encode(TellTicketKey(SERVER, 7, TicketKey(5, b"k" * 32, 1000)))),  # type: ignore[arg-type]
    (TicketsGiven, encode(TicketsGiven(GIVEN, ((SERVER, b"t" * 120),)))),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_words_about_tickets_and_hellos(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        kind, data = chance.choice(WORDS)
        try:
            decode(kind, changed(chance, data))  # type: ignore[arg-type]
        except ProtocolError:
            pass
        hello = (changed(chance, encode_hello(NONCE)) + bytes(HELLO_BYTES))[:HELLO_BYTES]
        try:
            decode_hello(hello)
        except ProtocolError:
            pass


@pytest.mark.parametrize("level", [Level.INTEGRITY, Level.ENCRYPT])
@pytest.mark.parametrize("seed", SEEDS)
def test_records(seed: int, level: Level) -> None:
    """What is taken is what was sent, from its beginning; then it ends, or is refused."""
    chance = random.Random(seed)
    for index in range(ROUNDS // 6):
        parts = [chance.randbytes(chance.choice((1, 100, 5000, 70 * KIB))) for _ in range(4)]
        said = b"".join(parts)
        raw = push_of(b"", level)
        wire = Wire()
        first, second = sealed(wire), sealed(Wire())
        request = decode_request(raw)
        TicketGuard(SERVER, KEYS, RUNTIME, Refusals(RUNTIME)).admit(
            request, memoryview(raw), second
        )
        given = msgspec.structs.replace(request, given=GIVEN_AT[level])
        ask(first, given, [], patient)
        del wire.sent[:]
        for part in parts:
            first.send([part], patient)
        data = bytes(wire.sent) if index == 0 else changed(chance, bytes(wire.sent))
        inner = Wire(data, lambda: chance.choice((1, 7, 3000, 1 << 20)))
        second._inner = inner  # type: ignore[assignment]
        taken = b""
        try:
            while len(taken) < len(said):
                into = memoryview(bytearray(chance.choice((1, 16, 4096, 60_000, 300_000))))
                if chance.random() < 0.5:
                    count = second.receive_now(into)
                else:
                    count = min(len(into), len(said) - len(taken))
                    second.receive(into[:count], patient)
                taken += into[:count]
                assert len(second._raw) <= RAW_BYTES_MAX
        except (Unreachable, ProtocolError):
            assert data != bytes(wire.sent)
        assert said.startswith(taken), "bytes that nobody sent"
        assert data != bytes(wire.sent) or taken == said


GIVEN_AT = {level: msgspec.structs.replace(GIVEN, level=level) for level in Level}
