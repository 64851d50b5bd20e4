"""Fuzzing with fixed seeds of what peers say once they are known, and of files under a daemon.

As test_parser_fuzz.py: a parser returns a word or refuses it in its own way.
"""

from __future__ import annotations

import base64
import random
import struct
from array import array

import pytest
from spoiling import changed, spoil
from tls_house import CLUSTER, TlsHouse

from gfs_ha.checksum import crc32c
from gfs_ha.errors import CorruptData, GfsError, ProtocolError
from gfs_ha.ids import ChunkId, Epoch, ServerId, SessionId
from gfs_ha.net.masters import read_answer
from gfs_ha.net.tls import Credentials
from gfs_ha.pki import files
from gfs_ha.pki.names import Role
from gfs_ha.protocol import frames, logs, packets, records
from gfs_ha.protocol.calls import Asked, AsOf, CallBody, CallContext, ReadTerms
from gfs_ha.protocol.codec import Failure, decode, encode
from gfs_ha.protocol.control import Heartbeat
from gfs_ha.protocol.metadata import Done, ListDirectory, OpenFile, OpenSession, Rename
from gfs_ha.protocol.reports import GetHealth
from gfs_ha.runtime import ThreadedRuntime

SEEDS = range(6)
RUNTIME = ThreadedRuntime()


BEAT = Heartbeat(ServerId(1), 7, 3, Epoch(1, 2), 0.5, 9, 10**12, ())  # type: ignore[arg-type]
ASKED = [
    (Asked(OpenFile("/a/b"), SessionId(3), 4, 1), Asked(ListDirectory("/"))),
    (Asked(Rename("/a", "/b"), SessionId(3), 9, 2),),
    (Asked(OpenSession("ann@there:1")), Asked(GetHealth())),
    (Asked(BEAT),),
]


@pytest.mark.parametrize("seed", SEEDS)
def test_calls(seed: int) -> None:
    spoil(seed, [encode(one) for one in ASKED], lambda data: decode(CallBody, data), ProtocolError)
    context = encode(CallContext(5000, terms=ReadTerms("linearizable")))
    spoil(seed, [context], lambda data: decode(CallContext, data), ProtocolError)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_to_calls(seed: int) -> None:
    answers = [encode((Done(),)), encode((Failure("NotFound", "no /a", {"inode": 3}),))]
    spoil(seed, answers, lambda data: read_answer(data, 1), GfsError)
    dated = encode((Done(), AsOf("m1", 9, 0)))  # type: ignore[arg-type]
    spoil(seed, [dated], lambda data: read_answer(data, 1, dated=True), GfsError)


def mended(chance: random.Random, data: bytes, size: int, crc_at: int) -> bytes:
    """Return a head of that size, half of the time with a checksum that fits."""
    head = data.ljust(size, b"\0")[:size]
    if chance.random() < 0.5:
        return head
    return head[:crc_at] + struct.pack("<I", crc32c(head[:crc_at])) + head[crc_at + 4 :]


@pytest.mark.parametrize("seed", SEEDS)
def test_packets_and_records(seed: int) -> None:
    chance = random.Random(-seed)
    size = packets.PACKET_BYTES

    def packet(data: bytes) -> None:
        found = packets.decode_packet(mended(chance, data, size, size - 4))
        packets.packet_crcs(found, memoryview(data[size:]))

    good = packets.encode_packet(0, 1000, True, array("I", [7]))
    spoil(seed, [good], packet, ProtocolError, CorruptData)

    head = records.encode_record_head(records.RecordHeader(SessionId(3), 4, 1, 100, 9))
    size = records.RECORD_HEAD_BYTES
    spoil(
        seed,
        [head],
        lambda data: records.decode_record_head(mended(chance, data, size, size - 4)),
        ProtocolError,
    )

    def entries(data: bytes) -> None:
        head, rest = data[: records.BLOCK_HEAD_BYTES], data[records.BLOCK_HEAD_BYTES :]
        if len(head) < records.BLOCK_HEAD_BYTES:
            return  # A port waits for the rest.
        length = records.entries_length(head)
        found = records.decode_entries(head, rest[:length].ljust(length, b"\0"))
        records.check_contiguous(found, 0, 100)

    packed = records.pack_entries([records.RecordEntry(SessionId(3), 1, 1, 0, 100)])
    spoil(seed, [records.encode_entries(packed)], entries, ProtocolError, CorruptData)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_of_data_ports(seed: int) -> None:
    acks = frames.encode_acks((frames.ReplicaAck(ServerId(1), "", 100),))
    spoil(seed, [acks], frames.decode_acks, ProtocolError)
    echo = frames.DataEcho(ChunkId(7), 0, 70_000, True, 3, array("I", [1, 2]))
    spoil(seed, [frames.encode_echo(echo)], frames.decode_echo, ProtocolError)
    told = records.encode_record_acks((records.RecordAck(SessionId(3), 4, 0, 100),))
    spoil(seed, [told], records.decode_record_acks, ProtocolError)
    spoil(
        seed,
        [encode(records.TailLength(ChunkId(7), 9, True))],
        records.decode_tail_length,
        ProtocolError,
    )
    spoil(seed, [logs.encode_query(logs.ReadLog(pattern="x"))], logs.decode_query, ProtocolError)
    page = logs.encode_page(logs.LogPage("m1", 7, (), 3))
    spoil(seed, [page], logs.decode_page, ProtocolError)


@pytest.mark.parametrize("seed", SEEDS)
def test_files_of_certificates_that_are_damaged_end_no_daemon(
    seed: int, tls_house: TlsHouse
) -> None:
    """They are looked at by the very threads that serve."""
    chance = random.Random(seed)
    directory = tls_house.enrol(Role.MASTER, f"spoiled-{seed}")
    held = Credentials(directory, CLUSTER, RUNTIME)
    names = (files.TRUSTED, files.REVOKED, files.CERTIFICATE, files.KEY)
    good = {name: (directory / name).read_bytes() for name in names}
    for _ in range(40):
        name = chance.choice(names)
        first, *words, last = good[name].splitlines()
        der = changed(chance, base64.b64decode(b"".join(words)))
        (directory / name).write_bytes(first + b"\n" + base64.encodebytes(der) + last + b"\n")
        for _ in range(2):
            held._look_again_s = 0.0
            assert held.server_context() is not None
        (directory / name).write_bytes(good[name])
    held._look_again_s = 0.0
    assert held.own.name == f"spoiled-{seed}"
