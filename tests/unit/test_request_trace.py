"""The trace id of a command: in data requests, which older servers read, too, and in calls."""

from __future__ import annotations

import struct
from itertools import product

import pytest

from gfs_ha.checksum import crc32c
from gfs_ha.config import MasterAddress
from gfs_ha.errors import Unreachable
from gfs_ha.ids import NO_TRACE, ChunkId, DiskId, Epoch, ServerId, TraceId
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.masters import ask_facts
from gfs_ha.net.network import Address, Hello
from gfs_ha.protocol.calls import Asked, CallContext
from gfs_ha.protocol.codec import Hello as HelloWord
from gfs_ha.protocol.codec import HelloReply, decode, encode
from gfs_ha.protocol.data import DataRequest, Hop, Op, decode_request, encode_request
from gfs_ha.protocol.metadata import Renew
from gfs_ha.runtime import Future, ThreadedRuntime

_AT_LENGTH, _AT_FIXED, _OLD_FIXED = 6, 8, 104
HOPS = [Hop(ServerId(number), "host", 7) for number in (4, 5, 6)]
# (trace, hops, label, ticket)
SHAPES = list(product((1, 2**63 - 1), (0, 1, 3), ("", "me"), (b"", b"ticket")))


def request(
    trace_id: TraceId, hops: list[Hop], label: str = "", ticket: bytes = b""
) -> DataRequest:
    return DataRequest(
        *(Op.PUSH, 5, ServerId(1), ChunkId(7), Epoch(1, 3), 0, 100, 1000, 9),
        hops=tuple(hops),
        label=label,
        ticket=ticket,
        nonce=bytes(16) if ticket else b"",
        proof=bytes(16) if ticket else b"",
        disk_id=DiskId(3),
        trace_id=trace_id,
    )


def signed(whole: bytes) -> bytes:
    """Return a header with its length and CRC put right."""
    whole = whole[:_AT_LENGTH] + struct.pack("<H", len(whole) + 4) + whole[_AT_LENGTH + 2 :]
    return whole + struct.pack("<I", crc32c(whole))


@pytest.mark.parametrize(("trace_id", "hops", "label", "ticket"), SHAPES)
def test_the_trace_of_a_data_request_arrives(
    trace_id: TraceId, hops: int, label: str, ticket: bytes
) -> None:
    sent = request(trace_id, HOPS[:hops], label, ticket)
    assert decode_request(encode_request(sent)) == sent


@pytest.mark.parametrize(("trace_id", "hops", "label", "ticket"), SHAPES)
def test_a_server_that_knows_no_trace_reads_all_the_rest(
    trace_id: TraceId, hops: int, label: str, ticket: bytes
) -> None:
    header = encode_request(request(trace_id, HOPS[:hops], label, ticket))
    fixed = struct.unpack_from("<H", header, _AT_FIXED)[0]
    # What it does not know lies between its own fixed part and the ticket, and is left out.
    older = header[:_OLD_FIXED] + header[fixed:-4]
    older = signed(older[:_AT_FIXED] + struct.pack("<H", _OLD_FIXED) + older[_AT_FIXED + 2 :])
    assert older == encode_request(request(NO_TRACE, HOPS[:hops], label, ticket))


def test_what_a_later_release_adds_to_the_fixed_part_is_skipped() -> None:
    sent = request(TraceId(77), [Hop(ServerId(4), "host", 7)], "me")
    header = encode_request(sent)
    fixed = struct.unpack_from("<H", header, _AT_FIXED)[0]
    later = header[:fixed] + b"later" + header[fixed:-4]
    later = later[:_AT_FIXED] + struct.pack("<H", fixed + 5) + later[_AT_FIXED + 2 :]
    assert decode_request(signed(later)) == sent


class Ear:
    """A Network whose only master hears the context of each call and hangs up."""

    def __init__(self) -> None:
        self.heard: list[CallContext] = []
        self.closed = False

    def listen(self, address: Address, hello: object, handler: object) -> object:
        raise AssertionError("clients do not listen")

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> Ear:
        hello.accept(encode(HelloReply("m1", PROTOCOL_VERSION, 1)))
        return self

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        self.heard.append(decode(CallContext, context))
        raise Unreachable("hung up")

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        return self.call(method, context, body, timeout_s)  # type: ignore[return-value]

    def close(self) -> None:
        pass


def link(ear: Ear, trace_id: TraceId = NO_TRACE) -> LeaderLink:
    hello = HelloWord("c", PROTOCOL_VERSION, "client", "me")
    masters = (MasterAddress("m1", "m1", 1, 0),)
    found = LeaderLink(masters, ear, hello, ThreadedRuntime(), trace_id=trace_id)  # type: ignore[arg-type]
    found._leader = "m1"
    return found


def heard(ear: Ear, called: LeaderLink) -> list[int]:
    for _ in range(2):
        called._leader = "m1"
        with pytest.raises(Unreachable):
            called.call((Asked(Renew()),), 1.0)
    with pytest.raises(Unreachable):
        ask_facts(called.connections, "m1")
    found = [one.trace_id for one in ear.heard if one.deadline_ms]
    called.connections.close()
    return found


def test_every_call_of_a_command_bears_its_trace() -> None:
    ear = Ear()
    found = heard(ear, link(ear, TraceId(99)))
    assert len(found) >= 3 and set(found) == {99}


def test_a_call_of_no_command_has_a_trace_of_its_own() -> None:
    ear = Ear()
    first, second = [one for one in heard(ear, link(ear)) if one][:2]
    assert first != second
